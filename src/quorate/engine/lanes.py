"""CPU-bound work off the event loop: two bounded lanes of threads, so that a long text never delays a short one.

Threads share one interpreter lock, and a thread that computes keeps it for 5 ms after another has asked for it. A
short piece of work asks some five times. So long work calls `StopFlag.pause` between its pieces, gives the lock away
of its own accord, and waits while short work runs.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

T = TypeVar("T")

Lane = Literal["short", "long"]

_EVERY_S = 0.001
_GAP_S = 0.0001
_GIVE_WAY_S = 0.02
"""The longest that long work waits for short work at a time: under a flood of short texts it still goes on."""

_pools: dict[Lane, ThreadPoolExecutor] = {}


class _Room:
    """Counts the short work that waits or runs. Only event loops change it; several may, each in its own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self.empty = threading.Event()
        self.empty.set()

    def enter(self) -> None:
        with self._lock:
            self._count += 1
            self.empty.clear()

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self.empty.set()


_short = _Room()


class StopFlag(threading.Event):
    """Set when the caller has been cancelled; work in a thread tests it between its pieces."""

    def __init__(self, lane: Lane = "short") -> None:
        super().__init__()
        self._lane = lane
        self._paused_s = 0.0

    def pause(self) -> bool:
        """Let shorter work and the event loop go first, and tell whether to stop.

        For long work to call between pieces of about a millisecond or less; costs next to nothing where the last
        call was less than a millisecond ago, and nothing for short work.
        """
        if self._lane == "long" and time.perf_counter() - self._paused_s > _EVERY_S:
            if _short.empty.is_set():
                time.sleep(_GAP_S)
            else:
                _short.empty.wait(_GIVE_WAY_S)
            self._paused_s = time.perf_counter()
        return self.is_set()


def _pool(lane: Lane) -> ThreadPoolExecutor:
    if lane not in _pools:
        _pools[lane] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"quorate-{lane}")
    return _pools[lane]


async def in_thread(call: Callable[[StopFlag], T], *, lane: Lane = "short") -> T:
    """Run `call(stop)` in a lane and return its result.

    When cancelled, the flag is set and the wait ends at once; the thread ends at its next look at the flag.
    """
    stop = StopFlag(lane)
    if lane == "short":
        _short.enter()
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool(lane), call, stop)
    finally:
        stop.set()
        if lane == "short":
            _short.leave()
