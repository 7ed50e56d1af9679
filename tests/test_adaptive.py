"""Adaptive: never more votes than needed or allowed, exact at risk 0, and as sure as it says."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from quorate.engine import clock
from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Delta
from quorate.merges import UNDECIDED, Adaptive, Step
from quorate.merges.adaptive import behind
from quorate.patterns import poll, vote
from strategies import MISSING, PURE, end_event


def named(i: int) -> Branch[Any]:
    async def nothing(_context: Any, /) -> None:
        return None

    return Branch(f"b{i}", nothing)


def full(votes: list[Any]) -> Any:
    """The most frequent vote, if it leads by more than the missing ones."""
    counts = sorted(((votes.count(side), side) for side in "abc"), reverse=True)
    missing = sum(vote in MISSING for vote in votes)
    return counts[0][1] if counts[0][0] > counts[1][0] + missing else UNDECIDED


def play_out(
    merge: Adaptive[Any], votes: list[Any], pick: Callable[[int], int]
) -> tuple[list[Step[Any]], int, list[Any]]:
    """Let votes end in an order that `pick` draws from those in flight; returns steps, most started, votes seen."""
    steps, flying, started, seen = [merge.start()], [], 0, []
    while not steps[-1].done:
        for start in steps[-1].start:
            assert start.branch.name == f"b{started}"
            flying.append(started)
            started += 1
        assert flying, "it waits for nobody"
        i = flying.pop(pick(len(flying) - 1))
        seen.append(votes[i])
        steps.append(merge.feed(end_event(f"b{i}", votes[i], votes[i] if votes[i] in "abc" else None)))
    return steps, started, seen


@PURE
@given(st.data())
def test_at_risk_0_it_is_exact(data: st.DataObject) -> None:
    """Laws 1, 2, 5: the outcome of all `cap` votes, whatever the order, and no more than the cap is started."""
    cap = data.draw(st.integers(1, 9))
    votes = data.draw(st.lists(st.sampled_from((*"abc", *MISSING)), min_size=cap, max_size=cap))
    merge: Adaptive[Any] = Adaptive(named, cap=cap, risk=0)
    steps, started, seen = play_out(merge, votes, lambda last: data.draw(st.integers(0, last)))
    assert started <= cap
    for count in range(1, len(seen) + 1):
        rest = [[side] * (cap - count) for side in (*"abc", "fail")]
        finals = {full([*seen[:count], *more]) for more in rest}
        assert (len(finals) == 1) == (count == len(seen))
    assert steps[-1].decision is not None
    assert finals == {steps[-1].decision.value}
    event(f"{cap - len(seen)} of {cap} not asked")


@PURE
@given(st.data())
def test_no_vote_is_started_in_vain(data: st.DataObject) -> None:
    """Whatever it decides, every vote it started has been counted, and one fewer would not have been enough."""
    cap = data.draw(st.integers(2, 40))
    lean = data.draw(st.integers(0, 10))
    votes = ["a" if data.draw(st.integers(0, 9)) < lean else "b" for _ in range(cap)]
    merge: Adaptive[Any] = Adaptive(named, cap=cap)
    steps, started, seen = play_out(merge, votes, lambda last: data.draw(st.integers(0, last)))
    assert started == len(seen) <= cap
    decision = steps[-1].decision
    assert decision is not None
    if decision.value is not UNDECIDED:
        other = len(seen) - seen.count(decision.value)
        lead = {"rho": 0.0, "prior": 1 / 3, "missing": 0}
        assert behind(seen.count(decision.value), other, left=cap - len(seen), **lead) <= 0.01  # type: ignore[arg-type]


def test_a_wave_is_what_could_settle_it() -> None:
    """Five of five are enough at the default; a dissent starts more at once; the why tells the risk."""
    merge: Adaptive[Any] = Adaptive(named)
    first = merge.start()
    wave = len(first.start)
    assert 3 <= wave <= 8
    alone = [merge.feed(Answered(f"b{i}", 0, True)) for i in range(wave)]
    assert all(not step.start and not step.done for step in alone[:-1])
    assert alone[-1].decision is not None
    assert "risk 0.0" in alone[-1].decision.why and f"{wave} of {wave} votes" in alone[-1].decision.why
    merge = Adaptive(named)
    merge.start()
    merge.feed(Answered("b0", 0, True))
    assert merge.feed(Answered("b1", 0, False)).start


def test_shared_mistakes_ask_for_more() -> None:
    """Votes that correlate count for fewer, so the same answers take more of them."""
    asked = []
    for rho in (0.0, 0.1, 0.3):
        merge: Adaptive[Any] = Adaptive(named, rho=rho)
        steps, started, _ = play_out(merge, ["a"] * 40, lambda last: 0)
        assert steps[-1].decision is not None and steps[-1].decision.value == "a"
        asked.append(started)
    assert asked == sorted(asked) and asked[0] < asked[1] < asked[2]


def test_least_votes_must_be_given() -> None:
    """It does not stop before `least` votes, and is undecided once so many cannot be had."""
    merge: Adaptive[Any] = Adaptive(named, cap=12, least=10)
    steps, started, _ = play_out(merge, ["a"] * 12, lambda last: 0)
    assert started == 10
    merge = Adaptive(named, cap=12, least=10)
    steps, started, _ = play_out(merge, ["fail"] * 12, lambda last: 0)
    assert steps[-1].decision is not None and steps[-1].decision.value is UNDECIDED
    assert started <= 12


@pytest.mark.parametrize(
    ("counts", "left", "expected"),
    [((3, 2), 0, 0.0), ((2, 2), 0, 1.0), ((21, 0), 19, 0.0), ((0, 2), 1, 1.0), ((1, 0), 1, 0.2)],
)
def test_behind_by_hand(counts: tuple[int, int], left: int, expected: float) -> None:
    """Nothing left, out of reach, and one vote left after one: it goes the other way with (1/3) / (1 + 2/3)."""
    got = behind(*counts, left=left, missing=0, rho=0.0, prior=1 / 3)
    assert got == pytest.approx(expected)


def test_behind_is_a_probability_over_the_posterior() -> None:
    """For a flat prior all splits of the votes to come are equally likely, so it can be counted."""
    assert behind(0, 0, left=3, missing=0, rho=0.0, prior=1.0) == pytest.approx(0.5)
    assert behind(0, 0, left=4, missing=0, rho=0.0, prior=1.0) == pytest.approx(3 / 5)
    assert behind(0, 0, left=3, missing=1, rho=0.0, prior=1.0) == pytest.approx(0.75)


def test_arguments_are_looked_at() -> None:
    """Numbers out of range, and nobody to ask."""
    wrong: list[dict[str, Any]] = [{"risk": 1}, {"risk": -0.1}, {"rho": 1}, {"prior": 0}, {"cap": 0}, {"least": 41}]
    for arguments in wrong:
        with pytest.raises(UsageError):
            Adaptive(named, **arguments)
    with pytest.raises(UsageError, match="ask"):
        Adaptive().start()


def test_text_on_the_way_is_for_nobody() -> None:
    """A voter's deltas are discarded, and a key groups values."""
    merge: Adaptive[str] = Adaptive(named, cap=1, key=str.lower)
    merge.start()
    assert len(merge.feed(Delta("b0", 0, "hm")).discard) == 1
    decision = merge.feed(Answered("b0", 0, "YES")).decision
    assert decision is not None and decision.value == "YES"


