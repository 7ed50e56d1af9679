"""One branch at work: its task, its context, its end. Internal to the engine."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from quorate.engine.alarm import Alarm
from quorate.engine.timeline import Span
from quorate.errors import BranchTimeout, RunFailed
from quorate.events import Answered, Branch, Cancelled, Delta, Ended, Event, Failed, Started, Usage

current: ContextVar["Arm | None"] = ContextVar("quorate_current_arm", default=None)
"""The branch that the running code belongs to; nested runs and usage find their parent here."""


reaped: set[asyncio.Task[None]] = set()
"""Tasks of this process that ignored their cancellation and still run."""


def abandoned_tasks() -> int:
    """How many tasks of this process ignored their cancellation and still run."""
    return len(reaped)


def size_of(value: Any) -> int:
    """Bytes of a delta as back-pressure counts them: UTF-8 length of text, 64 for anything else."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    return len(value) if isinstance(value, bytes) else 64


def spend(usage: Usage) -> None:
    """Add to the usage of the branch that the caller runs in; outside of any run it is nobody's."""
    arm = current.get()
    if arm is not None:
        arm.spend(usage)


class Feeder(Protocol):
    """The run that an arm tells its events."""

    def feed(self, event: Event, /) -> None:
        """Take an event."""


class _Nobody:
    """Takes the events of an arm whose run is closed."""

    def feed(self, event: Event, /) -> None:
        pass


NOBODY = _Nobody()


@dataclass(slots=True)
class Common:
    """What the arms of one run share.

    Attributes:
        run: who is told their events; `NOBODY` once it is closed: without cycles nothing waits for the collector.
        loop: the event loop they run on.
        start_s: when the run began, in seconds on the engine's clock.
        alarm: the run's timer.
        variables: the caller's context variables.
        run_id: the run's name.
        bound: bytes that one of them may have held or unread.
        grace_s: seconds that one gets to end after its timeout.
    """

    run: Feeder
    loop: asyncio.AbstractEventLoop
    start_s: float
    alarm: Alarm
    variables: Context
    run_id: str
    bound: int
    grace_s: float


