"""Drawn interleavings and branch scripts, shared by the law tests.

All drawn times are binary fractions, so that virtual time adds up exactly; each kind of time has its own offset,
so that no drawn case hangs on which of two simultaneous timers the loop happens to run first.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st

from quorate.engine import Run, abandoned_tasks, clock, observers
from quorate.events import (
    NO_USAGE,
    Answered,
    Branch,
    Cancelled,
    Context,
    Delta,
    Ended,
    Event,
    Expired,
    Failed,
    Queued,
    Started,
    Usage,
)
from quorate.merges import UNDECIDED, First, Majority, Merge, Quorum, Step
from quorate.testing.clock import run_virtual

PURE = settings(max_examples=150, deadline=None)
ENGINE = settings(max_examples=120, deadline=None)

Ending = Literal["answer", "fail", "hang", "late", "stubborn"]
STUBBORN_S = 1000.0
CLEAN_UP_S = 0.25
NEVER = float("inf")

ticks = st.integers(0, 8).map(lambda n: n / 4)
texts = st.text(alphabet="abé ", min_size=1, max_size=4)


def interleaved(queues: Sequence[Sequence[Any]]) -> st.SearchStrategy[list[Any]]:
    """Every merge of the queues that keeps the order within each of them."""
    labels = [i for i, queue in enumerate(queues) for _ in queue]

    def merged(order: Sequence[int]) -> list[Any]:
        left = [iter(queue) for queue in queues]
        return [next(left[i]) for i in order]

    return st.permutations(labels).map(merged)


def end_event(name: str, kind: str, value: Any = None) -> Ended:
    """A branch's end: "fail" and "cancel" are what they say, anything else answers `value`."""
    if kind == "fail":
        return Failed(name, 0.0, ValueError(f"{name} broke"))
    if kind == "cancel":
        return Cancelled(name, 0.0, "tried to")
    return Answered(name, 0.0, value)


def play(merge: Merge[Any], events: Sequence[Event]) -> list[Step[Any]]:
    """Feed events until the merge is done; one step for the start and one for each event that it saw."""
    steps = [merge.start()]
    for event in events:
        if steps[-1].done:
            break
        steps.append(merge.feed(event))
    return steps


def released(steps: Sequence[Step[Any]]) -> list[Delta]:
    return [delta for step in steps for delta in step.release]


@dataclass(frozen=True)
class Script:
    """What a branch does: says each text after its delay, then ends.

    "late" answers, but swallows a cancel and returns its value a moment later; "stubborn" ignores every cancel.
    """

    says: tuple[tuple[float, str], ...] = ()
    end_after_s: float = 0.0
    end: Ending = "answer"
    value: Any = None
    gated: bool = False

    @property
    def ends_s(self) -> float:
        """When it ends if nobody holds it up, in seconds from its start."""
        if self.end in ("hang", "stubborn"):
            return NEVER
        return sum(after for after, _ in self.says) + self.end_after_s

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.says)


def scripts(
    values: st.SearchStrategy[Any], *, ends: Sequence[Ending] = ("answer", "fail", "hang", "late", "stubborn")
) -> st.SearchStrategy[Script]:
    weighted = ["answer", "answer", *ends] if "answer" in ends else list(ends)
    says = st.lists(st.tuples(ticks, texts), max_size=4).map(tuple)
    return st.builds(Script, says, ticks, st.sampled_from(weighted), values, st.booleans())


@dataclass
class Stage:
    """Plays scripts as branches and notes what they did."""

    said: dict[str, str] = field(default_factory=dict)
    spent: dict[str, Usage] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    runs: dict[str, Script] = field(default_factory=dict)

    def branch(self, name: str, script: Script, *, timeout_s: float | None = None) -> Branch[Any]:
        async def work(context: Context, /) -> Any:
            self.runs[context.name] = script
            self._spend(context, Usage(calls=1))
            try:
                return await self._act(script, context)
            except asyncio.CancelledError:
                if script.end == "late":
                    await clock.sleep(CLEAN_UP_S)
                    return script.value
                if script.end != "stubborn":
                    raise
            while clock.now() < STUBBORN_S:
                try:
                    await clock.sleep(STUBBORN_S - clock.now())
                except asyncio.CancelledError:
                    continue
            return script.value

        return Branch(name, work, timeout_s)

    async def _act(self, script: Script, context: Context) -> Any:
        for after_s, text in script.says:
            await clock.sleep(after_s)
            self.said[context.name] = self.said.get(context.name, "") + text
            self._spend(context, Usage(output_tokens=len(text)))
            await context.emit(text)
        await clock.sleep(script.end_after_s)
        if script.gated:
            await context.committed()
            self.effects.append(context.name)
        if script.end == "fail":
            raise ValueError(f"{context.name} broke")
        if script.end in ("hang", "stubborn"):
            await asyncio.Event().wait()
        return script.value

    def _spend(self, context: Context, usage: Usage) -> None:
        self.spent[context.name] = self.spent.get(context.name, NO_USAGE) + usage
        context.spend(usage)


