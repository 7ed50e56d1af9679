"""A service's jobs: restarted when they crash, ended with their block."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from quorate.engine import abandoned_tasks, clock, supervised


class Crashes:
    """Remembers who crashed when."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, str]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, round(clock.now(), 3), str(error)))


def failing(times: int, *, runs_s: float = 0.0) -> Callable[[], Awaitable[None]]:
    """A job that crashes so many times, after so long each, and then runs on."""
    left = times

    async def job() -> None:
        nonlocal left
        if left:
            left -= 1
            await clock.sleep(runs_s)
            raise OSError("disk full")
        await clock.sleep(1e6)

    return job


async def test_jobs_run_beside_the_block_and_end_with_it() -> None:
    """All jobs run while the block does, and none after it; one that returns is not called again."""
    log: list[str] = []

    async def forever() -> None:
        try:
            await clock.sleep(1e6)
        finally:
            log.append("ended")

    async def once() -> None:
        log.append("once")

    crashes = Crashes()
    async with supervised({"forever": forever, "once": once}, on_crash=crashes) as jobs:
        await clock.sleep(100)
        assert log == ["once"]
    assert log == ["once", "ended"]
    assert (crashes.seen, jobs.crashes, jobs.down) == ([], {"forever": 0, "once": 0}, set())
    assert len(asyncio.all_tasks()) == 1


async def test_a_crash_is_reported_and_the_job_started_again() -> None:
    """Each crash is told at its moment; the waits double; the other jobs and the block run on."""
    crashes = Crashes()
    async with supervised({"writer": failing(4), "watcher": failing(0)}, on_crash=crashes) as jobs:
        await clock.sleep(0.05)
        assert jobs.down == {"writer"}
        await clock.sleep(100)
        assert (jobs.crashes, jobs.down) == ({"writer": 4, "watcher": 0}, set())
    assert crashes.seen == [("writer", at, "disk full") for at in (0, 0.1, 0.3, 0.7)]


async def test_waits_are_bounded_and_forgiven() -> None:
    """A job that always crashes is tried every 30 s; one that ran for 30 s starts at the first wait again."""
    crashes = Crashes()
    async with supervised({"writer": failing(10**6)}, on_crash=crashes):
        await clock.sleep(600)
    moments = [at for _, at, _ in crashes.seen]
    assert max(b - a for a, b in itertools.pairwise(moments)) == pytest.approx(30)
    assert len(moments) < 30
    crashes = Crashes()
    start_s = clock.now()
    async with supervised({"writer": failing(3, runs_s=40)}, on_crash=crashes):
        await clock.sleep(200)
    assert [at - start_s for _, at, _ in crashes.seen] == pytest.approx([40, 80.1, 120.2])


async def test_a_cancel_that_is_not_ours_is_a_crash() -> None:
    """A job that ends by a cancel nobody asked for is started again."""
    calls = 0

    async def job() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await clock.sleep(1e6)

    crashes = Crashes()
    async with supervised({"job": job}, on_crash=crashes):
        await clock.sleep(1)
    assert calls == 2
    assert "cancelled" in crashes.seen[0][2]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_the_blocks_error_comes_out_after_the_jobs(error: type[BaseException]) -> None:
    """A block that breaks, or is cancelled, still ends its jobs first, and its error stays what it is."""
    ended = False

    async def job() -> None:
        nonlocal ended
        try:
            await clock.sleep(1e6)
        finally:
            await clock.sleep(0.5)
            ended = True

    with pytest.raises(error):
        async with supervised({"job": job}, on_crash=Crashes()):
            await clock.sleep(1)
            raise error
    assert ended


async def test_a_cancel_while_the_jobs_end() -> None:
    """A cancel during the end waits for the jobs all the same, and is then raised."""
    log: list[float] = []

    async def job() -> None:
        try:
            await clock.sleep(1e6)
        finally:
            await clock.sleep(0.8)
            log.append(clock.now())

    async def service() -> None:
        async with supervised({"job": job}, on_crash=Crashes()):
            await clock.sleep(1)

    task = asyncio.create_task(service())
    await clock.sleep(1.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == pytest.approx([1.8])


async def test_a_job_that_breaks_in_its_clean_up() -> None:
    """An error of a job that is being ended is reported, and nothing is started again."""

    async def job() -> None:
        try:
            await clock.sleep(1e6)
        finally:
            raise OSError("flush failed")

    crashes = Crashes()
    async with supervised({"job": job}, on_crash=crashes):
        await clock.sleep(1)
    assert crashes.seen == [("job", 1, "flush failed")]
    assert clock.now() == 1


async def test_a_job_that_ignores_its_end() -> None:
    """After the grace the block ends without it, and the reaper counts it."""

    async def deaf() -> None:
        while clock.now() < 50:
            try:
                await clock.sleep(50 - clock.now())
            except asyncio.CancelledError:
                continue

    async with supervised({"deaf": deaf}, on_crash=Crashes(), grace_s=3):
        await clock.sleep(1)
    assert (clock.now(), abandoned_tasks()) == (4, 1)
    await clock.sleep(50)
    assert abandoned_tasks() == 0


async def test_a_report_that_breaks() -> None:
    """An `on_crash` that raises goes to the loop's handler; the job is started again all the same."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(str(context["exception"])))

    def broken(name: str, error: BaseException) -> None:
        raise RuntimeError("no pager")

    async with supervised({"job": failing(2)}, on_crash=broken) as jobs:
        await clock.sleep(1)
    assert (told, jobs.crashes) == (["no pager"] * 2, {"job": 2})
