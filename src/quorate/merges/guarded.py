"""Veto and Guarded: guards that must all pass, and an answer held until they have.

Rules kept here and nowhere else:
1. Block > escalate > admit. One block settles it at once; an escalation settles it only when no undecided guard
   could still block; admission needs every guard.
2. A guard that fails, or is undecided when the time to decide is up, becomes what its `on_error` says. Nothing
   undecided ever reads as a pass.
3. Nothing the answer emits is released before admission, and the commit gate opens only with it.
4. A failure of the answer before the decision waits for the decision: a refusal is never an error. After
   admission it ends the run as failed and leaves the decision as it was.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Generic, Literal, TypeVar

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Event, Expired, Failed, Queued, Started
from quorate.merges.base import NOTHING, Cancel, Decision, Start, Step

T = TypeVar("T")

Ruling = Literal["admit", "escalate", "block"]
OnError = Literal["allow", "escalate", "block"]
Admission = Literal["admit", "refuse", "escalate"]

DECIDE_TIMEOUT_S = 10.0
"""Default time to decide, in seconds: what a person at a chat window will still wait for."""

ON_ERROR: Mapping[OnError, Ruling] = {"allow": "admit", "escalate": "escalate", "block": "block"}
"""What a guard's failure rules."""


class Veto(Generic[T]):
    """All guards must pass; one block decides.

    Args:
        guards: the guards' branch names; a mapping says what a failure of each means (default "block").
        rule: reads a guard's value as "admit", "escalate" or "block"; anything else fails the run.
        decide_timeout_s: seconds from the start until undecided guards become their `on_error`.
        unenforced: allow that there is no guard at all; then everything is admitted at once.

    Attributes:
        guards: the guards' names.
    """

    def __init__(
        self,
        guards: Mapping[str, OnError] | Iterable[str],
        *,
        rule: Callable[[T], Ruling],
        decide_timeout_s: float = DECIDE_TIMEOUT_S,
        unenforced: bool = False,
    ) -> None:
        block: OnError = "block"
        on_error = guards if isinstance(guards, dict | Mapping) else dict.fromkeys(guards, block)
        if not on_error and not unenforced:
            raise UsageError("a veto needs at least one guard: without one, everything would be admitted")
        for name, value in on_error.items():
            if value not in ON_ERROR:
                raise UsageError(f"on_error of {name} must be one of {', '.join(ON_ERROR)}, not {value!r}")
        self._on_error: dict[str, Ruling] = {name: ON_ERROR[value] for name, value in on_error.items()}
        self.guards = tuple(self._on_error)
        self._rule = rule
        self._timeout_s = decide_timeout_s
        self._rulings: dict[str, Ruling] = {}
        self._expired: Set[str] = frozenset()
        self._settled = False

    def start(self) -> Step[Admission]:
        """Ask for the time to decide."""
        if not self._on_error:
            return Step(decision=Decision("admit", "nothing is enforced"), done=True)
        return Step(expire_after_s=self._timeout_s)

    def feed(self, event: Event) -> Step[Admission]:
        """Take a guard's end; decide as soon as it is settled."""
        name = event.branch
        match event:
            case Queued() | Started():
                return NOTHING
            case Expired():
                self._expired = self._on_error.keys() - self._rulings.keys()
                for late in self._expired:
                    self._rulings[late] = self._on_error[late]
            case Answered(value=value) if name in self._on_error:
                self._rulings.setdefault(name, self._ruled(name, value))
            case Failed() | Cancelled() if name in self._on_error:
                self._rulings.setdefault(name, self._on_error[name])
            case Delta() if name in self._on_error:
                return Step(discard=(event,))
            case _:
                return NOTHING
        return self._settle()

    def _ruled(self, name: str, value: T) -> Ruling:
        ruling = self._rule(value)
        if ruling not in ON_ERROR.values():
            raise UsageError(f"the rule read {name}'s value as {ruling!r}, which is no ruling")
        return ruling

    def _settle(self) -> Step[Admission]:
        if self._settled:
            return NOTHING
        rulings = self._rulings.values()
        if len(rulings) < len(self._on_error) and "block" not in rulings:
            return NOTHING
        self._settled = True
        blocking, doubtful = self._by("block"), self._by("escalate")
        decision: Decision[Admission]
        if blocking is not None:
            decision = Decision("refuse", f"blocked by {blocking}", by=blocking)
        elif doubtful is not None:
            decision = Decision("escalate", f"escalated by {doubtful}", by=doubtful)
        else:
            decision = Decision("admit", "all guards passed")
        return Step(decision=decision, done=True)

    def _by(self, ruling: Ruling) -> str | None:
        if ruling not in self._rulings.values():
            return None
        names = [name for name in self._on_error if self._rulings.get(name) == ruling]
        in_time = [name for name in names if name not in self._expired]
        return in_time[0] if in_time else "deadline"


