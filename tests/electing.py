"""Elections by brute force: what a rule must decide, and at which event, for voters that are not interchangeable."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st

from quorate.engine import clock
from quorate.events import Answered, Event
from quorate.merges import Merge
from strategies import MISSING, end_event, play

Full = Callable[[tuple[Any, ...]], Any]


@st.composite
def ballots(draw: st.DrawFn, sides: Sequence[Any], n: int) -> tuple[list[Any], list[int]]:
    """A vote or a kind of missing vote for each of `n` voters, and the order in which they end."""
    votes = draw(st.lists(st.sampled_from((*sides, *MISSING)), min_size=n, max_size=n))
    return votes, draw(st.permutations(range(n)))


def counted(votes: Sequence[Any]) -> tuple[Any, ...]:
    """The votes as a full count takes them: None for a missing one."""
    return tuple(None if isinstance(vote, str) and vote in MISSING else vote for vote in votes)


def events_of(votes: Sequence[Any], order: Sequence[int]) -> list[Event]:
    """The ends of the voters b0, b1 and so on, in this order."""
    return [_end(f"b{i}", votes[i]) for i in order]


def _end(name: str, vote: Any) -> Event:
    if isinstance(vote, str) and vote in MISSING:
        return end_event(name, vote)
    return Answered(name, 0.0, vote)


def possible(full: Full, votes: Sequence[Any], *, seen: Sequence[int], sides: Sequence[Any]) -> set[Any]:
    """Every outcome that some votes of those not seen yet would give."""
    fixed = counted(votes)
    open_ = [(fixed[i],) if i in seen else (*sides, None) for i in range(len(votes))]
    return {full(completion) for completion in product(*open_)}


def check(merge: Merge[Any], full: Full, *, sides: Sequence[Any], votes: Sequence[Any], order: Sequence[int]) -> int:
    """Laws 1, 2 and 5: the outcome of all votes, at the first event that settles it. Returns how many it took."""
    steps = play(merge, events_of(votes, order))
    for waited, step in enumerate(steps[1:], 1):
        settled = len(possible(full, votes, seen=order[:waited], sides=sides)) == 1
        assert (step.decision is not None) == settled == step.done
    decision = steps[-1].decision
    assert decision is not None and decision.value == full(counted(votes))
    return len(steps) - 1


def after(seconds: float, value: Any) -> Any:
    """A call that takes its time and gives a value, or raises it."""

    async def call() -> Any:
        await clock.sleep(seconds)
        if isinstance(value, Exception):
            raise value
        return value

    return call
