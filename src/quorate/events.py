"""What flows between the engine and a merge: branches, events, usage. Pure data.

Rules: an event is frozen, carries the branch's name and the engine's monotonic time in seconds, and where it
ends a branch it carries the usage. A merge learns everything, time included, from events alone.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a branch has spent.

    Attributes:
        calls: requests sent to models.
        input_tokens: tokens read by models.
        output_tokens: tokens written by models.
        cost_usd: money in US dollars, 0 where no price is known.
        estimated: True as soon as any part of it is our estimate and not the server's own count; the usage of
            a call that was cut is always an estimate, because the server's count never arrives.
        cut_calls: how many of the calls were cut by a cancel before their end.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    estimated: bool = False
    cut_calls: int = 0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        if other is NO_USAGE:
            return self
        if self is NO_USAGE:
            return other
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
            self.estimated or other.estimated,
            self.cut_calls + other.cut_calls,
        )


NO_USAGE = Usage()


class Context(Protocol):
    """What the engine hands to a branch: its way to speak and to wait."""

    name: str

    async def emit(self, delta: Any, /) -> None:
        """Say something now. It is held until the merge releases it.

        Waits while more than the run's bound of this branch's output is held or unread.
        Raises CancelledError when the branch is cancelled meanwhile.
        """

    async def committed(self) -> None:
        """Wait until this branch may have side effects. On a refusal that never comes: it is cancelled.

        Raises CancelledError, gate open or not, once the branch is cancelled.
        """

    def spend(self, usage: Usage, /) -> None:
        """Add to the branch's usage; do it before the call ends, cancelled or not."""

    def closing(self, grace_s: float, /) -> AbstractAsyncContextManager[None]:
        """Bound a clean-up after a cancel: the run waits up to `grace_s` seconds for the block, then cuts it."""


class Work(Protocol[T_co]):
    """The callable of a branch."""

    def __call__(self, context: Context, /) -> Awaitable[T_co]:
        """Do the work. Raise to fail; let CancelledError pass."""


BRANCH_TIMEOUT_S = 30.0
"""Default time for one branch, in seconds."""


@dataclass(frozen=True, slots=True)
class Branch(Generic[T_co]):
    """One arm of a fan-out.

    Attributes:
        name: unique within its run.
        work: the async callable; gets a `Context`, returns the branch's value or raises.
        timeout_s: seconds from its start until it fails with `BranchTimeout`; None leaves it to the run.
    """

    name: str
    work: Work[T_co]
    timeout_s: float | None = BRANCH_TIMEOUT_S


def branch(name: str, call: Callable[[], Awaitable[T]], *, timeout_s: float | None = BRANCH_TIMEOUT_S) -> Branch[T]:
    """Make a branch of a callable that needs no context."""

    def work(_context: Context, /) -> Awaitable[T]:
        return call()

    return Branch(name, work, timeout_s)


@dataclass(frozen=True, slots=True)
class Queued:
    """The branch is known to the run and not yet started."""

    branch: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The branch's callable has begun."""

    branch: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Delta:
    """The branch said something; it is held until the merge releases it."""

    branch: str
    at_s: float
    value: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """The branch returned a value."""

    branch: str
    at_s: float
    value: Any
    usage: Usage = NO_USAGE


@dataclass(frozen=True, slots=True)
class Failed:
    """The branch broke: it raised, timed out, or was cancelled by somebody who is neither engine nor caller."""

    branch: str
    at_s: float
    error: BaseException
    usage: Usage = NO_USAGE


@dataclass(frozen=True, slots=True)
class Cancelled:
    """We stopped the branch; `why` says what made it pointless."""

    branch: str
    at_s: float
    why: str
    usage: Usage = NO_USAGE


@dataclass(frozen=True, slots=True)
class Expired:
    """The time that a merge asked for is up, or (`branch` is "deadline") the run's own."""

    branch: str
    at_s: float


Ended = Answered | Failed | Cancelled
Event = Queued | Started | Delta | Answered | Failed | Cancelled | Expired
