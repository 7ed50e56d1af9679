"""`fan_out` and `Run`: start branches, feed their events to a merge, do what its steps say.

Rules:
1. `feed` is called synchronously, in the task where the event happened. No pump, no queue, and never waiting for
   the reader; an event that happens inside a step is fed right after it.
2. Each branch is cancelled alone, once. The caller's own task is never cancelled.
3. Leaving the block leaves nothing behind: branches have ended, or ignored their cancel and were handed to the
   reaper, which is counted and shown.
4. What a step releases is readable at once; what it does not release never is.
"""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from quorate.engine.alarm import Alarm
from quorate.engine.arm import NOBODY, Arm, Common, current, size_of
from quorate.engine.timeline import Timeline
from quorate.errors import DeadlineExceeded, RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Ended, Event, Expired, Failed, Queued
from quorate.merges.base import EVERY, NOTHING, Decision, Merge, Step

R = TypeVar("R")

TIMEOUT_S = 60.0
"""Default time for a whole run, in seconds."""
GRACE_S = 1.0
"""Default time that a cancelled branch gets to clean up, in seconds."""
HELD_BYTES = 1 << 20
"""Default bound of what one branch may have held or unread, in bytes."""

Outcome = Literal["running", "done", "failed", "cancelled", "abandoned"]
_ids = itertools.count(1)
_ENDS = frozenset((Answered, Failed, Cancelled))


class Observer(Protocol):
    """Watches runs: store, telemetry, progress. It must be quick and must not raise."""

    def event(self, run: "Run[Any]", event: Event, /) -> None:
        """Called for each event, before the merge sees it."""

    def ended(self, run: "Run[Any]", /) -> None:
        """Called once, when the run has left nothing behind."""


observers: ContextVar[tuple[Observer, ...]] = ContextVar("quorate_observers", default=())
"""Who watches the runs started from here; wiring sets it."""


def fan_out(
    branches: Iterable[Branch[Any]],
    merge: Merge[R],
    *,
    timeout_s: float | None = TIMEOUT_S,
    grace_s: float = GRACE_S,
    held_bytes: int = HELD_BYTES,
) -> "Run[R]":
    """Run branches at once under a merge.

    Args:
        branches: what starts at once; the merge may start more.
        merge: a fresh merge; it decides what is released, cancelled and decided.
        timeout_s: seconds until the run ends as failed with `DeadlineExceeded`; None for no deadline.
        grace_s: seconds that cancelled branches get to end when the block is left, and a branch after its timeout.
        held_bytes: bytes one branch may have held or unread before its `emit` waits.

    Returns:
        An async context manager. Inside the block, iterate it for what is released (as `Delta`s), and await
        `decided()` for the outcome. The iteration ends when nothing more will be released; leaving the block before
        that cancels what still runs, and after it waits for what the merge lets run on.

    Raises:
        UsageError: two branches share a name.
    """
    return Run(tuple(branches), merge, timeout_s=timeout_s, grace_s=grace_s, held_bytes=held_bytes)