@dataclass
class Log:
    """An observer that keeps everything."""

    events: list[Event] = field(default_factory=list)
    runs: list[Run[Any]] = field(default_factory=list)

    def event(self, _run: Run[Any], event: Event, /) -> None:
        self.events.append(event)

    def ended(self, run: Run[Any], /) -> None:
        self.runs.append(run)

    def kinds(self, branch: str) -> list[str]:
        return [type(event).__name__ for event in self.events if event.branch == branch]


def check_nothing_left(run: Run[Any], stage: Stage, log: Log, allowed: set[asyncio.Task[Any]]) -> None:
    """Law 6, called right after the block: ends, usage, and no task but the deliberately stubborn."""
    abandoned = [span for span in run.timeline if span.abandoned]
    assert all(stage.runs[span.branch].end == "stubborn" for span in abandoned)
    assert len(asyncio.all_tasks() - allowed) == abandoned_tasks() == len(abandoned)
    assert log.runs == [run]
    for span in run.timeline:
        name, end = span.branch, run.ended[span.branch]
        ends = [event for event in log.events if isinstance(event, Ended) and event.branch == name]
        assert ends == [end]
        assert span.ended == type(end).__name__.lower()
        assert span.usage == end.usage == stage.spent.get(name, NO_USAGE)
        assert (span.started_s is not None) == (name in stage.runs)
        kinds = log.kinds(name)
        assert kinds[0] == "Queued"
        assert kinds[-1] == type(end).__name__
        assert kinds.count("Started") == (span.started_s is not None)


async def outlive_the_stubborn() -> None:
    """Wait until the deliberately stubborn have ended: the reaper must forget them."""
    await clock.sleep(max(0.0, STUBBORN_S + 1 - clock.now()))
    assert abandoned_tasks() == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


# What the full vote gives, said as plainly as possible, and when that is settled, by brute force.

MISSING = ("abstain", "fail", "cancel")
FAILS = "no answer"
RULINGS = ("admit", "escalate", "block")
ON_ERROR = {"allow": "admit", "escalate": "escalate", "block": "block"}

on_errors = st.sampled_from(tuple(ON_ERROR))


@dataclass(frozen=True)
class Rule:
    """A merge over `n` votes and the outcome on all of them; a vote is one of `sides` or None (missing)."""

    n: int
    sides: tuple[Any, ...]
    make: Callable[[], Merge[Any]]
    full: Callable[[tuple[Any, ...]], Any]

    def outcomes(self, votes: Sequence[Any]) -> set[Any]:
        """Every outcome that some completion of these votes gives."""
        return _outcomes(self.full, (*self.sides, None), tuple(sorted(votes, key=str)), self.n)


@lru_cache(maxsize=100_000)
def _outcomes(full: Callable[..., Any], sides: tuple[Any, ...], votes: tuple[Any, ...], n: int) -> set[Any]:
    rest = combinations_with_replacement(sides, n - len(votes))
    return {full((*votes, *more)) for more in rest}


@lru_cache
def quorum(k: int, n: int) -> Rule:
    def full(votes: tuple[Any, ...]) -> Any:
        if votes.count(True) >= k:
            return True
        return False if votes.count(True) + votes.count(None) < k else UNDECIDED

    return Rule(n, (True, False), lambda: Quorum(k, n), full)


@lru_cache
def majority(n: int) -> Rule:
    def full(votes: tuple[Any, ...]) -> Any:
        return next((side for side in "abc" if 2 * votes.count(side) > n), UNDECIDED)

    return Rule(n, tuple("abc"), lambda: Majority(n), full)


@lru_cache
def first(n: int) -> Rule:
    def full(votes: tuple[Any, ...]) -> Any:
        return "an answer" if "good" in votes else FAILS

    return Rule(n, ("good", "bad"), lambda: First(n, accept=lambda value: value == "good"), full)


