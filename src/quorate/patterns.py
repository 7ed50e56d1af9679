"""The patterns by name: a few lines each over `fan_out`. They know callables only, never models or checks.

Every pattern cancels what no longer counts before it returns, and when its caller is cancelled, all of it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from itertools import count
from typing import Any, TypeVar, overload

from quorate.engine import TIMEOUT_S, Run, Timeline, fan_out
from quorate.errors import UsageError
from quorate.events import NO_USAGE, Branch, Context, Usage, branch
from quorate.merges import (
    DECIDE_TIMEOUT_S,
    UNDECIDED,
    Adaptive,
    Admission,
    Collect,
    Electorate,
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
Item = TypeVar("Item")

Call = Callable[[], Awaitable[T]]
Voter = Callable[[], Awaitable[T]] | Callable[[Any], Awaitable[T]]
Voters = Mapping[str, Voter[T]] | Sequence[Voter[T]] | Voter[T]
Rule = Merge[Any] | Callable[[int], Merge[Any]] | None
Emitter = Callable[[Context], Awaitable[T]]


async def decide(branches: Iterable[Branch[Any]], merge: Merge[R], *, timeout_s: float | None = TIMEOUT_S) -> R:
    """Run branches under a merge and return its decision's value.

    Raises:
        QuorateError: the run failed or ran out of time.
    """
    async with fan_out(branches, merge, timeout_s=timeout_s) as run:
        return (await run.decided()).value


async def all_of(calls: Mapping[str, Call[T]]) -> tuple[dict[str, T], Timeline]:
    """Make all calls at once, without a time limit; what they gave, and what that cost.

    Raises:
        Exception: what one of them raised, once all have ended.
    """
    branches = [branch(name, call, timeout_s=None) for name, call in calls.items()]
    async with fan_out(branches, Collect[T](len(branches)), timeout_s=None) as run:
        outcome = (await run.finished()).value
    for error in outcome.errors.values():
        raise error
    return {name: outcome.values[name] for name in calls}, run.timeline


async def work_off(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, concurrency: int) -> Usage:
    """Do the same work for every item, so many at once, in order of the items; what that cost.

    Raises:
        Exception: what the work raised for one of them, once all others are done.
    """
    queue = deque(items)

    async def worker() -> None:
        while queue:
            await work(queue.popleft())

    workers = {f"worker {i}": worker for i in range(1, min(concurrency, len(queue)) + 1)}
    return (await all_of(workers))[1].usage if workers else NO_USAGE


@overload
async def vote(
    question: Mapping[str, Call[T]], voters: None = None, *, timeout_s: float | None = TIMEOUT_S
) -> T | Undecided: ...


@overload
async def vote(question: Mapping[str, Call[T]], voters: Merge[R], *, timeout_s: float | None = TIMEOUT_S) -> R: ...


@overload
async def vote(
    question: Any,
    voters: Voters[T],
    *,
    rule: Rule = None,
    times: int = 1,
    spares: Voters[T] = (),
    least: int = 0,
    tie: Any = UNDECIDED,
    timeout_s: float | None = TIMEOUT_S,
) -> Any: ...


async def vote(
    question: Any,
    voters: Any = None,
    *,
    rule: Rule = None,
    times: int = 1,
    spares: Voters[Any] = (),
    least: int = 0,
    tie: Any = UNDECIDED,
    timeout_s: float | None = TIMEOUT_S,
) -> Any:
    """Ask several voters the same question and return what the rule makes of their votes.

    Short form: `vote(voters, merge)`, where each voter already knows what it is asked.

    Args:
        question: handed to each voter that takes an argument; may be anything.
        voters: async functions by name, in a sequence, or one alone: several prompts, several models, any mix.
        rule: a merge such as `Quorum(3, 5)`, or what makes one of the number of votes, such as `Majority` (the
            default) or `lambda n: Quorum(2, n)`. `Adaptive` asks the voters in turn, as often as it wants.
        times: how often each voter is asked; the same prompt several times.
        spares: voters that take the place of one that failed or abstained, in this order; one that votes already is
            asked again.
        least: so many votes must be given, or the vote is undecided.
        tie: what an undecided vote returns; a name of yours for it.
        timeout_s: seconds until the vote fails with `DeadlineExceeded`; also those of each voter.

    Raises:
        UsageError: there is no voter, or two have one name.
        QuorateError: the run failed or ran out of time.
    """
    if voters is None or hasattr(voters, "feed"):
        question, voters, rule = None, question, voters
    async with poll(
        question, voters, rule=rule, times=times, spares=spares, least=least, tie=tie, timeout_s=timeout_s
    ) as run:
        return (await run.decided()).value


def poll(
    question: Any,
    voters: Voters[Any],
    *,
    rule: Rule = None,
    times: int = 1,
    spares: Voters[Any] = (),
    least: int = 0,
    tie: Any = UNDECIDED,
    timeout_s: float | None = TIMEOUT_S,
) -> Run[Any]:
    """A `vote` as a run: for its decision's reason, its timeline and cost, and what a last branch writes.

    Arguments and errors are those of `vote`.
    """
    named = _named(voters)
    merge: Any = (rule or Majority)(len(named) * times) if rule is None or callable(rule) else rule
    calls = list(named.items())

    def ask(i: int) -> Branch[Any]:
        name, voter = calls[i % len(calls)]
        again = i // len(calls) + 1
        return branch(name if again == 1 else f"{name}#{again}", _asking(voter, question), timeout_s=timeout_s)

    if isinstance(merge, Adaptive):
        if times != 1 or spares or least:
            raise UsageError("Adaptive asks as often as it wants: set its own cap and least, and no spares")
        return fan_out((), Electorate(merge.asking(ask), (), tie=tie), timeout_s=timeout_s)
    branches = [ask(i) for i in range(len(calls) * times)]
    seats = [each.name for each in branches]
    extra: list[Branch[Any]] = []
    for name, call in _named(spares).items():
        taken = {*seats, *(each.name for each in extra)}
        free = next(label for i in count(1) if (label := name if i == 1 else f"{name}#{i}") not in taken)
        extra.append(branch(free, _asking(call, question), timeout_s=timeout_s))
    return fan_out(branches, Electorate(merge, seats, spares=extra, least=least, tie=tie), timeout_s=timeout_s)


def _named(voters: Voters[Any]) -> dict[str, Callable[..., Awaitable[Any]]]:
    if isinstance(voters, Mapping):
        return dict(voters)
    named: dict[str, Callable[..., Awaitable[Any]]] = {}
    for i, voter in enumerate([voters] if callable(voters) else voters, 1):
        name = getattr(voter, "__name__", "<")
        if name.startswith("<") or name in named:
            name = f"voter {i}"
        named[name] = voter
    return named


def _asking(voter: Callable[..., Awaitable[Any]], question: Any) -> Callable[[], Awaitable[Any]]:
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    needs = any(p.kind in kinds and p.default is Parameter.empty for p in signature(voter).parameters.values())
    return partial(voter, question) if needs else voter


def section(
    parts: Mapping[str, Emitter[Any]],
    *,
    attempts: int = 1,
    mark: Callable[[str, BaseException], Any] | None = None,
    timeout_s: float | None = TIMEOUT_S,
) -> Run[Stitched]:
    """Work on independent parts at once; iterate the run for their output in order.

    The bare pattern; `quorate.section` divides, retries, reuses and stitches on top of it.

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
