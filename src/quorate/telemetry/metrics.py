"""Prometheus metrics: counted in plain dictionaries, rendered by prometheus_client when somebody asks.

Label values come from config alone: a name that `know` was not told is "other". Needs the extra `service`.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family

from quorate.engine import Timeline
from quorate.errors import UsageError
from quorate.events import NO_USAGE, Usage
from quorate.telemetry import names
from quorate.telemetry.names import METRICS, OTHER, Metric
from quorate.telemetry.shared import Others, Shared
from quorate.telemetry.snapshot import BUCKETS, Labels, Snapshot, Table, families, merged

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of `Metrics.exposition`."""
EVERY_S = 1.0
"""Seconds between two snapshots of a worker that has others beside it."""
MAX_NAMES = 256
"""The most values of one label that are ever told apart."""

NONE, DEADLINE = "none", "deadline"
DECISION_VALUES = ("admit", "refuse", "escalate", "failed")
MODES = ("enforce", "observe")
OUTCOMES = ("pass", "flag", "abstain", "failed", "cancelled", "would_refuse")
REASONS = ("rate", "concurrency", "queue", "budget")
STAGES = ("queued", "held", "released")
RESULTS = ("loaded", "rejected")

_Known = dict[str, str]


class Metrics:
    """Counts what the service does. Call it from one thread, the event loop's; scrape it from any.

    Args:
        shared: this worker's place beside others; every scrape then shows the sum of all. None where it is alone.

    Attributes:
        registry: holds these metrics and nothing else.
        failures: gauges that raised, and snapshots that could not be written or read; shown as lost "metrics".
    """

    def __init__(self, shared: Shared | None = None) -> None:
        self.failures = 0
        self._now = Snapshot(
            {metric.name: {} for metric in METRICS if metric.kind == "counter"},
            {metric.name: {} for metric in METRICS if metric.kind == "histogram"},
        )
        self._checks: _Known = {}
        self._branches: _Known = {}
        self._upstreams: _Known = {}
        self._routes: _Known = {}
        self._deciders: _Known = {NONE: NONE, DEADLINE: DEADLINE}
        self._gauges: dict[Metric, Callable[[], float | Mapping[str, float]]] = {}
        self._losses: dict[str, Callable[[], int]] = {"metrics": lambda: self.failures}
        self._lost_before: Table = {}
        self._shared = shared
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None
        if shared is not None and shared.inherited is not None:
            self._now.counters.update(shared.inherited.counters)
            self._now.histograms.update(shared.inherited.histograms)
            self._lost_before = dict(self._now.counters[names.LOST.name])
        self._zeros()
        self.registry = CollectorRegistry(auto_describe=True)
        self.registry.register(self)
        if shared is not None:
            self._snapshot()
            self._beat = threading.Thread(target=self._beating, name="quorate-metrics", daemon=True)
            self._beat.start()

    def know(
        self,
        *,
        checks: Iterable[str] = (),
        branches: Iterable[str] = (),
        upstreams: Iterable[str] = (),
        routes: Iterable[str] = (),
    ) -> None:
        """Tell the names that config holds, once more after each reload; those it held before stay known."""
        for known, told in (
            (self._checks, checks),
            (self._branches, branches),
            (self._upstreams, upstreams),
            (self._routes, routes),
        ):
            for name in told:
                if len(known) < MAX_NAMES:
                    known[name] = name.encode("utf-8", "replace").decode()
        self._deciders.update(self._checks)
        decisions, outcomes = self._now.counters[names.DECISIONS.name], self._now.counters[names.CHECKS.name]
        for check in self._checks.values():
            decisions.setdefault(("refuse", check, "enforce"), 0)
            for outcome in OUTCOMES:
                outcomes.setdefault((check, outcome, "observe" if outcome == "would_refuse" else "enforce"), 0)

    def decided(
        self,
        *,
        decision: str,
        by: str | None,
        decide_s: float,
        held_s: float | None = None,
        mode: str = "enforce",
    ) -> None:
        """Count a decision.

        Args:
            decision: one of `DECISION_VALUES`.
            by: the check that decided, "deadline", or None where all passed.
            decide_s: seconds from the request to the decision.
            held_s: seconds that the answer's first delta was held, None where there was none.
            mode: "enforce", or "observe" where the whole door only watches.
        """
        decision = _one_of(decision, DECISION_VALUES)
        key = (decision, self._deciders.get(by or NONE, OTHER), _one_of(mode, MODES))
        self._count(names.DECISIONS, key, 1)
        self._time(names.DECIDE, (decision,), seconds=decide_s)
        if held_s is not None:
            self._time(names.HELD, (), seconds=held_s)

    def check(self, check: str, outcome: str, *, elapsed_s: float, mode: str = "enforce") -> None:
        """Count what a check said; `outcome` is one of `OUTCOMES`, "would_refuse" where an observed one flagged."""
        check = self._checks.get(check, OTHER)
        key = (check, _one_of(outcome, OUTCOMES), _one_of(mode, MODES))
        self._count(names.CHECKS, key, 1)
        self._time(names.CHECK_TIME, (check,), seconds=elapsed_s)

    def usage(self, branch: str, usage: Usage, *, wasted: Usage = NO_USAGE) -> None:
        """Count what a branch spent and how much of it was wasted; `name#2` counts as `name`."""
        if usage is NO_USAGE:
            return
        name = self._branches.get(branch) or self._branches.get(branch.partition("#")[0], OTHER)
        key = (name,)
        counted = "estimated" if usage.estimated else "reported"
        self._count(names.MODEL_CALLS, key, usage.calls)
        self._count(names.TOKENS, (name, "input", counted), usage.input_tokens)
        self._count(names.TOKENS, (name, "output", counted), usage.output_tokens)
        self._count(names.COST, key, usage.cost_usd)
        if usage.cut_calls:
            self._count(names.CALLS_CUT, key, usage.cut_calls)
        if wasted is not NO_USAGE:
            self._count(names.WASTED_TOKENS, (name, "input"), wasted.input_tokens)
            self._count(names.WASTED_TOKENS, (name, "output"), wasted.output_tokens)
            self._count(names.WASTED_COST, key, wasted.cost_usd)

    def spent(self, timeline: Timeline) -> None:
        """Count the usage of all branches of a run that is nested in no other; those nested in it are within."""
        for span in timeline:
            if span.usage is not NO_USAGE:
                self.usage(span.branch, span.usage, wasted=span.waste)

    def responded(self, *, route: str, status: int, elapsed_s: float) -> None:
        """Count a request that was answered, after `elapsed_s` seconds to the last byte."""
        route = self._routes.get(route, OTHER)
        told = str(status) if 100 <= status <= 599 else OTHER
        self._count(names.REQUESTS, (route, told), 1)
        self._time(names.REQUEST_TIME, (route,), seconds=elapsed_s)

    def rejected(self, reason: str) -> None:
        """Count a 429; `reason` is one of `REASONS`."""
        self._count(names.REJECTED, (_one_of(reason, REASONS),), 1)

    def client_gone(self, stage: str) -> None:
        """Count a client that left; `stage` is one of `STAGES`."""
        self._count(names.CLIENTS_GONE, (_one_of(stage, STAGES),), 1)

    def reloaded(self, result: str) -> None:
        """Count a reload of the config; `result` is one of `RESULTS`."""
        self._count(names.RELOADS, (_one_of(result, RESULTS),), 1)

    def committed(self, rows: int, elapsed_s: float) -> None:
        """Count a commit of the store. Like `store_failed` it may be called from the store's own thread."""
        self._count(names.STORE_ROWS, (), rows)
        self._time(names.COMMIT, (), seconds=elapsed_s)

    def store_failed(self) -> None:
        """Count a commit that the store refused."""
        self._count(names.STORE_FAILURES, (), 1)

    def gauge(self, metric: Metric, read: Callable[[], float | Mapping[str, float]]) -> None:
        """Say where a gauge's value comes from.

        Args:
            metric: a gauge of `names`.
            read: gives the value, or one for each value of its label. Called from another thread, with each
                snapshot; quick, and it must not wait. Where it raises, the gauge is missing and `failures` counts.

        Raises:
            UsageError: it is no gauge.
        """
        if metric.kind != "gauge":
            raise UsageError(f"{metric.name} is a {metric.kind}, not a gauge")
        self._gauges[metric] = read

    def losses(self, what: str, read: Callable[[], int]) -> None:
        """Say where the number of lost log lines or traces comes from, such as `lambda: log.lost`."""
        self._losses[what] = read

    def exposition(self) -> bytes:
        """What Prometheus reads, of type `CONTENT_TYPE`. With others beside it reads files, so not on a loop."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Family]:
        """For the registry: every metric, with the sums of all workers."""
        own = self._snapshot()
        others = Others() if self._shared is None else self._shared.others()
        self.failures += others.unreadable
        every, live, dead = others.every, others.live, others.dead
        total = merged([own, *every], [own, *live])
        total.gauges[names.WORKERS.name] = {("live",): 1.0 + len(live), ("dead",): float(dead)}
        return families(total)

    def describe(self) -> Iterable[Family]:
        """For the registry: the names alone."""
        return families(Snapshot())

    def close(self) -> None:
        """Write the last snapshot and let go of the slot. Blocks for a moment; twice does no harm."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._beat is not None:
            self._beat.join()
        self._snapshot(ended=True)
        with self._lock:  # A scrape that is late must not write to a slot that is another's by then.
            if self._shared is not None:
                self._shared.close()
                self._shared = None

    def _count(self, metric: Metric, labels: Labels, number: float) -> None:
        table = self._now.counters[metric.name]
        table[labels] = table.get(labels, 0) + number

    def _time(self, metric: Metric, labels: Labels, *, seconds: float) -> None:
        rows = self._now.histograms[metric.name]
        row = rows.get(labels)
        if row is None:
            row = rows[labels] = [0] * (len(BUCKETS) + 2)
        if not seconds >= 0:  # A NaN would stay in the sum for ever.
            seconds = 0.0
        row[bisect_left(BUCKETS, seconds)] += 1
        row[-1] += seconds

    def _zeros(self) -> None:
        """A series that appears with its first event has no rate at that event: what alerts watch starts at zero."""
        counters = self._now.counters
        for metric, values in ((names.REJECTED, REASONS), (names.CLIENTS_GONE, STAGES), (names.RELOADS, RESULTS)):
            for value in values:
                counters[metric.name].setdefault((value,), 0)
        for metric in (names.STORE_ROWS, names.STORE_FAILURES):
            counters[metric.name].setdefault((), 0)

    def _snapshot(self, *, ended: bool = False) -> Snapshot:
        """Take a snapshot; with others beside, what is shown must have been written, or it could be taken back."""
        with self._lock:
            # Each copy is one step of the interpreter, so the loop may count on meanwhile.
            taken = Snapshot(
                {name: table.copy() for name, table in self._now.counters.items()},
                {name: _rows(table.copy()) for name, table in self._now.histograms.items()},
            )
            for what, read in self._losses.items():
                taken.counters[names.LOST.name][(what,)] = self._lost_before.get((what,), 0) + read()
            for metric, value in list(self._gauges.items()):
                try:
                    taken.gauges[metric.name] = self._labelled(metric, value())
                except Exception:
                    self.failures += 1
            if self._shared is not None:
                try:
                    self._shared.write(taken, ended=ended)
                except OSError:
                    self.failures += 1
            return taken

    def _labelled(self, metric: Metric, value: float | Mapping[str, float]) -> Table:
        if not isinstance(value, Mapping):
            return {(): float(value)} if not metric.labels else {}
        table: Table = {}
        for name, number in value.items():
            key = (self._upstreams.get(name, OTHER),)
            table[key] = table.get(key, 0.0) + float(number)
        return table

    def _beating(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._snapshot()


def _one_of(value: str, values: tuple[str, ...]) -> str:
    return value if value in values else OTHER


def _rows(table: dict[Labels, list[float]]) -> dict[Labels, list[float]]:
    return {labels: row.copy() for labels, row in table.items()}
