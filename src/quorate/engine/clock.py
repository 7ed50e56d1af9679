"""The engine's clock: the only place that reads the time or waits for it."""

import asyncio
import time
from contextvars import copy_context

from quorate.engine.alarm import Alarm, Timeout
from quorate.engine.arm import current


def now() -> float:
    """The running loop's monotonic time in seconds; virtual in tests."""
    return asyncio.get_running_loop().time()


def wall_s() -> float:
    """Seconds since 1970 by the system's clock: a stamp for people and other machines, never a duration."""
    return time.time()


async def sleep(seconds: float) -> None:
    """Wait `seconds` on the engine's clock."""
    await asyncio.sleep(seconds)


def timeout(seconds: float) -> Timeout:
    """Bound a block of waiting; it raises TimeoutError when `seconds` are up, and can be rescheduled."""
    arm = current.get()
    if arm is not None and arm.live:
        return Timeout(arm.common.alarm, now() + seconds)
    return Timeout(Alarm(copy_context()), now() + seconds, own=True)
