"""Weighted: voters of different worth. Exact, as the rules of `voting` are.

A missing vote (failed, cancelled, abstained) keeps its weight in the sum: it could have gone to anybody, so where it
could have tipped the outcome there is none.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from fractions import Fraction
from typing import Any, Generic, TypeVar

from quorate.errors import UsageError
from quorate.events import Event
from quorate.merges.base import NOTHING, UNDECIDED, Decision, Step, Undecided
from quorate.merges.ends import abstained, end_of, exact, pass_by

T = TypeVar("T")


def log_odds(accuracy: float, *, values: int = 2) -> float:
    """The weight of a voter that is right this often: log((values - 1) p / (1 - p)).

    With these weights the vote is the best there is for voters that err independently and without a favourite
    mistake (Nitzan and Paroush, "Optimal decision rules in uncertain dichotomous choice situations", International
    Economic Review 1982). Voters that share mistakes are worth less than their weights say: measure it with
    `quorate panel`.

    Args:
        accuracy: share of right votes, strictly between 0 and 1.
        values: how many different votes are possible.

    Raises:
        UsageError: the accuracy is 0, 1 or outside.
    """
    if not 0 < accuracy < 1:
        raise UsageError(f"an accuracy lies strictly between 0 and 1, got {accuracy!r}")
    return math.log((values - 1) * accuracy / (1 - accuracy))


class Weighted(Generic[T]):
    """The value with the most weight behind it, else `UNDECIDED` (a tie, or missing votes that could have tipped it).

    Decides at the first event after which no weight still to come, and no missing one, can change the outcome.

    Args:
        weights: by voter, zero or more; `log_odds` of each voter's accuracy, or as you like. A voter below chance has
            negative log-odds: turn its answer round, or leave it out.
        key: what two values must share to be the same vote; None abstains. By default the value itself.

    Raises:
        UsageError: no weight is positive, or one is negative or not finite.
    """

    def __init__(self, weights: Mapping[str, float], *, key: Callable[[T], Hashable] | None = None) -> None:
        self._pending = {name: exact(weight) for name, weight in weights.items()}
        if any(weight < 0 for weight in self._pending.values()) or not any(self._pending.values()):
            raise UsageError("weights are zero or more, and at least one is above zero")
        self._open = sum(self._pending.values(), Fraction(0))
        self._missing = Fraction(0)
        self._key = key
        self._for: dict[Hashable, Fraction] = {}
        self._example: dict[Hashable, T] = {}

    def start(self) -> Step[T | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[T | Undecided]:
        """Count a vote; decide once the rest cannot change the outcome.

        Raises:
            UsageError: a branch without a weight has voted.
        """
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        if event.branch not in self._pending:
            raise UsageError(f"{event.branch!r} has voted, but has no weight or has voted before")
        weight = self._pending.pop(event.branch)
        self._open -= weight
        key = None if error is not None else self._read(value)
        if key is None:
            self._missing += weight
        else:
            self._for[key] = self._for.get(key, Fraction(0)) + weight
            self._example.setdefault(key, value)
        return self._settle(event.branch)

    def _read(self, value: Any) -> Hashable:
        key: Hashable = self._key(value) if self._key else value
        return None if abstained(key) else key

    def _settle(self, branch: str) -> Step[T | Undecided]:
        ranked = sorted(self._for.items(), key=lambda item: item[1], reverse=True)
        top, first = ranked[0] if ranked else (None, Fraction(0))
        lead = first - (ranked[1][1] if len(ranked) > 1 else 0)
        tally = f"{float(first):.3g} for it, {float(lead):.3g} ahead, {float(self._missing):.3g} missing"
        if lead > self._open + self._missing:
            return Step(decision=Decision(self._example[top], f"weight: {tally}", by=branch), done=True)
        if lead + self._open <= self._missing:
            return Step(decision=Decision(UNDECIDED, f"undecided by weight: {tally}", by=branch), done=True)
        return NOTHING
