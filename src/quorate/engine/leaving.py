"""A block of work for somebody who may leave: when they do, the work is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from quorate.engine.ending import stopped
from quorate.engine.run import GRACE_S
from quorate.errors import ClientGone


def leaving(gone: Callable[[], Awaitable[object]]) -> "Leaving":
    """Cancel a block when `gone()` returns, which says that whoever the work is for has left.

    Use it as `async with leaving(gone):`. Costs one task; when the block ends first, the watch is cancelled and
    waited for.

    Args:
        gone: waits until the client has left. What it raises cuts the block too, and comes out of it.

    Raises:
        ClientGone: out of the block, once it has ended by that cancel. A cancel that somebody else asked for stays a
            cancel, also where both came. A block that ends in another way although it was cancelled ends that way.
    """
    return Leaving(gone)


class Leaving:
    """The block of `leaving`. Counts cancels as `asyncio.timeout` does, so that it nests with timeouts and groups."""

    __slots__ = ("_before", "_fired", "_gone", "_task", "_watch")

    def __init__(self, gone: Callable[[], Awaitable[object]]) -> None:
        self._gone = gone
        self._task: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._before = 0
        self._fired = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a block that is left needs a task")
        self._before = self._task.cancelling()
        self._watch = asyncio.get_running_loop().create_task(self._wait(), name="quorate:leaving")
        self._watch.add_done_callback(self._left)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        watch, self._watch = self._watch, None
        if task is None or watch is None:
            return
        # One that has returned in this very moment has come too late to cut the block; its error is looked at here.
        broken = watch.exception() if watch.done() and not watch.cancelled() else None
        ours = self._fired and task.uncancel() <= self._before
        await stopped((watch,), grace_s=GRACE_S)
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise (broken or ClientGone("the client left before the answer was complete")) from error

    async def _wait(self) -> None:
        await self._gone()

    def _left(self, watch: asyncio.Task[None]) -> None:
        if self._task is not None and not watch.cancelled():
            self._fired = True
            self._task.cancel("the client left")
