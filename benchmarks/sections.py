"""Sections beside the best schedule there is: `python -m benchmarks.sections [--rounds N] [--json FILE]`.

The stand-in model server runs in another process, on another core where there is one. It draws a lognormal time to
the first token for each section's text, and then streams 60 tokens, 5 ms apart. The benchmark makes the same draws,
so that what each section takes is known before it runs. Per round:

- wall: seconds of the whole job (12 sections, 4 at once) over the greedy schedule in input order at those durations;
- first text: milliseconds from the moment the first section's first token was drawn to come until it could be read,
  and from the moment it arrived here until it could be read;
- one section of 12 changed: calls that the server counted on the re-run.

Each round has a text of its own; what is reported is the median over rounds, with the spread.

`--pays` measures instead what a division costs and brings: the example's handbook, by a model that takes 300 ms to its
first token and 2 ms for each word that the section has, divided under several budgets.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from quorate.apps.sections import Part, Prompted, Report, Sectioning, Split, greedy_s, section
from quorate.events import Context
from quorate.journal import Journal
from quorate.models.http import Session
from quorate.models.openai import OpenAIModel
from quorate.testing.standin import Lognormal, SpawnedStandIn, spawn_standin

SECTIONS, AT_ONCE, MEDIAN_S, SIGMA, TOKENS, GAP_S = 12, 4, 0.3, 0.6, 60, 0.005
MODEL = f"writer-lognormal-{round(1000 * MEDIAN_S)}ms-{SIGMA}-{TOKENS}x{round(1000 * GAP_S)}ms"
SEED = 0
HOW = Split(budget=200)
BOOK = Path(__file__).parents[1] / "examples" / "sections" / "handbook.md"
PAYS = [
    (Split(budget=100_000), 1),
    *((Split(budget=budget), 4) for budget in (1500, 600, 300, 100)),
    (Split(budget=300, context=1), 4),
    (Split(budget=300), 12),
    (Split(budget=300), 1),
]


def document(round_: int, *, changed: int = 0) -> str:
    """Twelve chapters, no two of which fit the budget together."""
    rng = random.Random(round_)
    words = ["lamp", "cable", "socket", "order", "invoice", "warranty", "repair", "bulb"]
    chapters = []
    for number in range(1, SECTIONS + 1):
        body = " ".join(rng.choice(words) for _ in range(100))
        mark = " It was changed." if number == changed else ""
        chapters.append(f"## Chapter {number} of text {round_}\n\n{body}.{mark}")
    return "\n\n".join(chapters) + "\n"


def drawn_s(text: str) -> tuple[float, float]:
    """Seconds to the first and to the last token that the stand-in draws for a section's text."""
    digest = hashlib.blake2b(f"{SEED}\0{MODEL}\0{text}".encode(), digest_size=8).digest()
    first_s = Lognormal(MEDIAN_S, SIGMA).draw(random.Random(int.from_bytes(digest)))
    return first_s, first_s + (TOKENS - 1) * GAP_S


def started(server: SpawnedStandIn) -> int:
    """Calls that the server has counted, once it has seen the ends of all of them."""
    while server.stats()["total"]["in_flight"]:
        time.sleep(0.005)
    return server.stats()["total"]["started"]


async def work(job: Sectioning) -> tuple[float, float, Report]:
    """Seconds of the job and until its first text, and its report."""
    start, first = time.perf_counter(), 0.0
    async with job:
        async for _ in job:
            first = first or time.perf_counter() - start
        took = time.perf_counter() - start
    return took, first, job.report()


