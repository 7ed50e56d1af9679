"""Race: the first branch to speak wins, and its output is passed through."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Cancelled, Delta, Event, Failed
from quorate.merges.base import NOTHING, Cancel, Decision, Start, Step

T = TypeVar("T")


class Race(Generic[T]):
    """Lets branches run against each other; the first to emit or answer wins and the others are cancelled.

    A branch that fails before it spoke drops out, and with it the wait of those that were to start later. The
    winner's failure is the run's: what it said may be out already.

    Args:
        names: the branches that the run starts with.
        later: branches that join after a delay (a hedge), unless the race is over by then.
    """

    def __init__(self, names: Iterable[str], *, later: Iterable[Start] = ()) -> None:
        self._racing = list(names)
        self._later = tuple(later)
        self._racing += [start.branch.name for start in self._later]
        if not self._racing:
            raise UsageError("a race needs at least one branch")
        self._winner: str | None = None
        self._errors: list[str] = []

    def start(self) -> Step[T]:
        """Line up the late starters."""
        return Step(start=self._later)

    def feed(self, event: Event) -> Step[T]:
        """Crown the first to speak; release what it says; decide with its answer."""
        match event:
            case Delta(branch=name) if self._winner in (None, name):
                return Step(release=(event,), commit=(name,), cancel=self._crown(name))
            case Delta():
                return Step(discard=(event,))
            case Answered(branch=name, value=value) if self._winner in (None, name):
                return Step(decision=Decision(value, f"{name} was first", by=name), done=True)
            case Failed(branch=name, error=error) | Cancelled(branch=name, why=error):
                return self._dropped(name, error)
            case _:
                return NOTHING

    def _crown(self, name: str) -> tuple[Cancel, ...]:
        if self._winner is not None:
            return ()
        self._winner = name
        return tuple(Cancel(other, f"{name} was first") for other in self._racing if other != name)

    def _dropped(self, name: str, error: BaseException | str) -> Step[T]:
        if self._winner is not None:
            if name != self._winner:
                return NOTHING
            failure = error if isinstance(error, Exception) else RunFailed(f"{name}: {error}")
            return Step(fail=failure, done=True)
        self._racing.remove(name)
        self._errors.append(f"{name}: {error}")
        if not self._racing:
            return Step(fail=RunFailed("every branch failed: " + "; ".join(self._errors)), done=True)
        later = tuple(Start(s.branch) for s in self._later if s.branch.name in self._racing)
        self._later = ()
        return Step(start=later)
