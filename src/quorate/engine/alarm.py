"""One timer for a whole run, whatever number of things wait for their time in it.

The loop's own timers are objects in one heap, compared in Python and kept there after they are cancelled: with some
hundred calls in flight they cost more than the calls' own bookkeeping. A run needs one of them.
"""

import asyncio
import heapq
import itertools
import math
from contextvars import Context
from types import TracebackType
from typing import Protocol, Self

_order = itertools.count()


class Sleeper(Protocol):
    """Something that waits for its time."""

    def ring(self, now_s: float, /) -> None:
        """It is now this time. May come when nothing is due any more: look what is still to be done."""


class Alarm:
    """Rings sleepers at given times. A time is not taken back; whoever sleeps knows what it still waits for.

    Args:
        context: the variables the callbacks run in.
        held: set no timer until `release`, while many times are given.
    """

    __slots__ = ("_context", "_entries", "_handle", "_held", "_loop", "_set_s")

    def __init__(self, context: Context, *, held: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._entries: list[tuple[float, int, Sleeper]] = []
        self._handle: asyncio.Handle | None = None
        self._set_s = math.inf  # A handle of another loop than asyncio's need not know it.
        self._held = held

    def at(self, time_s: float, sleeper: Sleeper) -> None:
        """Ring a sleeper at this time on the engine's clock."""
        heapq.heappush(self._entries, (time_s, next(_order), sleeper))
        if not self._held and time_s < self._set_s:
            self._set()

    def release(self) -> None:
        """Set the timer for the earliest time."""
        self._held = False
        self._set()

    def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._set()

    def _set(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._set_s = None, math.inf
        if self._entries:
            self._set_s = self._entries[0][0]
            self._handle = self._loop.call_at(self._set_s, self._ring, context=self._context)

    def _ring(self) -> None:
        self._handle, self._set_s = None, math.inf
        now_s = self._loop.time()
        while self._entries and self._entries[0][0] <= now_s:
            heapq.heappop(self._entries)[2].ring(now_s)
        if self._handle is None:
            self._set()


class Timeout:
    """Bounds a block of waiting on an alarm, as `asyncio.timeout` does on a timer of its own.

    Raises TimeoutError from the block when the time is up. A cancel that somebody else asked for stays a cancel.
    An alarm of its `own` is closed with the block.
    """

    __slots__ = ("_alarm", "_at_s", "_before", "_fired", "_own", "_pending_s", "_task")

    def __init__(self, alarm: Alarm, at_s: float, *, own: bool = False) -> None:
        self._alarm = alarm
        self._own = own
        self._at_s = at_s
        self._pending_s: float | None = None
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._fired = False

    def reschedule(self, at_s: float) -> None:
        """Move the time, in seconds on the engine's clock."""
        self._at_s = at_s
        # A ring that comes too early looks again: a stream moves its time with every piece.
        if self._pending_s is None or at_s < self._pending_s:
            self._pending_s = at_s
            self._alarm.at(at_s, self)

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a timeout needs a task")
        self._before = self._task.cancelling()
        self.reschedule(self._at_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._own:
            self._alarm.close()
        if self._fired and task is not None and task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self, now_s: float, /) -> None:
        """Cancel the block's task if its time has come."""
        if self._task is None or self._fired:
            return
        self._pending_s = None
        if now_s < self._at_s:
            self.reschedule(self._at_s)
        else:
            self._fired = True
            self._task.cancel()
