"""Electorate: what any vote may need around its rule: replacements, a quorum of votes given, a name for a tie."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from quorate.errors import UsageError
from quorate.events import Answered, Branch, Cancelled, Event, Failed
from quorate.merges.base import UNDECIDED, Decision, Merge, Start, Step
from quorate.merges.ends import abstained, pass_by

R = TypeVar("R")


class Electorate(Generic[R]):
    """Puts a rule in front of seats rather than voters.

    Exact where the rule is: it decides at the first event at which the outcome of the full vote is settled.

    Args:
        rule: decides from the votes; it knows seats by their first voters' names.
        seats: those names. What else the rule starts (a judge, a writer) is no voter, and neither replaced nor counted.
        spares: voters that are started one by one, in this order, for one that failed or abstained. A spare takes the
            seat, and with it the weight, of the voter it replaces.
        least: so many seats must have voted, or the vote is undecided whatever the rule says.
        tie: the outcome of an undecided vote.
        missing: whether an answer is no vote; by default None and `UNDECIDED` are none.

    Raises:
        UsageError: there are fewer than `least` seats, or a spare carries another voter's name.
    """

    def __init__(
        self,
        rule: Merge[R],
        seats: Iterable[str],
        *,
        spares: Sequence[Branch[Any]] = (),
        least: int = 0,
        tie: Any = UNDECIDED,
        missing: Callable[[Any], bool] = abstained,
    ) -> None:
        self._rule = rule
        self._seat = {name: name for name in seats}
        self._pending = len(self._seat)
        if not 0 <= least <= self._pending:
            raise UsageError(f"at least {least} of {self._pending} votes can never be had")
        names = [*self._seat, *(spare.name for spare in spares)]
        if len(set(names)) != len(names):
            raise UsageError("two voters have the same name")
        self._spares = list(reversed(spares))
        self._least, self._given = least, 0
        self._tie = tie
        self._missing = missing
        self._held: Decision[R] | None = None

    def start(self) -> Step[Any]:
        """Start as the rule does."""
        return self._rule.start()

    def feed(self, event: Event) -> Step[Any]:
        """Replace a missing vote while there is a spare; else let the rule count it. Hold its decision to `least`."""
        if isinstance(event, Answered | Failed | Cancelled) and event.branch in self._seat:
            gave = isinstance(event, Answered) and not self._missing(event.value)
            if not gave and self._spares:
                spare = self._spares.pop()
                self._seat[spare.name] = self._seat[event.branch]
                return Step(start=(Start(spare),))
            self._pending -= 1
            self._given += gave
            told: Event = replace(event, branch=self._seat[event.branch])
        else:
            told = event
        if self._held is not None:
            return self._settle(pass_by(event), event.branch)
        step = self._rule.feed(told)
        if step.decision is not None:
            by = event.branch if step.decision.by == told.branch else step.decision.by
            self._held = replace(step.decision, by=by)
        return self._settle(step, event.branch)

    def _settle(self, step: Step[Any], branch: str) -> Step[Any]:
        if step.fail is not None:
            return step
        held = self._held
        if held is not None and (self._given >= self._least or held.value is UNDECIDED):
            value = self._tie if held.value is UNDECIDED else held.value
            return step._replace(decision=replace(held, value=value), done=True)
        if self._given + self._pending < self._least:
            why = f"undecided: at most {self._given + self._pending} votes, {self._least} are needed"
            return Step(decision=Decision(self._tie, why, by=branch), done=True)
        return step if step.decision is None else step._replace(decision=None, done=False)
