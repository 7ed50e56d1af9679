"""Virtual time: an event loop on which waiting costs nothing and always takes exactly as long as it says.

Nothing of asyncio's private parts is touched: a selector that returns at once tells the loop how long it would
have slept, and the loop's public `time()` is moved by that much.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE_S = 5.0


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type, unused-ignore]
    skipped_s = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            # Only a thread can bring something now: that takes real time, and a deadlock must not hang.
            ready = super().select(_PATIENCE_S)
            if not ready and not self.threads:
                raise RuntimeError("deadlock: every task waits and no timer is set")
            return ready
        self.skipped_s += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. Use it without sockets: real I/O takes no virtual time.

    Work handed to threads takes none either: the clock stands still until it is done.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._virtual.skipped_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a call in a thread; the clock stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _future: asyncio.Future[Any]) -> None:
        self._virtual.threads -= 1


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time and return its result, as `asyncio.run` does in real time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
