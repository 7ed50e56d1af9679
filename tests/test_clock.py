"""Virtual time, and work in threads beside it."""

import asyncio
import threading

import pytest

from quorate.engine import StopFlag, clock, fan_out, in_thread
from quorate.events import Branch, Context, branch
from quorate.merges import Collect, First
from quorate.testing import clock as virtual
from quorate.testing.clock import run_virtual


def test_an_hour_passes_exactly_and_at_once() -> None:
    """Waiting moves the loop's time by just what was asked, in no real time."""

    async def main() -> float:
        began = clock.now()
        await clock.sleep(3600)
        return clock.now() - began

    assert run_virtual(main()) == 3600


async def test_time_starts_at_zero_and_keeps_its_order() -> None:
    """Timers fire at their own times, simultaneous ones in the order they were set."""
    fired: list[tuple[float, str]] = []

    async def sleep(seconds: float, name: str) -> None:
        await clock.sleep(seconds)
        fired.append((clock.now(), name))

    assert clock.now() == 0
    async with asyncio.TaskGroup() as group:
        for seconds, name in ((86_400 * 3, "days"), (2, "b"), (2, "c"), (0, "a")):
            group.create_task(sleep(seconds, name))
    assert fired == [(0, "a"), (2, "b"), (2, "c"), (86_400 * 3, "days")]


async def test_work_takes_no_virtual_time() -> None:
    """Only waiting moves the clock."""
    for _ in range(1000):
        await clock.sleep(0)
    assert clock.now() == 0


async def test_timeouts_are_virtual_too() -> None:
    """asyncio's own timeouts follow the virtual clock."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1000):
            await clock.sleep(1001)
    assert clock.now() == 1000


def test_a_deadlock_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every task waits and no timer is set, the loop says so instead of hanging."""
    monkeypatch.setattr(virtual, "_PATIENCE_S", 0.01)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="deadlock"):
        run_virtual(main())


async def test_threads_still_work() -> None:
    """A result from a thread arrives, and no virtual time has passed."""
    for lane in ("short", "long"):
        name = await in_thread(lambda _stop: threading.current_thread().name, lane=lane)  # type: ignore[arg-type]
        assert name.startswith(f"quorate-{lane}")
    assert clock.now() == 0


async def test_an_error_in_a_thread_is_the_callers() -> None:
    """What the call raises, the wait for it raises, and the flag is set for whatever it left running."""
    flags: list[StopFlag] = []

    def call(stop: StopFlag) -> None:
        flags.append(stop)
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        await in_thread(call)
    assert flags[0].is_set()


async def test_a_cancelled_branch_stops_its_thread() -> None:
    """Cancelling a branch ends its wait at once and sets the flag that its thread looks at."""
    running, stopped = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def call(stop: StopFlag) -> None:
        loop.call_soon_threadsafe(running.set)
        if stop.wait(30):
            loop.call_soon_threadsafe(stopped.set)

    async def work(_context: Context, /) -> None:
        await in_thread(call, lane="long")

    async def quick() -> str:
        await running.wait()
        return "quick"

    branches = [Branch("thread", work, None), branch("quick", quick, timeout_s=None)]
    async with fan_out(branches, First(2), timeout_s=None) as run:
        assert (await run.decided()).by == "quick"
    assert run.timeline["thread"].ended == "cancelled" and not run.timeline["thread"].abandoned
    await stopped.wait()


async def test_the_short_lane_does_not_wait_for_the_long_one() -> None:
    """A long piece of work holds up its own lane only."""
    free = threading.Event()

    async def short() -> str:
        await in_thread(lambda _stop: free.set())
        return "short"

    async def long() -> bool:
        return await in_thread(lambda _stop: free.wait(30), lane="long")

    branches = [branch("long", long, timeout_s=None), branch("short", short, timeout_s=None)]
    async with fan_out(branches, Collect(2), timeout_s=None) as run:
        assert (await run.decided()).value.values == {"long": True, "short": "short"}


async def test_a_timeout_outside_of_a_run_leaves_no_timer() -> None:
    """Leaving the block in time takes the timer back; running out of it raises TimeoutError."""
    with clock.timeout(1.0):
        await clock.sleep(0.5)
    await clock.sleep(10)
    with pytest.raises(TimeoutError), clock.timeout(1.0):
        await clock.sleep(5)
    assert clock.now() == 11.5
