"""The patterns; and what holds when they nest: cancelling, usage, timelines, observers."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from quorate.engine import Run, abandoned_tasks, clock, fan_out, observers, spend
from quorate.errors import DeadlineExceeded, RunFailed, UsageError
from quorate.events import Branch, Context, Ended, Usage, branch
from quorate.merges import UNDECIDED, Collect, EvaluateAll, First, Quorum, Race, Sections, Start, Veto
from quorate.patterns import Call, Emitter, all_of, decide, guarded, hedge, race, section, vote, work_off
from strategies import Log


def after(seconds: float, value: Any, *, calls: int = 1) -> Call[Any]:
    """A call that takes its time and gives a value, or raises it."""

    async def call() -> Any:
        spend(Usage(calls=calls))
        await clock.sleep(seconds)
        if isinstance(value, Exception):
            raise value
        return value

    return call


def saying(*texts: str, gap_s: float = 0.0, error: Exception | None = None) -> Emitter[str]:
    async def emit(context: Context) -> str:
        for text in texts:
            await clock.sleep(gap_s)
            await context.emit(text)
        if error is not None:
            raise error
        return "said"

    return emit


async def text_of(run: Run[Any]) -> str:
    return "".join([delta.value async for delta in run])


async def test_vote_is_by_majority_of_all() -> None:
    """By default more than half of all voters decide, as soon as they have."""
    voters = {"a": after(1, "x"), "b": after(2, "x"), "c": after(9, "y")}
    assert (await vote(voters), clock.now()) == ("x", 2)
    assert await vote({"a": after(1, "x"), "b": after(1, "y")}) is UNDECIDED
    with pytest.raises(UsageError):
        await vote({})


async def test_vote_by_another_rule() -> None:
    """A rule of the caller's takes the place of the majority; a failed voter votes for nobody."""
    voters = {"a": after(1, ValueError()), "b": after(2, False), "c": after(3, False), "d": after(9, True)}
    assert (await vote(voters, Quorum(3, 4)), clock.now()) == (False, 3)


async def test_a_vote_has_its_time() -> None:
    """A vote that is still open at its deadline fails."""
    with pytest.raises(DeadlineExceeded):
        await vote({"a": after(9, "x"), "b": after(9, "x")}, timeout_s=4)
    assert clock.now() == 4


async def test_section_streams_in_order() -> None:
    """All parts work at once and come out in their order."""
    async with section({"a": saying("1", "2", gap_s=2), "b": saying("3", gap_s=3)}) as run:
        assert await text_of(run) == "123"
        assert (await run.decided()).value.values == ("said", "said")
    assert clock.now() == 4


async def test_section_tries_again_and_marks() -> None:
    """A part has so many attempts, and then its mark stands in its place; without a mark the run fails."""
    tries: list[str] = []

    async def flaky(context: Context) -> str:
        tries.append(context.name)
        if len(tries) < 3:
            raise ValueError("flaky")
        return "third"

    async with section({"a": flaky}, attempts=3) as run:
        assert await text_of(run) == "third"
    assert tries == ["a", "a#2", "a#3"]
    tries.clear()
    parts = {"a": flaky, "b": saying("end")}
    async with section(parts, attempts=2, mark=lambda name, error: f"[{name}: {error}]") as run:
        assert await text_of(run) == "[a: flaky]end"
        assert (await run.decided()).value.failed == ("a",)
    async with section({"a": saying("1", error=ValueError("broke"))}, attempts=9) as run:
        assert (await anext(run)).value == "1"
        with pytest.raises(ValueError, match="broke"):
            await anext(run)


async def test_race_is_won_by_the_first_to_speak() -> None:
    """Whoever speaks first is heard to the end, though another answers before that."""
    async with race({"a": saying("x", "y", gap_s=2), "b": saying("z", gap_s=3)}) as run:
        assert await text_of(run) == "xy"
    assert (run.timeline["b"].why, run.timeline["b"].ended_s, run.timeline.decided_s) == ("a was first", 2, 4)


