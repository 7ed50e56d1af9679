"""`quorate check`: many messages through the checks, resumable, with a confusion table where rows are labelled."""

import argparse
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from quorate.apps.report import as_json
from quorate.cli.ask import opened
from quorate.cli.confusion import Confusion
from quorate.cli.job import Job, run_job, sensible
from quorate.cli.rows import Row, say


async def run(args: argparse.Namespace) -> int:
    """Screen every line; returns 0 when each got a decision, 1 when any was bad."""
    sensible(args)
    async with AsyncExitStack() as stack:
        app = await opened(stack, args)

        async def one(row: Row) -> dict[str, Any]:
            decision = await app.door.decide(row.source, evaluate_all=args.evaluate_all)
            return {"id": row.id, **as_json(decision, reply=False)}

        config = f"{app.fingerprint}:{args.evaluate_all}"
        job = await run_job(args, one, config=config, again=_undecided)
    return _report(job, Confusion(list(app.door.checks)))


def _undecided(result: Mapping[str, Any]) -> bool:
    """Whether a kept result rests on a check that broke; such a one is asked again."""
    broke = any(verdict["outcome"] == "error" for verdict in result["verdicts"])
    return broke or result["decided_by"] == "deadline"


def _report(job: Job, table: Confusion) -> int:
    problems = job.problems
    for problem in problems:
        say(problem)
    counts = dict.fromkeys(("admit", "refuse", "escalate"), 0)
    for result in job.results.values():
        counts[result["decision"]] += 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"{len(job.results)} decided ({told}), {len(problems)} bad")
    for row in job.rows:
        if row.number in job.results:
            table.add(row.label, job.results[row.number]["verdicts"])
    for line in table.lines():
        say(line)
    return 1 if problems else 0
