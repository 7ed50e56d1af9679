"""The engine in virtual time: back-pressure, the commit gate, time, failure, stopping.

Nesting and the timeline are in tests/test_patterns.py, lanes of threads in tests/test_clock.py.
"""

import asyncio
import gc
import math
import weakref
from typing import Any

import pytest

from quorate.engine import Run, abandoned_tasks, clock, fan_out
from quorate.errors import BranchTimeout, DeadlineExceeded, RunFailed, UsageError
from quorate.events import Answered, Branch, Context, Event, Failed
from quorate.merges import (
    NOTHING,
    Cancel,
    Collect,
    Decision,
    First,
    Guarded,
    Quorum,
    Sections,
    Start,
    Step,
)


def speaker(name: str, *texts: str, gap_s: float = 0.0, end_s: float = 0.0) -> Branch[str]:
    """Says each text after a gap, then answers its name."""

    async def work(context: Context, /) -> str:
        for text in texts:
            await clock.sleep(gap_s)
            await context.emit(text)
        await clock.sleep(end_s)
        return name

    return Branch(name, work, None)


def sleeper(name: str, seconds: float, value: Any = "admit") -> Branch[Any]:
    async def work(_context: Context, /) -> Any:
        await clock.sleep(seconds)
        return value

    return Branch(name, work, None)


def stubborn(name: str, until_s: float = 50.0) -> Branch[None]:
    async def work(_context: Context, /) -> None:
        while clock.now() < until_s:
            try:
                await clock.sleep(until_s - clock.now())
            except asyncio.CancelledError:
                continue

    return Branch(name, work, None)


def guarded(answer: Branch[Any], *, guards: tuple[str, ...] = ("guard",)) -> Guarded[Any]:
    return Guarded(guards, answer, rule=lambda ruling: ruling)


async def text_of(run: Run[Any], *, gap_s: float = 0.0) -> str:
    text = ""
    async for delta in run:
        text += delta.value
        await clock.sleep(gap_s)
    return text


class Scripted:
    """A merge that answers the first event of a kind and branch with the step it was given."""

    def __init__(self, **steps: Step[Any]) -> None:
        self.steps = steps

    def start(self) -> Step[Any]:
        return self.steps.pop("start", NOTHING)

    def feed(self, event: Any) -> Step[Any]:
        return self.steps.pop(f"{event.branch}_{type(event).__name__}".lower(), NOTHING)


DONE: Step[Any] = Step(decision=Decision("done", "scripted"), done=True)


# Back-pressure.


async def test_emit_waits_while_its_output_is_held() -> None:
    """A branch may run ahead of its guards by its bound and no further; admission lets it go on."""
    run = fan_out([sleeper("guard", 5)], guarded(speaker("answer", *"abcdef")), held_bytes=3)
    async with run:
        await clock.sleep(4)
        assert run._arms["answer"].buffered == 3
        assert await text_of(run) == "abcdef"
        assert clock.now() == 5


async def test_emit_waits_for_the_reader() -> None:
    """What is released and unread counts as held; each delta that is read makes room for the next."""
    async with fan_out([speaker("a", *"abcd")], Collect(1), held_bytes=1) as run:
        assert await text_of(run, gap_s=1) == "abcd"
        assert (run.timeline["a"].ended_s, run.timeline.ended_s) == (3, 3)


async def test_what_is_ready_is_taken_at_once_and_counts_as_read() -> None:
    """All that was released and not read comes in order, without waiting; its room is free; then there is none."""
    async with fan_out([speaker("a", *"abcdef")], Collect(1), held_bytes=3) as run:
        first = await anext(run)
        await clock.sleep(1)
        assert [first.value, *(delta.value for delta in run.ready())] == ["a", "b", "c", "d"]
        assert run.ready() == []
        assert await text_of(run) == "ef"


async def test_text_counts_in_bytes_and_anything_else_flat() -> None:
    """Back-pressure counts UTF-8 bytes of text, bytes as they are, and 64 for other things, lone surrogates too."""

    async def work(context: Context, /) -> None:
        for value in ("é", b"abc", {"any": "thing"}, "\ud800"):
            await context.emit(value)

    async with fan_out([Branch("a", work)], Collect(1)) as run:
        await run.finished()
        assert run._arms["a"].buffered == 2 + 3 + 64 + 3


async def test_later_sections_fill_their_bound_and_do_not_block_the_first() -> None:
    """Parts that wait for room wait for their turn only: the text comes out whole, however small the bound."""
    parts = [speaker("a", "1", "2", gap_s=3), speaker("b", *"xxxxxx"), speaker("c", *"yyyyyy")]
    async with fan_out(parts, Sections("abc"), held_bytes=2) as run:
        assert await text_of(run) == "12xxxxxxyyyyyy"
        assert run.outcome == "done"


