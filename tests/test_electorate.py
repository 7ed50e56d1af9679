"""Electorate: replacements, least votes and names for ties, exact around any exact rule."""

import asyncio
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from electing import after, ballots, check, events_of
from quorate.engine import clock
from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Delta, Failed, branch
from quorate.merges import UNDECIDED, Collect, Draft, Electorate, First, Majority, Quorum, Synthesize, Weighted
from quorate.patterns import poll, vote
from strategies import MISSING, PURE, play


async def never() -> str:
    await asyncio.Event().wait()
    return ""


def spare(name: str) -> Branch[str]:
    return branch(name, never)


@PURE
@given(st.data())
def test_least_settles_early_and_right(data: st.DataObject) -> None:
    """Laws 1, 2, 5: undecided with fewer votes than `least`, else what the rule says, at the first event that tells."""
    n = data.draw(st.integers(1, 4))
    k, least = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    tie = data.draw(st.sampled_from((UNDECIDED, "tie")))

    def full(votes: tuple[Any, ...]) -> Any:
        yes, given_ = votes.count(True), len(votes) - votes.count(None)
        outcome = True if yes >= k else tie if yes + votes.count(None) >= k else False
        return tie if given_ < least else outcome

    votes, order = data.draw(ballots((True, False), n))
    merge = Electorate(Quorum(k, n), [f"b{i}" for i in range(n)], least=least, tie=tie)
    event(f"settled after {check(merge, full, sides=(True, False), votes=votes, order=order)} of {n}")


@PURE
@given(st.data())
def test_a_spare_votes_in_the_place_of_a_missing_voter(data: st.DataObject) -> None:
    """With spares the outcome is that of the votes that were given in the end; no spare is started in vain or twice."""
    n, spares = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))
    votes, order = data.draw(ballots("ab", n))
    extra = data.draw(st.lists(st.sampled_from(("a", "b", *MISSING)), min_size=spares, max_size=spares))
    weights = {f"b{i}": float(data.draw(st.integers(1, 3))) for i in range(n)}
    merge = Electorate(Weighted[str](weights), weights, spares=[spare(f"s{i}") for i in range(spares)])
    queue, started, seats, last = events_of(votes, order), 0, {}, merge.start()
    while not last.done:
        fed = queue.pop(0)
        last = merge.feed(fed)
        for begun in last.start:
            assert begun.branch.name == f"s{started}"
            seats[f"s{started}"] = seats.get(fed.branch, fed.branch)
            end = extra[started]
            ended = Answered(f"s{started}", 0, end) if end in ("a", "b") else Failed(f"s{started}", 0, ValueError())
            queue.insert(data.draw(st.integers(0, len(queue))), ended)
            started += 1
    assert last.decision is not None
    final = dict(zip(weights, votes, strict=True)) | {seat: extra[int(name[1:])] for name, seat in seats.items()}
    sums = {side: sum(w for name, w in weights.items() if final[name] == side) for side in "ab"}
    missing = sum(w for name, w in weights.items() if final[name] not in ("a", "b"))
    first, second = sorted(sums, key=lambda side: -sums[side])
    if not queue:  # Nothing was cut short, so every seat's last vote is known here.
        assert last.decision.value == (first if sums[first] > sums[second] + missing else UNDECIDED)
    assert started <= min(spares, sum(vote in MISSING for vote in (*votes, *extra)))


def test_who_settled_it_is_the_spare_itself() -> None:
    """The decision names the branch that ran, not the seat it took."""
    merge: Electorate[Any] = Electorate(Quorum(1, 1), ["a"], spares=[spare("b")])
    steps = play(merge, [Failed("a", 0, ValueError()), Answered("b", 0, True)])
    assert [start.branch.name for start in steps[1].start] == ["b"] and steps[1].decision is None
    assert steps[2].decision is not None and steps[2].decision.by == "b"


def test_an_abstention_is_what_missing_says() -> None:
    """By default None abstains; a rule of the caller's may read it otherwise."""
    merge: Electorate[Any] = Electorate(Majority(1), ["a"], spares=[spare("b")], missing=lambda value: value == "?")
    assert play(merge, [Answered("a", 0, "?")])[1].start[0].branch.name == "b"


def test_other_branches_are_no_voters() -> None:
    """A last branch that a rule starts is neither replaced nor counted; its failure is the run's."""

    def write(drafts: tuple[Draft[Any], ...]) -> Branch[str]:
        return spare("synthesis")

    merge: Electorate[Any] = Electorate(Synthesize(1, write), ["a"], spares=[spare("b")], least=1)
    steps = play(merge, [Answered("a", 0, "draft"), Delta("synthesis", 0, "t"), Failed("synthesis", 0, ValueError())])
    assert [len(step.start) for step in steps] == [0, 1, 0, 0]
    assert len(steps[2].release) == 1
    assert isinstance(steps[3].fail, ValueError)


def test_a_rule_that_fails_fails() -> None:
    """A failure of the rule is passed on at once."""
    steps = play(Electorate(First[Any](1), ["a"]), [Failed("a", 0, ValueError())])
    assert isinstance(steps[-1].fail, RunFailed)


@pytest.mark.parametrize("least", [-1, 2])
def test_least_is_at_most_all(least: int) -> None:
    """Votes that can never be had are the caller's mistake; so are two voters of one name."""
    with pytest.raises(UsageError):
        Electorate(Collect(1), ["a"], least=least)
    with pytest.raises(UsageError, match="same name"):
        Electorate(Collect(1), ["a"], spares=[spare("a")])


async def test_in_a_run_a_spare_starts_when_a_voter_breaks() -> None:
    """The engine starts the spare at the failure, and cancels the losers at the settled event."""
    voters = {"a": after(1, ValueError()), "b": after(2, True), "c": after(60, True)}
    async with poll("?", voters, rule=lambda n: Quorum(2, n), spares={"d": after(4, True)}) as run:
        assert (await run.decided()).value is True
        assert clock.now() == 5
    assert (run.timeline["d"].started_s, run.timeline["c"].ended) == (1, "cancelled")
    assert run.timeline["c"].why.startswith("quorum reached")
    assert await vote("?", {"a": after(1, ValueError()), "b": after(1, True)}, least=2, tie="too few") == "too few"
