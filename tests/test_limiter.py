"""The limiter in virtual time: its order, its bounds, and that no room is ever lost, cancelled at any moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_world import PROMPT, UP, Fake, down
from quorate.engine import clock
from quorate.errors import LimitExceeded, ModelUnavailable, UsageError
from quorate.models.policies import Limit, Limiter, Retry
from quorate.testing.clock import run_virtual


@asynccontextmanager
async def room(limiter: Limiter) -> AsyncIterator[None]:
    """Take a turn as `Limit` does."""
    if not limiter.take():
        await limiter.turn()
    try:
        yield
    finally:
        limiter.leave()


# Limit


async def test_the_limiter_is_first_come_first_served() -> None:
    """So many run at once, so many wait, in the order they came; all of them get through."""
    limiter, order = Limiter(max_running=2, max_queued=10), []

    async def call(n: int) -> None:
        async with room(limiter):
            order.append((n, clock.now()))
            assert limiter.running <= 2
            await clock.sleep(1.0)

    await asyncio.gather(*(call(n) for n in range(7)))
    assert order == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)]
    assert (limiter.running, limiter.queued) == (0, 0)


async def test_overflow_is_an_error_at_once() -> None:
    """Beyond what may run and wait there is an error that a service can map to 429, and it costs nothing."""
    model = Fake([(1.0, (), "up")])
    limited = Limit(model, Limiter(max_running=2, max_queued=3))
    ends = await asyncio.gather(*(limited.complete(PROMPT) for _ in range(9)), return_exceptions=True)
    over = [end for end in ends if isinstance(end, LimitExceeded)]
    assert (len(over), len(model.asked_s), model.peak) == (4, 5, 2)
    assert all(error.status_hint == 429 and error.retry_after_s > 0 for error in over)
    assert all(isinstance(end, LimitExceeded) for end in ends[5:])
    assert (await limited.complete(PROMPT)).text == "up"
    assert limited.name == "fake"


@pytest.mark.parametrize(("running", "queued"), [(0, 1), (-1, 1), (1, -1)])
def test_a_limiter_that_admits_nobody(running: int, queued: int) -> None:
    """A limiter without room is the caller's mistake."""
    with pytest.raises(UsageError):
        Limiter(max_running=running, max_queued=queued)


async def test_errors_give_their_room_back() -> None:
    """A call that fails leaves its room to the next."""
    limited = Limit(Fake([down(), (0, (), OSError()), UP]), limiter := Limiter(max_running=1, max_queued=0))
    for error in (ModelUnavailable, OSError):
        with pytest.raises(error):
            await limited.complete(PROMPT)
    assert (await limited.complete(PROMPT)).text == "up"
    assert (limiter.running, limiter.queued) == (0, 0)


async def test_a_cancel_while_queued() -> None:
    """A caller that leaves the queue makes room for a new one at its end, and the others keep their order."""
    limiter, order = Limiter(max_running=1, max_queued=3), []

    async def call(n: int) -> None:
        async with room(limiter):
            order.append(n)
            await clock.sleep(1.0)

    calls = [asyncio.create_task(call(n)) for n in range(4)]
    await clock.sleep(0.5)
    assert limiter.queued == 3
    calls[2].cancel()
    await clock.sleep(0)
    calls.append(asyncio.create_task(call(4)))
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False, False, True, False, False]
    assert (order, limiter.running, limiter.queued) == ([0, 1, 3, 4], 0, 0)


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancel_in_the_moment_of_the_hand_over(cancel_first: bool) -> None:
    """A cancel and the hand-over in the same turn of the loop, in either order: the room goes to the next in line."""
    limiter, order = Limiter(max_running=1, max_queued=9), []

    async def call(n: int) -> None:
        async with room(limiter):
            order.append(n)

    assert limiter.take()
    calls = [asyncio.create_task(call(n)) for n in range(3)]
    await clock.sleep(1.0)
    if cancel_first:
        calls[0].cancel()
        limiter.leave()
    else:
        limiter.leave()
        calls[0].cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert (order, limiter.running, limiter.queued) == ([1, 2], 0, 0)


@given(
    running=st.integers(1, 3),
    queued=st.integers(0, 6),
    calls=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.none() | st.integers(0, 6), st.booleans()), max_size=14
    ),
)
def test_no_room_is_ever_lost(running: int, queued: int, calls: list[Any]) -> None:
    """For any arrivals, lengths, failures and cancels, also in the same moment: bounds hold, and all room comes back.

    Each call is (when it comes, how long it runs, when it is cancelled or None, whether it fails).
    """

    async def test() -> None:
        limiter = Limiter(max_running=running, max_queued=queued)
        inside = 0

        async def call(comes: int, runs: int, fails: bool) -> None:
            nonlocal inside
            await clock.sleep(comes)
            async with room(limiter):
                inside += 1
                try:
                    assert inside <= limiter.running <= running
                    assert limiter.queued <= queued
                    await clock.sleep(runs)
                    if fails:
                        raise ModelUnavailable("down")
                finally:
                    inside -= 1

        async def cancel(task: asyncio.Task[None], at: int) -> None:
            await clock.sleep(at)
            task.cancel()

        tasks = [asyncio.create_task(call(comes, runs, fails)) for comes, runs, _, fails in calls]
        cancels = [cancel(task, at) for task, (_, _, at, _) in zip(tasks, calls, strict=True) if at is not None]
        await asyncio.gather(*cancels)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        known = (asyncio.CancelledError, LimitExceeded, ModelUnavailable)
        assert all(end is None or isinstance(end, known) for end in ends), ends
        assert (inside, limiter.running, limiter.queued) == (0, 0, 0)
        for _ in range(running):
            assert limiter.take()

    run_virtual(test())


async def test_a_limit_inside_a_retry_holds_no_room_while_waiting() -> None:
    """A call that waits for its next attempt lets others run."""
    model = Fake([down(3.0), (1.0, (), "up")])
    limited = Limit(model, Limiter(max_running=1, max_queued=0))
    first = asyncio.create_task(Retry(limited).complete(PROMPT))
    await clock.sleep(0.5)
    await Retry(limited).complete(PROMPT)
    assert clock.now() == 1.5
    await first
    assert model.asked_s == [0.0, 0.5, 3.0]
