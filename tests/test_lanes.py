"""Long work gives way to short work, goes on all the same, and hears of its cancel."""

import threading

from quorate.engine import StopFlag, fan_out, in_thread
from quorate.events import branch
from quorate.merges import Collect


async def test_long_work_is_not_starved_by_short_work_that_never_ends() -> None:
    """A pause ends by itself: short work that waits for long work gets what it waits for."""
    free = threading.Event()

    def long(stop: StopFlag) -> str:
        for _ in range(5):
            stop.pause()
        free.set()
        return "long"

    async def one() -> bool:
        return await in_thread(lambda _stop: free.wait(60))

    async def other() -> str:
        return await in_thread(long, lane="long")

    branches = [branch("short", one, timeout_s=None), branch("long", other, timeout_s=None)]
    async with fan_out(branches, Collect(2), timeout_s=None) as run:
        assert (await run.decided()).value.values == {"short": True, "long": "long"}


async def test_a_pause_tells_of_a_cancel() -> None:
    """Before it is set, and after: in both lanes."""
    for lane in ("short", "long"):
        stop = StopFlag(lane)  # type: ignore[arg-type]
        assert not stop.pause()
        stop.set()
        assert stop.pause() and stop.pause()