async def one_round(server: SpawnedStandIn, model: OpenAIModel, round_: int, folder: Path) -> dict[str, float]:
    task = Prompted(model, "Rewrite the section.")
    with Journal(folder / f"round-{round_}", resume=True) as journal:
        job = section(document(round_), task, split=HOW, concurrency=AT_ONCE, journal=journal)
        drawn = [drawn_s(part.item) for part in job.parts]
        took, first, report = await work(job)
        assert len(drawn) == SECTIONS and report.sound
        before = started(server)
        changed = section(document(round_, changed=7), task, split=HOW, concurrency=AT_ONCE, journal=journal)
        _, _, again = await work(changed)
    assert [row.part.number for row in again.parts if row.state == "done"] == [7]
    ideal = greedy_s([whole for _, whole in drawn], AT_ONCE)
    return {
        "wall_s": took,
        "ideal_drawn_s": ideal,
        "wall_over_drawn": took / ideal,
        "wall_over_seen": took / report.speed.ideal_s,
        "sequential_s": sum(whole for _, whole in drawn),
        "first_after_drawn_ms": 1000 * (first - drawn[0][0]),
        "first_after_arrival_ms": 1000 * (first - (report.timeline["section 1"].first_s or 0.0)),
        "rerun_calls": started(server) - before,
    }


async def pays(server: SpawnedStandIn) -> list[dict[str, Any]]:
    """The example's document under several budgets, four at once and one after another."""
    text = BOOK.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = []
    async with Session() as session:

        async def work(part: Part, context: Context) -> str:
            name = f"writer-300ms-{len(part.item.split())}x2ms"
            return await Prompted(OpenAIModel(name, base_url=server.base_url, session=session), "Rewrite it.")(
                part, context
            )

        for how, at_once in PAYS:
            report = await section(text, work, split=how, concurrency=at_once)
            rows.append(
                {
                    "budget": how.budget,
                    "context": how.context,
                    "at_once": at_once,
                    "sections": len(report.parts),
                    "took_s": round(report.speed.took_s, 2),
                    "first_s": round(report.speed.first_s or 0.0, 2),
                    "longest_s": round(report.speed.longest_s, 2),
                    "input_tokens": report.timeline.usage.input_tokens,
                }
            )
    return rows


async def run(server: SpawnedStandIn, rounds: int) -> list[dict[str, float]]:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        async with Session() as session:
            model = OpenAIModel(MODEL, base_url=server.base_url, session=session)
            await section(document(10_000), Prompted(model, "Warm up."), split=HOW)
            for round_ in range(rounds):
                results.append(await one_round(server, model, round_, Path(folder)))
    return results


FIGURES = [
    ("wall over the greedy schedule, durations drawn", "wall_over_drawn", "<= 1.05"),
    ("wall over the greedy schedule, durations seen", "wall_over_seen", ""),
    ("first text after its first token was drawn to come, ms", "first_after_drawn_ms", ""),
    ("first text after its first token arrived, ms", "first_after_arrival_ms", "<= 1"),
    ("calls on the re-run with one section changed", "rerun_calls", "<= 1"),
]


def table(results: list[dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for label, key, goal in FIGURES:
        values = [result[key] for result in results]
        median = statistics.median(values)
        worst_counts = key == "rerun_calls"
        reached = None if not goal else (max(values) if worst_counts else median) <= float(goal.removeprefix("<= "))
        rows.append(
            {
                "figure": label,
                "median": round(median, 4),
                "spread": [round(min(values), 4), round(max(values), 4)],
                "goal": goal,
                "reached": reached,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pays", action="store_true", help="measure what a division costs and brings")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    other = cores[-1] if len(cores) > 1 else None
    if other is not None:
        os.sched_setaffinity(0, {cores[0]})
    with spawn_standin(cpu=other, seed=SEED) as server:
        if args.pays:
            for row in asyncio.run(pays(server)):
                print("  ".join(f"{key} {value}" for key, value in row.items()))
            return
        results = asyncio.run(run(server, args.rounds))
    rows = table(results)
    for row in rows:
        verdict = "" if row["reached"] is None else "reached" if row["reached"] else "MISSED"
        spread = f"({row['spread'][0]}..{row['spread'][1]})"
        print(f"{row['figure']:56} {row['median']:9.4f}  {spread:22} {row['goal']:8} {verdict}")
    times = [result["sequential_s"] / result["wall_s"] for result in results]
    print(f"  one after another would have taken {statistics.median(times):.2f} times as long (median)")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "rounds": results}, file, indent=1)


if __name__ == "__main__":
    main()
