"""What telemetry costs a request: `python -m benchmarks.telemetry [--rounds N] [--requests N]`.

A request is two checks and an answer that was cut: a decision, two checks' outcomes, three branches' usage, the
response. Metrics are ours beside prometheus_client's own counters and histograms, in the same rounds. Log and traces
are shown twice: what the event loop's thread spends, and with the thread that writes. CPU time, medians.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter, Histogram

from quorate.engine import Observer, Run, fan_out
from quorate.events import Usage, branch
from quorate.merges import Collect
from quorate.telemetry import JsonLog
from quorate.telemetry.metrics import Metrics
from quorate.telemetry.shared import Shared
from quorate.telemetry.snapshot import BUCKETS
from quorate.telemetry.traces import Traces

CUT = Usage(1, 500, 120, 0.002, True, 1)
SAID = Usage(1, 400, 12, 0.0001)


def ours(metrics: Metrics) -> None:
    metrics.decided(decision="refuse", by="threat", decide_s=0.21, held_s=0.1)
    metrics.check("scope", "pass", elapsed_s=0.2)
    metrics.check("threat", "flag", elapsed_s=0.21)
    metrics.usage("scope", SAID)
    metrics.usage("threat", SAID)
    metrics.usage("answer", CUT, wasted=CUT)
    metrics.responded(route="/v1/chat/completions", status=200, elapsed_s=0.22)


class Plain:
    """The same with the library's own metrics."""

    def __init__(self) -> None:
        registry = CollectorRegistry()

        def counter(name: str, *labels: str) -> Counter:
            return Counter(name, name, labels, registry=registry)

        def histogram(name: str, *labels: str) -> Histogram:
            return Histogram(name, name, labels, registry=registry, buckets=BUCKETS)

        self.decisions, self.checks = counter("d", "decision", "by", "mode"), counter("c", "check", "outcome", "mode")
        self.calls, self.cut = counter("m", "branch"), counter("x", "branch")
        self.tokens, self.wasted = counter("t", "branch", "direction", "counted"), counter("w", "branch", "direction")
        self.cost, self.wasted_cost = counter("u", "branch"), counter("v", "branch")
        self.requests = counter("r", "route", "status")
        self.decide, self.held, self.check = histogram("hd", "decision"), histogram("hh"), histogram("hc", "check")
        self.request = histogram("hr", "route")

    def __call__(self) -> None:
        self.decisions.labels("refuse", "threat", "enforce").inc()
        self.decide.labels("refuse").observe(0.21)
        self.held.observe(0.1)
        for check, outcome in (("scope", "pass"), ("threat", "flag")):
            self.checks.labels(check, outcome, "enforce").inc()
            self.check.labels(check).observe(0.2)
        for name, used in (("scope", SAID), ("threat", SAID), ("answer", CUT)):
            self.calls.labels(name).inc(used.calls)
            counted = "estimated" if used.estimated else "reported"
            self.tokens.labels(name, "input", counted).inc(used.input_tokens)
            self.tokens.labels(name, "output", counted).inc(used.output_tokens)
            self.cost.labels(name).inc(used.cost_usd)
        self.cut.labels("answer").inc()
        self.wasted.labels("answer", "input").inc(CUT.input_tokens)
        self.wasted.labels("answer", "output").inc(CUT.output_tokens)
        self.wasted_cost.labels("answer").inc(CUT.cost_usd)
        self.requests.labels("/v1/chat/completions", "200").inc()
        self.request.labels("/v1/chat/completions").observe(0.22)


class Nowhere(SpanExporter):
    """Takes spans and does nothing."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def a_run() -> Run[object]:
    """A run of three branches that has ended, as an observer sees it."""

    async def work() -> None:
        await asyncio.sleep(0)

    async with fan_out([branch(name, work) for name in ("scope", "threat", "answer")], Collect[object](3)) as run:
        await run.decided()
    return run  # type: ignore[return-value]


def per_request(call: Callable[[], None], number: int) -> float:
    """Microseconds of this thread's CPU for one call."""
    before = time.thread_time()
    for _ in range(number):
        call()
    return 1e6 * (time.thread_time() - before) / number


def observed(watch: Observer, run: Run[object], number: int, close: Callable[[], None]) -> tuple[float, float]:
    """Microseconds for one run's events and end: of this thread, and of the whole process until all is written."""
    ends = list(run.ended.values())

    def once() -> None:
        for end in ends:
            watch.event(run, end)
        watch.ended(run)

    before = time.process_time()
    own = per_request(once, number)
    close()
    return own, 1e6 * (time.process_time() - before) / number


def opened(path: Path) -> TextIO:
    return path.open("w", encoding="ascii")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1500, help="in each measurement; keep below the queues' bounds")
    args = parser.parse_args()
    rows: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    run = await a_run()
    with tempfile.TemporaryDirectory() as folder:
        metrics = Metrics(Shared(Path(folder) / "metrics"))
        metrics.know(
            checks=["scope", "threat"], branches=["scope", "threat", "answer"], routes=["/v1/chat/completions"]
        )
        plain = Plain()
        for _ in range(args.rounds):
            note("metrics, ours", per_request(lambda: ours(metrics), 10 * args.requests))
            note("metrics, prometheus_client's own", per_request(plain, args.requests))
            note("one scrape", per_request(lambda: bool(metrics.exposition()), 20))
            with opened(Path(folder) / "log") as stream:
                log = JsonLog(stream, limit=None)
                own, whole = observed(log, run, args.requests, log.close)
                note("log lines (4), the loop's thread", own)
                note("log lines (4), all threads", whole)
            for kept, ratio in (("", 1.0), (", 1 in 10 kept", 0.1)):
                traces = Traces(Nowhere(), ratio=ratio)
                own, whole = observed(traces, run, args.requests, traces.close)
                assert traces.lost == 0
                note(f"spans (4), the loop's thread{kept}", own)
                note(f"spans (4), all threads{kept}", whole)
        metrics.close()
    print(f"CPU in µs a request, median of {args.rounds} (least to most); {os.cpu_count()} cores, {sys.version[:7]}")
    for name, values in rows.items():
        print(f"{name:44} {statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
