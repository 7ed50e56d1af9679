"""How many calls at once a server takes: found out from its refusals, and from what its headers say before them.

Additive increase, multiplicative decrease, with the constants that Inspect publishes for its adaptive connections
(inspect_ai documentation, "Model Concurrency"): a step up of 5 % after a clean round, a cut to 80 % for each episode of
refusals, 15 s of rest after it. A refusal is a 429. A 5xx or a timeout is no reason to cut, but no reason to grow
either.

Of the rate-limit headers those of OpenAI's shape are read: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.
"""

import math
import re
from collections.abc import Mapping
from contextvars import Context

from quorate.engine import clock
from quorate.engine.alarm import Alarm
from quorate.errors import RateLimited, UsageError
from quorate.models.http import retry_after_s
from quorate.models.policies import Limiter

LEAST = 10
"""No cut goes below this many calls at once."""
GROWTH = 1.05
CUT = 0.8
REST_S = 15.0
"""Seconds after a cut without another one and without growth."""
PATIENCE_S = 5.0
"""A server that asks for a longer wait than this, in seconds, is unavailable: another model may be asked."""

MOST_PAUSE_S = 60.0
"""The longest pause that a Retry-After is believed, in seconds."""

_LIMIT, _RESET = "x-ratelimit-limit-", "x-ratelimit-reset-"
_LOW = 0.1
"""Share of its tokens below which a server gets fewer calls at once, in proportion."""
_DURATION = re.compile(
    r"(?:(\d{1,5})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,8}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_MOST_S = 86_400.0


class Aimd:
    """The decisions, without a clock: how many calls may run at once after what was seen.

    Args:
        most: where it starts, and what it never exceeds.
        start: where it starts instead; then it doubles with each clean round until the first refusal.

    Attributes:
        limit: calls at once.
        cuts: how often it was cut.
    """

    __slots__ = ("_clean", "_cut_s", "_doubling", "_least", "_most", "_rest_s", "cuts", "limit")

    def __init__(self, most: int, *, start: int | None = None) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self.limit = most if start is None else max(1, min(start, most))
        self._least = min(self._least, self.limit)
        self._doubling = True
        self._clean = 0
        self._cut_s = self._rest_s = -math.inf
        self.cuts = 0

    def good(self, sent_s: float, *, wanted: bool) -> None:
        """A call sent at `sent_s` went well; `wanted` tells whether more calls would run if they could.

        A round is as many good calls as may run at once, all sent after the last rest; it ends in a step up where
        the room was wanted.
        """
        if self.limit >= self._most or sent_s < self._rest_s:
            return
        self._clean += 1
        if self._clean >= self.limit and wanted:
            self._clean = 0
            grown = 2 * self.limit if self._doubling else max(self.limit + 1, int(self.limit * GROWTH))
            self.limit = min(self._most, grown)

    def refused(self, now_s: float, sent_s: float, *, running: int, wait_s: float) -> None:
        """The server said 429 to a call sent at `sent_s` while `running` ran, and asked for `wait_s` seconds.

        What was sent before a cut, or comes while it rests, belongs to the same episode and cuts nothing more.
        """
        self._clean = 0
        self._doubling = False
        if now_s >= self._rest_s and sent_s >= self._cut_s:
            # From what really ran: a limit that was never reached says nothing about the server.
            self.limit = max(self._least, int(CUT * min(self.limit, running)))
            self._cut_s = now_s
            self._rest_s = now_s + REST_S
            self.cuts += 1
        self._rest_s = max(self._rest_s, now_s + wait_s)

    def troubled(self) -> None:
        """A 5xx, a timeout or a lost connection: the round is not clean."""
        self._clean = 0


class Pace(Limiter):
    """A `Limiter` towards one upstream that gives way before, and when, the server complains.

    One for everything that a server counts together: as a rule a base URL and key. To a server that never complains
    it is the limiter alone. Whoever makes the HTTP call reports with `saw`.

    Where the headers say that fewer requests remain than may run, only so many run, and where none remain nobody
    starts until one is back, as far as the headers tell, and never longer than 5 s. After a 429 with Retry-After nobody
    starts before that. A wait of more than 5 s that the server asked for is an error at once, for those who wait too,
    so that another model can be asked within the check's time.

    Args:
        max_running: calls at once, at most.
        max_queued: calls that may wait for room.
        start: calls at once to begin with; by default `max_running`.
    """

    def __init__(self, *, max_running: int = 1024, max_queued: int = 4096, start: int | None = None) -> None:
        super().__init__(max_running=max_running, max_queued=max_queued)
        if start is not None and start < 1:
            raise UsageError(f"a pace needs start >= 1, got {start}")
        self._aimd = Aimd(max_running, start=start)
        self._room = self._aimd.limit
        # Asked for by Retry-After; foreseen from the headers: nobody starts, and at most so many run, until when.
        self._pause_s = self._lull_s = self._bound_s = -math.inf
        self._bound = max_running
        self._until_s = math.inf
        self._wake_s = math.inf

    @property
    def limit(self) -> int:
        """Calls that may run at once at this moment."""
        self._settle(clock.now())
        return self._room

    @property
    def cuts(self) -> int:
        """How often refusals have cut the limit."""
        return self._aimd.cuts

    @property
    def paused_s(self) -> float:
        """Seconds for which the server has asked that no call starts; else 0."""
        return max(0.0, self._pause_s - clock.now())

    def take(self) -> bool:
        """Take room at once; False where there is none, or the server wants a pause."""
        if self._until_s < math.inf and (now_s := clock.now()) >= self._until_s:
            self._settle(now_s)
        if self.running < self._room:
            self.running += 1
            return True
        return False

    async def turn(self) -> None:
        """Wait for room and take it; a cancel meanwhile takes none.

        Raises:
            LimitExceeded: too many wait.
            RateLimited: the server wants a pause of more than 5 s.
        """
        if self.paused_s > PATIENCE_S:
            raise self._impatient()
        self._wake_at(self._until_s)
        await super().turn()

    def leave(self) -> None:
        """Give the room back; whoever waits the longest gets it, where the limit allows."""
        self.running -= 1
        if self._queue:
            self._hand_over()

    def saw(self, status: int | None, headers: Mapping[str, str], *, latency_s: float) -> None:
        """Take in what a call came to; call it once for each, before its room is given back.

        Args:
            status: the HTTP status; None where there was none, as after a timeout or a lost connection.
            headers: the response's, looked up in lower case or without regard to case.
            latency_s: seconds since the request was sent.
        """
        now_s = clock.now()
        sent_s = now_s - latency_s
        if status == 429:
            wait_s = min(retry_after_s(headers.get("retry-after")) or 0.0, MOST_PAUSE_S)
            self._aimd.refused(now_s, sent_s, running=self.running, wait_s=wait_s)
            self._pause_s = max(self._pause_s, now_s + wait_s)
        elif status is None or status >= 500:
            self._aimd.troubled()
        else:
            self._aimd.good(sent_s, wanted=bool(self._queue) or self.running >= self._room)
        requests, tokens = headers.get("x-ratelimit-remaining-requests"), headers.get("x-ratelimit-remaining-tokens")
        if requests is not None or tokens is not None:
            self._foresee(requests, tokens, headers, now_s)
        self._settle(now_s)

    def _foresee(self, requests: str | None, tokens: str | None, headers: Mapping[str, str], now_s: float) -> None:
        """Read what remains. The newest headers count alone; most say that there is plenty, and are read no further."""
        bound, bound_s, lull_s = self.max_running, 0.0, 0.0
        left = _number(requests)
        if left is not None and left < bound and (reset_s := duration_s(headers.get(_RESET + "requests"))):
            bound, bound_s = max(1, int(left)), reset_s
            if left < 1:
                # Limits refill all the time as a rule, and then one request is back long before all of them are.
                lull_s = reset_s / max(1.0, _number(headers.get(_LIMIT + "requests")) or 1.0)
        left = _number(tokens)
        if left is not None:
            limit = _number(headers.get(_LIMIT + "tokens")) or 0.0
            if left < max(1.0, _LOW * limit) and (reset_s := duration_s(headers.get(_RESET + "tokens"))):
                few = max(1, int(self._aimd.limit * left / (_LOW * limit))) if limit else 1
                bound, bound_s = min(bound, few), max(bound_s, reset_s)
                if left < 1:
                    # A hundredth of its tokens is a call or more.
                    lull_s = max(lull_s, reset_s / 100 if limit else reset_s)
        self._bound, self._bound_s = bound, now_s + bound_s
        self._lull_s = now_s + min(lull_s, PATIENCE_S)

    def _settle(self, now_s: float) -> None:
        """Work out the room of this moment, and until when that holds if nothing is seen before."""
        self._room, self._until_s = self._aimd.limit, math.inf
        if now_s < self._bound_s:
            self._room, self._until_s = min(self._room, self._bound), self._bound_s
        held_s = max(self._pause_s, self._lull_s)
        if now_s < held_s:
            self._room, self._until_s = 0, held_s
        if not self._queue:
            return
        self._hand_over()
        if self._pause_s - now_s > PATIENCE_S:
            while self._queue:
                turn = self._queue.popleft()
                if not turn.done():
                    turn.set_exception(self._impatient())
        elif self._queue:
            self._wake_at(self._until_s)

    def _impatient(self) -> RateLimited:
        wait_s = self.paused_s
        return RateLimited(f"the server wants no call for another {wait_s:.0f} s", retry_after_s=wait_s)

    def _hand_over(self) -> None:
        while self._queue and self.running < self._room:
            turn = self._queue.popleft()
            if not turn.done():  # Else its caller was cancelled in this very moment and has not taken itself out yet.
                self.running += 1
                turn.set_result(None)

    def _wake_at(self, at_s: float) -> None:
        if at_s < self._wake_s:
            self._wake_s = at_s
            Alarm(Context()).at(at_s, self)

    def ring(self, now_s: float, /) -> None:
        """A pause, or what was foreseen, may be over. For the engine's own use."""
        if now_s >= self._wake_s:
            self._wake_s = math.inf
        self._settle(now_s)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def duration_s(text: str | None) -> float | None:
    """Seconds of "1s", "6m0s", "20ms", "1h2m3.5s" or "12"; None for anything else and for more than a day."""
    if not text or len(text) > 40:
        return None
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        match = _DURATION.fullmatch(text)
        if match is None:
            return None
        hours, minutes, whole, ms = (float(part or 0) for part in match.groups())
        seconds = 3600 * hours + 60 * minutes + whole + ms / 1000
    return seconds if seconds <= _MOST_S else None