class Guarded(Generic[T]):
    """An answer beside its guards, held until every one of them has passed.

    Args:
        guards: as for `Veto`.
        answer: the branch whose output is held; the merge starts it itself.
        rule: as for `Veto`.
        speculate: start the answer beside the guards (True) or only after admission (False).
        decide_timeout_s: as for `Veto`.
        unenforced: as for `Veto`.
    """

    def __init__(
        self,
        guards: Mapping[str, OnError] | Iterable[str],
        answer: Branch[object],
        *,
        rule: Callable[[T], Ruling],
        speculate: bool = True,
        decide_timeout_s: float = DECIDE_TIMEOUT_S,
        unenforced: bool = False,
    ) -> None:
        self._veto: Veto[T] = Veto(guards, rule=rule, decide_timeout_s=decide_timeout_s, unenforced=unenforced)
        if answer.name in self._veto.guards:
            raise UsageError(f"the answer and a guard are both named {answer.name!r}")
        self._answer = answer
        self._speculate = speculate
        self._held: list[Delta] = []
        self._ended: Answered | Failed | Cancelled | None = None
        self._admitted = False

    def start(self) -> Step[Admission]:
        """Ask for the time to decide, and start the answer or, when not speculating, queue it."""
        step = self._veto.start()
        if step.decision is not None:
            self._admitted = True
            return Step(start=(Start(self._answer),), commit=(self._answer.name,), decision=step.decision)
        timer = step.expire_after_s
        # One that waits for admission is queued all the same: the timeline shows that it was never needed.
        return Step(timer, start=(Start(self._answer, 0.0 if self._speculate else math.inf),))

    def feed(self, event: Event) -> Step[Admission]:
        """Hold the answer; let it out, or drop it, when the guards have decided."""
        if event.branch == self._answer.name and not isinstance(event, Expired):
            return self._of_answer(event)
        step = self._veto.feed(event)
        decision = step.decision
        if decision is None:
            return step
        name = self._answer.name
        if decision.value != "admit":
            dropped = Decision(decision.value, decision.why, decision.by, unused=(name,))
            return Step(cancel=(Cancel(name, decision.why),), decision=dropped, done=True)
        self._admitted = True
        held, self._held = tuple(self._held), []
        start = () if self._speculate else (Start(self._answer),)
        fail = self._failure()
        return Step(
            start=start,
            release=held,
            commit=(name,),
            decision=decision,
            fail=fail,
            done=self._ended is not None,
        )

    def _of_answer(self, event: Event) -> Step[Admission]:
        if isinstance(event, Delta):
            if self._admitted:
                return Step(release=(event,))
            self._held.append(event)
        elif isinstance(event, Answered | Failed | Cancelled):
            self._ended = event
            if self._admitted:
                return Step(fail=self._failure(), done=True)
        return NOTHING

    def _failure(self) -> Exception | None:
        match self._ended:
            case Failed(error=error):
                return error if isinstance(error, Exception) else RunFailed(f"the answer broke: {error!r}")
            case Cancelled(why=why):
                return RunFailed(f"the answer was cancelled: {why}")
            case _:
                return None
