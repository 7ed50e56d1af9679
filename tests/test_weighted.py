"""Weighted: exact for every order, weights and failures."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from electing import ballots, check
from quorate.errors import UsageError
from quorate.events import Answered, Delta, Failed
from quorate.merges import UNDECIDED, Weighted, log_odds
from strategies import PURE, play

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 1.0, 2.5, log_odds(0.9), log_odds(0.9))


def full(weights: tuple[float, ...]) -> Any:
    def count(votes: tuple[Any, ...]) -> Any:
        exact = [Fraction(repr(weight)) for weight in weights]
        sums = {side: sum(w for w, v in zip(exact, votes, strict=True) if v == side) for side in "abc"}
        missing = sum(w for w, v in zip(exact, votes, strict=True) if v is None)
        (_, second), (top, first) = sorted(sums.items(), key=lambda item: item[1])[-2:]
        return top if first > second + missing else UNDECIDED

    return count


@PURE
@given(st.data())
def test_it_settles_early_and_right(data: st.DataObject) -> None:
    """Laws 1, 2, 5: decides what all votes would have, at the first event after which no weight can change it."""
    n = data.draw(st.integers(1, 4))
    weights = tuple(data.draw(st.lists(st.sampled_from(WEIGHTS), min_size=n, max_size=n).filter(any)))
    votes, order = data.draw(ballots("abc", n))
    merge: Weighted[str] = Weighted({f"b{i}": w for i, w in enumerate(weights)})
    waited = check(merge, full(weights), sides="abc", votes=votes, order=order)
    event(f"settled after {waited} of {n}")


def test_one_heavy_voter_settles_it_alone() -> None:
    """Weights that cannot be caught up with are not waited for."""
    merge: Weighted[str] = Weighted({"a": 3, "b": 1, "c": 1})
    [*_, last] = play(merge, [Delta("a", 0, "hm"), Answered("a", 1, "yes"), Answered("b", 2, "no")])
    assert last.decision is not None
    assert (last.decision.value, last.decision.by) == ("yes", "a")


def test_tenths_are_tenths() -> None:
    """0.1 + 0.2 against 0.3 is a tie in every order, whatever binary fractions make of it."""
    weights = {"a": 0.1, "b": 0.2, "c": 0.3}
    votes = [Answered("a", 0, "x"), Answered("b", 0, "x"), Answered("c", 0, "y")]
    for order in (votes, votes[::-1]):
        assert play(Weighted(weights), order)[-1].decision.value is UNDECIDED  # type: ignore[union-attr]


def test_a_key_groups_values() -> None:
    """Values with the same key are one vote, and a key of None abstains."""
    merge: Weighted[str] = Weighted({"a": 1, "b": 1, "c": 1}, key=lambda text: text.strip().lower() or None)
    steps = play(merge, [Answered("a", 0, " "), Answered("b", 0, "Yes"), Answered("c", 0, "yes ")])
    assert steps[-1].decision is not None and steps[-1].decision.value == "Yes"


@pytest.mark.parametrize("weights", [{}, {"a": -1.0, "b": 2.0}, {"a": 0.0}, {"a": math.nan}, {"a": math.inf}])
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float]) -> None:
    """A weight below zero, none above it, or no number, is the caller's mistake."""
    with pytest.raises(UsageError):
        Weighted(weights)


def test_a_stranger_cannot_vote() -> None:
    """A vote of a branch without a weight, or a second one, breaks the run instead of being dropped."""
    merge: Weighted[str] = Weighted({"a": 1, "b": 5})
    merge.feed(Failed("a", 0, ValueError()))
    for name in ("a", "z"):
        with pytest.raises(UsageError, match="no weight"):
            merge.feed(Answered(name, 0, "x"))


def test_log_odds() -> None:
    """Chance is worth nothing; nine right in ten are worth log 9; more values make a right vote worth more."""
    assert log_odds(0.5) == 0
    assert log_odds(0.9) == pytest.approx(math.log(9))
    assert log_odds(0.9, values=3) == pytest.approx(math.log(18))
    for accuracy in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(UsageError):
            log_odds(accuracy)
