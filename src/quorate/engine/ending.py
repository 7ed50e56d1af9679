"""The end of tasks that are no branches: a service's jobs, and whoever watches a client."""

import asyncio
from collections.abc import Iterable

from quorate.engine.arm import reaped


async def stopped(tasks: Iterable[asyncio.Task[None]], *, grace_s: float) -> None:
    """Cancel tasks and wait for their ends, `grace_s` seconds at most; the reaper counts what runs on.

    A cancel of the caller meanwhile does not cut the wait short: it is raised after it.
    """
    loop = asyncio.get_running_loop()
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    limit_s = loop.time() + grace_s
    cut: asyncio.CancelledError | None = None
    if left:
        # What only waits ends in the loop's next turn; `asyncio.wait` costs several times as much.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            cut = error
        left = {task for task in left if not task.done()}
    while left and (wait_s := limit_s - loop.time()) > 0:
        try:
            await asyncio.wait(left, timeout=wait_s)
        except asyncio.CancelledError as error:
            cut = error
        left = {task for task in left if not task.done()}
    for task in left:
        reaped.add(task)
        task.add_done_callback(reaped.discard)
    if cut is not None:
        raise cut
