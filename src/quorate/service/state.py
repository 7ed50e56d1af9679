"""What one serving process holds, and what it counts."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from quorate.apps.frontdoor import ANSWER, Decision
from quorate.engine import Observer, Timeline, clock
from quorate.errors import LimitExceeded
from quorate.service.admission import Admission
from quorate.service.callers import Caller, Callers
from quorate.service.exchange import Exchange
from quorate.service.floor import wait
from quorate.service.limits import Allowance, KeyLimits, Use
from quorate.service.live import Configs, Live
from quorate.service.reloading import Follower
from quorate.store import Store
from quorate.telemetry.metrics import Metrics
from quorate.telemetry.traces import following

_WHOLE = frozenset(("per_minute", "concurrency", "waste_tokens"))
_SHARES = frozenset(("waste_usd", "refusal_share"))


@dataclass(slots=True)
class Service:
    """One process that serves.

    Attributes:
        path: the config's file.
        configs: the config in force.
        callers: the keys in force.
        store: decisions, keys, versions.
        follower: keeps this worker on the config in force.
        metrics: what is counted.
        admission: room for requests.
        keys: bounds of each key.
        observers: watch every run.
        draining: whether it is about to stop.
        levels: gauges that are sampled, by metric and label.
    """

    path: Path
    configs: Configs
    callers: Callers
    store: Store
    follower: Follower
    metrics: Metrics
    admission: Admission
    keys: KeyLimits
    observers: tuple[Observer, ...] = ()
    draining: bool = False
    levels: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def limits_hold(self) -> str:
        """How far the limits of keys reach."""
        return f"the whole deployment: divided by its {self.keys.workers} live workers, as the store knows them"

    def responded(self, exchange: Exchange) -> None:
        """Count a request."""
        self.metrics.responded(
            route=exchange.path, status=exchange.status or 499, elapsed_s=clock.now() - exchange.begun_s
        )

    def trace(self, caller: Caller, exchange: Exchange) -> AbstractContextManager[None]:
        """Within it, runs belong to the caller's own trace, where the caller may see details."""
        if "details" not in caller.rights or b"traceparent" not in exchange.headers:
            return nullcontext()
        carrier = {name: exchange.header(name.encode()) for name in ("traceparent", "tracestate")}
        return following({name: value for name, value in carrier.items() if value})

    @asynccontextmanager
    async def room(self, caller: Caller, live: Live) -> AsyncIterator[Use]:
        """Room for one request of a caller, on its account; it says whether the answer may run beside the checks.

        Raises:
            LimitExceeded: there is none, or the key has used up its own.
        """
        key = caller.id or ""
        deadline_s = clock.now() + live.app.settings.limits.timeout_s
        try:
            with self.keys.use(key, _allowance(caller, live)) as use:
                async with self.admission.room(key, deadline_s=deadline_s):
                    yield use
        except LimitExceeded as error:
            self.metrics.rejected(error.which)
            raise

    async def floor(self, begun_s: float, live: Live) -> None:
        """Wait until a refusal may go out."""
        await wait(begun_s, live.limits.refusal_floor_ms / 1000)

    def passed(self, live: Live, timeline: Timeline, *, decision: Decision | None, outcome: str) -> None:
        """Count a request that has been through the door."""
        metrics = self.metrics
        metrics.spent(timeline)
        if decision is None:
            metrics.client_gone("held") if outcome == "abandoned" else None
            return
        span = next((span for span in timeline if span.branch == ANSWER), None)
        decided_s = timeline.decided_s or 0.0
        held_s = max(0.0, decided_s - span.first_s) if span is not None and span.first_s is not None else None
        metrics.decided(
            decision=decision.decision,
            by=decision.decided_by,
            decide_s=decided_s,
            held_s=held_s,
            mode=live.app.settings.mode,
        )
        for row in decision.verdicts:
            would = row.mode == "observe" and row.would in ("block", "escalate")
            outcome_of = "would_refuse" if would else "failed" if row.outcome == "error" else row.outcome
            metrics.check(row.check, outcome_of, elapsed_s=row.elapsed_ms / 1000, mode=row.mode)
        if outcome == "abandoned":
            metrics.client_gone("released")


def _allowance(caller: Caller, live: Live) -> Allowance:
    """The bounds of a key: its own where it has one, else the config's."""
    if not caller.limits:
        return live.allowance
    own = {name: value for name, value in caller.limits.items() if name in _WHOLE or name in _SHARES}
    whole = {name: int(value) if name in _WHOLE else value for name, value in own.items()}
    return Allowance(**{**live.limits.keys.model_dump(), **whole})
