"""Admission in virtual time: its bounds, its order, its fairness, and what it tells who is turned away."""

import asyncio
import itertools
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.engine import clock
from quorate.errors import LimitExceeded, UsageError
from quorate.service.admission import Admission
from quorate.testing.clock import run_virtual


async def request(admission: Admission, key: str, log: list[Any], *, lasts_s: float = 1.0, **named: Any) -> None:
    """One request; notes when it got its room."""
    async with admission.room(key, **named):
        log.append((key, clock.now()))
        await clock.sleep(lasts_s)


async def test_beyond_the_queue_there_is_an_error_at_once() -> None:
    """So many run, so many wait, the others are told at once when to come again."""
    admission, log = Admission(max_running=2, max_queued=4), []
    await request(admission, "a", log, lasts_s=3.0)
    ends = await asyncio.gather(*(request(admission, "a", log, lasts_s=3.0) for _ in range(9)), return_exceptions=True)
    over = [end for end in ends if isinstance(end, LimitExceeded)]
    assert len(over) == 3
    assert all((error.which, error.status_hint) == ("queue", 429) for error in over)
    # Five places in line, two at a time, three seconds each.
    assert all(error.retry_after_s == pytest.approx(3.0 * 5 / 2) for error in over)
    assert [at for _, at in log] == [0, 3, 3, 6, 6, 9, 9]
    assert (admission.running, admission.queued, admission.refused) == (0, 0, 3)


async def test_a_flood_of_one_key_does_not_starve_another() -> None:
    """While one key has the whole queue, another's request gets a place, and the next room but one."""
    admission, log = Admission(max_running=1, max_queued=20), []
    flood = [asyncio.create_task(request(admission, "flood", log)) for _ in range(21)]
    await clock.sleep(0.5)
    with pytest.raises(LimitExceeded):
        await request(admission, "flood", log)
    calm = [asyncio.create_task(request(admission, "calm", log)) for _ in range(3)]
    await asyncio.wait(calm)
    assert [at for key, at in log if key == "calm"] == [2, 4, 6]
    ends = await asyncio.gather(*flood, return_exceptions=True)
    assert [isinstance(end, LimitExceeded) for end in ends] == [False] * 18 + [True] * 3
    assert (admission.running, admission.queued, admission.refused) == (0, 0, 4)


async def test_a_full_queue_is_shared_evenly() -> None:
    """Under floods of several keys each has its share of the queue, and of the room."""
    admission, log = Admission(max_running=2, max_queued=30), []

    async def flood(key: str, gap_s: float) -> None:
        tasks = []
        while clock.now() < 60:
            tasks.append(asyncio.create_task(request(admission, key, log, deadline_s=clock.now() + 30)))
            await clock.sleep(gap_s)
        await asyncio.gather(*tasks, return_exceptions=True)

    await asyncio.gather(flood("a", 0.01), flood("b", 0.1), flood("c", 0.3))
    got = {key: sum(1 for name, at in log if name == key and 20 < at < 60) for key in "abc"}
    assert max(got.values()) - min(got.values()) <= 2
    assert sum(got.values()) >= 78


async def test_a_request_gives_up_at_its_deadline() -> None:
    """One whose deadline comes while it waits leaves the line; one that is late already does not wait at all."""
    admission, log = Admission(max_running=1, max_queued=5), []
    first = asyncio.create_task(request(admission, "a", log, lasts_s=10))
    await clock.sleep(0)
    for wait_s in (4.0, -1.0):
        start_s = clock.now()
        with pytest.raises(LimitExceeded, match="deadline"):
            await request(admission, "b", log, deadline_s=start_s + wait_s)
        assert clock.now() == start_s + max(wait_s, 0)
    assert admission.queued == 0
    await first
    await request(admission, "b", log, deadline_s=clock.now() + 1)
    assert log == [("a", 0), ("b", 10)]


async def test_what_is_told_follows_what_requests_last() -> None:
    """The estimate follows slower requests, and stays between a second and a minute."""
    admission = Admission(max_running=1, max_queued=3)
    assert admission.retry_after_s == 1
    for lasts_s, expected in ((0.01, 1), (20.0, None), (900.0, 60)):
        for _ in range(40):
            await request(admission, "a", [], lasts_s=lasts_s)
        if expected is not None:
            assert admission.retry_after_s == expected
        else:
            assert 18 < admission.retry_after_s <= 20


async def test_a_request_that_breaks_gives_its_room_back() -> None:
    """An error inside the block leaves the room to the next."""
    admission = Admission(max_running=1, max_queued=0)
    for _ in range(3):
        with pytest.raises(OSError):
            async with admission.room():
                raise OSError
    assert admission.running == 0


@pytest.mark.parametrize(("running", "queued"), [(0, 1), (-1, 1), (1, -1)])
def test_an_admission_that_admits_nobody(running: int, queued: int) -> None:
    """An admission without room is the caller's mistake."""
    with pytest.raises(UsageError):
        Admission(max_running=running, max_queued=queued)


drawn = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 4),
        st.integers(0, 3),
        st.none() | st.integers(0, 6),
        st.none() | st.integers(0, 5),
    ),
    max_size=18,
)


@given(st.integers(1, 3), st.integers(0, 5), drawn)
def test_no_room_is_ever_lost(running: int, queued: int, calls: list[Any]) -> None:
    """For any arrivals, cancels and deadlines, also in one moment: bounds hold, each key keeps its order, all returns.

    Each call is (key, when it comes, how long it runs, when it is cancelled or None, how long it would wait or None).
    """

    async def test() -> None:
        admission = Admission(max_running=running, max_queued=queued)
        inside = 0
        began: dict[str, list[tuple[float, int]]] = defaultdict(list)
        came = itertools.count()

        async def call(key: str, comes: int, runs: int, waits: int | None) -> None:
            nonlocal inside
            await clock.sleep(comes)
            deadline_s = None if waits is None else comes + waits
            place = next(came)
            async with admission.room(key, deadline_s=deadline_s):
                inside += 1
                began[key].append((clock.now(), place))
                assert deadline_s is None or clock.now() <= deadline_s
                assert inside <= admission.running <= running
                assert admission.queued <= queued
                try:
                    await clock.sleep(runs)
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(call(k, c, r, w)) for k, c, r, _, w in calls]
        for task, (_, _, _, at, _) in zip(tasks, calls, strict=True):
            if at is not None:
                asyncio.get_running_loop().call_later(at, task.cancel)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, LimitExceeded | asyncio.CancelledError) for end in ends)
        # Who got room in the same moment may take its first step in any order.
        places = [[place for _, place in sorted(order)] for order in began.values()]
        assert all(order == sorted(order) for order in places)
        assert (admission.running, admission.queued) == (0, 0)
        for key in "abc":
            async with admission.room(key):
                pass

    run_virtual(test())
