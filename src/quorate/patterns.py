"""The patterns by name: a few lines each over `fan_out`. They know callables only, never models or checks.

Every pattern cancels what no longer counts before it returns, and when its caller is cancelled, all of it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from quorate.engine import TIMEOUT_S, Run, fan_out
from quorate.events import Branch, Context, branch
from quorate.merges import (
    DECIDE_TIMEOUT_S,
    Admission,
    Guarded,
    Majority,
    Merge,
    OnError,
    Race,
    Ruling,
    Sections,
    Start,
    Stitched,
    Undecided,
)

T = TypeVar("T")
R = TypeVar("R")

Call = Callable[[], Awaitable[T]]
Emitter = Callable[[Context], Awaitable[T]]


async def decide(branches: Iterable[Branch[Any]], merge: Merge[R], *, timeout_s: float | None = TIMEOUT_S) -> R:
    """Run branches under a merge and return its decision's value.

    Raises:
        QuorateError: the run failed or ran out of time.
    """
    async with fan_out(branches, merge, timeout_s=timeout_s) as run:
        return (await run.decided()).value


async def vote(
    voters: Mapping[str, Call[T]],
    merge: Merge[R] | None = None,
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> R | T | Undecided:
    """Ask several voters the same question and return what the rule makes of their votes.

    Args:
        voters: async callables by name: one prompt several times, several prompts, several models, any mix.
        merge: the rule, such as `Quorum(k, n)`; by default a majority of all voters.
        timeout_s: seconds until the vote fails with `DeadlineExceeded`.
    """
    rule: Merge[Any] = merge if merge is not None else Majority(len(voters))
    value: R | T | Undecided = await decide(
        [branch(name, call, timeout_s=timeout_s) for name, call in voters.items()], rule, timeout_s=timeout_s
    )
    return value


def section(
    parts: Mapping[str, Emitter[Any]],
    *,
    attempts: int = 1,
    mark: Callable[[str, BaseException], Any] | None = None,
    timeout_s: float | None = TIMEOUT_S,
) -> Run[Stitched]:
    """Work on independent parts at once; iterate the run for their output in order.

    Args:
        parts: by name, in order; each may emit its text and returns its value.
        attempts: how often a part is tried while nothing of it was released.
        mark: what stands in the output for a part that failed for good; without it the run fails.
        timeout_s: seconds until the run fails with `DeadlineExceeded`.
    """

    def retry(name: str, attempt: int) -> Branch[Any] | None:
        return Branch(f"{name}#{attempt}", parts[name], timeout_s) if attempt <= attempts else None

    merge = Sections(list(parts), retry=retry, mark=mark)
    return fan_out([Branch(name, work, timeout_s) for name, work in parts.items()], merge, timeout_s=timeout_s)


def race(calls: Mapping[str, Emitter[T]], *, timeout_s: float | None = TIMEOUT_S) -> Run[T]:
    """Let callables run against each other; the first to speak wins, the others are cancelled."""
    return fan_out([Branch(name, work, timeout_s) for name, work in calls.items()], Race(calls), timeout_s=timeout_s)


async def hedge(call: Call[T], *, after_s: float, timeout_s: float | None = TIMEOUT_S) -> T:
    """Make the same call once more when the first has not answered after `after_s` seconds, or has failed.

    Send the second at about the 95th percentile of the call's latency: about 5 % more calls for most of the
    tail (Dean and Barroso, "The Tail at Scale", 2013).
    """
    late = Start(branch("hedge", call, timeout_s=timeout_s), after_s)
    merge: Race[T] = Race(["first"], later=[late])
    return await decide([branch("first", call, timeout_s=timeout_s)], merge, timeout_s=timeout_s)


def guarded(
    guards: Mapping[str, Call[T]],
    answer: Emitter[Any],
    *,
    rule: Callable[[T], Ruling],
    on_error: Mapping[str, OnError] | None = None,
    speculate: bool = True,
    decide_timeout_s: float = DECIDE_TIMEOUT_S,
    timeout_s: float | None = TIMEOUT_S,
) -> Run[Admission]:
    """Hold an answer behind guards that run beside it; iterate the run for what they let out.

    Args:
        guards: async callables by name.
        answer: emits the answer; what it does with side effects must wait for `context.committed()`.
        rule: reads a guard's value as "admit", "escalate" or "block".
        on_error: what a guard's failure means, by name; "block" where it is not given.
        speculate: start the answer beside the guards, or only after they have passed.
        decide_timeout_s: seconds until undecided guards become their `on_error`.
        timeout_s: seconds until the whole run fails with `DeadlineExceeded`.
    """
    policy: dict[str, OnError] = {name: (on_error or {}).get(name, "block") for name in guards}
    merge = Guarded(
        policy,
        Branch("answer", answer, timeout_s),
        rule=rule,
        speculate=speculate,
        decide_timeout_s=decide_timeout_s,
    )
    return fan_out(
        [branch(name, call, timeout_s=timeout_s) for name, call in guards.items()], merge, timeout_s=timeout_s
    )
