"""Mean, Median, Trimmed and Stacked: exact against a threshold, for every order and failure."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from electing import ballots, check
from quorate.errors import UsageError
from quorate.events import Answered, Delta, Failed
from quorate.merges import UNDECIDED, Combination, Mean, Median, Merge, Scored, Stacked, Trimmed
from strategies import PURE, play

GRID = (0.0, 0.1, 0.5, 0.7, 1.0)
Statistic = Callable[[list[Fraction]], Fraction]


def mean(scores: list[Fraction]) -> Fraction:
    return sum(scores, Fraction(0)) / len(scores)


def median(scores: list[Fraction]) -> Fraction:
    return (scores[(len(scores) - 1) // 2] + scores[len(scores) // 2]) / 2


def trimmed(scores: list[Fraction]) -> Fraction:
    cut = len(scores) // 3
    return mean(scores[cut : len(scores) - cut])


MAKERS: dict[str, tuple[Statistic, Callable[[int, float | None], Merge[Any]]]] = {
    "mean": (mean, lambda n, at: Mean(n, at=at)),
    "median": (median, lambda n, at: Median(n, at=at)),
    "trimmed": (trimmed, lambda n, at: Trimmed(n, 0.334, at=at)),
}


def full(statistic: Statistic, at: float) -> Any:
    def count(votes: tuple[Any, ...]) -> Any:
        known = [Fraction(repr(vote)) for vote in votes if vote is not None]
        missing = len(votes) - len(known)
        low, high = (statistic(sorted(known + [Fraction(end)] * missing)) for end in (0, 1))
        return True if low >= Fraction(repr(at)) else False if high < Fraction(repr(at)) else UNDECIDED

    return count


@pytest.mark.parametrize("name", MAKERS)
@PURE
@given(data=st.data())
def test_a_threshold_settles_early_and_right(name: str, data: st.DataObject) -> None:
    """Laws 1, 2, 5: the outcome of all scores, at the first event after which none can change it."""
    statistic, make = MAKERS[name]
    n = data.draw(st.integers(1, 4))
    at = data.draw(st.sampled_from((0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)))
    votes, order = data.draw(ballots(GRID, n))
    waited = check(make(n, at), full(statistic, at), sides=GRID, votes=votes, order=order)
    event(f"settled after {waited} of {n}")


@pytest.mark.parametrize("name", MAKERS)
@PURE
@given(data=st.data())
def test_without_a_threshold_it_measures(name: str, data: st.DataObject) -> None:
    """The statistic of what was given, and between which ends the missing could have moved it, once all have ended."""
    statistic, make = MAKERS[name]
    n = data.draw(st.integers(1, 5))
    scores = data.draw(st.lists(st.one_of(st.none(), st.sampled_from(GRID)), min_size=n, max_size=n))
    steps = play(make(n, None), [Answered(f"b{i}", 0, score) for i, score in enumerate(scores)])
    assert [step.done for step in steps] == [False] * n + [True]
    got = steps[-1].decision.value  # type: ignore[union-attr]
    assert isinstance(got, Scored)
    given_ = sorted(Fraction(repr(score)) for score in scores if score is not None)
    assert (got.votes, got.missing) == (len(given_), n - len(given_))
    assert got.value == (float(statistic(given_)) if given_ else None)
    assert got.low <= got.high
    assert got.missing or got.low == got.value == got.high


def test_tenths_are_tenths() -> None:
    """The mean of 0.1, 0.2 and 0.3 reaches 0.2."""
    steps = play(Mean(3, at=0.2), [Answered(str(i), 0, x) for i, x in enumerate((0.1, 0.2, 0.3))])
    assert steps[-1].decision is not None and steps[-1].decision.value is True


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1, "0.5", None, UNDECIDED])
def test_what_is_no_score_is_a_missing_vote(bad: Any) -> None:
    """Not a number, out of bounds, or another type: it never counts as low or as high."""
    steps = play(Mean(2, at=0.5), [Answered("a", 0, bad), Answered("b", 0, 0.6)])
    assert steps[-1].decision is not None and steps[-1].decision.value is UNDECIDED


def test_one_voter_cannot_move_a_median_beyond_the_others() -> None:
    """A wild score moves the mean over a threshold, and neither the median nor the trimmed mean."""
    scores = (0.1, 0.1, 0.2, 1.0, 0.1)
    votes = [Answered(str(i), 0, score) for i, score in enumerate(scores)]
    for rule, reached in ((Mean(5, at=0.3), True), (Median(5, at=0.3), False), (Trimmed(5, at=0.3), False)):
        assert play(rule, votes)[-1].decision.value is reached  # type: ignore[union-attr]


def test_other_bounds_and_another_reading() -> None:
    """Grades from 1 to 5, read from a dictionary; text on the way is not for the reader."""
    merge = Mean(2, at=4, bounds=(1, 5), score=lambda value: value["grade"])
    steps = play(merge, [Delta("a", 0, "hm"), Answered("a", 0, {"grade": 5}), Answered("b", 0, {"grade": 2})])
    assert len(steps[1].discard) == 1
    assert steps[-1].decision is not None and steps[-1].decision.value is False


def test_arguments_are_looked_at() -> None:
    """No voter, bounds out of order, a share of one half."""
    for wrong in (
        lambda: Mean(0),
        lambda: Mean(1, bounds=(1, 1)),
        lambda: Trimmed(3, 0.5),
        lambda: Mean(1, at=math.nan),
    ):
        with pytest.raises(UsageError):
            wrong()


# Stacked.


def stacked_full(combination: Combination) -> Any:
    def count(votes: tuple[Any, ...]) -> Any:
        odds = Fraction(repr(combination.intercept))
        for i, vote in enumerate(votes):
            weight = Fraction(repr(combination.weights[f"b{i}"]))
            centre = Fraction(repr(combination.centres.get(f"b{i}", 0.5)))
            value = None if vote is None else Fraction(repr(vote))
            if value is not None and combination.cut is not None:
                value = Fraction(int(value >= Fraction(repr(combination.cut))))
            odds += weight * (centre if value is None else value)
        return UNDECIDED if odds == 0 or set(votes) == {None} else odds > 0

    return count


@PURE
@given(st.data())
def test_stacked_settles_early_and_right(data: st.DataObject) -> None:
    """Laws 1 and 2, with weights of either sign: the sign of all votes' log-odds, and undecided without any vote."""
    n = data.draw(st.integers(1, 4))
    weights = data.draw(st.lists(st.sampled_from((-1.5, -0.3, 0.0, 0.2, 1.0, 2.0)), min_size=n, max_size=n))
    intercept = data.draw(st.sampled_from((-2.0, -0.5, 0.0, 0.1, 3.0)))
    cut = data.draw(st.sampled_from((None, 0.5)))
    centres = {f"b{i}": data.draw(st.sampled_from((0.0, 0.25, 1.0))) for i in range(n)}
    combination = Combination(intercept, {f"b{i}": w for i, w in enumerate(weights)}, centres, cut)
    votes, order = data.draw(ballots((0.0, 0.5, 1.0), n))
    waited = check(Stacked(combination), stacked_full(combination), sides=(0.0, 0.5, 1.0), votes=votes, order=order)
    event(f"settled after {waited} of {n}")


def test_stacked_takes_true_for_one() -> None:
    """Yes and no are 1 and 0; a stranger's vote breaks the run."""
    merge = Stacked(Combination(-1.0, {"a": 1.5, "b": 0.1}))
    [_, step] = play(merge, [Answered("a", 0, True)])
    assert step.decision is not None and step.decision.value is True
    with pytest.raises(UsageError, match="no weight"):
        Stacked(Combination(0.0, {"a": 1.0})).feed(Failed("z", 0, ValueError()))
    with pytest.raises(UsageError):
        Stacked(Combination(0.0, {}))
