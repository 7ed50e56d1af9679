"""A breaker: a model that is down is not asked again for a while, so that the next one is asked at once."""

from typing import Literal

from quorate.engine import clock
from quorate.errors import ModelError, ModelRefused, ModelUnavailable, RateLimited, UsageError
from quorate.models import Emit, Model, Prompt, Reply
from quorate.models.window import Window

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Opens after a share of failures and then fails at once, until a probe has succeeded.

    Put it around `Retry` and inside `Fallback`: `Fallback([Breaker(Retry(first)), Breaker(Retry(second))])`. While
    it is open a call costs nothing, so the next model has all of a check's time. A model that hangs counts only when
    its own timeout is up: set that below the check's.

    A failure is a model error: no connection, a 5xx, a timeout, a broken stream, a reply that is none. None are a
    request that was refused (4xx), a 429 (the server is there, and `Pace` sees to it), our own limits, and a cancel.

    Args:
        model: who is asked.
        share: opens when this share of the calls in the window failed.
        least: calls in the window below which it never opens.
        window_s: seconds that count.
        open_s: seconds until a probe is let through; doubled with each probe that fails.
        most_open_s: the longest of these waits, in seconds.

    Attributes:
        opened: how often it has opened, failed probes not counted.
    """

    def __init__(
        self,
        model: Model,
        *,
        share: float = 0.5,
        least: int = 5,
        window_s: float = 30.0,
        open_s: float = 5.0,
        most_open_s: float = 60.0,
    ) -> None:
        if not 0 < share <= 1 or least < 1 or min(window_s, open_s) <= 0:
            raise UsageError(
                "a breaker needs 0 < share <= 1, least >= 1, window_s > 0 and open_s > 0, "
                f"got {share}, {least}, {window_s}, {open_s}"
            )
        self._model = model
        self._share, self._least = share, least
        self._open_s, self._most_open_s = open_s, max(open_s, most_open_s)
        self._window = Window(window_s)
        self._wait_s = open_s
        self._until_s: float | None = None
        self._probing = False
        self._era = 0
        self.opened = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def state(self) -> BreakerState:
        """Closed: calls go through. Open: they fail at once. Half-open: one call probes, or the next one will."""
        if self._until_s is None:
            return "closed"
        return "half-open" if self._probing or clock.now() >= self._until_s else "open"

    @property
    def retry_after_s(self) -> float:
        """Seconds until a probe is let through; 0 where one may be, or nothing is held back."""
        return 0.0 if self._until_s is None else max(0.0, self._until_s - clock.now())

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Ask, unless it is open: then raises `ModelUnavailable` at once."""
        probe = self._until_s is not None
        if probe:
            if self._probing or clock.now() < (self._until_s or 0.0):
                raise ModelUnavailable(
                    f"{self.name} has failed too often and is not asked again yet", retry_after_s=self.retry_after_s
                )
            self._probing = True
        era = self._era
        # What ends by a cancel, or by a limit of ours, says nothing about the model.
        failed: bool | None = None
        try:
            reply = await self._model.complete(prompt, emit)
            failed = False
            return reply
        except (ModelRefused, RateLimited):
            failed = False
            raise
        except ModelError:
            failed = True
            raise
        finally:
            if probe:
                self._probed(failed)
            elif failed is not None and era == self._era:
                self._count(failed=failed)

    def _count(self, *, failed: bool) -> None:
        now_s = clock.now()
        self._window.add(now_s, first=1, second=failed)
        if not failed:
            return
        calls, failures = self._window.sums(now_s)
        if calls >= self._least and failures >= self._share * calls:
            self.opened += 1
            self._wait_s = self._open_s
            self._open(now_s)

    def _probed(self, failed: bool | None) -> None:
        self._probing = False
        if failed:
            self._wait_s = min(2 * self._wait_s, self._most_open_s)
            self._open(clock.now())
        elif failed is False:
            self._until_s = None
            self._window.clear()

    def _open(self, now_s: float) -> None:
        self._until_s = now_s + self._wait_s
        # What was asked before says nothing about the time after.
        self._era += 1
        self._window.clear()
