"""What the voting rules share: how a vote, or the lack of one, is read from an event."""

from fractions import Fraction
from typing import Any

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Cancelled, Delta, Event, Failed
from quorate.merges.base import NOTHING, UNDECIDED, Step


def at_least_one(n: int) -> int:
    """The size of an electorate.

    Raises:
        UsageError: it is empty.
    """
    if n < 1:
        raise UsageError(f"a merge needs at least one branch, got n={n}")
    return n


def abstained(value: Any) -> bool:
    """Whether a voter answered without voting: it gave None or `UNDECIDED`."""
    return value is None or value is UNDECIDED


def as_bool(value: Any) -> bool | None:
    """A value's truth, None where it abstains."""
    return None if abstained(value) else bool(value)


def end_of(event: Event) -> tuple[bool, Any, BaseException | None]:
    """Tell (ended, value, error) of an event."""
    match event:
        case Answered(value=value):
            return True, value, None
        case Failed(error=error):
            return True, None, error
        case Cancelled(why=why):
            return True, None, RunFailed(f"cancelled: {why}")
        case _:
            return False, None, None


def pass_by(event: Event) -> Step[Any]:
    """The step after an event that is no vote; a voter's text is for nobody to read."""
    return Step(discard=(event,)) if isinstance(event, Delta) else NOTHING


def exact(number: float) -> Fraction:
    """The decimal number that a float stands for, so that sums are the same in every order: 0.1 is one tenth.

    Raises:
        UsageError: it is infinite or not a number.
    """
    try:
        return Fraction(repr(float(number)))
    except ValueError as error:
        raise UsageError(f"found {number!r}, allowed is a finite number") from error
