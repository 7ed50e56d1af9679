"""Mean, Median, Trimmed and Stacked: rules over scores. Exact against a threshold.

Each looks at the lowest and the highest value that its statistic can still take: a vote to come, or a missing one
(failed, cancelled, abstained, not a number, out of bounds), may lie anywhere between the bounds. It decides at the
first event after which that cannot change the outcome. Sums are exact, so that no order of arrival tips a tie.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from quorate.errors import UsageError
from quorate.events import Event
from quorate.merges.base import NOTHING, UNDECIDED, Decision, Step, Undecided
from quorate.merges.ends import abstained, at_least_one, end_of, exact, pass_by

Reading = Callable[[Any], float | None]
BOUNDS: Final = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Scored:
    """A statistic of several scores.

    Attributes:
        value: of the scores that were given; None where there is none.
        low: what it would have been had every missing voter given the lowest score.
        high: the same with the highest.
        votes: how many scores were given.
        missing: how many were not.
    """

    value: float | None
    low: float
    high: float
    votes: int
    missing: int


def _number(value: Any, read: Reading | None) -> Fraction | None:
    """The score of a value, None where it gives none."""
    score = value if read is None else read(value)
    if abstained(score) or not isinstance(score, int | float) or not math.isfinite(score):
        return None
    return exact(score)


class Mean:
    """The mean score, or whether it reaches a threshold.

    With `at` the outcome is True (at or above), False (below) or `UNDECIDED` (missing scores could have tipped it),
    decided as soon as it is settled. Without, it is a `Scored`, once all have ended.

    Args:
        n: how many voters there are.
        at: the threshold.
        bounds: the lowest and the highest score; anything outside is a missing vote.
        score: reads a value as a score, None where it abstains; by default the value itself.

    Raises:
        UsageError: n is under 1, or the bounds are not in order.
    """

    def __init__(
        self, n: int, *, at: float | None = None, bounds: tuple[float, float] = BOUNDS, score: Reading | None = None
    ) -> None:
        self._n = at_least_one(n)
        self._at = None if at is None else exact(at)
        self._low, self._high = exact(bounds[0]), exact(bounds[1])
        if self._low >= self._high:
            raise UsageError(f"bounds are a lower and a higher number, got {bounds!r}")
        self._read = score
        self._scores: list[Fraction] = []
        self._missing = 0

    def start(self) -> Step[bool | Undecided | Scored]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[bool | Undecided | Scored]:
        """Take a score; decide once the outcome is settled."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        score = None if error is not None else _number(value, self._read)
        if score is None or not self._low <= score <= self._high:
            self._missing += 1
        else:
            self._scores.append(score)
        return self._measure() if self._at is None else self._settle(self._at, event.branch)

    def of(self, ordered: Sequence[Fraction]) -> Fraction:
        """The statistic of ascending scores, at least one."""
        return sum(ordered, Fraction(0)) / len(ordered)

    def _with(self, lows: int, highs: int) -> Fraction:
        return self.of([self._low] * lows + sorted(self._scores) + [self._high] * highs)

    def _measure(self) -> Step[bool | Undecided | Scored]:
        votes = len(self._scores)
        if votes + self._missing < self._n:
            return NOTHING
        value = float(self.of(sorted(self._scores))) if votes else None
        low, high = float(self._with(self._missing, 0)), float(self._with(0, self._missing))
        scored = Scored(value, low, high, votes, self._missing)
        return Step(decision=Decision(scored, f"{votes} scores, {self._missing} missing"), done=True)

    def _settle(self, at: Fraction, branch: str) -> Step[bool | Undecided | Scored]:
        missing, pending = self._missing, self._n - self._missing - len(self._scores)
        low, high = self._with(missing + pending, 0), self._with(0, missing + pending)
        span = f"between {float(low):.3g} and {float(high):.3g}, threshold {float(at):.3g}"
        if low >= at:
            return Step(decision=Decision(True, f"reached: {span}", by=branch), done=True)
        if high < at:
            return Step(decision=Decision(False, f"out of reach: {span}", by=branch), done=True)
        if self._with(missing, pending) < at <= self._with(pending, missing):
            return Step(decision=Decision(UNDECIDED, f"undecided: {span}", by=branch), done=True)
        return NOTHING


