"""Policies as models around a model: Retry, Limit, Fallback, Hedge. Each is one line of composition."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence

from quorate.engine import clock
from quorate.errors import LimitExceeded, ModelError, ModelUnavailable, QuorateError, RunFailed, UsageError
from quorate.models import Emit, Model, Prompt, Reply, ToolCallDelta
from quorate.patterns import hedge


class _Watched:
    """An `emit` that remembers whether anything was said."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.spoke = False

    async def __call__(self, delta: str | ToolCallDelta) -> None:
        self.spoke = True
        await self._emit(delta)


class RetryBudget:
    """Bounds retries to a share of the calls, so that an outage is not multiplied.

    Every call earns `ratio` of a retry, up to `most`; every retry spends one. The token bucket of Finagle and
    gRPC's retry throttling.
    """

    def __init__(self, *, ratio: float = 0.2, most: float = 20.0) -> None:
        self._ratio, self._most = ratio, most
        self._tokens = most

    def earn(self) -> None:
        """Count a call."""
        self._tokens = min(self._most, self._tokens + self._ratio)

    def take(self) -> bool:
        """Whether one more retry is allowed; if so it is counted."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Retry:
    """Tries again what may succeed, only before the first delta, with full jitter.

    The wait before attempt n is uniform between 0 and min(cap_s, base_s * 2^(n-2)) seconds ("full jitter":
    M. Brooker, "Exponential Backoff And Jitter", AWS, 2015), and never less than the server's Retry-After; where
    that asks for more than `cap_s`, the error is raised at once.

    Args:
        model: who is asked.
        attempts: calls at most, the first included.
        base_s: seconds, the first wait's upper bound.
        cap_s: seconds, every wait's upper bound.
        budget: shared by the models of one upstream.
        rng: source of the jitter.
    """

    def __init__(
        self,
        model: Model,
        *,
        attempts: int = 3,
        base_s: float = 0.25,
        cap_s: float = 5.0,
        budget: RetryBudget | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._model = model
        self._attempts = attempts
        self._base_s, self._cap_s = base_s, cap_s
        self._budget = budget or RetryBudget()
        self._rng = rng or random.Random()

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Ask, and ask again; raises the last error when no attempt is left."""
        self._budget.earn()
        watched = _Watched(emit) if emit is not None else None
        attempt = 1
        while True:
            try:
                return await self._model.complete(prompt, watched)
            except ModelUnavailable as error:
                wait_s = self._rng.uniform(0, min(self._cap_s, self._base_s * 2 ** (attempt - 1)))
                wait_s = max(wait_s, error.retry_after_s or 0.0)
                attempt += 1
                spoke = watched is not None and watched.spoke
                if spoke or attempt > self._attempts or wait_s > self._cap_s or not self._budget.take():
                    raise
            await clock.sleep(wait_s)


class Limiter:
    """Room for so many calls at once and so many waiting; what comes beyond is an error at once.

    Args:
        max_running: calls at once.
        max_queued: calls that may wait for room.
    """

    def __init__(self, *, max_running: int = 1024, max_queued: int = 4096) -> None:
        if max_running < 1 or max_queued < 0:
            raise UsageError(f"a limiter needs max_running >= 1 and max_queued >= 0, got {max_running}, {max_queued}")
        self.max_running, self.max_queued = max_running, max_queued
        self.running = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """Calls that wait for room."""
        return len(self._queue)

    def take(self) -> bool:
        """Take room at once; False where there is none, as while others wait: it goes from one to the next."""
        if self.running < self.max_running:
            self.running += 1
            return True
        return False

    async def turn(self) -> None:
        """Wait for room and take it; a cancel meanwhile takes none. Raises `LimitExceeded` where too many wait."""
        if self.queued >= self.max_queued:
            raise LimitExceeded(f"{self.running} calls run and {self.queued} wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self.leave()  # The turn came in the same moment as the cancel: pass it on.
            raise

    def leave(self) -> None:
        """Give the room back, to whoever waits the longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # Else its caller was cancelled in this very moment and has not taken itself out yet.
                turn.set_result(None)  # The room goes from one to the next: `running` stays.
                return
        self.running -= 1


class Limit:
    """Lets a model be asked only while there is room.

    Put it inside `Retry`, so that a call waiting for its next attempt takes no room.
    """

    def __init__(self, model: Model, limiter: Limiter) -> None:
        self._model, self._limiter = model, limiter

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Wait for room, then ask; raises `LimitExceeded` where there is none even to wait."""
        limiter = self._limiter
        if not limiter.take():
            await limiter.turn()
        try:
            return await self._model.complete(prompt, emit)
        finally:
            limiter.leave()


class Fallback:
    """Asks the next model when one fails before its first delta. The reply says who answered."""

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise UsageError("a fallback needs at least one model")
        self._models = tuple(models)

    @property
    def name(self) -> str:
        """The first model's name."""
        return self._models[0].name

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Ask one after another; raises the last error."""
        watched = _Watched(emit) if emit is not None else None
        for model in self._models[:-1]:
            try:
                return await model.complete(prompt, watched)
            except ModelError:
                if watched is not None and watched.spoke:
                    raise
        return await self._models[-1].complete(prompt, emit)


class Hedge:
    """Sends an unstreamed call a second time when the first is late; the first reply wins, the other is cut.

    Streamed calls are passed through: their first delta may have been released.
    """

    def __init__(self, model: Model, *, after_s: float) -> None:
        self._model, self._after_s = model, after_s

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Ask once, and once more after `after_s` seconds; raises the first error where both fail."""
        if emit is not None:
            return await self._model.complete(prompt, emit)
        errors: list[QuorateError] = []

        async def call() -> Reply:
            try:
                return await self._model.complete(prompt)
            except QuorateError as error:
                errors.append(error)
                raise

        try:
            return await hedge(call, after_s=self._after_s, timeout_s=None)
        except RunFailed:
            if not errors:
                raise
            raise errors[0] from None  # Retry and Fallback go by its kind.