class Arm:
    """The engine's side of a branch, and the `Context` that its callable is given."""

    __slots__ = (
        "_committed",
        "_due_s",
        "_gate",
        "_room",
        "branch",
        "buffered",
        "cancel_why",
        "common",
        "grace_s",
        "name",
        "span",
        "task",
        "timed_out",
    )

    def __init__(self, branch: Branch[Any], now_s: float, common: Common) -> None:
        self.branch = branch
        self.name = branch.name
        self.common = common
        self.cancel_why: str | None = None
        self.timed_out = False
        self.grace_s = 0.0
        self.buffered = 0
        self.task: asyncio.Task[None] | None = None
        self._due_s = math.inf
        self._room: asyncio.Future[None] | None = None
        self._gate: asyncio.Future[None] | None = None
        self._committed = False
        self.span = Span(branch.name, now_s - common.start_s)

    @property
    def live(self) -> bool:
        """Whether it has not ended yet."""
        return self.span.ended is None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop, or has ended."""
        return not self.live or self.timed_out or self.cancel_why is not None

    def launch(self) -> None:
        """Start it, unless it was started or stopped before."""
        if self.task is not None or not self.live:
            return
        self._due_s = math.inf  # It may have been due to start later.
        if self.branch.timeout_s is not None:
            self._ring_after(self.branch.timeout_s)
        # The caller's variables, whoever's event it is that starts it: branches share no state.
        self.task = self.common.loop.create_task(
            self._main(), name=f"quorate:{self.name}", context=self.common.variables.copy()
        )

    def launch_after(self, seconds: float) -> None:
        """Start it `seconds` from now, unless it is started before."""
        if seconds < math.inf:
            self._ring_after(seconds)

    def ring(self, now_s: float, /) -> None:
        """Do what its time has come for: start, time out, or end a clean-up after a timeout that takes too long."""
        if now_s < self._due_s or not self.live:
            return
        if self.task is None:
            self.launch()
        elif self.timed_out:
            # A clean-up may have asked for more time meanwhile.
            limit_s = self._due_s + self.grace_s
            if now_s >= limit_s:
                self.abandon()
            else:
                self.common.alarm.at(limit_s, self)
        elif self.cancel_why is None:
            self.timed_out = True
            self.task.cancel("timeout")
            self._ring_after(self.common.grace_s)

    def _ring_after(self, seconds: float) -> None:
        self._due_s = self.common.loop.time() + seconds
        self.common.alarm.at(self._due_s, self)

    def cancel(self, why: str) -> None:
        """Ask it to stop; only the first call counts."""
        if not self.live or self.cancel_why is not None:
            return
        self.cancel_why = why
        if self.task is not None and not self.timed_out:
            self.task.cancel(why)
        if self.span.started_s is None:
            # A task that has not taken its first step never reaches our handler.
            self._end(Cancelled(self.name, self.common.loop.time(), why, self.span.usage))

    def abandon(self) -> None:
        """Write it off: it ignored its cancellation. The reaper counts its task until that ends."""
        if self.task is not None:
            reaped.add(self.task)
            self.task.add_done_callback(reaped.discard)
        self.span.abandoned = True
        self._end(self._stopped("; ignored its cancellation"))

    def let_go(self) -> None:
        """Drop what it refers to, once its run is closed: without cycles nothing waits for the garbage collector."""
        self.task = self._room = self._gate = None

    def commit(self) -> None:
        """Open its gate."""
        self._committed = True
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def freed(self, size: int) -> None:
        """Count bytes as no longer held or unread."""
        self.buffered -= size
        if self._room is not None and self.buffered < self.common.bound and not self._room.done():
            self._room.set_result(None)

    async def emit(self, delta: Any, /) -> None:
        """Say something; see `quorate.events.Context`."""
        if self.stopping:
            raise asyncio.CancelledError(self.cancel_why)
        at_s = self.common.loop.time()
        if self.span.first_s is None:
            self.span.first_s = at_s - self.common.start_s
        self.buffered += size_of(delta)
        self.common.run.feed(Delta(self.name, at_s, delta))
        while self.buffered >= self.common.bound:
            if self._room is None or self._room.done():
                self._room = self.common.loop.create_future()
            await asyncio.shield(self._room)

    async def committed(self) -> None:
        """Wait for the gate; see `quorate.events.Context`."""
        if self.stopping:
            raise asyncio.CancelledError(self.cancel_why)
        if not self._committed:
            if self._gate is None:
                self._gate = self.common.loop.create_future()
            await asyncio.shield(self._gate)

    def spend(self, usage: Usage, /) -> None:
        """Add to its usage."""
        self.span.usage = self.span.usage + usage

    @asynccontextmanager
    async def closing(self, grace_s: float) -> AsyncIterator[None]:
        """Bound a clean-up after a cancel; see `quorate.events.Context`."""
        self.grace_s = max(self.grace_s, grace_s)
        async with asyncio.timeout(grace_s):
            yield

    async def _main(self) -> None:
        current.set(self)
        start_s = self.common.loop.time()
        self.span.started_s = start_s - self.common.start_s
        self.common.run.feed(Started(self.name, start_s))
        try:
            value = await self.branch.work(self)
        except asyncio.CancelledError:
            self._end(self._stopped())
        except Exception as error:
            self._end(self._stopped() if self.timed_out else self._failed(error))
        except BaseException as error:
            self._end(self._failed(error))
            raise
        else:
            late = self.timed_out or self.cancel_why is not None
            usage = self.span.usage
            self._end(self._stopped() if late else Answered(self.name, self.common.loop.time(), value, usage))

    def _failed(self, error: BaseException) -> Ended:
        if self.cancel_why is not None:
            return Cancelled(self.name, self.common.loop.time(), self.cancel_why, self.span.usage)
        return Failed(self.name, self.common.loop.time(), error, self.span.usage)

    def _stopped(self, how: str = "") -> Ended:
        if self.cancel_why is not None:
            return Cancelled(self.name, self.common.loop.time(), self.cancel_why + how, self.span.usage)
        if self.timed_out:
            return self._failed(BranchTimeout(f"{self.name} took longer than {self.branch.timeout_s} s{how}"))
        return self._failed(RunFailed(f"{self.name} was cancelled by neither the engine nor the caller"))

    def _end(self, event: Ended) -> None:
        span = self.span
        if span.ended is not None:
            return
        span.ended_s = event.at_s - self.common.start_s
        match event:
            case Answered():
                span.ended = "answered"
            case Cancelled(why=why):
                span.ended, span.why, span.wasted = "cancelled", why, True
            case Failed(error=error):
                span.ended, span.why, span.wasted = "failed", str(error) or type(error).__name__, True
        self.common.run.feed(event)