class Run(Generic[R]):
    """One fan-out. Made by `fan_out`; entering it starts the branches.

    Attributes:
        outcome: "running", then "done", "failed", "cancelled" (the caller was) or "abandoned" (the caller left).
        decision: the merge's decision, or None before it.
        error: what the run failed with, or None.
        ended: how each branch ended, by name.
        timeline: who ran when; complete once the block is left.
    """

    def __init__(
        self,
        branches: tuple[Branch[Any], ...],
        merge: Merge[R],
        *,
        timeout_s: float | None,
        grace_s: float,
        held_bytes: int,
    ) -> None:
        self.outcome: Outcome = "running"
        self.decision: Decision[R] | None = None
        self.error: Exception | None = None
        self.ended: dict[str, Ended] = {}
        self.timeline = Timeline(f"run-{next(_ids)}")
        self._branches = branches
        self._merge = merge
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._held_bytes = held_bytes
        self._arms: dict[str, Arm] = {}
        self._live = 0
        self._inbox: deque[Event] | None = None
        self._out: deque[Delta] | None = None
        self._deadline_s = self._expire_s = math.inf
        self._feeding = False
        self._commit_every = False
        self._waiters: list[asyncio.Future[None]] = []
        self._observers: tuple[Observer, ...] = ()
        self._parent: Arm | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._start_s = self.timeline.start_s = self._loop.time()
        self._observers = observers.get()
        self._variables = copy_context()
        self._alarm = Alarm(self._variables, held=True)
        run_id = self.timeline.run_id
        self._common = Common(
            self, self._loop, self._start_s, self._alarm, self._variables, run_id, self._held_bytes, self._grace_s
        )
        self._parent = parent = current.get()
        if parent is not None:
            self.timeline.parent = (parent.common.run_id, parent.name)
        if self._timeout_s is not None:
            self._deadline_s = self._start_s + self._timeout_s
            self._alarm.at(self._deadline_s, self)
        self._feeding = True  # The merge starts before it is fed.
        try:
            for branch in self._branches:
                self._add(branch).launch()
            self._do(self._merge.start())
        except BaseException:
            self._end("failed", "the run could not start")
            self._alarm.release()
            await self._join()
            raise
        self._drain()
        self._alarm.release()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cut: asyncio.CancelledError | None = None
        try:
            while error is None and self.outcome == "running" and self.timeline.closed_s is not None:
                await self._change()
        except asyncio.CancelledError as late:
            error = cut = late
        if self.outcome == "running":
            if isinstance(error, asyncio.CancelledError):
                above = self._parent.cancel_why if self._parent is not None else None
                self._end("cancelled", above or "the caller was cancelled")
            else:
                self._end("abandoned", "abandoned by the caller")
        try:
            # A task that was cancelled before its first step has no live branch any more, but still takes that step.
            if self._live or any(arm.task is not None and not arm.task.done() for arm in self._arms.values()):
                await self._join()
        finally:
            self._close()
        if cut is not None:
            raise cut

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while True:
            if self._out:
                delta = self._out.popleft()
                self._arms[delta.branch].freed(size_of(delta.value))
                return delta
            if self.outcome != "running" or self.timeline.closed_s is not None:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            await self._change()

    def ready(self) -> list[Delta]:
        """Take all that was released and not read yet, without waiting."""
        found, self._out = list(self._out or ()), None
        for delta in found:
            self._arms[delta.branch].freed(size_of(delta.value))
        return found

    async def decided(self) -> Decision[R]:
        """Wait for the decision, not for the end of the run.

        Raises:
            QuorateError: the run ended without one; `DeadlineExceeded` where its time was up.
        """
        while self.decision is None:
            if self.outcome != "running":
                raise self.error or RunFailed(f"the run was {self.outcome} before it was decided")
            await self._change()
        return self.decision

    async def finished(self) -> Decision[R]:
        """Wait for the end of the run. What is released must be read meanwhile, or its branch waits.

        Raises:
            QuorateError: the run failed, before or after its decision.
        """
        while self.outcome == "running":
            await self._change()
        if self.error is not None:
            raise self.error
        return await self.decided()

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _add(self, branch: Branch[Any]) -> Arm:
        if branch.name in self._arms:
            raise UsageError(f"two branches of one run are named {branch.name!r}")
        now_s = self._loop.time()
        arm = Arm(branch, now_s, self._common)
        if self._commit_every:
            arm.commit()
        self._arms[branch.name] = arm
        self.timeline.spans.append(arm.span)
        self._live += 1
        self.feed(Queued(branch.name, now_s))
        return arm

    def feed(self, event: Event, /) -> None:
        """Take an event from a branch, at once and in its task. For the engine's own use."""
        if type(event) in _ENDS:
            self._live -= 1
            self.ended[event.branch] = event  # type: ignore[assignment]
        if self._feeding:
            self._inbox = self._inbox if self._inbox is not None else deque()
            self._inbox.append(event)
            return
        self._feeding = True
        self._take(event)
        self._drain()

    def _drain(self) -> None:
        while self._inbox:
            self._take(self._inbox.popleft())
        self._feeding = False
        if not self._live:
            if self.decision is not None:
                self._end("done", "all ended")
            elif self.outcome == "running":
                self._fail(RunFailed("every branch has ended and the merge has not decided"), "undecided")
            self._wake()

    def _take(self, event: Event) -> None:
        if self._observers:
            self._tell("event", event)
        if self.outcome != "running":
            return
        try:
            step = self._merge.feed(event)
            if step is not NOTHING:
                self._do(step, cause=event.branch)
        except Exception as error:
            failure = RunFailed(f"the merge broke on {type(event).__name__} of {event.branch}: {error!r}")
            failure.__cause__ = error
            self._out = None
            self._fail(failure, "the merge broke")

    def _do(self, step: Step[R], cause: str | None = None) -> None:
        if step.expire_after_s is not None:
            self._expire_s = self._loop.time() + step.expire_after_s
            self._alarm.at(self._expire_s, self)
        for start in step.start:
            arm = self._arms.get(start.branch.name) or self._add(start.branch)
            if start.after_s > 0:
                arm.launch_after(start.after_s)
            else:
                arm.launch()
        for delta in step.discard:
            self._arms[delta.branch].freed(size_of(delta.value))
        self._commit_every |= step.commit == EVERY
        for name in self._arms if step.commit == EVERY else step.commit:
            self._arms[name].commit()
        for cancel in step.cancel:
            self._arms[cancel.branch].cancel(cancel.why)
        if step.decision is not None:
            self._decide(step.decision, cause)
        if step.release:
            self._out = self._out if self._out is not None else deque()
            self._out.extend(step.release)
            self._wake()
        if step.fail is not None:
            self.error = self.error or step.fail
        if (step.closed or step.done) and self.timeline.closed_s is None:
            self.timeline.waited_for(cause)
            self.timeline.closed_s = self._loop.time() - self._start_s
            self._wake()
        if step.done:
            self._end("done", self.decision.why if self.decision is not None else "the run is over")

    def _decide(self, decision: Decision[R], cause: str | None) -> None:
        if self.decision is not None:
            raise UsageError("a merge decided twice")
        self.decision = decision
        self.timeline.decided_s = self._loop.time() - self._start_s
        self.timeline.waited_for(cause)
        for name in decision.unused:
            self._arms[name].span.wasted = True
        self._wake()

    def ring(self, now_s: float, /) -> None:
        """See whether the time to decide, or the run's own, is up. For the engine's own use."""
        if now_s >= self._expire_s and self.outcome == "running":
            self._expire_s = math.inf
            self.feed(Expired("decide", now_s))
        if now_s >= self._deadline_s and self.outcome == "running":
            self.feed(Expired("deadline", now_s))
            if self.timeline.closed_s is not None:
                self._end("done", "deadline")
            elif self.outcome == "running":
                self._fail(DeadlineExceeded(f"the run took longer than {self._timeout_s} s"), "deadline")
        self._wake()

    def _fail(self, error: Exception, why: str) -> None:
        self.error = self.error or error
        self._end("failed", why)

    def _end(self, outcome: Outcome, why: str) -> None:
        if self.outcome != "running":
            return
        self.outcome = "failed" if self.error is not None and outcome == "done" else outcome
        self.timeline.ended_s = self._loop.time() - self._start_s
        for arm in self._arms.values():
            arm.cancel(why)
        self._wake()

    async def _join(self) -> None:
        """Wait for what was cancelled, also when the caller is; hand to the reaper what does not end in time."""
        left_s = self._loop.time()
        cut: asyncio.CancelledError | None = None
        waiting = True
        while waiting:
            self._alarm.at(left_s + self._patience_s() if self._live else left_s, self)
            try:
                await self._change()
            except asyncio.CancelledError as error:
                cut = error
            waiting = self._live > 0 and self._loop.time() < left_s + self._patience_s()
        for arm in self._arms.values():
            if arm.live:
                arm.abandon()
        if cut is not None:
            raise cut

    def _patience_s(self) -> float:
        """Seconds to wait for what still runs; the run that this one is nested in waits as much longer."""
        patience_s = self._grace_s + max((arm.grace_s for arm in self._arms.values() if arm.live), default=0.0)
        if self._parent is not None:
            self._parent.grace_s = max(self._parent.grace_s, patience_s)
        return patience_s

    def _close(self) -> None:
        if self._parent is not None:
            self._parent.span.add(self.timeline)
        if self._observers:
            self._tell("ended")
        self._common.run = NOBODY
        for arm in self._arms.values():
            arm.let_go()
        self._alarm.close()
        self._branches = ()
        del self._merge

    def _tell(self, what: Literal["event", "ended"], *args: object) -> None:
        """Tell the observers; what they break goes to the loop's exception handler and is no part of the run."""
        for observer in self._observers:
            try:
                getattr(observer, what)(self, *args)
            except Exception as error:
                self._loop.call_exception_handler({"message": "a quorate observer raised", "exception": error})
