"""Rules over several opinions: Collect, First, Quorum, Majority.

All of them are exact: they decide at the first event at which the outcome of the full vote is settled, and the
early outcome is the one that all results would have given. A branch that failed, was cancelled or abstained
stays in the denominator.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from quorate.errors import RunFailed, UsageError
from quorate.events import Delta, Event
from quorate.merges.base import EVERY, NOTHING, UNDECIDED, Decision, Step, Undecided
from quorate.merges.ends import as_bool, at_least_one, end_of, pass_by

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Collected(Generic[T]):
    """What `Collect` gathered: values and errors by branch name."""

    values: dict[str, T] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)


class Collect(Generic[T]):
    """Waits for all `n` branches; failures are part of the result."""

    def __init__(self, n: int) -> None:
        self._n = at_least_one(n)
        self._seen: Collected[T] = Collected()

    def start(self) -> Step[Collected[T]]:
        """Every branch counts, so every branch may have side effects."""
        return Step(commit=EVERY)

    def feed(self, event: Event) -> Step[Collected[T]]:
        """Gather; decide when the last branch has ended. Deltas are released as they come."""
        if isinstance(event, Delta):
            return Step(release=(event,))
        ended, value, error = end_of(event)
        if not ended:
            return NOTHING
        if error is None:
            self._seen.values[event.branch] = value
        else:
            self._seen.errors[event.branch] = error
        if len(self._seen.values) + len(self._seen.errors) < self._n:
            return NOTHING
        return Step(decision=Decision(self._seen, "all ended"), done=True)


class First(Generic[T]):
    """Takes the first answer that `accept` agrees to; the run fails when none of `n` gives one."""

    def __init__(self, n: int, *, accept: Callable[[T], bool] | None = None) -> None:
        self._pending = at_least_one(n)
        self._accept = accept
        self._errors: list[str] = []

    def start(self) -> Step[T]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[T]:
        """Decide at the first accepted answer."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        self._pending -= 1
        if error is None and (self._accept is None or self._accept(value)):
            why = f"{event.branch} answered first"
            return Step(decision=Decision(value, why, by=event.branch), done=True)
        self._errors.append(f"{event.branch}: {error or 'not accepted'}")
        if self._pending:
            return NOTHING
        return Step(fail=RunFailed("no branch gave an answer: " + "; ".join(self._errors)), done=True)


class Quorum(Generic[T]):
    """True when `k` of `n` vote yes, False when so many vote no that `k` cannot be met, else `UNDECIDED`.

    A missing vote (failed, cancelled, abstained) counts for neither side but stays among the `n`: where the
    missing ones could have tipped it, the outcome is `UNDECIDED` and never reads as a no.

    Args:
        k: yes votes needed, 1 to n.
        n: size of the electorate.
        vote: reads a value as yes (True), no (False) or abstained (None); by default its truth, where None and
            `UNDECIDED` abstain.
    """

    def __init__(self, k: int, n: int, *, vote: Callable[[T], bool | None] | None = None) -> None:
        if not 1 <= k <= n:
            raise UsageError(f"a quorum needs 1 <= k <= n, got k={k}, n={n}")
        self._k, self._n = k, n
        self._vote = vote or as_bool
        self._yes = self._no = self._missing = 0

    def start(self) -> Step[bool | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[bool | Undecided]:
        """Count a vote; decide at the first event that settles it, either way."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        vote = None if error is not None else self._vote(value)
        if vote is None:
            self._missing += 1
        elif vote:
            self._yes += 1
        else:
            self._no += 1
        return self._settle(event.branch)

    def _settle(self, branch: str) -> Step[bool | Undecided]:
        pending = self._n - self._yes - self._no - self._missing
        against = self._n - self._k + 1
        tally = f"{self._yes} yes, {self._no} no, {self._missing} missing of {self._n}"
        if self._yes >= self._k:
            return Step(decision=Decision(True, f"quorum reached: {tally}", by=branch), done=True)
        if self._no >= against:
            return Step(decision=Decision(False, f"quorum out of reach: {tally}", by=branch), done=True)
        if self._yes + pending < self._k and self._no + pending < against:
            return Step(decision=Decision(UNDECIDED, f"undecided: {tally}", by=branch), done=True)
        return NOTHING


class Majority(Generic[T]):
    """The value that more than half of all `n` branches gave, else `UNDECIDED` (a tie, or too many missing).

    Args:
        n: size of the electorate; failures and abstentions stay in it.
        key: what two values must share to be the same vote; None abstains. By default the value itself.
    """

    def __init__(self, n: int, *, key: Callable[[T], Hashable] | None = None) -> None:
        self._n = self._pending = at_least_one(n)
        self._key = key
        self._votes: Counter[Hashable] = Counter()
        self._example: dict[Hashable, T] = {}

    def start(self) -> Step[T | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[T | Undecided]:
        """Count a vote; decide once a value has won or none can."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        self._pending -= 1
        key = None if error is not None else (self._key(value) if self._key else value)
        if key is not None:
            self._votes[key] += 1
            self._example.setdefault(key, value)
        top, count = max(self._votes.items(), key=lambda item: item[1], default=(None, 0))
        if 2 * count > self._n:
            why = f"majority: {count} of {self._n}"
            return Step(decision=Decision(self._example[top], why, by=event.branch), done=True)
        if 2 * (count + self._pending) <= self._n:
            why = f"no majority: at most {count + self._pending} of {self._n} agree"
            return Step(decision=Decision(UNDECIDED, why, by=event.branch), done=True)
        return NOTHING