async def test_a_slow_reader_delays_neither_decision_nor_refusal() -> None:
    """Events reach the merge while the reader is elsewhere."""
    run = fan_out([sleeper("guard", 1, "block")], guarded(speaker("answer", *"abc", gap_s=2)), held_bytes=1)
    async with run:
        await clock.sleep(20)
        assert await text_of(run) == ""
    assert run.timeline.decided_s == run.timeline["answer"].ended_s == 1


# The commit gate.


@pytest.mark.parametrize(("ruling", "happens"), [("admit", [3.0]), ("block", []), ("escalate", [])])
async def test_side_effects_wait_for_admission(ruling: str, happens: list[float]) -> None:
    """`committed()` returns at admission; on anything else the branch is cancelled while it waits."""
    effects: list[float] = []

    async def work(context: Context, /) -> None:
        await context.committed()
        await context.committed()
        effects.append(clock.now())

    async with fan_out([sleeper("guard", 3, ruling)], guarded(Branch("answer", work))) as run:
        await run.finished()
    assert effects == happens


async def test_a_retried_part_may_commit_too() -> None:
    """A gate opened for every branch is open for those that start later."""

    async def work(context: Context, /) -> str:
        if context.name == "a":
            raise ValueError
        await context.committed()
        return "ok"

    async with fan_out([Branch("a", work)], Sections("a", retry=lambda n, i: Branch(f"{n}#{i}", work))) as run:
        assert await text_of(run) == "ok"


async def test_who_was_cancelled_neither_speaks_nor_commits() -> None:
    """After its cancel a branch that goes on gets CancelledError from `emit` and from an open gate."""
    got: list[str] = []

    async def work(context: Context, /) -> None:
        try:
            await clock.sleep(9)
        finally:
            for call in (context.emit("late"), context.committed()):
                try:
                    await call
                except asyncio.CancelledError as error:
                    got.append(str(error))

    async with fan_out(
        [Branch("a", work), sleeper("b", 1)], Scripted(start=Step(commit=("a",)), b_answered=DONE)
    ) as run:
        assert await text_of(run) == ""
    assert got == ["scripted", "scripted"]


# Time.


async def test_a_branch_has_its_own_time() -> None:
    """A branch fails with BranchTimeout when its time is up, and whatever it then returns comes too late."""

    async def late(_context: Context, /) -> str:
        try:
            await clock.sleep(9)
        except asyncio.CancelledError:
            await clock.sleep(0.5)
        return "late"

    slow = [Branch("a", sleeper("a", 9).work, 2), Branch("b", late, 2)]
    async with fan_out(slow, Collect(2)) as run:
        got = (await run.decided()).value
    assert {name: type(error) for name, error in got.errors.items()} == {"a": BranchTimeout, "b": BranchTimeout}
    assert [span.ended_s for span in run.timeline] == [2, 2.5]


async def test_a_branch_that_ignores_its_timeout_fails_all_the_same() -> None:
    """It gets the run's grace, then it has failed and is the reaper's; the run does not wait for its deadline."""
    merge: Quorum[Any] = Quorum(2, 2)
    async with fan_out([Branch("a", stubborn("a").work, 2), sleeper("b", 1)], merge, timeout_s=None) as run:
        assert (await run.decided()).why == "undecided: 1 yes, 0 no, 1 missing of 2"
    span = run.timeline["a"]
    assert (span.ended, span.ended_s, span.abandoned, abandoned_tasks()) == ("failed", 3, True, 1)
    assert isinstance(run.ended["a"], Failed)
    await clock.sleep(60)
    assert abandoned_tasks() == 0


async def test_cleaning_up_after_a_timeout_is_not_cancelled_again() -> None:
    """Each branch is cancelled once: the end of the run leaves a clean-up that a timeout began alone."""
    cleaned: list[float] = []

    async def work(context: Context, /) -> None:
        try:
            await clock.sleep(9)
        finally:
            async with context.closing(3):
                await clock.sleep(2)
                cleaned.append(clock.now())

    async with fan_out([Branch("a", work, 1), sleeper("b", 2)], First(2)) as run:
        await run.decided()
        assert clock.now() == 2
    assert cleaned == [3] and not run.timeline["a"].abandoned


