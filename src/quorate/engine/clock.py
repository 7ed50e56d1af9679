"""The engine's clock: the only place that reads the time or waits for it."""

import asyncio


def now() -> float:
    """The running loop's monotonic time in seconds; virtual in tests."""
    return asyncio.get_running_loop().time()


async def sleep(seconds: float) -> None:
    """Wait `seconds` on the engine's clock."""
    await asyncio.sleep(seconds)
