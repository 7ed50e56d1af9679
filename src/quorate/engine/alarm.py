"""One timer for a whole run, whatever number of things wait for their time in it."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextvars import Context


class Alarm:
    """Calls back at given times. Callbacks are not taken back: each looks whether it still has something to do.

    Args:
        context: the variables the callbacks run in.
    """

    __slots__ = ("_context", "_entries", "_handle", "_loop", "_order")

    def __init__(self, context: Context) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        """Call back at this time on the engine's clock."""
        heapq.heappush(self._entries, (time_s, next(self._order), call))
        if self._handle is None or time_s < self._handle.when():
            self._arm()

    def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._entries:
            self._handle = self._loop.call_at(self._entries[0][0], self._ring, context=self._context)

    def _ring(self) -> None:
        self._handle = None
        now_s = self._loop.time()
        while self._entries and self._entries[0][0] <= now_s:
            heapq.heappop(self._entries)[2]()
        if self._handle is None:
            self._arm()
