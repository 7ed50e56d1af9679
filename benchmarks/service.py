"""The service beside a bare proxy: `python -m benchmarks.service [--audit strict async] [--peers] [...]`.

Every request is two LLM checks and an upstream answer. The service has one CPU; the load generator and the stand-in
model server share the other. Targets take turns within each round, each measurement in a fresh process. What is
compared is a ratio or a difference within one round, and what is reported is the median over rounds. Throughput per
core is requests for each second of the service's own CPU time: it does not ask whether others had the machine. Times
do: "late" is what comes on top of the later of the check and the upstream's first token, both asked directly, by the
same number of clients, in the same round; "refusal late" what comes on top of the check.
"""

import argparse
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.processes import Running, two_cpus
from benchmarks.raw_http import percentile
from benchmarks.targets import MISSING, PEERS, Target, peers
from quorate.testing.standin import SpawnedStandIn, spawn_standin

BASELINE = "baseline"
STRICT, ASYNC = "quorate-strict", "quorate-async"
CONFIG = Path(__file__).with_name("service.toml")


@dataclass(frozen=True, slots=True)
class Job:
    """One load.

    Attributes:
        title: what it asks.
        clients: how many, in a closed loop.
        stream: whether answers are streamed.
        check_ms: what each check takes.
        first_ms: the upstream's first token.
        pace: the upstream's tokens after the first, in the stand-in's words.
        goals: figures to compare: label, key, how, and the bound, None if it is only reported.
        attacks: share of attacks.
        think_s: a client's mean time between two requests.
    """

    title: str
    clients: int
    stream: bool
    check_ms: int
    first_ms: int
    pace: str
    goals: tuple[tuple[str, str, str, float | None], ...]
    attacks: float = 0.2
    think_s: float = 0.0

    def set_up(self, server: SpawnedStandIn) -> None:
        """Give the models their latencies; they keep their names, so that services need no new config."""
        for check in ("scope", "threat"):
            server.configure(check, f"{check}-{self.check_ms}ms")
        server.configure("answer", f"answer-{self.first_ms}ms{self.pace}")


_SPEED = (
    ("requests per CPU second", "per_cpu_s", "ratio>=", 0.5),
    ("requests/s", "per_s", "ratio>=", None),
    ("p99 of the whole, ms", "whole_p99", "value<=", None),
    ("memory, MB", "rss_mb", "value<=", None),
)
_LATENCY = (
    ("first token late by p50, ms", "late_p50", "value<=", 5.0),
    ("first token late by p99, ms", "late_p99", "value<=", 25.0),
    ("refusal late by p50, ms", "refused_p50", "value<=", 5.0),
    ("refusal late by p99, ms", "refused_p99", "value<=", None),
    ("requests per CPU second", "per_cpu_s", "ratio>=", None),
)
JOBS: dict[str, Job] = {
    "plain-50": Job("as fast as it goes, plain", 50, False, 10, 20, "", _SPEED),
    "plain-200": Job("as fast as it goes, plain", 200, False, 10, 20, "", _SPEED),
    "stream-50": Job("as fast as it goes, streamed", 50, True, 10, 20, "-20x1ms", _SPEED),
    "stream-200": Job("as fast as it goes, streamed", 200, True, 10, 20, "-20x1ms", _SPEED),
    "latency-50": Job("at ease, streamed", 50, True, 100, 300, "-20x10ms", _LATENCY, think_s=1.0),
    "checks-last-50": Job("at ease, streamed, checks slower", 50, True, 300, 100, "-20x10ms", _LATENCY, think_s=1.0),
}