async def test_deadline_before_the_decision() -> None:
    """An undecided run fails with DeadlineExceeded, for whoever waits and whoever reads."""
    async with fan_out([sleeper("a", 9)], Collect(1), timeout_s=4) as run:
        for wait in (run.decided(), run.finished(), text_of(run)):
            with pytest.raises(DeadlineExceeded):
                await wait
    assert (run.outcome, run.timeline.ended_s, run.ended["a"].why) == ("failed", 4, "deadline")  # type: ignore[union-attr]


async def test_deadline_after_the_decision() -> None:
    """The decision stays; reading ends with DeadlineExceeded after what was released."""
    run = fan_out([sleeper("guard", 1)], guarded(speaker("answer", "a", "b", gap_s=3)), timeout_s=4)
    got = []
    async with run:
        with pytest.raises(DeadlineExceeded):
            async for delta in run:
                got.append(delta.value)
        assert (await run.decided()).value == "admit"
    assert got == ["a"] and run.outcome == "failed"


async def test_the_deadline_decides_guards_first() -> None:
    """A run whose time is up refuses, if that is what its undecided guards come to, and is then no failure."""
    async with fan_out([sleeper("guard", 9)], guarded(speaker("answer", "x")), timeout_s=2) as run:
        assert (await run.decided()).value == "refuse"
    assert run.outcome == "done" and run.error is None


# Failure.


async def test_a_cancel_of_nobody_knows_whom_is_a_failure() -> None:
    """A CancelledError that neither engine nor caller caused fails its branch and nothing else."""

    async def work(_context: Context, /) -> None:
        raise asyncio.CancelledError

    async with fan_out([Branch("a", work), sleeper("b", 1)], Collect(2)) as run:
        got = (await run.decided()).value
    assert "neither the engine nor the caller" in str(got.errors["a"]) and got.values == {"b": "admit"}


async def test_a_merge_that_breaks_releases_nothing() -> None:
    """An exception in a merge fails the run, takes back what was not yet read, and cancels the branches."""

    class Broken(Collect[Any]):
        def feed(self, event: Any) -> Step[Any]:
            return Step(release=(event,), cancel=(Cancel("nobody", ""),)) if clock.now() > 1 else super().feed(event)

    async with fan_out([speaker("a", "x", "y", gap_s=1), sleeper("b", 9)], Broken(2)) as run:
        await clock.sleep(3)
        with pytest.raises(RunFailed, match="the merge broke on Delta of a: KeyError"):
            await anext(run)
    assert run.outcome == "failed" and run.timeline["b"].ended == "cancelled"


async def test_a_run_that_cannot_start_leaves_nothing() -> None:
    """Two branches of one name are refused before any of them did anything."""
    ran: list[str] = []

    async def work(context: Context, /) -> None:
        ran.append(context.name)

    with pytest.raises(UsageError, match="named 'a'"):
        async with fan_out([Branch("a", work), Branch("a", work)], Collect(2)):
            pass
    assert ran == [] and asyncio.all_tasks() == {asyncio.current_task()}


async def test_nobody_decides_nothing() -> None:
    """Without branches, or when all have ended undecided, the run has failed."""
    for branches in ([], [sleeper("a", 1)]):
        async with fan_out(branches, Scripted()) as run:
            with pytest.raises(RunFailed, match="has not decided"):
                await run.decided()
    twice = Scripted(a_started=Step(decision=Decision(1, "")), a_answered=Step(decision=Decision(2, "")))
    async with fan_out([sleeper("a", 1)], twice) as run:
        with pytest.raises(RunFailed, match="decided twice"):
            await run.finished()
        assert (await run.decided()).value == 1


async def test_an_error_after_release_comes_after_the_deltas() -> None:
    """A reader gets all that was released before it gets the error."""

    async def work(context: Context, /) -> None:
        await context.emit("a")
        await context.emit("b")
        raise ValueError("broke")

    got = []
    async with fan_out([sleeper("guard", 0)], guarded(Branch("answer", work))) as run:
        await clock.sleep(1)
        with pytest.raises(ValueError, match="broke"):
            async for delta in run:
                got.append(delta.value)
    assert got == ["a", "b"] and run.decision is not None and run.outcome == "failed"


# Stopping.


async def test_decided_does_not_wait_for_the_losers() -> None:
    """The decision is told before those it stops have cleaned up; leaving the block waits for them."""

    async def work(context: Context, /) -> None:
        try:
            await clock.sleep(9)
        finally:
            async with context.closing(5):
                await clock.sleep(4)

    async with fan_out([Branch("a", work), sleeper("b", 1)], First(2)) as run:
        await run.decided()
        assert (clock.now(), run.timeline["a"].ended) == (1, None)
    assert (clock.now(), run.timeline["a"].ended, run.timeline["a"].why) == (5, "cancelled", "b answered first")


