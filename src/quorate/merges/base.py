"""The contract between a merge and the engine.

A merge is a pure state machine: events in, steps out. It owns every rule about *what* happens; the engine owns
*how*: it starts, releases, cancels and keeps the time, exactly as the step says and never on its own account.
A merge must not touch a clock, a task, a socket or a random number: then every interleaving can be tested.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from quorate.events import Branch, Delta, Ended, Event, Expired, Queued

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Undecided(Enum):
    """The named outcome of a vote that neither side can win any more: a tie, or too many missing votes."""

    UNDECIDED = "undecided"

    def __bool__(self) -> Literal[False]:
        """An undecided vote never reads as agreement."""
        return False


UNDECIDED: Final = Undecided.UNDECIDED

EVERY: Final = ("*",)
"""In `Step.commit`: every branch of the run, present and future."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[R_co]):
    """The outcome of a run; comes once and never changes.

    Attributes:
        value: what was decided.
        why: a few words for people: "blocked by threat", "quorum reached".
        by: the branch that settled it, "deadline", or None where all of them did.
        unused: branches whose answers do not count, whatever they had cost.
    """

    value: R_co
    why: str
    by: str | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Start this branch, `after_s` seconds from now; `math.inf` only queues it.

    Naming a branch that still waits starts it at once.
    """

    branch: Branch[Any]
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this branch; `why` stands in its end and in the timeline."""

    branch: str
    why: str


class Step(NamedTuple, Generic[R_co]):
    """What the engine does next, in the order of the fields.

    Attributes:
        expire_after_s: send one `Expired` event this many seconds from now.
        start: branches to start.
        release: deltas that go out to the reader, in this order.
        discard: deltas that nobody will read; they stop counting against the branch's bound.
        commit: names of branches that may have side effects from now on; `EVERY` for all.
        cancel: branches to stop.
        decision: the outcome, once.
        fail: the run has failed; a decision already made stays.
        closed: nothing more will be released: the reader is through, although branches may still run.
        done: the run is over: what still runs is stopped.
    """

    expire_after_s: float | None = None
    start: tuple[Start, ...] = ()
    release: tuple[Delta, ...] = ()
    discard: tuple[Delta, ...] = ()
    commit: tuple[str, ...] = ()
    cancel: tuple[Cancel, ...] = ()
    decision: Decision[R_co] | None = None
    fail: Exception | None = None
    closed: bool = False
    done: bool = False


NOTHING: Final[Step[Any]] = Step()


class Merge(Protocol[R_co]):
    """Decides a run from its events. One object serves one run."""

    def start(self) -> Step[R_co]:
        """Say what happens before the first event."""

    def feed(self, event: Event) -> Step[R_co]:
        """Take one event and say what happens next. Is not called again after a step with `done`."""


class EvaluateAll(Generic[R]):
    """Lets the named branches run to their ends after the decision, for tuning and audit.

    The decision, its moment and its author are those of the wrapped merge, and everything not named is still
    cancelled when it says so. The reader is through when the wrapped merge is done.

    Args:
        merge: what decides.
        keep: branches of the run that run to their ends.
        later: branches that run to their ends if the merge starts them.
    """

    def __init__(self, merge: Merge[R], keep: Iterable[str], *, later: Iterable[str] = ()) -> None:
        self._merge = merge
        self._running = set(keep)
        self._later = frozenset(later)
        self._keep = frozenset(self._running) | self._later
        self._others: set[str] = set()
        self._why = "the run is over"
        self._over = False

    def start(self) -> Step[R]:
        """Start as the wrapped merge does."""
        return self._kept(self._merge.start())

    def feed(self, event: Event) -> Step[R]:
        """Pass the event on until the wrapped merge is done, then only wait for the named branches."""
        if isinstance(event, Ended):
            self._running.discard(event.branch)
            self._others.discard(event.branch)
        elif isinstance(event, Queued):
            if event.branch not in self._keep:
                self._others.add(event.branch)
            elif event.branch in self._later:
                self._running.add(event.branch)
        if self._over:
            return Step(discard=(event,) if isinstance(event, Delta) else (), done=not self._running)
        return self._kept(self._merge.feed(event))

    def _kept(self, step: Step[R]) -> Step[R]:
        if step.decision is not None:
            self._why = step.decision.why
        if not step.done and not step.cancel:
            return step
        self._over = step.done
        cancel = tuple(c for c in step.cancel if c.branch not in self._keep)
        if step.done:
            cancel += tuple(Cancel(name, self._why) for name in sorted(self._others))
        closed = step.closed or step.done
        return step._replace(cancel=cancel, closed=closed, done=step.done and not self._running)


class Observed(EvaluateAll[R]):
    """Lets the named branches run beside a merge that never hears of them.

    They hold nothing, decide nothing and are not cancelled by the decision; the run ends when they have ended too.
    """

    def feed(self, event: Event) -> Step[R]:
        """Pass the event on, unless it is of a named branch."""
        if event.branch not in self._keep or isinstance(event, Expired):
            return super().feed(event)
        if isinstance(event, Delta):
            return Step(discard=(event,))
        if isinstance(event, Ended):
            self._running.discard(event.branch)
        return Step(done=True) if self._over and not self._running else NOTHING
