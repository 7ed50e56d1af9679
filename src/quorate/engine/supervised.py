"""The long-lived jobs of a service: kept running while it serves, ended with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from quorate.engine.ending import stopped
from quorate.engine.run import GRACE_S
from quorate.errors import RunFailed

FIRST_BACKOFF_S = 0.1
"""Seconds before a job's first restart; they double with each crash that follows."""
LAST_BACKOFF_S = 30.0
"""The longest wait before a restart, and how long a job must run for its crashes to be forgiven, in seconds."""

Job = Callable[[], Awaitable[None]]
OnCrash = Callable[[str, BaseException], None]


@dataclass(slots=True)
class Jobs:
    """What has become of the jobs.

    Attributes:
        crashes: how often each crashed, by name.
        down: names of those that wait for their restart.
    """

    crashes: dict[str, int] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)


@asynccontextmanager
async def supervised(jobs: Mapping[str, Job], *, on_crash: OnCrash, grace_s: float = GRACE_S) -> AsyncIterator[Jobs]:
    """Run jobs beside a block, such as a service's lifespan.

    One that crashes is reported and started again, first after 0.1 s and at last every 30 s; one that has run for
    30 s starts at 0.1 s again. One that returns is done. A job's crash never ends the block or another job.
    Leaving the block cancels all at once and waits for their ends; nest blocks where one job must outlive another.

    Args:
        jobs: by name; each is called again for a restart.
        on_crash: told a job's name and its error, before the wait. What it raises goes to the loop's handler.
        grace_s: seconds that cancelled jobs get to end; the reaper counts what runs on.
    """
    state = Jobs(dict.fromkeys(jobs, 0))
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_kept(name, job, on_crash, state), name=f"quorate:{name}") for name, job in jobs.items()]
    try:
        yield state
    finally:
        await stopped(tasks, grace_s=grace_s)


async def _kept(name: str, job: Job, on_crash: OnCrash, state: Jobs) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    backoff_s = FIRST_BACKOFF_S
    while True:
        start_s = loop.time()
        try:
            await job()
            return
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            crash: Exception = RunFailed(f"the job {name} was cancelled, but not by its service")
            crash.__cause__ = error
        except Exception as error:
            crash = error
        if loop.time() - start_s >= LAST_BACKOFF_S:
            backoff_s = FIRST_BACKOFF_S
        state.crashes[name] += 1
        state.down.add(name)
        try:
            on_crash(name, crash)
        except Exception as error:
            loop.call_exception_handler({"message": "quorate: on_crash raised", "exception": error})
        if task is not None and task.cancelling():  # It broke in its clean-up.
            return
        await asyncio.sleep(backoff_s)
        backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
        state.down.discard(name)