@pytest.mark.parametrize(("asks_s", "ended_s"), [(None, 2.0), (3.0, 4.0)])
async def test_a_clean_up_is_cut_after_its_grace(asks_s: float | None, ended_s: float) -> None:
    """A clean-up gets the run's grace and then is abandoned, or as much as it asked for and then is cut."""

    async def work(context: Context, /) -> None:
        try:
            await clock.sleep(50)
        finally:
            async with context.closing(asks_s) if asks_s else asyncio.timeout(None):
                await clock.sleep(20)

    async with fan_out([Branch("a", work), sleeper("b", 1)], First(2)) as run:
        await run.decided()
    span = run.timeline["a"]
    assert (clock.now(), span.ended_s, span.abandoned) == (ended_s, ended_s, asks_s is None)
    await clock.sleep(60)
    assert abandoned_tasks() == 0


@pytest.mark.parametrize("grace_s", [0.0, 1.0])
async def test_who_ignores_its_cancel_is_the_reapers(grace_s: float) -> None:
    """After the grace it counts as abandoned, in its end, the timeline and the process, until it really ends."""
    branches = [stubborn("a"), sleeper("b", 1), sleeper("c", 9)]
    async with fan_out(branches, First(3), grace_s=grace_s) as run:
        await run.decided()
    assert clock.now() == 1 + grace_s and abandoned_tasks() == 1
    assert [span.branch for span in run.timeline if span.abandoned] == ["a"]
    assert run.ended["a"].why == "b answered first; ignored its cancellation"  # type: ignore[union-attr]
    await clock.sleep(60)
    assert abandoned_tasks() == 0


async def test_leaving_early_abandons_the_run() -> None:
    """A reader that walks away stops what runs, also what had not taken its first step, and leaves no task."""
    async with fan_out([speaker("a", "x", "y", gap_s=1)], Collect(1)) as run:
        async for _ in run:
            break
    assert (run.outcome, run.timeline["a"].why, clock.now()) == ("abandoned", "abandoned by the caller", 1)
    async with fan_out([sleeper("a", 9)], Collect(1)) as run:
        pass
    assert run.timeline["a"].started_s is None and asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(RunFailed, match="abandoned before it was decided"):
        await run.decided()


async def test_a_start_brought_forward_does_not_time_the_branch_out() -> None:
    """A branch started before its delay is over runs on when the delay would have been over."""

    async def work(_context: Context, /) -> str:
        await clock.sleep(3)
        return "whole"

    class Forward:
        def start(self) -> Step[str]:
            late = Branch("late", work, None)
            return Step(start=(Start(late, 1.0), Start(late)))

        def feed(self, event: Event) -> Step[str]:
            if not isinstance(event, Answered):
                return NOTHING
            return Step(decision=Decision(event.value, "whole"), done=True)

    async with fan_out([], Forward()) as run:
        assert (await run.decided()).value == "whole"


async def test_a_branch_that_is_only_queued_never_starts_by_itself() -> None:
    """However long the run takes, it waits for a step that starts it, and ends as never started without one."""

    class Waiting:
        def start(self) -> Step[str]:
            return Step(start=(Start(sleeper("later", 1), math.inf),))

        def feed(self, event: Event) -> Step[str]:
            if isinstance(event, Answered):
                return Step(decision=Decision("done", "the long one is done"), done=True)
            return NOTHING

    async with fan_out([sleeper("long", 1e7)], Waiting(), timeout_s=None) as run:
        await run.decided()
    later = run.timeline["later"]
    assert (later.started_s, later.ended, clock.now()) == (None, "cancelled", 1e7)


async def test_a_run_sets_one_timer_to_start_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline, the time to decide and every branch's timeout share it."""
    loop, set_at = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def counted(when: float, *args: Any, **context: Any) -> Any:
        set_at.append(when)
        return call_at(when, *args, **context)

    async def idle(_context: Context, /) -> str:
        return "admit"

    monkeypatch.setattr(loop, "call_at", counted)
    async with fan_out([Branch("guard", idle, 8.0)], guarded(Branch("answer", idle, 9.0)), timeout_s=20) as run:
        await run.finished()
    assert set_at == [8.0]


async def test_a_closed_run_waits_for_no_garbage_collector() -> None:
    """No cycle holds it: the last name that is dropped frees it."""
    gc.disable()
    try:
        async with fan_out([sleeper("a", 1), stubborn("b", 3)], First(2)) as run:
            await run.decided()
        seen = weakref.ref(run)
        del run
        assert seen() is None
    finally:
        gc.enable()
