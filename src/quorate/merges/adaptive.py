"""Adaptive: asks for votes until it is sure enough how the full vote would end, or the cap is reached."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Generic, Self, TypeVar

from quorate.errors import UsageError
from quorate.events import Branch, Event
from quorate.merges.base import UNDECIDED, Decision, Start, Step, Undecided
from quorate.merges.ends import abstained, at_least_one, end_of, pass_by

T = TypeVar("T")

CAP = 40
RISK = 0.01
PRIOR = 1 / 3


@lru_cache(maxsize=100_000)
def behind(ahead: int, rival: int, *, left: int, missing: int, rho: float, prior: float) -> float:
    """The probability that `left` more votes for one of two values take the lead from the one that is ahead.

    The share of the first value has a Beta posterior, so its votes to come are beta-binomial (Dirichlet-multinomial
    where there are more values, of which any two are a Beta pair). The evidence of n votes counts as that of
    n_eff = n / (1 + (n - 1) rho) independent ones.

    Args:
        ahead: votes for the first value.
        rival: votes for the other.
        left: votes to come, all taken to go to one of the two: they have the most to tip then.
        missing: votes that were not given; the first must lead by more.
        rho: correlation of two voters' votes.
        prior: a and b of the Beta prior.
    """
    needed = missing + 1 + rival + left - ahead  # In twice the votes to come: 2 k >= needed keeps the lead.
    if needed <= 0 or needed > 2 * left:
        return 0.0 if needed <= 0 else 1.0
    discount = 1 / (1 + (ahead + rival - 1) * rho) if ahead + rival else 1.0
    a, b = prior + ahead * discount, prior + rival * discount
    lost = (_beta_binomial(k, left, a=a, b=b) for k in range((needed + 1) // 2))
    return min(1.0, math.fsum(lost))


def _beta_binomial(k: int, n: int, *, a: float, b: float) -> float:
    log = math.lgamma
    choose = log(n + 1) - log(k + 1) - log(n - k + 1)
    return math.exp(choose + log(k + a) + log(n - k + b) - log(n + a + b) + log(a + b) - log(a) - log(b))


class Adaptive(Generic[T]):
    """The most frequent vote of `cap` voters, from as few of them as are needed to be sure of it.

    A statistical rule. It stops where, under its prior, at most `risk` is left that all `cap` votes would have come to
    another outcome; `Decision.why` has what was left. Over many questions that share is wrong, 1 in 100 by default,
    if as many of them are nearly split as the prior expects, and more where more are: 1.5 in 100 where every share of
    yes is equally common. The promise is about the full vote of these voters. Whether they are right is another
    question: voters that share a mistake repeat it (measure them with `quorate panel`).

    Each wave is the fewest votes after which it could stop, if all of them went to the leader; a vote against it
    starts more at once. So asking in waves never costs a vote that one after another would have saved.

    A missing vote (failed, abstained) is one of the `cap` and could have gone to the runner-up. A tie, or a lead that
    missing votes could have turned, is `UNDECIDED`.

    After Aggarwal et al., "Let's Sample Step by Step: Adaptive-Consistency", arXiv 2305.11860, with the stop on the
    full vote's outcome rather than on the mode of an endless one, and the neutral prior Beta(1/3, 1/3) of Kerman
    (Electronic Journal of Statistics 5, 2011).

    Args:
        ask: gives the branch of the i-th vote, counted from 0, each under a name of its own; `quorate.vote` sets it.
        cap: the most votes that are started.
        risk: stop at or under this probability that the full vote would end otherwise. With 0 the rule is exact: it
            stops once the outcome is settled, and still asks no more voters than could settle it.
        key: what two values must share to be the same vote; None abstains. By default the value itself.
        rho: correlation of two voters' errors, as `quorate panel` measures it; 0 for independent ones. The evidence is
            discounted to n_eff votes, so that more of them are asked.
        least: so many votes must have been given before it stops, and for an outcome at all.
        prior: a and b of the Beta prior of every value's share.

    Raises:
        UsageError: a number is out of its range.
    """

    def __init__(
        self,
        ask: Callable[[int], Branch[T]] | None = None,
        *,
        cap: int = CAP,
        risk: float = RISK,
        key: Callable[[T], Hashable] | None = None,
        rho: float = 0.0,
        least: int = 1,
        prior: float = PRIOR,
    ) -> None:
        if not 0 <= risk < 1 or not 0 <= rho < 1 or prior <= 0 or not 1 <= least <= at_least_one(cap):
            raise UsageError("allowed is 0 <= risk < 1, 0 <= rho < 1, prior > 0, 1 <= least <= cap")
        self._ask, self._cap, self._key = ask, cap, key
        self._risk, self._rho, self._prior, self._least = risk, rho, prior, least
        self._asked = self._missing = 0
        self._votes: Counter[Hashable] = Counter()
        self._example: dict[Hashable, T] = {}

    def asking(self, ask: Callable[[int], Branch[T]]) -> Self:
        """Set who is asked, where that was left open; returns itself."""
        if self._ask is None:
            self._ask = ask
        return self

    def start(self) -> Step[T | Undecided]:
        """Start the first wave.

        Raises:
            UsageError: nobody was named to ask.
        """
        return self._more()

    def feed(self, event: Event) -> Step[T | Undecided]:
        """Count a vote; decide, or start as many more as could settle it."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        key = None if error is not None else (self._key(value) if self._key else value)
        if abstained(key):
            self._missing += 1
        else:
            self._votes[key] += 1
            self._example.setdefault(key, value)
        return self._decide(event.branch) or self._more()

    def _counts(self) -> list[int]:
        """Votes by value, descending; at least two values, the second one perhaps unheard of so far."""
        counts = [count for _, count in self._votes.most_common()]
        return counts + [0] * (2 - len(counts))

    def _risk_of(self, counts: Sequence[int], left: int) -> float:
        """The probability, at most, that the first of these counts does not win the full vote."""
        if counts[0] == counts[1]:
            return 1.0
        behinds = (
            behind(counts[0], rival, left=left, missing=self._missing, rho=self._rho, prior=self._prior)
            for rival in counts[1:]
        )
        return min(1.0, sum(behinds))

    def _decide(self, branch: str) -> Step[T | Undecided] | None:
        counts, given = self._counts(), self._votes.total()
        left = self._cap - given - self._missing
        tally = f"{counts[0]} of {given} votes, {self._missing} missing, cap {self._cap}"
        if given + left < self._least or counts[0] + left <= counts[1] + self._missing:
            return Step(decision=Decision(UNDECIDED, f"undecided: {tally}", by=branch), done=True)
        risk = self._risk_of(counts, left)
        if risk > self._risk or given < self._least:
            return None
        [(top, _)] = self._votes.most_common(1)
        why = f"sure enough: {tally}, risk {risk:.2g} that a full vote ends otherwise"
        return Step(decision=Decision(self._example[top], why, by=branch), done=True)

    def _more(self) -> Step[T | Undecided]:
        if self._ask is None:
            raise UsageError("Adaptive needs `ask`: who gives the i-th vote")
        ended = self._votes.total() + self._missing
        wanted = min(self._cap, ended + self._needed())
        starts = tuple(Start(self._ask(i)) for i in range(self._asked, wanted))
        self._asked = max(self._asked, wanted)
        return Step(start=starts)

    def _needed(self) -> int:
        """The fewest votes after which it could stop: those that all go to the leader."""
        first, *rivals = self._counts()
        left = self._cap - self._votes.total() - self._missing
        for more in range(max(1, self._least - self._votes.total()), left):
            if self._risk_of([first + more, *rivals], left - more) <= self._risk:
                return more
        return left
