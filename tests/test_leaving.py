"""A client that leaves: the block ends, cancels are counted exactly, and nothing is left behind."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.engine import abandoned_tasks, clock, fan_out, leaving
from quorate.errors import ClientGone
from quorate.events import branch
from quorate.merges import Collect
from quorate.testing.clock import run_virtual


def after(seconds: float) -> Callable[[], Awaitable[object]]:
    """A client that leaves after so long."""
    return lambda: clock.sleep(seconds)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """No task of the block is there after it, and no cancel is left on the caller."""
    before, task = asyncio.all_tasks(), asyncio.current_task()
    assert task is not None
    cancelling = task.cancelling()
    yield
    assert asyncio.all_tasks() == before
    assert task.cancelling() == cancelling


async def test_a_block_that_ends_first_is_left_alone() -> None:
    """Work that is done before the client leaves ends as if nobody had watched, and at once."""
    async with nothing_left():
        async with leaving(after(5)):
            await clock.sleep(1)
        assert clock.now() == 1


async def test_a_client_that_leaves_cancels_the_block() -> None:
    """The block ends in the moment the client leaves, by an error that a service can map to 499."""
    async with nothing_left():
        with pytest.raises(ClientGone) as caught:
            async with leaving(after(1)):
                await clock.sleep(5)
        assert (clock.now(), caught.value.status_hint) == (1, 499)


async def test_a_client_that_has_left_before() -> None:
    """A client that is gone already cuts the block at its first wait."""
    async with nothing_left():
        with pytest.raises(ClientGone):
            async with leaving(after(0)):
                await clock.sleep(5)
        assert clock.now() == 0


async def test_the_runs_inside_are_cancelled() -> None:
    """A run inside the block is cancelled with it, and its branches have ended when the error comes out."""

    async with nothing_left():
        with pytest.raises(ClientGone):
            async with leaving(after(1)), fan_out([branch("slow", lambda: clock.sleep(9))], Collect(1)) as run:
                await run.decided()
        assert run.outcome == "cancelled"
        assert run.timeline["slow"].ended == "cancelled"


async def test_an_outside_cancel_stays_a_cancel() -> None:
    """A cancel by somebody else is no client that left."""

    async def block() -> None:
        async with leaving(after(5)):
            await clock.sleep(9)

    async with nothing_left():
        task = asyncio.create_task(block())
        await clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_watch_that_breaks() -> None:
    """What the watch raises cuts the block and comes out of it: it is not taken for a client that left."""

    async def broken() -> None:
        await clock.sleep(1)
        raise OSError("receive broke")

    async with nothing_left():
        with pytest.raises(OSError, match="receive broke"):
            async with leaving(broken):
                await clock.sleep(5)


async def test_a_block_that_breaks_while_it_is_cut() -> None:
    """An error of the block's clean-up comes out as it is; the cancel does not stay behind."""
    async with nothing_left():
        with pytest.raises(ValueError, match="clean-up"):
            async with leaving(after(1)):
                try:
                    await clock.sleep(5)
                finally:
                    raise ValueError("clean-up")


async def test_a_block_that_swallows_its_cancel() -> None:
    """A block that ends well although the client has left ends well, as with `asyncio.timeout`."""
    async with nothing_left():
        async with leaving(after(1)):
            with suppress(asyncio.CancelledError):
                await clock.sleep(5)
        await clock.sleep(1)
        assert clock.now() == 2


async def test_a_watch_that_ignores_its_cancel() -> None:
    """The end of the block is not held up for ever: the watch is left to the reaper, which counts it."""

    async def deaf() -> None:
        end_s = clock.now() + 60
        while clock.now() < end_s:
            try:
                await clock.sleep(end_s - clock.now())
            except asyncio.CancelledError:
                continue

    async with leaving(deaf):
        await clock.sleep(1)
    assert (clock.now(), abandoned_tasks()) == (2, 1)
    await clock.sleep(60)
    assert abandoned_tasks() == 0


@pytest.mark.parametrize("inner_s", [0.5, 1, 2])
@pytest.mark.parametrize("outer_s", [0.5, 1, 2])
async def test_it_nests_with_timeouts(inner_s: float, outer_s: float) -> None:
    """Between two timeouts, in the same moment or apart, whoever is first and innermost is the reason."""
    ends: list[str] = []
    async with nothing_left():
        try:
            async with asyncio.timeout(outer_s):
                try:
                    async with leaving(after(1)):
                        try:
                            async with asyncio.timeout(inner_s):
                                await clock.sleep(9)
                        except TimeoutError:
                            ends.append("inner")
                            await clock.sleep(9)
                except ClientGone:
                    ends.append("gone")
                    await clock.sleep(9)
        except TimeoutError:
            ends.append("outer")
    assert ends[-1] == "outer"
    if outer_s > 1:
        assert "gone" in ends
    if inner_s < min(1, outer_s):
        assert ends[0] == "inner"


@given(
    gone=st.integers(0, 3),
    block=st.integers(0, 3),
    cancels=st.lists(st.integers(0, 3), max_size=2),
    cleanup=st.integers(0, 2),
    two=st.booleans(),
)
def test_every_order_of_ends(gone: int, block: int, cancels: list[int], cleanup: int, two: bool) -> None:
    """For any order of leaving, ending and cancels, also in one moment: one of the three ends, and exact counts.

    An outside cancel that reached the block is never lost, nobody else's cancel is eaten, and the next wait is free.
    """
    ends: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        cancelled = 0
        try:
            async with leaving(after(gone)), leaving(after(gone if two else 99)):
                try:
                    await clock.sleep(block)
                finally:
                    if cleanup:
                        await clock.sleep(cleanup)
            ends.append("done")
        except ClientGone:
            ends.append("gone")
        except asyncio.CancelledError:
            ends.append("cancelled")
            cancelled = task.cancelling()
            assert cancelled >= 1
            while task.uncancel():
                pass
        assert task.cancelling() == 0
        # A later outside cancel may still come; nothing of ours may.
        before = len(hits)
        try:
            await clock.sleep(0.5)
        except asyncio.CancelledError:
            assert len(hits) > before

    hits: list[int] = []

    async def main() -> None:
        task = asyncio.create_task(work())

        async def cancel(at: int) -> None:
            await clock.sleep(at)
            if task.cancel():
                hits.append(at)

        await asyncio.gather(task, *(cancel(at) for at in cancels), return_exceptions=False)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())
    assert len(ends) == 1
    if not cancels:
        assert ends == ["gone" if gone < block + cleanup else "done"] or gone == block + cleanup
    if ends == ["cancelled"]:
        assert hits


def test_the_watch_costs_one_task() -> None:
    """A block that is watched starts one task and no more."""
    made = itertools.count()

    async def main() -> int:
        loop = asyncio.get_running_loop()

        def factory(loop: asyncio.AbstractEventLoop, coro: object, **named: object) -> asyncio.Task[object]:
            next(made)
            return asyncio.Task(coro, loop=loop, **named)  # type: ignore[arg-type]

        loop.set_task_factory(factory)
        async with leaving(after(9)):
            await clock.sleep(1)
        return next(made)

    assert run_virtual(main()) == 1
