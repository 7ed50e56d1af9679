"""uvloop instead of asyncio's own loop, as many applications bring it: its timers are other objects."""

import asyncio
import importlib
import sys
from pathlib import Path

import pytest

from quorate.engine import clock, fan_out
from quorate.events import Branch, Context, Failed
from quorate.merges import Collect
from quorate.store import Store
from store_world import record

pytestmark = [pytest.mark.sockets, pytest.mark.skipif(sys.platform == "win32", reason="uvloop needs POSIX")]
"""On the loop's real time, which is the point; nothing here says how long anything takes."""


@pytest.fixture
def runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop)


async def _late(context: Context) -> str:
    """Bounds that are over when they are set, each earlier than the last."""
    raised = 0
    for seconds in (0.0, -0.5, -1.0):
        try:
            with clock.timeout(60.0), clock.timeout(seconds):
                await clock.sleep(60.0)
        except TimeoutError:
            raised += 1
    return f"{raised} ended"


async def _slow(context: Context) -> str:
    await clock.sleep(60.0)
    return "slow"


def test_times_that_are_over_end_what_they_bound(runner: asyncio.Runner) -> None:
    """Branches and blocks time out, and the run is decided."""

    async def work() -> tuple[str, bool]:
        branches = [Branch("late", _late), Branch("slow", _slow, 0.0)]
        async with fan_out(branches, Collect(2)) as run:
            decision = await run.decided()
        return str(decision.value.values["late"]), isinstance(run.ended["slow"], Failed)

    with runner:
        assert runner.run(work()) == ("3 ended", True)


def test_a_store_keeps_what_it_is_given(runner: asyncio.Runner, tmp_path: Path) -> None:
    """Records that are waited for and ends that nobody waits for, many at once."""

    async def work() -> int:
        async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
            await asyncio.gather(*(store.decided(record(str(number))) for number in range(100)))
            return len(await store.records())

    with runner:
        assert runner.run(work()) == 100
