"""CPU-bound work off the event loop: two bounded lanes of threads, so that a long text never delays a short one."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

T = TypeVar("T")

Lane = Literal["short", "long"]

_pools: dict[Lane, ThreadPoolExecutor] = {}


class StopFlag(threading.Event):
    """Set when the caller has been cancelled; work in a thread tests it between its pieces."""


def _pool(lane: Lane) -> ThreadPoolExecutor:
    if lane not in _pools:
        _pools[lane] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"quorate-{lane}")
    return _pools[lane]


async def in_thread(call: Callable[[StopFlag], T], *, lane: Lane = "short") -> T:
    """Run `call(stop)` in a lane and return its result.

    When cancelled, the flag is set and the wait ends at once; the thread ends at its next look at the flag.
    """
    stop = StopFlag()
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool(lane), call, stop)
    finally:
        stop.set()