class Bench:
    """Targets over one stand-in server."""

    def __init__(self, server: SpawnedStandIn, *, run_s: float, cpus: tuple[int | None, int | None]) -> None:
        self.server, self.run_s, self.cpus = server, run_s, cpus
        self._direct: dict[tuple[str, int], tuple[float, float]] = {}

    def measure(self, target: Target, job: Job, round_: int) -> dict[str, float]:
        """One target under one load; a reply that is not what it must be ends the benchmark."""
        own, other = self.cpus
        job.set_up(self.server)
        check, first = self._directly(job, round_) if job.think_s else (job.check_ms, job.first_ms)
        self.server.reset()
        with target.start(self.server.base_url, cpu=own) as (process, key, store):
            found = load(process, target, job, run_s=self.run_s, seed=round_, cpu=other, key=key)
            after = refused_after_ms(store) if store.exists() else []
        wrong = {key: found[key] for key in ("wrong", "cut") if found[key]}
        if wrong or not set(found["statuses"]) <= {"200", str(target.refusal[0])}:
            raise SystemExit(
                f"{target.name}, {job.title}: {wrong} of {found['requests']}, statuses {found['statuses']}"
            )
        return {
            "requests": found["requests"],
            "per_s": found["per_s"],
            "cpu_ms": found["cpu_ms"],
            "per_cpu_s": 1000 / found["cpu_ms"],
            "rss_mb": found["rss_mb"],
            "server_busy": found["server_busy"],
            "load_busy": found["load_busy"],
            "whole_p50": found["whole_ms"]["p50"],
            "whole_p99": found["whole_ms"]["p99"],
            "late_p50": found["first_ms"]["p50"] - max(check, first),
            "late_p99": found["first_ms"]["p99"] - max(check, first),
            "after_p50": percentile(after, 0.5),
            "after_p99": percentile(after, 0.99),
            "refused_p50": found["refused_ms"]["p50"] - check,
            "refused_p99": found["refused_ms"]["p99"] - check,
        }

    def _directly(self, job: Job, round_: int) -> tuple[float, float]:
        """Milliseconds, in the median, of a check and of the upstream's first token with nothing in between."""
        if (job.title, round_) not in self._direct:
            own, _ = self.cpus  # The stand-in is on the other one: the load has this one to itself.
            server = Running(self.server.host, self.server.port, self.server.pid)
            check = replace(job, stream=False, attacks=0.0)
            checked = load(server, Target("", "", model="scope"), check, run_s=self.run_s / 2, seed=round_, cpu=own)
            answer = replace(job, attacks=0.0)
            answered = load(server, Target("", ""), answer, run_s=self.run_s / 2, seed=round_, cpu=own)
            self._direct[job.title, round_] = (checked["whole_ms"]["p50"], answered["first_ms"]["p50"])
        return self._direct[job.title, round_]


def refused_after_ms(store: Path) -> list[float]:
    """Milliseconds that a refusal took beside its deciding check, by the records: what came before it and after it."""
    found = []
    with closing(sqlite3.connect(store)) as connection:
        sql = """SELECT decided_by, ends.elapsed_ms, ends.timeline FROM records JOIN ends USING (id)
            WHERE decision = 'refuse'"""
        for by, elapsed_ms, timeline in connection.execute(sql):
            ended_ms = next(row["ended_ms"] for row in json.loads(timeline) if row["branch"] == by)
            found.append(elapsed_ms - ended_ms)
    return found


