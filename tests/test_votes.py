"""`vote` and `poll`: who is asked what, under which name, and what a vote leaves running."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from electing import ballots, counted, possible
from quorate.engine import abandoned_tasks, clock
from quorate.errors import DeadlineExceeded, UsageError
from quorate.merges import UNDECIDED, Agree, Collect, Majority, Mean, Median, Merge, Quorum, Weighted
from quorate.patterns import poll, vote
from quorate.testing import run_virtual
from strategies import ENGINE, MISSING


def after(seconds: float, value: Any) -> Callable[[], Any]:
    async def call() -> Any:
        await clock.sleep(seconds)
        if value in ("fail", "cancel"):
            raise ValueError("broke")
        return None if value == "abstain" else value

    return call


def most(votes: tuple[Any, ...]) -> Any:
    return next((side for side in ("a", "b") if 2 * votes.count(side) > len(votes)), UNDECIDED)


def reaches(at: float, votes: tuple[Any, ...]) -> Any:
    low, high = (sum(end if v is None else v == "a" for v in votes) / len(votes) for end in (0, 1))
    return True if low >= at else False if high < at else UNDECIDED


def flag(value: Any) -> Any:
    return None if value is None else value == "a"


RULES: dict[str, tuple[Callable[[int], Merge[Any]], Callable[[tuple[Any, ...]], Any]]] = {
    "majority": (Majority, most),
    "agree": (Agree, most),
    "quorum of all": (
        lambda n: Quorum(n, n, vote=flag),
        lambda votes: False if "b" in votes else UNDECIDED if None in votes else True,
    ),
    "equal weights": (
        lambda n: Weighted({f"v{i}": 1.0 for i in range(n)}),
        lambda votes: next(
            (x for x, y in ("ab", "ba") if votes.count(x) > votes.count(y) + votes.count(None)), UNDECIDED
        ),
    ),
    "mean": (lambda n: Mean(n, at=0.5, score=flag), lambda votes: reaches(0.5, votes)),
    "median": (lambda n: Median(n, at=0.75, score=flag), lambda votes: median_reaches(votes)),
}


def median_reaches(votes: tuple[Any, ...]) -> Any:
    def middle(end: int) -> float:
        scores = sorted(end if v is None else int(v == "a") for v in votes)
        return (scores[(len(votes) - 1) // 2] + scores[len(votes) // 2]) / 2

    return True if middle(0) >= 0.75 else False if middle(1) < 0.75 else UNDECIDED


@pytest.mark.parametrize("name", RULES)
@ENGINE
@given(data=st.data())
def test_losers_are_cancelled_at_the_settled_event(name: str, data: st.DataObject) -> None:
    """In a run the decision comes with the event that settles it; who still runs is cancelled then, nobody before."""
    make, full = RULES[name]
    n = data.draw(st.integers(1, 4))
    votes, order = data.draw(ballots("ab", n))
    voters = {f"v{i}": after(1.0 + order.index(i), votes[i]) for i in range(n)}
    settled = next(k for k in range(1, n + 1) if len(possible(full, votes, seen=order[:k], sides="ab")) == 1)

    async def main() -> None:
        async with poll(None, voters, rule=make) as run:
            decision = await run.decided()
            assert (decision.value, clock.now()) == (full(counted(votes)), settled)
        assert clock.now() == settled and abandoned_tasks() == 0
        ends = {span.branch: (span.ended, span.ended_s) for span in run.timeline}
        for place, i in enumerate(order, 1):
            how = "failed" if votes[i] in ("fail", "cancel") else "answered"
            assert ends[f"v{i}"] == ((how, place) if place <= settled else ("cancelled", settled))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())
    event(f"settled after {settled} of {n}")


async def test_the_question_goes_to_those_who_take_it() -> None:
    """A voter with a parameter is handed the question, one without already knows it; a default is left alone."""

    async def takes(question: Any) -> Any:
        return question

    async def knows() -> Any:
        return "?"

    async def closed(*, question: Any = "no") -> Any:
        return question

    async def bound(value: str = "?") -> Any:
        return value

    question = {"text": "?"}
    collected = await vote(question, [takes, knows, closed, bound], rule=Collect)
    assert collected.values == {"takes": question, "knows": "?", "closed": "no", "bound": "?"}


async def test_names_come_from_functions_and_are_kept_apart() -> None:
    """Functions lend their names, lambdas and repeated ones get a number; repeats and spares get one after a hash."""

    async def one() -> str:
        return "x"

    async with poll(None, [one, lambda: one(), one], rule=Collect, times=2) as run:
        await run.decided()
    names = {span.branch for span in run.timeline}
    assert names == {"one", "voter 2", "voter 3", "one#2", "voter 2#2", "voter 3#2"}

    async def silent() -> None:
        return None

    async with poll(None, {"a": silent, "b": one}, spares={"b": one, "a": silent}) as run:
        assert (await run.decided()).value == "x"
    assert {span.branch for span in run.timeline} == {"a", "b", "b#2"}


async def test_one_voter_several_times() -> None:
    """A function alone is a voter; `times` asks it again, and the rule is made for all votes."""
    said = iter("xyx")

    async def ask(question: str) -> str:
        assert question == "which?"
        return next(said)

    assert await vote("which?", ask, times=3) == "x"


async def test_rules_as_classes_functions_and_objects() -> None:
    """A rule may be a merge, or what makes one of the number of votes."""
    voters = {name: after(1, name == "a") for name in "abc"}
    for rule in (Quorum(1, 3), lambda n: Quorum(1, n)):
        assert await vote(None, voters, rule=rule) is True
    assert (await vote(None, voters, rule=Collect)).values == {"a": True, "b": False, "c": False}
    assert await vote(None, voters, rule=Majority) is False
    assert await vote(voters, Quorum(1, 3)) is True
    assert await vote(voters) is False


async def test_ties_and_too_few_go_to_a_named_outcome() -> None:
    """A tie is `UNDECIDED` or the caller's word for it, never the first of the list."""
    split = {"a": after(1, "x"), "b": after(1, "y")}
    assert await vote(None, split) is UNDECIDED
    assert await vote(None, split, tie="ask a person") == "ask a person"
    broken = {"a": after(1, "x"), "b": after(1, "fail"), "c": after(2, "x")}
    assert await vote(None, broken, least=2) == "x"
    assert await vote(None, broken, least=3, tie=None) is None


@pytest.mark.parametrize("kind", MISSING)
async def test_a_missing_voter_is_replaced(kind: str) -> None:
    """A failed or silent voter's seat goes to the next spare; without a need no spare is started."""
    voters = {"a": after(1, kind), "b": after(1, "x"), "c": after(3, "y")}
    async with poll(None, voters, spares=[after(1, kind), after(1, "x"), after(1, "z")]) as run:
        assert ((await run.decided()).value, clock.now()) == ("x", 3)
    assert len(run.timeline.spans) == 5


async def test_mistakes_of_the_caller() -> None:
    """No voter, too many needed, too little time."""
    with pytest.raises(UsageError):
        await vote("?", {})
    with pytest.raises(UsageError):
        await vote("?", {"a": after(1, "x")}, least=2)
    with pytest.raises(DeadlineExceeded):
        await vote("?", {"a": after(9, "x")}, timeout_s=4)


def test_vote_and_poll_take_the_same() -> None:
    """Whatever can be voted on can be watched."""
    one, other = (list(inspect.signature(call).parameters) for call in (vote, poll))
    assert one == other
