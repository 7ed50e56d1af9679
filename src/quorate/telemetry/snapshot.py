"""What one worker has counted, as plain values: written to a file, read back, added up, and shown to Prometheus."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from quorate.telemetry.names import METRICS, Metric

Labels = tuple[str, ...]
Table = dict[Labels, float]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histograms' buckets, in seconds; above the last there is one more."""
_CELLS = len(BUCKETS) + 2
_BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")
_MERGES: Mapping[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "min": min}


@dataclass(slots=True)
class Snapshot:
    """Values by metric and labels.

    Attributes:
        counters: by metric's name.
        histograms: by metric's name; for each a count for each bucket, then the sum in seconds.
        gauges: by metric's name.
    """

    counters: dict[str, Table] = field(default_factory=dict)
    histograms: dict[str, dict[Labels, list[float]]] = field(default_factory=dict)
    gauges: dict[str, Table] = field(default_factory=dict)

    def dump(self, *, ended: bool = False) -> str:
        """As JSON; `ended` says that its worker has said goodbye."""
        parts: dict[str, Mapping[str, Mapping[Labels, Any]]]
        parts = {"counters": self.counters, "histograms": self.histograms, "gauges": self.gauges}
        rows = {part: {name: list(table.items()) for name, table in tables.items()} for part, tables in parts.items()}
        return json.dumps(rows | {"ended": ended})


def parse(text: str) -> tuple[Snapshot, bool]:
    """Read what `Snapshot.dump` wrote, and whether its worker has said goodbye.

    Metrics of other versions, and histograms with other buckets, are left out.

    Raises:
        ValueError: it is no snapshot.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        snapshot = Snapshot()
        for metric in METRICS:
            rows = [(tuple(map(str, labels)), value) for labels, value in raw[metric.kind + "s"].get(metric.name, ())]
            fitting = [(labels, value) for labels, value in rows if len(labels) == len(metric.labels)]
            if metric.kind == "histogram":
                cells = {labels: list(map(float, row)) for labels, row in fitting}
                snapshot.histograms[metric.name] = {at: row for at, row in cells.items() if len(row) == _CELLS}
            else:
                tables = snapshot.counters if metric.kind == "counter" else snapshot.gauges
                tables[metric.name] = {labels: float(value) for labels, value in fitting}
        return snapshot, bool(raw["ended"])
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no snapshot: {error!r}") from error


def merged(counted: Iterable[Snapshot], live: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several workers: counters of all that ever were, gauges of those that live."""
    total = Snapshot()
    for one in counted:
        for name, table in one.counters.items():
            sums = total.counters.setdefault(name, {})
            for labels, value in table.items():
                sums[labels] = sums.get(labels, 0.0) + value
        for name, rows in one.histograms.items():
            cells = total.histograms.setdefault(name, {})
            for labels, row in rows.items():
                before = cells.get(labels)
                cells[labels] = row if before is None else [a + b for a, b in zip(before, row, strict=True)]
    gauges: dict[str, dict[Labels, list[float]]] = {}
    for one in live:
        for name, table in one.gauges.items():
            for labels, value in table.items():
                gauges.setdefault(name, {}).setdefault(labels, []).append(value)
    for metric in METRICS:
        if metric.name in gauges:
            merge = _MERGES[metric.merge]
            total.gauges[metric.name] = {labels: merge(values) for labels, values in gauges[metric.name].items()}
    return total


def families(snapshot: Snapshot) -> Iterable[Family]:
    """Every metric there is, in Prometheus' own form, with the values of a snapshot."""
    for metric in METRICS:
        yield _family(metric, snapshot)


def _family(metric: Metric, snapshot: Snapshot) -> Family:
    name, text, labels = metric.name, metric.help, metric.labels
    if metric.kind == "histogram":
        shown = HistogramMetricFamily(name, text, labels=labels)
        for values, row in sorted(snapshot.histograms.get(name, {}).items()):
            shown.add_metric(values, list(zip(_BOUNDS, accumulate(row[:-1]), strict=True)), row[-1])
        return shown
    counter = metric.kind == "counter"
    family = CounterMetricFamily(name, text, labels=labels) if counter else GaugeMetricFamily(name, text, labels=labels)
    table = (snapshot.counters if counter else snapshot.gauges).get(name, {})
    for values, value in sorted(table.items()):
        family.add_metric(values, value)
    return family