class Median(Mean):
    """The middle score, or whether it reaches a threshold; the mean of the two in the middle where n is even.

    Half of the voters can say what they like without moving it beyond the others. Arguments are those of `Mean`.
    """

    def of(self, ordered: Sequence[Fraction]) -> Fraction:
        """The median of ascending scores, at least one."""
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Trimmed(Mean):
    """The mean without the lowest and the highest scores, or whether it reaches a threshold.

    Args:
        n: how many voters there are.
        share: of the scores that is left out at each end, rounded down to whole scores; 0 to under 0.5.
        at: the threshold.
        bounds: as in `Mean`.
        score: as in `Mean`.
    """

    def __init__(
        self,
        n: int,
        share: float = 0.2,
        *,
        at: float | None = None,
        bounds: tuple[float, float] = BOUNDS,
        score: Reading | None = None,
    ) -> None:
        if not 0 <= share < 0.5:
            raise UsageError(f"the share that is trimmed is 0 to under 0.5, got {share!r}")
        self._share = exact(share)
        super().__init__(n, at=at, bounds=bounds, score=score)

    def of(self, ordered: Sequence[Fraction]) -> Fraction:
        """The trimmed mean of ascending scores, at least one."""
        cut = int(self._share * len(ordered))
        return super().of(ordered[cut : len(ordered) - cut])


@dataclass(frozen=True, slots=True)
class Combination:
    """How votes are put together: intercept + the sum of weight * vote, above 0 a yes.

    Attributes:
        intercept: in log-odds.
        weights: by voter, in log-odds for each unit of its vote; may be negative.
        centres: by voter, the vote that stands in for a missing one: its mean where the weights were learned.
        cut: a vote is read as 1 at or above this score, else as 0; None takes scores as they are.
    """

    intercept: float
    weights: Mapping[str, float]
    centres: Mapping[str, float] = field(default_factory=dict)
    cut: float | None = None


class Stacked:
    """A learned combination of votes: True where its log-odds are above 0, False below, `UNDECIDED` at 0.

    A missing vote stands for its voter's mean, so it moves nothing; with no vote at all the outcome is `UNDECIDED`.
    Stops exactly: what is decided early is what all votes would have given. What it risks is the learning: the
    weights are right for items like those they were learned from, and `quorate panel` says how right.

    Args:
        combination: learned by `quorate panel`, or by hand.
        score: reads a value as a vote in [0, 1], None where it abstains; by default the value itself.

    Raises:
        UsageError: there is no voter, or a number is not finite.
    """

    def __init__(self, combination: Combination, *, score: Reading | None = None) -> None:
        at_least_one(len(combination.weights))
        self._weights = {name: exact(weight) for name, weight in combination.weights.items()}
        self._centres = {name: exact(combination.centres.get(name, 0.5)) for name in self._weights}
        self._cut = combination.cut
        self._read = score
        self._known = exact(combination.intercept)
        self._votes = 0

    def start(self) -> Step[bool | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[bool | Undecided]:
        """Take a vote; decide once the rest cannot change the sign.

        Raises:
            UsageError: a branch without a weight has voted.
        """
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        if event.branch not in self._weights:
            raise UsageError(f"{event.branch!r} has voted, but has no weight or has voted before")
        weight = self._weights.pop(event.branch)
        score = None if error is not None else _number(value, self._read)
        if score is None or not 0 <= score <= 1:
            self._known += weight * self._centres[event.branch]
        else:
            self._votes += 1
            self._known += weight * (score if self._cut is None else int(score >= exact(self._cut)))
        return self._settle(event.branch)

    def _settle(self, branch: str) -> Step[bool | Undecided]:
        low = self._known + sum(min(weight, Fraction(0)) for weight in self._weights.values())
        high = self._known + sum(max(weight, Fraction(0)) for weight in self._weights.values())
        span = f"log-odds between {float(low):.3g} and {float(high):.3g}"
        if low == high == 0 or not (self._votes or self._weights):
            return Step(decision=Decision(UNDECIDED, f"undecided: {span}", by=branch), done=True)
        if self._votes and (low > 0 or high < 0):
            return Step(decision=Decision(low > 0, f"stacked: {span}", by=branch), done=True)
        return NOTHING