async def test_in_a_run_it_asks_in_waves() -> None:
    """The same voters are asked in turn; what is started later is queued later; nothing is left running."""
    asked: list[str] = []

    async def yes(question: str) -> bool:
        asked.append(question)
        await clock.sleep(1)
        return True

    async def no(question: str) -> bool:
        await clock.sleep(2)
        return len(asked) > 99

    async with poll("is it?", {"yes": yes, "no": no}, rule=Adaptive[bool](cap=9)) as run:
        decision = await run.decided()
    assert decision.value is True and len(run.timeline.spans) == 9
    assert {span.branch for span in run.timeline} >= {"yes", "no", "yes#2", "no#2", "yes#5"}
    assert asked == ["is it?"] * 5
    assert max(span.queued_s for span in run.timeline) > 0
    assert await vote("is it?", [yes, no], rule=Adaptive[bool](cap=2), tie="split") == "split"


async def test_spares_have_no_place_in_it() -> None:
    """Adaptive asks on by itself, so spares and least of the vote are refused."""

    async def yes() -> bool:
        return True

    for arguments in ({"spares": [yes]}, {"least": 1}, {"times": 2}):
        with pytest.raises(UsageError, match="Adaptive"):
            await vote("?", [yes], rule=Adaptive(), **arguments)  # type: ignore[call-overload]


async def test_a_failing_voter_costs_a_vote_of_the_cap() -> None:
    """Failures are asked no more often than the cap, and leave it undecided."""
    calls = 0

    async def broken() -> bool:
        nonlocal calls
        calls += 1
        raise RunFailed("no")

    assert await vote("?", broken, rule=Adaptive[bool](cap=7)) is UNDECIDED
    assert calls <= 7
