"""What one key may do: how often, how many at once, and how much it may have us write for nothing."""

from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from quorate.engine import clock
from quorate.errors import LimitExceeded, UsageError
from quorate.events import NO_USAGE, Usage
from quorate.models.window import Window

WASTE_S = 3600.0
"""Seconds that a waste budget is for."""
REFUSALS_S = 600.0
"""Seconds over which the share of refusals is taken."""
LEAST_DECISIONS = 20
"""Decisions below which a share of refusals says nothing."""
_MINUTE_S = 60.0
_BUSY_S = 1.0
"""When a key that has too many requests running should try again, in seconds: it knows best when one ends."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key may do in the whole deployment; None is no limit.

    Attributes:
        per_minute: requests; as many may come at once after a quiet minute.
        concurrency: requests at once.
        waste_tokens: tokens an hour that may be spent on what does not count, before it loses speculation.
        waste_usd: the same in US dollars.
        refusal_share: share of refusals among the decisions of ten minutes, above which it loses speculation.

    Raises:
        UsageError: a number that makes no sense; it names the field.
    """

    per_minute: int | None = None
    concurrency: int | None = None
    waste_tokens: int | None = None
    waste_usd: float | None = None
    refusal_share: float | None = None

    def __post_init__(self) -> None:
        for field in ("per_minute", "concurrency"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UsageError(f"{field} must be at least 1, got {value}; leave it out for no limit")
        for field in ("waste_tokens", "waste_usd", "refusal_share"):
            value = getattr(self, field)
            if value is not None and not value >= 0:
                raise UsageError(f"{field} must be at least 0, got {value}; leave it out for no limit")


class _Account:
    """What is known of one key."""

    __slots__ = ("at_s", "decisions", "per_minute", "running", "tokens", "waste")

    def __init__(self) -> None:
        self.running = 0
        self.per_minute: int | None = None
        self.tokens = 0.0
        self.at_s = 0.0
        self.waste = Window(WASTE_S)
        self.decisions = Window(REFUSALS_S)

    def refill(self, now_s: float, share: int) -> None:
        """Put in what the time since the last look has brought."""
        self.tokens = min(float(share), self.tokens + (now_s - self.at_s) * share / _MINUTE_S)
        self.at_s = now_s


class KeyLimits:
    """The limits of all keys in one worker, as its share of the deployment's.

    Whole numbers are divided so that all workers together never have more than the whole: each has the whole part,
    and where every worker knows its number, what remains is dealt out among the first. A key with a limit below the
    number of workers may then have none on some of them: a limit that low wants a store shared by all.

    A key that is forgotten begins anew. That happens only where more than `max_keys` are known, to the one that has
    been quiet for the longest, so `max_keys` should be above the number of keys there are.

    Args:
        workers: how many processes share the limits.
        worker: this one's number, from 0; None where it is not known.
        joined: this worker joins others that already serve: its keys begin without a saved minute.
        max_keys: keys that are remembered.
    """

    def __init__(
        self, *, workers: int = 1, worker: int | None = None, joined: bool = False, max_keys: int = 10_000
    ) -> None:
        if max_keys < 1:
            raise UsageError(f"max_keys must be at least 1, got {max_keys}")
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._joined = joined
        self._max_keys = max_keys
        self._workers, self._worker = _counted(workers, worker)

    @property
    def workers(self) -> int:
        """How many processes share the limits."""
        return self._workers

    def share(self, workers: int, worker: int | None = None) -> None:
        """From now on so many workers share the limits; what runs goes on.

        The sum over workers stays below the whole where those that have to give up room are told before a new one
        takes requests. What was saved is never made more by it.

        Raises:
            UsageError: no worker, or a number that none of them has.
        """
        now_s = clock.now()
        for account in self._accounts.values():
            if account.per_minute is not None:
                account.refill(now_s, self._part(account.per_minute))
        self._workers, self._worker = _counted(workers, worker)
        for account in self._accounts.values():
            if account.per_minute is not None:
                account.refill(now_s, self._part(account.per_minute))

    def use(self, key: str, allowance: Allowance) -> "Use":
        """One request of a key; use as `with limits.use(key_id, allowance) as use:` and tell it what came of it.

        Args:
            key: the key's id, never the key itself.
            allowance: what it may do at this moment; a changed one counts from then on.

        Raises:
            LimitExceeded: from this call, over the rate or the concurrency; it names which, and when to try again.
        """
        account, now_s = self._account(key), clock.now()
        if allowance.concurrency is not None:
            most = self._part(allowance.concurrency)
            if account.running >= most:
                raise LimitExceeded(
                    f"this key has {account.running} requests running; {self._of(most, allowance.concurrency)}",
                    retry_after_s=_BUSY_S,
                    which="concurrency",
                )
        if allowance.per_minute is not None:
            self._take(account, allowance.per_minute, now_s)
        account.running += 1
        return Use(self, key, account, self._lost(account, allowance, now_s))

    def running(self, key: str) -> int:
        """Requests of a key that run in this worker."""
        account = self._accounts.get(key)
        return account.running if account is not None else 0

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._accounts)

    def _account(self, key: str) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= self._max_keys:
                self._forget()
            account = self._accounts[key] = _Account()
        else:
            self._accounts.move_to_end(key)
        return account

    def _forget(self) -> None:
        for _ in range(len(self._accounts)):
            key, account = next(iter(self._accounts.items()))
            if not account.running:
                del self._accounts[key]
                return
            self._accounts.move_to_end(key)
        raise LimitExceeded(f"{len(self._accounts)} keys have requests running", retry_after_s=_BUSY_S, which="keys")

    def _take(self, account: _Account, per_minute: int, now_s: float) -> None:
        share = self._part(per_minute)
        if account.per_minute is None:
            account.tokens, account.at_s = 0.0 if self._joined else float(share), now_s
        account.per_minute = per_minute
        account.refill(now_s, share)
        if account.tokens < 1:
            wait_s = (1 - account.tokens) * _MINUTE_S / share if share else _MINUTE_S
            raise LimitExceeded(
                f"this key's requests of this minute are used up; {self._of(share, per_minute)} a minute",
                retry_after_s=wait_s,
                which="rate",
            )
        account.tokens -= 1

    def _lost(self, account: _Account, allowance: Allowance, now_s: float) -> str:
        if allowance.waste_tokens is not None or allowance.waste_usd is not None:
            tokens, usd = account.waste.sums(now_s)
            if allowance.waste_tokens is not None and tokens >= allowance.waste_tokens / self._workers:
                return f"waste budget: {tokens:.0f} tokens in the last hour"
            if allowance.waste_usd is not None and usd >= allowance.waste_usd / self._workers:
                return f"waste budget: {usd:.4f} US dollars in the last hour"
        if allowance.refusal_share is not None:
            decisions, refusals = account.decisions.sums(now_s)
            if decisions >= LEAST_DECISIONS and refusals > allowance.refusal_share * decisions:
                return f"refusals: {refusals:.0f} of the last {decisions:.0f} messages"
        return ""

    def _part(self, whole: int) -> int:
        if self._worker is None:
            return whole // self._workers
        return whole // self._workers + (self._worker < whole % self._workers)

    def _of(self, part: int, whole: int) -> str:
        return f"allowed are {whole}" if self._workers == 1 else f"allowed are {part} here and {whole} in all workers"


class Use:
    """One request of a key. Leaving the block counts it.

    Attributes:
        lost: why the answer must wait for its verdict, "" where it need not; for the record.
        wasted: set it: what was spent on branches that did not count.
        refused: set it: whether it was refused; None, as it is at first, where there was no decision.
    """

    __slots__ = ("_account", "_key", "_limits", "lost", "refused", "wasted")

    def __init__(self, limits: KeyLimits, key: str, account: _Account, lost: str) -> None:
        self._limits, self._key, self._account = limits, key, account
        self.lost = lost
        self.wasted: Usage = NO_USAGE
        self.refused: bool | None = None

    @property
    def speculate(self) -> bool:
        """Whether the answer may be written beside the checks."""
        return not self.lost

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        account, now_s = self._account, clock.now()
        account.running -= 1
        if self.wasted is not NO_USAGE:
            account.waste.add(now_s, first=self.wasted.tokens, second=self.wasted.cost_usd)
        if self.refused is not None:
            account.decisions.add(now_s, first=1, second=self.refused)


def _counted(workers: int, worker: int | None) -> tuple[int, int | None]:
    if workers < 1 or (worker is not None and not 0 <= worker < workers):
        raise UsageError(f"of {workers} workers there is none with the number {worker}")
    return workers, worker
