"""How many decisions the store keeps a second: strict against async, SQLite against PostgreSQL.

Run: `python -m benchmarks.store [--records 5000] [--clients 50] [--postgres URL]`. Every decision has two verdicts, a
timeline, a message of some 250 characters with an order number and a phone number, a turn, and an end. A client takes
its next decision when the last one was acknowledged. CPU is the process's, redaction included. Times are for one run
on a shared machine: compare within a run.
"""

import argparse
import asyncio
import itertools
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from quorate.store import End, Record, Store, Turn

MESSAGE = (
    "Hello, I ordered a lamp three weeks ago and it still has not come. The order is 4711-22 and the tracking page "
    "says that it left on 2026-10-02. Could you please look into it, or call me at +49 151 23456789? Thanks a lot."
)
REPLY = "I am sorry that your lamp is late. The parcel was delayed at the depot and will reach you in two days. " * 4
VERDICT = {
    "outcome": "pass",
    "score": 0.0132,
    "category": "none",
    "reason": "A customer asks where an order is.",
    "model": "guard-small",
    "version": "prompt:3f9c2a",
    "elapsed_ms": 212.5,
    "mode": "enforce",
}
USAGE = {
    "calls": 3,
    "cancelled_calls": 0,
    "input_tokens": 812,
    "output_tokens": 240,
    "wasted_tokens": 0,
    "cost_usd": 0.01,
}
SPAN = {"started_ms": 0.1, "first_ms": 200.0, "ended_ms": 212.5, "ended": "answered", "why": "", "usage": USAGE}


def record(number: int) -> Record:
    verdicts = [{"check": check, **VERDICT} for check in ("scope", "threat")]
    return Record(
        id=f"req-{number:08}",
        conversation=f"conversation-{number // 5}",
        key="9f3b6f0c12aa",
        at=datetime.now(UTC),
        route="/v1/chat/completions",
        decision="admit",
        verdicts=verdicts,
        timeline=[{"branch": branch, **SPAN} for branch in ("scope", "threat", "answer")],
        usage=USAGE,
        config="5f2d77aa90",
        config_version=3,
        versions={"scope": "prompt:3f9c2a", "threat": "weights:77ab01"},
        speculated=True,
        streamed=True,
        held_ms=12.0,
        elapsed_ms=212.9,
        messages=[{"role": "user", "content": MESSAGE}],
        turn=Turn(f"prefix-{number:08}", verdicts, "5f2d77aa90"),
    )


async def measure(url: str, audit: str, records: int, clients: int) -> dict[str, float]:
    numbers = itertools.count()
    waits: list[float] = []
    async with Store.open(url, audit=audit) as store:  # type: ignore[arg-type]

        async def client() -> None:
            while (number := next(numbers)) < records:
                row = record(number)
                began = time.perf_counter()
                await store.decided(row)
                waits.append(time.perf_counter() - began)
                store.ended(
                    End(id=row.id, outcome="done", bytes_out=4096, usage=USAGE, timeline=row.timeline, reply=REPLY)
                )
                await asyncio.sleep(0)

        began, used = time.perf_counter(), cpu()
        await asyncio.gather(*(client() for _ in range(clients)))
        stats = store.stats
    took, used = time.perf_counter() - began, cpu() - used
    waits.sort()
    return {
        "decisions/s": records / took,
        "CPU ms a decision": 1000 * used / records,
        "writes a commit": stats.written / stats.commits,
        "ms a commit": 1000 * took / stats.commits,
        "wait p50 ms": 1000 * statistics.median(waits),
        "wait p99 ms": 1000 * waits[int(len(waits) * 0.99)],
    }


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", metavar="URL", help="an empty database of its own")
    args = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    began = time.perf_counter()
    for number in range(2000):
        record(number)
    print(f"making a record, which is not the store's: {(time.perf_counter() - began) / 2:.3f} ms of each figure")
    for number in range(args.rounds):
        for audit in ("strict", "async"):
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{Path(folder) / 'store.db'}"
                rows.setdefault(f"SQLite, {audit}", []).append(
                    asyncio.run(measure(url, audit, args.records, args.clients))
                )
            if args.postgres:
                asyncio.run(empty(args.postgres))
                rows.setdefault(f"PostgreSQL, {audit}", []).append(
                    asyncio.run(measure(args.postgres, audit, args.records, args.clients))
                )
        print(f"round {number + 1} of {args.rounds}")
    names = list(rows[next(iter(rows))][0])
    print(f"| median of {args.rounds} | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for name, found in rows.items():
        figures = (statistics.median(row[column] for row in found) for column in names)
        print(
            f"| {name} | "
            + " | ".join(f"{figure:.3g}" if figure < 100 else f"{figure:.0f}" for figure in figures)
            + " |"
        )


async def empty(url: str) -> None:
    async with Store.open(url) as store:
        await store.expire(datetime(9999, 1, 1, tzinfo=UTC))


if __name__ == "__main__":
    main()