@pytest.mark.parametrize(
    ("latencies_s", "took_s", "calls"), [((1,), 1, 1), ((9, 1), 4, 2), ((4, 9), 4, 2), ((None, 2), 3, 2)]
)
async def test_hedge(latencies_s: tuple[float | None, ...], took_s: float, calls: int) -> None:
    """The second call goes out after its delay or with the first's failure, and the first answer counts."""
    begun: list[float | None] = []

    async def call() -> int:
        begun.append(seconds := latencies_s[len(begun)])
        await clock.sleep(seconds or 1)
        if seconds is None:
            raise ValueError
        return len(begun)

    assert await hedge(call, after_s=3) <= calls
    assert (clock.now(), len(begun)) == (took_s, calls)


async def test_hedge_fails_with_both() -> None:
    """A hedge whose calls both fail names both."""
    with pytest.raises(RunFailed, match="first: no; hedge: no"):
        await hedge(after(1, ValueError("no")), after_s=3)


@pytest.mark.parametrize(("speculate", "took_s"), [(True, 4.0), (False, 6.0)])
async def test_guarded_lets_out_what_passed(speculate: bool, took_s: float) -> None:
    """An answer beside its guards costs the longer of the two, one after them the sum; the text is the same."""
    guards = {"a": after(2, "admit"), "b": after(1, "admit")}
    async with guarded(guards, saying("x", "y", gap_s=2), rule=str, speculate=speculate) as run:  # type: ignore[arg-type]
        assert await text_of(run) == "xy"
        assert (await run.decided()).value == "admit"
    assert (clock.now(), run.timeline.decided_s, run.timeline["answer"].started_s) == (took_s, 2, took_s - 4)


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize(
    ("value", "policy", "decided"),
    [
        ("block", "allow", "refuse"),
        ("escalate", "allow", "escalate"),
        (ValueError(), None, "refuse"),
        (ValueError(), "escalate", "escalate"),
        (ValueError(), "allow", "admit"),
        ("never", "block", "refuse"),
        ("never", "allow", "admit"),
    ],
)
async def test_guarded_by_policy(speculate: bool, value: Any, policy: Any, decided: str) -> None:
    """A guard rules, or its policy does when it fails or is late; only an admitted answer says anything."""
    guards = {"a": after(99 if value == "never" else 1, value), "b": after(0, "admit")}
    on_error = {"a": policy} if policy else None
    run = guarded(
        guards,
        saying("x"),
        rule=str,  # type: ignore[arg-type]
        on_error=on_error,
        speculate=speculate,
        decide_timeout_s=3,
    )
    async with run:
        assert (await run.decided()).value == decided
        assert clock.now() == (3 if value == "never" else 1)
        assert await text_of(run) == ("x" if decided == "admit" else "")


async def test_a_guard_is_not_the_answer() -> None:
    """A guard of the answer's name is refused, as it could pass for it."""
    with pytest.raises(UsageError, match="both named 'answer'"):
        guarded({"answer": after(1, "admit")}, saying("x"), rule=str)  # type: ignore[arg-type]


# Runs within runs.


