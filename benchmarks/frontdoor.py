"""Speed beside a hand-written baseline: `python -m benchmarks.frontdoor [--rounds N] [--json FILE]`.

The stand-in model server runs in another process on another core; baseline and Quorate take turns in one process on
the same event loop, so each figure is a ratio within one round, and what is reported is the median over rounds.
CPU is user and system time of this process. Messages are never repeated within a round.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from benchmarks.baseline import Baseline
from benchmarks.ours import Ours
from quorate.checks import Conversation, Template, threat_subject
from quorate.models.http import Session
from quorate.testing.standin import Lognormal, SpawnedStandIn, spawn_standin

Call = Callable[[str], Awaitable[Any]]
FLAG = "[[flag:threat]]"


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def timed(call: Call, texts: list[str]) -> tuple[list[float], float]:
    """Milliseconds of each message, one at a time, and CPU milliseconds a message."""
    gc.collect()
    took: list[float] = []
    cpu = cpu_s()
    for text in texts:
        start = time.perf_counter()
        await call(text)
        took.append(1000 * (time.perf_counter() - start))
    return took, 1000 * (cpu_s() - cpu) / len(texts)


async def flood(call: Call, texts: list[str], in_flight: int) -> float:
    """Messages a second with so many in flight."""
    gc.collect()
    queue = iter(texts)

    async def worker() -> None:
        for text in queue:
            await call(text)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return len(texts) / (time.perf_counter() - start)


def texts(job: str, round_: int, n: int, mark: str = "") -> list[str]:
    return [f"{job}{round_}-{i}: where is my parcel? It should have come on Monday. {mark}" for i in range(n)]


class Bench:
    """Both contenders over one stand-in server."""

    def __init__(self, server: SpawnedStandIn, client: aiohttp.ClientSession, session: Session) -> None:
        self.server = server
        self.client, self.session = client, session

    def pair(self, scope: str, threat: str, answer: str = "answer-300ms") -> dict[str, Any]:
        systems = {scope: Template.load("scope-v1").text, threat: Template.load("threat-v1").text}
        return {
            "baseline": Baseline(self.client, self.server.base_url, systems, answer),
            "quorate": Ours(self.session, self.server.base_url, [scope, threat], answer),
        }

    async def one_at_a_time(self, round_: int, n: int) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, door in order(self.pair("scope-50ms", "threat-50ms"), round_):
            await timed(door.checks, texts(f"warm{name}", round_, 3))
            took, cpu = await timed(door.checks, texts("one", round_, n))
            row |= {f"{name}_over_ms": statistics.median(took) - 50, f"{name}_cpu_ms": cpu}
        return row

    async def refused(self, round_: int, n: int) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, door in order(self.pair("scope-50ms", "threat-50ms"), round_):
            await timed(door.respond, texts(f"warm{name}", round_, 2))
            before = self.server.stats()["models"].get("answer-300ms", {"cut": 0, "finished": 0})
            took, _ = await timed(door.respond, texts("attack", round_, n, FLAG))
            await asyncio.sleep(0.05)
            after = self.server.stats()["models"]["answer-300ms"]
            row |= {
                f"{name}_ms": statistics.median(took),
                f"{name}_cut": (after["cut"] - before["cut"]) / n,
                f"{name}_wasted_whole": (after["finished"] - before["finished"]) / n,
            }
        return row

    async def wide(self, round_: int, n: int) -> dict[str, float]:
        row: dict[str, float] = {}
        pair = self.pair("scope-50ms", "threat-50ms")
        baseline, ours = pair["baseline"], pair["quorate"]
        judge = ours.judge("threat-50ms")

        async def by_hand(text: str) -> None:
            tasks = [asyncio.create_task(baseline.check("threat-50ms", f"{text} {i}")) for i in range(n)]
            await asyncio.gather(*tasks)

        async def by_quorate(text: str) -> None:
            await ours.fan_out(judge, [threat_subject(Conversation.of(f"{text} {i}")) for i in range(n)])

        for name, call in order({"baseline": by_hand, "quorate": by_quorate}, round_):
            await timed(call, texts(f"warm{name}", round_, 1))
            took, _ = await timed(call, texts("wide", round_, 3))
            row[f"{name}_ms"] = statistics.median(took)
        return row

    async def in_flight(self, round_: int, n: int) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, door in order(self.pair("scope-50ms", "threat-50ms"), round_):
            await flood(door.checks, texts(f"warm{name}", round_, 200), 200)
            cpu = cpu_s()
            row[f"{name}_per_s"] = await flood(door.checks, texts("flood", round_, n), 200)
            row[f"{name}_cpu_ms"] = 1000 * (cpu_s() - cpu) / n
        return row

    async def heavy_tail(self, round_: int, n: int) -> dict[str, float]:
        """Attacks whose other check is at least 10 ms slower: how many were refused before that one was done."""
        scope, threat = "scope-lognormal-50ms-1.0", "threat-lognormal-50ms-1.0"
        row: dict[str, float] = {}
        pair = self.pair(scope, threat)
        candidates = texts("tail", round_, 4 * n, FLAG)
        for name, door in order(pair, round_):
            early = 0
            eligible: list[tuple[str, float]] = []
            for text in candidates:
                sent = data_of(text) if name == "quorate" else text
                slow, trip = draw(scope, sent), draw(threat, sent)
                if slow - trip >= 0.010 and len(eligible) < n:
                    eligible.append((text, slow))

            async def refuse(item: str, call: Call = door.checks, slow: dict[str, float] = dict(eligible)) -> None:  # noqa: B006 - read only
                nonlocal early
                start = time.perf_counter()
                await call(item)
                early += time.perf_counter() - start < slow[item]

            await flood(refuse, [text for text, _ in eligible], 4)
            row |= {f"{name}_early": 100 * early / len(eligible), f"{name}_messages": len(eligible)}
        return row


def order(pair: dict[str, Any], round_: int) -> list[tuple[str, Any]]:
    """Take turns in who goes first."""
    items = list(pair.items())
    return items if round_ % 2 == 0 else items[::-1]


def data_of(text: str) -> str:
    """What the stand-in reads of a prompt of ours: the data between the boundaries."""
    return json.dumps({"judge": "customer", "text": text}, ensure_ascii=False)


def draw(model: str, text: str) -> float:
    """The latency that the stand-in draws for this model and text, in seconds."""
    digest = hashlib.blake2b(f"0\0{model}\0{text}".encode(), digest_size=8).digest()
    return Lognormal(0.05, 1.0).draw(random.Random(int.from_bytes(digest)))


JOBS: dict[str, tuple[str, int, list[tuple[str, str, str]]]] = {
    "one_at_a_time": (
        "two checks, one message at a time",
        40,
        [("CPU per message", "cpu_ms", "ratio<=1.4"), ("time over the slowest check", "over_ms", "ratio<=1.4")],
    ),
    "refused": ("two checks + 300 ms answer, attack", 30, [("refused after, ms", "ms", "plus<=1.0")]),
    "wide": ("fan-out of 512 checks", 512, [("wall, ms", "ms", "ratio<=1.25")]),
    "in_flight": ("200 messages in flight", 2000, [("messages/s", "per_s", "ratio>=0.8")]),
    "heavy_tail": ("heavy tail, attacks", 250, [("refused at the first trip, %", "early", "plus>=-1.0")]),
}


async def run(server: SpawnedStandIn, rounds: int, jobs: list[str]) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {job: [] for job in jobs}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client, Session() as session:
        bench = Bench(server, client, session)
        for round_ in range(rounds):
            for job in jobs:
                results[job].append(await getattr(bench, job)(round_, JOBS[job][1]))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def table(results: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for job, rounds in results.items():
        title, _, figures = JOBS[job]
        for label, key, goal in figures:
            ours = [r[f"quorate_{key}"] for r in rounds]
            base = [r[f"baseline_{key}"] for r in rounds]
            kind, _, limit = goal.partition("<=") if "<=" in goal else goal.partition(">=")
            pairs = zip(ours, base, strict=True)
            values = [a / b for a, b in pairs] if kind == "ratio" else [a - b for a, b in pairs]
            value = statistics.median(values)
            reached = value <= float(limit) if "<=" in goal else value >= float(limit)
            rows.append(
                {
                    "job": title,
                    "figure": label,
                    "baseline": round(statistics.median(base), 3),
                    "quorate": round(statistics.median(ours), 3),
                    "compared": round(value, 3),
                    "spread": [round(min(values), 3), round(max(values), 3)],
                    "goal": goal.replace("ratio", "x").replace("plus", "baseline +"),
                    "reached": reached,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", nargs="*", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    other = cores[-1] if len(cores) > 1 else None
    if other is not None:
        os.sched_setaffinity(0, {cores[0]})
    with spawn_standin(cpu=other, seed=0) as server:
        results = asyncio.run(run(server, args.rounds, args.jobs))
    rows = table(results)
    for row in rows:
        print(
            f"{row['job']:36} {row['figure']:30} baseline {row['baseline']:9.3f}  quorate {row['quorate']:9.3f}  "
            f"{row['compared']:7.3f} ({row['spread'][0]}..{row['spread'][1]})  {row['goal']:18} "
            f"{'reached' if row['reached'] else 'MISSED'}"
        )
    if "refused" in results:
        for name in ("baseline", "quorate"):
            cut = statistics.median([r[f"{name}_cut"] for r in results["refused"]])
            print(f"  {name}: answers cut at the server {cut:.0%}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "rounds": results}, file, indent=1)


if __name__ == "__main__":
    main()