rules = st.integers(1, 5).flatmap(
    lambda n: st.one_of(st.integers(1, n).map(lambda k: quorum(k, n)), st.just(majority(n)), st.just(first(n)))
)


@st.composite
def elections(draw: st.DrawFn) -> tuple[Rule, list[Any], list[Any]]:
    """A rule, the votes of all its branches, and their events in some order, deltas and starts between them."""
    rule = draw(rules)
    votes = draw(st.lists(st.sampled_from(rule.sides + MISSING), min_size=rule.n, max_size=rule.n))
    queues: list[list[Any]] = []
    for i, vote in enumerate(votes):
        noise = draw(st.lists(texts, max_size=2))
        value = None if vote == "abstain" else vote
        said = [Delta(f"b{i}", 0.0, text) for text in noise]
        queues.append([Queued(f"b{i}", 0.0), Started(f"b{i}", 0.0), *said, end_event(f"b{i}", str(vote), value)])
    expiries = [Expired("decide", 0.0)] * draw(st.integers(0, 1))
    counted = [None if vote in MISSING else vote for vote in votes]
    return rule, counted, draw(interleaved([*queues, expiries]))


@st.composite
def guard_events(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str], list[Any]]:
    """Guards' policies, what each comes to, and their events in some order with Expired at any point or never."""
    n = draw(st.integers(1, 4))
    policies = {f"g{i}": draw(on_errors) for i in range(n)}
    kinds = {name: draw(st.sampled_from((*RULINGS, "fail", "cancel"))) for name in policies}
    queues: list[list[Any]] = [[end_event(name, kind, kind)] for name, kind in kinds.items()]
    said = [Delta("answer", 0.0, text) for text in draw(st.lists(texts, max_size=4))]
    answer = [Started("answer", 0.0), *said, end_event("answer", draw(st.sampled_from(("ok", "fail", "cancel"))))]
    expiries = [Expired("decide", 0.0)] * draw(st.integers(0, 1))
    return policies, kinds, draw(interleaved([*queues, answer, expiries]))


def strictest(rulings: Sequence[str]) -> str:
    """Law 7, in one line: block > escalate > admit."""
    return {"block": "refuse"}.get(top := max(rulings, key=RULINGS.index), top)


# A run before its reader.


@dataclass(frozen=True)
class Reader:
    """Reads a delta each `read_s` and leaves after some, or (None) leaves at the decision; may be cancelled."""

    read_s: float | None = 0.0
    leave_after: int = 1000
    cancel_s: float = NEVER

    @property
    def stays(self) -> bool:
        """Whether it hears the run out."""
        return self.read_s is not None and self.leave_after == 1000 and self.cancel_s == NEVER


readers = st.builds(
    Reader,
    st.one_of(st.none(), ticks),
    st.sampled_from((1, 3, 1000, 1000)),
    st.one_of(st.just(NEVER), st.integers(0, 24).map(lambda n: n / 4 + 1 / 32)),
)
helds = st.sampled_from((1, 6, 1 << 20))


@dataclass
class Seen:
    """What a reader saw: deltas with their times, and how its reading ended."""

    read: list[tuple[float, Delta]] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def text(self) -> str:
        return "".join(delta.value for _, delta in self.read)


def perform(run: Run[Any], stage: Stage, reader: Reader) -> Seen:
    """Play a run to its reader in virtual time and check law 6 right after the block."""
    return run_virtual(_perform(run, stage, reader))


async def _perform(run: Run[Any], stage: Stage, reader: Reader) -> Seen:
    log, seen, main = Log(), Seen(), asyncio.current_task()
    observers.set((log,))

    async def read() -> None:
        try:
            async with run:
                if reader.read_s is None:
                    await run.decided()
                    return
                async for delta in run:
                    seen.read.append((clock.now(), delta))
                    if len(seen.read) >= reader.leave_after:
                        return
                    await clock.sleep(reader.read_s)
        finally:
            check_nothing_left(run, stage, log, {main, asyncio.current_task()})  # type: ignore[arg-type]

    task = asyncio.create_task(read())
    if reader.cancel_s < NEVER:
        asyncio.get_running_loop().call_later(reader.cancel_s, task.cancel)
    await asyncio.wait({task})
    seen.error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if isinstance(seen.error, AssertionError):
        raise seen.error
    await outlive_the_stubborn()
    return seen