@pytest.mark.parametrize("ends", ["decided", "cancelled", "deadline"])
async def test_stopping_a_run_stops_all_under_it_and_says_why(ends: str) -> None:
    """Whatever ends a run reaches the branches of the runs nested in it, with the reason."""
    inner: list[Run[Any]] = []

    async def nest() -> None:
        inner.append(fan_out([branch("leaf", after(99, None))], Collect(1)))
        async with inner[0] as run:
            await run.decided()

    outer = fan_out([branch("nest", nest), branch("quick", after(2, None))], First(2), timeout_s=9)
    if ends == "deadline":
        outer = fan_out([branch("nest", nest)], First(1), timeout_s=2)

    async def caller() -> None:
        async with outer:
            await outer.decided()

    task = asyncio.create_task(caller())
    if ends == "cancelled":
        asyncio.get_running_loop().call_later(1, task.cancel)
    await asyncio.wait({task})
    assert task.cancelled() == (ends == "cancelled") and (ends != "deadline" or task.exception())
    why = {"decided": "quick answered first", "cancelled": "the caller was cancelled", "deadline": "deadline"}[ends]
    assert inner[0].outcome == "cancelled" and inner[0].timeline["leaf"].why == why
    assert outer.timeline["nest"].why == why and asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_nested_clean_up_gets_its_time() -> None:
    """The outer run waits for a clean-up in a nested one as the nested run does, and calls nobody abandoned."""
    cleaned: list[float] = []

    async def leaf(context: Context) -> None:
        try:
            await clock.sleep(99)
        finally:
            async with context.closing(5):
                await clock.sleep(4)
                cleaned.append(clock.now())

    async def nest() -> None:
        await decide([Branch("leaf", leaf)], Collect(1))

    async with fan_out([branch("nest", nest), branch("quick", after(1, None))], First(2)) as run:
        await run.decided()
    assert cleaned == [5] and abandoned_tasks() == 0 and not run.timeline["nest"].abandoned


async def test_cancelling_the_caller_stops_all_and_waits() -> None:
    """The caller's cancel ends the run as cancelled; a second one while it waits for clean-ups cuts none of them."""
    cleaned: list[float] = []

    async def work(_context: Context, /) -> None:
        try:
            await clock.sleep(9)
        finally:
            await clock.sleep(0.75)
            cleaned.append(clock.now())

    run = fan_out([Branch("a", work), branch("b", after(9, None))], Collect(2))

    async def caller() -> None:
        async with run:
            await run.decided()

    task = asyncio.create_task(caller())
    for at_s in (1, 1.5):
        asyncio.get_running_loop().call_later(at_s, task.cancel)
    await asyncio.wait({task})
    assert task.cancelled() and cleaned == [1.75] and abandoned_tasks() == 0
    assert run.outcome == "cancelled" and {span.why for span in run.timeline} == {"the caller was cancelled"}


async def test_usage_and_timelines_roll_up() -> None:
    """A branch's usage holds its nested runs', its span holds their timelines, and they name their parent."""

    async def nest() -> Any:
        spend(Usage(calls=1))
        return await vote({"x": after(1, 1, calls=2), "y": after(1, 1, calls=4), "z": after(9, 1, calls=8)})

    async with fan_out([branch("a", nest), branch("b", after(1, 1, calls=16))], Collect(2)) as run:
        await run.decided()
    (child,) = run.timeline["a"].children
    assert child.parent == (run.timeline.run_id, "a") and run.timeline.parent is None
    assert (child.usage.calls, run.timeline["a"].usage.calls, run.timeline.usage.calls) == (14, 15, 31)
    assert child.wasted.calls == run.timeline.wasted.calls == 8
    spend(Usage(calls=99))


async def test_the_timeline_tells_who_ran_when() -> None:
    """Queued, started, first said, ended, decided, what the decision waited for, and what was for nothing."""
    guards = {"fast": after(1, "admit", calls=2), "slow": after(3, "block", calls=4)}
    async with guarded(guards, saying("x", "y", gap_s=2), rule=str) as run:  # type: ignore[arg-type]
        await run.finished()
    times = {s.branch: (s.queued_s, s.started_s, s.first_s, s.ended_s, s.ended, s.why) for s in run.timeline}
    assert times == {
        "fast": (0, 0, None, 1, "answered", ""),
        "slow": (0, 0, None, 3, "answered", ""),
        "answer": (0, 0, 2, 3, "cancelled", "blocked by slow"),
    }
    assert (run.timeline.decided_s, run.timeline.ended_s, run.timeline.sequential_s) == (3, 3, 7)
    assert run.timeline.critical == ("slow",)
    assert [span.wasted for span in run.timeline] == [False, False, True]
    async with guarded({"g": after(1, "admit")}, saying("x", gap_s=5), rule=str) as run:  # type: ignore[arg-type]
        await run.finished()
    assert run.timeline.critical == ("g", "answer")
    with pytest.raises(KeyError):
        run.timeline["nobody"]


