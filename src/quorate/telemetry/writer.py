"""A thread for what an event loop must not wait for: files, pipes, the building of spans."""

import atexit
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

BATCH = 1000
"""The most items that are handled at once."""


class Writer(Generic[T]):
    """Hands items to a thread, in the order they come. Whoever puts them never waits.

    Make it in the process that uses it: threads do not survive a fork. What waits is handled before the process
    exits, also where nobody closed it.

    Args:
        handle: takes the items that have come, at most `BATCH` of them; called in the thread. What it raises counts
            those items as lost and is kept in `error`.
        name: of the thread.
        limit: the most items that may wait; more are lost. None for no bound.
        patience_s: seconds that `close` waits for what still waits; None for as long as it takes.

    Attributes:
        error: the last thing that `handle` raised, or None.
    """

    def __init__(
        self, handle: Callable[[list[T]], None], *, name: str, limit: int | None, patience_s: float | None
    ) -> None:
        self.error: Exception | None = None
        self._handle = handle
        self._limit = limit
        self._patience_s = patience_s
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._refused = 0  # Counted by those who put, the other by the thread: neither needs a lock.
        self._broken = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def lost(self) -> int:
        """How many items were not handled: no room, `handle` raised, or they came after `close`."""
        return self._refused + self._broken

    def put(self, item: T, /) -> None:
        """Hand an item over, or count it as lost. Never waits, never raises."""
        if self._closed or (self._limit is not None and self._queue.qsize() >= self._limit):
            self._refused += 1
        else:
            self._queue.put(item)

    def close(self) -> None:
        """Wait until all is handled, for `patience_s` at most; what is left then is lost. Twice does no harm."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._queue.put(None)
        self._thread.join(self._patience_s)
        if self._thread.is_alive():
            self._refused += max(0, self._queue.qsize() - 1)

    def _run(self) -> None:
        more = True
        while more:
            items, more = self._waiting()
            if not items:
                continue
            try:
                self._handle(items)
            except Exception as error:
                self.error = error
                self._broken += len(items)

    def _waiting(self) -> tuple[list[T], bool]:
        """Wait for an item, and take the others that are there; False once it is the end."""
        items: list[T] = []
        item = self._queue.get()
        while item is not None:
            items.append(item)
            if len(items) == BATCH:
                return items, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return items, True
        return items, False