def load(
    process: Running, target: Target, job: Job, *, run_s: float, seed: int, cpu: int | None = None, key: str = ""
) -> dict[str, Any]:
    """Run the load generator; returns what it prints."""
    url = f"http://{process.host}:{process.port}/v1"
    command = [sys.executable, "-m", "benchmarks.service_load", url, "--pid", str(process.pid), "--seed", str(seed)]
    command += ["--model", target.model, "--clients", str(job.clients), "--attacks", str(job.attacks)]
    command += ["--think-s", str(job.think_s)]
    command += ["--run-s", str(run_s), *(["--stream"] if job.stream else [])]
    command += [] if cpu is None else ["--cpu", str(cpu)]
    command += ["--key", key] if key else []
    command += ["--refusal", str(target.refusal[0]), target.refusal[1]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(bench: Bench, targets: list[Target], jobs: list[str], *, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for round_ in range(rounds):
        for job in jobs:
            for target in targets if round_ % 2 == 0 else targets[::-1]:
                rows.append(
                    {"round": round_, "job": job, "target": target.name, **bench.measure(target, JOBS[job], round_)}
                )
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def compared(mine: dict[int, float], base: dict[int, float], how: str) -> list[float]:
    """One value a round: the ratio to the baseline, or the figure itself."""
    return [value / base[round_] if how.startswith("ratio") else value for round_, value in mine.items()]


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for job in dict.fromkeys(row["job"] for row in rows):
        for label, key, how, bound in JOBS[job].goals:
            for target in dict.fromkeys(row["target"] for row in rows):
                by = {
                    name: {row["round"]: row[key] for row in rows if row["job"] == job and row["target"] == name}
                    for name in (target, BASELINE)
                }
                values = compared(by[target], by[BASELINE], how)
                value = statistics.median(values)
                over = statistics.median(mine - by[BASELINE][round_] for round_, mine in by[target].items())
                judged = bound is not None and target not in (BASELINE, *PEERS)
                lines.append(
                    {
                        "job": job,
                        "figure": label,
                        "target": target,
                        "median": statistics.median(by[target].values()),
                        "compared": value,
                        "over_baseline": over,
                        "how": how[:-2],
                        "spread": [min(values), max(values)],
                        "goal": f"{how.replace('ratio', 'x').replace('value', '')}{bound:g}" if judged else "",
                        "reached": (value >= bound if how.endswith(">=") else value <= bound)
                        if judged and bound is not None
                        else None,
                    }
                )
    return lines


def show(lines: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    for line in lines:
        ratio = f"x{line['compared']:5.2f}   " if line["how"] == "ratio" else f"{line['over_baseline']:+9.2f}"
        end = "" if line["reached"] is None else f"  {line['goal']:6} {'reached' if line['reached'] else 'MISSED'}"
        print(
            f"{line['job']:15} {line['figure']:28} {line['target']:14} {line['median']:9.2f}  {ratio} "
            f"({line['spread'][0]:.2f}..{line['spread'][1]:.2f}){end}"
        )
    for job in dict.fromkeys(row["job"] for row in rows):
        by = {(row["target"], row["round"]): row["per_cpu_s"] for row in rows if row["job"] == job}
        pairs = [by[STRICT, at] / by[ASYNC, at] for name, at in by if name == STRICT and (ASYNC, at) in by]
        if pairs:
            print(f"  {job:15} strict over async, requests per CPU second: x{statistics.median(pairs):.2f} (goal 0.7)")
        for target in dict.fromkeys(row["target"] for row in rows):
            mine = [row for row in rows if row["job"] == job and row["target"] == target]
            busy = ", ".join(f"{key[:-5]} {statistics.median(r[key] for r in mine):.0f} %" for key in BUSY)
            if not math.isnan(after := statistics.median(row["after_p50"] for row in mine)):
                p99 = statistics.median(row["after_p99"] for row in mine)
                print(f"  {job:15} {target:14} refused after the deciding check, ms: p50 {after:.1f}, p99 {p99:.1f}")
            print(f"  {job:15} {target:14} CPU busy: {busy}; {sum(row['requests'] for row in mine)} requests")


BUSY = ("server_busy", "load_busy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default 4)")
    parser.add_argument("--jobs", nargs="*", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--loop", default="asyncio", choices=("asyncio", "uvloop"), help="of the baseline")
    parser.add_argument("--quorate", metavar="CONFIG", type=Path, default=CONFIG, help="the template of its config")
    parser.add_argument("--audit", nargs="*", choices=("strict", "async"), default=["strict"], help="of the service")
    parser.add_argument("--peers", action="store_true", help="NeMo Guardrails and LiteLLM too (make peers)")
    parser.add_argument("--target", nargs=2, action="append", metavar=("NAME", "COMMAND"), default=[])
    parser.add_argument("--key", default="", help="API key that clients send")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    baseline = f"{{python}} -m benchmarks.service_baseline --upstream {{upstream}} --loop {args.loop}"
    targets = [Target(BASELINE, baseline)]
    serve = "{python} -m quorate serve --config {config} --port 0 --json"
    targets += [
        Target(f"quorate-{audit}", serve, args.quorate, keyed=True, more=f'audit = "{audit}"') for audit in args.audit
    ]
    if args.peers:
        others = peers()
        targets += others
        if not others:
            print(MISSING, file=sys.stderr)
    targets += [Target(name, command, key=args.key) for name, command in args.target]
    own, other = two_cpus()
    with spawn_standin(cpu=other, seed=0) as server:
        rows = run(Bench(server, run_s=args.seconds, cpus=(own, other)), targets, args.jobs, rounds=args.rounds)
    lines = table(rows)
    show(lines, rows)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"lines": lines, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
