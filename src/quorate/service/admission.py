"""Who may run and who may wait when more requests come than can be worked on."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from quorate.engine import clock
from quorate.errors import LimitExceeded, UsageError

_FIRST_S = 1.0
"""What a request is taken to last before one has ended, in seconds."""
_SHARE = 0.1
_LEAST_S, _MOST_S = 1.0, 60.0


class Admission:
    """Room for so many requests at once and so many waiting; what comes beyond is an error at once.

    First come, first served within a key; freed room goes from key to key in turn, so a key that floods waits for
    itself. Where the queue is full, a request of a key that has less than its share of it takes the place of the
    newest one of the key that has the most.

    Args:
        max_running: requests at once.
        max_queued: requests that may wait.

    Attributes:
        running: requests that run.
        queued: requests that wait.
        service_s: what a request has lasted of late, in seconds; a moving mean.
        refused: how many were turned away.
    """

    def __init__(self, *, max_running: int, max_queued: int) -> None:
        if max_running < 1 or max_queued < 0:
            raise UsageError(f"admission needs max_running >= 1 and max_queued >= 0, got {max_running}, {max_queued}")
        self.max_running, self.max_queued = max_running, max_queued
        self.running = self.queued = self.refused = 0
        self.service_s = _FIRST_S
        self._measured = False
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns: deque[str] = deque()

    def room(self, key: str = "", *, deadline_s: float | None = None) -> "Room":
        """Room for one request; use as `async with admission.room(key):`.

        Args:
            key: whose request it is.
            deadline_s: when it gives up waiting, on the engine's clock; None waits as long as it takes.

        Raises:
            LimitExceeded: on entering: too many wait, or its deadline came; `retry_after_s` is what the queue takes.
        """
        return Room(self, key, deadline_s)

    @property
    def retry_after_s(self) -> float:
        """Seconds after which a new request would find room, going by what requests have lasted; from 1 to 60."""
        return min(max(self.service_s * (self.queued + 1) / self.max_running, _LEAST_S), _MOST_S)

    async def enter(self, key: str, deadline_s: float | None) -> None:
        """Take room, or wait for it; a cancel meanwhile takes none. Give it back with `leave`."""
        if self.running < self.max_running:
            self.running += 1
            return
        if self.queued >= self.max_queued:
            self._displace(key)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if key not in self._queues:
            self._queues[key] = deque()
            self._turns.append(key)
        self._queues[key].append(turn)
        self.queued += 1
        try:
            if deadline_s is None:
                await turn
            else:
                with clock.timeout(max(0.0, deadline_s - clock.now())):
                    await turn
        except BaseException as error:
            self._gave_up(key, turn)
            if isinstance(error, TimeoutError):
                raise self._full("it waited until its deadline") from None
            raise

    def leave(self, took_s: float) -> None:
        """Give the room back to whoever's turn it is; `took_s` is how long it was held, in seconds."""
        self.service_s += (took_s - self.service_s) * (_SHARE if self._measured else 1.0)
        self._measured = True
        self._pass_on()

    def _pass_on(self) -> None:
        while self._turns:
            key = self._turns.popleft()
            queue = self._queues[key]
            turn = queue.popleft()
            self.queued -= 1
            if queue:
                self._turns.append(key)
            else:
                del self._queues[key]
            if not turn.done():  # Else its caller was cancelled in this very moment.
                turn.set_result(None)
                return
        self.running -= 1

    def _gave_up(self, key: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._pass_on()  # The room came in the same moment.
            return
        queue = self._queues.get(key)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._shortened(key, queue)

    def _shortened(self, key: str, queue: deque[asyncio.Future[None]]) -> None:
        self.queued -= 1
        if not queue:
            del self._queues[key]
            self._turns.remove(key)

    def _displace(self, key: str) -> None:
        """Make place in a full queue for a key that has less than its share of it, or raise."""
        own = len(self._queues.get(key, ()))
        keys = len(self._queues) + (own == 0)
        if (own + 1) * keys <= self.max_queued:
            longest, queue = max(self._queues.items(), key=lambda item: len(item[1]))
            if len(queue) > own + 1:
                turn = queue.pop()
                self._shortened(longest, queue)
                if not turn.done():
                    turn.set_exception(self._full("its place was needed for another key"))
                return
        raise self._full("no place is left to wait")

    def _full(self, why: str) -> LimitExceeded:
        self.refused += 1
        return LimitExceeded(
            f"{self.running} requests run and {self.queued} wait already: {why}",
            retry_after_s=self.retry_after_s,
            which="queue",
        )


class Room:
    """The block of `Admission.room`."""

    __slots__ = ("_admission", "_deadline_s", "_key", "_start_s")

    def __init__(self, admission: Admission, key: str, deadline_s: float | None) -> None:
        self._admission, self._key, self._deadline_s = admission, key, deadline_s
        self._start_s = 0.0

    async def __aenter__(self) -> Self:
        await self._admission.enter(self._key, self._deadline_s)
        self._start_s = clock.now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.leave(clock.now() - self._start_s)