async def test_observers_see_all_runs_started_under_them() -> None:
    """Who watches is a context variable: nested runs are seen too, each event once, each run's end once and last."""
    log = Log()
    token = observers.set((log,))
    assert await vote({"a": lambda: vote({"x": after(1, 1)})}) == 1
    observers.reset(token)
    await vote({"unseen": after(1, 1)})
    assert [run.timeline.spans[0].branch for run in log.runs] == ["x", "a"]
    assert [event.branch for event in log.events if isinstance(event, Ended)] == ["x", "a"]
    assert log.kinds("x") == log.kinds("a") == ["Queued", "Started", "Answered"]


async def test_branches_share_no_context_variables() -> None:
    """A branch started on another's event sees its caller's variables, not the other's."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    variable.set("the caller's")
    seen: list[str] = []

    async def part(context: Context) -> None:
        seen.append(variable.get())
        variable.set(context.name)
        if context.name == "a":
            raise ValueError

    async with fan_out([Branch("a", part)], Sections("a", retry=lambda n, i: Branch(f"{n}#{i}", part))) as run:
        await run.decided()
    assert seen == ["the caller's"] * 2 and variable.get() == "the caller's"


async def test_audited_guards_may_say_what_they_like() -> None:
    """Under EvaluateAll a guard that still talks after the decision is not held up by its bound."""

    async def guard(context: Context) -> str:
        await saying(*"abcdef", gap_s=1)(context)
        return "admit"

    veto = Veto[Any](["a", "b"], rule=lambda ruling: ruling)
    branches = [branch("a", after(1, "block")), Branch("b", guard), branch("other", after(9, None))]
    async with fan_out(branches, EvaluateAll(veto, ["a", "b"]), held_bytes=1) as run:
        assert (await run.decided()).by == "a" and clock.now() == 1
        await run.finished()
    ends = {span.branch: (span.ended, span.ended_s) for span in run.timeline}
    assert ends == {"a": ("answered", 1), "b": ("answered", 6), "other": ("cancelled", 1)}


async def test_a_delayed_start_and_its_acceleration() -> None:
    """A late starter is queued at once and starts after its delay, or as soon as it is needed, or never."""
    times = []
    for first in (after(9, 1), after(2, ValueError()), after(2, 1)):
        late = Start(branch("late", after(1, 1)), 5.0)
        async with fan_out([branch("first", first)], Race(["first"], later=[late])) as run:
            await run.decided()
        span = run.timeline["late"]
        times.append((span.queued_s, span.started_s, run.timeline.decided_s, span.ended))
    assert times == [(0, 5, 6, "answered"), (0, 2, 3, "answered"), (0, None, 2, "cancelled")]


async def test_all_of_gives_every_value_in_the_order_asked_and_what_it_cost() -> None:
    """However they end; an error comes out once all others have ended."""
    values, timeline = await all_of({"slow": after(2.0, 1), "quick": after(1.0, 2, calls=3)})
    assert list(values.items()) == [("slow", 1), ("quick", 2)] and timeline.usage.calls == 4
    start_s = clock.now()
    with pytest.raises(ValueError, match="broke"):
        await all_of({"broken": after(1.0, ValueError("broke")), "slow": after(5.0, 1)})
    assert clock.now() - start_s == 5.0


async def test_work_off_does_so_many_at_once_and_every_item_once() -> None:
    """In the order given, whatever each takes; nothing to do costs nothing."""
    seen: list[int] = []
    under_way = most = 0

    async def work(item: int) -> None:
        nonlocal under_way, most
        seen.append(item)
        under_way += 1
        most = max(most, under_way)
        await after(1.0 + item % 3, None)()
        under_way -= 1

    usage = await work_off(range(10), work, concurrency=4)
    assert (seen, most, usage.calls) == (list(range(10)), 4, 10)
    assert (await work_off([], work, concurrency=4)).calls == 0
