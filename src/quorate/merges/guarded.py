"""Veto and Guarded: guards that must all pass, and an answer held until they have.

Rules kept here and nowhere else:
1. Block > escalate > admit. One block settles it at once; an escalation settles it only when no undecided guard
   could still block; admission needs every guard.
2. A guard that fails, or is undecided when the time to decide is up, becomes what its `on_error` says. Nothing
   undecided ever reads as a pass.
3. Nothing the answer emits is released before admission, and the commit gate opens only with it.
4. A failure of the answer before the decision waits for the decision: a refusal is never an error. After
   admission it ends the run as failed and leaves the decision as it was.
5. Output guards judge the finished answer, and only what the other guards would let out: a refusal or escalation by
   those decides without them. With output guards nothing is released before the last of them has passed, and an
   answer that broke, which they cannot judge, never is.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Event, Expired, Failed, Queued, Started
from quorate.merges.base import NOTHING, Cancel, Decision, Start, Step

T = TypeVar("T")

Ruling = Literal["admit", "escalate", "block"]
OnError = Literal["allow", "escalate", "block"]
Admission = Literal["admit", "refuse", "escalate"]

DEADLINE = "deadline"
"""Whose `Expired` says that the whole run is out of time."""

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
        return in_time[0] if in_time else DEADLINE


@dataclass(frozen=True, slots=True)
class OutputGuards:
    """Guards of the finished answer, started by the merge on what it saw.

    Attributes:
        guards: their branch names, and what a failure of each means; at least one.
        review: makes their branches, one for each name, of all that the answer emitted and the value it returned.
    """

    guards: Mapping[str, OnError]
    review: Callable[[Sequence[Any], Any], Sequence[Branch[Any]]]


class Guarded(Generic[T]):
    """An answer beside its guards, held until every one of them has passed.

    Args:
        guards: as for `Veto`.
        answer: the branch whose output is held; the merge starts it itself.
        rule: as for `Veto`; reads the output guards' values too.
        speculate: start the answer beside the guards (True) or only after they have passed (False).
        decide_timeout_s: as for `Veto`. Output guards have their branches' own timeouts and the run's deadline.
        unenforced: as for `Veto`; output guards hold the answer all the same.
        output: guards of the finished answer; None lets it out as soon as `guards` have passed. With them the
            commit gate opens only after the answer has ended, so it must not wait for it.
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
        output: OutputGuards | None = None,
    ) -> None:
        self._input: Veto[T] = Veto(guards, rule=rule, decide_timeout_s=decide_timeout_s, unenforced=unenforced)
        self._output: Veto[T] | None = Veto(output.guards, rule=rule) if output is not None else None
        names = (*self._input.guards, *(self._output.guards if self._output is not None else ()), answer.name)
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise UsageError(f"the answer and a guard, or two guards, are both named {doubled!r}")
        self._review = output.review if output is not None else None
        self._answer = answer
        self._speculate = speculate
        self._held: list[Delta] = []
        self._ended: Answered | Failed | Cancelled | None = None
        self._passed = self._admitted = self._decided = False
        self._reviewed: Decision[Admission] | None = None

    def start(self) -> Step[Admission]:
        """Ask for the time to decide, and start the answer or, when not speculating, queue it."""
        step = self._input.start()
        if step.decision is not None:
            self._passed = True
            self._decided = self._admitted = self._output is None
            if self._output is not None:
                return Step(start=(Start(self._answer),))
            return Step(start=(Start(self._answer),), commit=(self._answer.name,), decision=step.decision)
        timer = step.expire_after_s
        # One that waits for admission is queued all the same: the timeline shows that it was never needed.
        return Step(timer, start=(Start(self._answer, 0.0 if self._speculate else math.inf),))

    def feed(self, event: Event) -> Step[Admission]:
        """Hold the answer; let it out, or drop it, when the guards have decided."""
        if self._decided and not self._admitted:
            return NOTHING
        if isinstance(event, Expired):
            return self._of_time(event)
        if event.branch == self._answer.name:
            return self._of_answer(event)
        if self._output is not None and event.branch in self._output.guards:
            return self._of_output(self._output.feed(event))
        return self._of_input(self._input.feed(event))

    def _of_time(self, event: Expired) -> Step[Admission]:
        step = self._of_input(self._input.feed(event))
        if self._output is None or event.branch != DEADLINE or self._decided:
            return step
        if isinstance(self._ended, Answered):
            return self._of_output(self._output.feed(event))
        # Guards passed and there is no whole answer: the run, not a guard, says what became of it.
        return self._admit() if self._passed else step

    def _of_input(self, step: Step[Admission]) -> Step[Admission]:
        if step.decision is None or self._decided:
            return step
        if step.decision.value != "admit":
            return self._drop(step.decision)
        self._passed = True
        if self._output is None or self._ended is not None:
            return self._settle()
        return NOTHING if self._speculate else Step(start=(Start(self._answer),))

    def _of_output(self, step: Step[Admission]) -> Step[Admission]:
        if step.decision is None or self._output is None:
            return step
        self._reviewed = step.decision
        if self._passed:
            return self._settle()
        # The guards' own rulings may still be stricter; what the others would say of the answer is settled.
        others = tuple(name for name in self._output.guards if name != step.decision.by)
        return Step(cancel=tuple(Cancel(name, step.decision.why) for name in others))

    def _of_answer(self, event: Event) -> Step[Admission]:
        if isinstance(event, Delta):
            if self._admitted:
                return Step(release=(event,))
            self._held.append(event)
        elif isinstance(event, Answered | Failed | Cancelled):
            self._ended = event
            if self._admitted:
                return Step(fail=self._failure(), done=True)
            if self._output is not None:
                return self._begin_review(event)
        return NOTHING

    def _begin_review(self, event: Answered | Failed | Cancelled) -> Step[Admission]:
        if not isinstance(event, Answered):
            return self._settle() if self._passed else NOTHING
        if self._output is None or self._review is None:
            return NOTHING
        branches = self._review(tuple(delta.value for delta in self._held), event.value)
        if sorted(branch.name for branch in branches) != sorted(self._output.guards):
            named = ", ".join(branch.name for branch in branches) or "none"
            raise UsageError(f"the review made branches {named}, not one for each of {', '.join(self._output.guards)}")
        return Step(start=tuple(map(Start, branches)))

    def _settle(self) -> Step[Admission]:
        """Decide, once the guards have passed: at once without a review, else by what it came to."""
        if self._output is None or isinstance(self._ended, Failed | Cancelled):
            return self._admit()
        if self._reviewed is None:
            return NOTHING
        return self._admit() if self._reviewed.value == "admit" else self._drop(self._reviewed)

    def _drop(self, decision: Decision[Admission]) -> Step[Admission]:
        self._decided = True
        name = self._answer.name
        dropped = Decision(decision.value, decision.why, decision.by, unused=(name,))
        return Step(cancel=(Cancel(name, decision.why),), decision=dropped, done=True)

    def _admit(self) -> Step[Admission]:
        self._decided = True
        whole = self._output is None or self._reviewed is not None
        self._admitted = whole
        held, self._held = tuple(self._held), []
        return Step(
            start=(Start(self._answer),) if self._output is None and not self._speculate else (),
            release=held if whole else (),
            discard=() if whole else held,
            commit=(self._answer.name,) if whole else (),
            decision=Decision("admit", "all guards passed" if whole else "the answer broke before it was judged"),
            fail=self._failure(),
            done=self._ended is not None,
        )

    def _failure(self) -> Exception | None:
        match self._ended:
            case Failed(error=error):
                return error if isinstance(error, Exception) else RunFailed(f"the answer broke: {error!r}")
            case Cancelled(why=why):
                return RunFailed(f"the answer was cancelled: {why}")
            case _:
                return None
