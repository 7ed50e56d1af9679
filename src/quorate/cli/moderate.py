"""`quorate moderate`: many messages, each voted on by several evaluators, resumable."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from quorate.apps.moderate import Moderation, Moderator, local_evaluator
from quorate.apps.report import usage_json
from quorate.checks.verdict import CheckKind
from quorate.cli.ballots import alone, panel_key
from quorate.cli.confusion import Confusion, violates
from quorate.cli.job import Job, run_job, sensible
from quorate.cli.rows import Row, say
from quorate.errors import UsageError
from quorate.settings import Settings, load_settings
from quorate.wiring import load

SCHEMA = "quorate.moderation/1"
SUMMARY = "quorate.moderation-summary/1"
_ENDS = ("flag", "pass", "abstain", "error", "cancelled")
_WORDS = ("flag", "pass", "unsure", "failed", "cut")
_VOTE = "the vote"
_SPENT = ("calls", "cancelled_calls", "input_tokens", "output_tokens", "wasted_tokens", "cost_usd", "wasted_usd")


@dataclass(frozen=True, slots=True)
class _Panel:
    """Who moderates, as which check, and what else an outcome depends on."""

    moderator: Moderator
    check: str
    kind: CheckKind
    config: str
    key: str


async def run(args: argparse.Namespace) -> int:
    """Moderate every line; 0 when each got an outcome, unsure included, 1 when a line was bad or its vote failed."""
    sensible(args)
    async with AsyncExitStack() as stack:
        panel = await _opened(stack, args)

        async def one(row: Row) -> dict[str, Any]:
            outcome = await panel.moderator.moderate(row.source, evaluate_all=args.evaluate_all)
            return {"id": row.id, **as_json(outcome), "panel": panel.key}

        config = f"moderate:{panel.config}:{args.evaluate_all}"
        job = await run_job(args, one, config=config, again=_broke, stamp=_label)
    return _report(job, panel, as_object=args.json)


async def _opened(stack: AsyncExitStack, args: argparse.Namespace) -> _Panel:
    if args.config is None:
        if args.check is not None:
            raise UsageError("--check names a check of --config FILE, which is missing")
        version = local_evaluator().classifier.version
        return _Panel(Moderator(), "moderation", "moderation", version, version)
    settings = load_settings(args.config)
    name = _check_of(settings, args.check)
    app = await stack.enter_async_context(load(args.config, settings=alone(settings, name)))
    for note in app.notes:
        say(f"quorate: note: {note}")
    check = app.door.checks[name]
    moderator = Moderator.of(check, trusted=app.door.policy.trusted)
    key = panel_key(settings.checks[name], app.versions[name])
    return _Panel(moderator, name, check.kind, app.fingerprint, key)


def _check_of(settings: Settings, asked: str | None) -> str:
    named = [name for name, table in settings.checks.items() if (table.kind or name) == "moderation"]
    if asked is None and len(named) == 1:
        return named[0]
    if asked is None:
        found = "no moderation check" if not named else f"several moderation checks ({', '.join(named)})"
        raise UsageError(f"the config has {found}: name one of {', '.join(settings.checks)} with --check")
    if asked not in settings.checks:
        raise UsageError(f"--check: found {asked!r}, allowed are {', '.join(settings.checks)}")
    return asked


def as_json(outcome: Moderation) -> dict[str, Any]:
    """An outcome in the form that other programs read. Fields are only ever added."""
    return {
        "schema": SCHEMA,
        "flagged": outcome.flagged,
        "score": _rounded(outcome.score),
        "categories": {name: _rounded(score) for name, score in outcome.categories.items()},
        "decided_by": outcome.decided_by,
        "why": outcome.why,
        "votes": [
            {**vote._asdict(), "score": _rounded(vote.score), "elapsed_ms": round(vote.elapsed_ms, 3)}
            for vote in outcome.votes
        ],
        "usage": usage_json(outcome.usage, outcome.timeline.wasted),
        "elapsed_ms": round(1000 * (outcome.timeline.ended_s or 0.0), 3),
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)


def _label(row: Row) -> Mapping[str, Any]:
    return {} if row.label is None else {"label": row.label}


def _broke(result: Mapping[str, Any]) -> bool:
    """Whether an evaluator broke; such a row is asked again."""
    return any(vote["outcome"] == "error" for vote in result["votes"])


def _report(job: Job, panel: _Panel, *, as_object: bool) -> int:
    undecided = {n: result for n, result in job.results.items() if result["flagged"] is None and _broke(result)}
    for number, result in undecided.items():
        broken = [f"{vote['voter']}: {vote['reason']}" for vote in result["votes"] if vote["outcome"] == "error"]
        job.failed[number] = f"line {number}: {result['why']} ({'; '.join(broken)})"
    outcomes = Counter(result["flagged"] for result in job.results.values())
    votes: dict[str, Counter[str]] = {name: Counter() for name in panel.moderator.checks}
    spent: dict[str, float] = dict.fromkeys(_SPENT, 0)
    estimated = any(result["usage"]["estimated"] for result in job.results.values())
    for result in job.results.values():
        for vote in result["votes"]:
            votes[vote["voter"]][vote["outcome"]] += 1
        for name in _SPENT:
            spent[name] += result["usage"][name]
    for problem in job.problems:
        say(problem)
    unsure = outcomes[None] - len(undecided)
    if as_object:
        told = {
            "schema": SUMMARY,
            "flagged": outcomes[True],
            "not_flagged": outcomes[False],
            "unsure": unsure,
            "failed": len(undecided),
            "bad": len(job.problems) - len(undecided),
            "votes": {name: {end: ends[end] for end in _ENDS} for name, ends in votes.items()},
            "usage": {name: round(value, 9) for name, value in spent.items()} | {"estimated": estimated},
        }
        print(json.dumps(told), file=sys.stderr)
        return 1 if job.problems else 0
    say(
        f"{len(job.results) - len(undecided)} decided ({outcomes[True]} flagged, {outcomes[False]} not, "
        f"{unsure} unsure), {len(job.problems)} bad"
    )
    for line in (*_votes_told(votes), *_spent_told(spent, "about " if estimated else ""), *_confused(job, panel)):
        say(line)
    return 1 if job.problems else 0


def _votes_told(votes: Mapping[str, Counter[str]]) -> list[str]:
    width = max(len("evaluator"), *map(len, votes))
    lines = [f"{'evaluator':{width}}  " + "  ".join(f"{word:>8}" for word in _WORDS)]
    for name, ends in votes.items():
        lines.append(f"{name:{width}}  " + "  ".join(f"{ends[end]:>8}" for end in _ENDS))
    return lines


def _spent_told(spent: Mapping[str, float], about: str) -> list[str]:
    if not spent["calls"]:
        return []
    tokens = spent["input_tokens"] + spent["output_tokens"]
    line = f"{spent['calls']:.0f} calls, {spent['cancelled_calls']:.0f} of them cut; {about}{tokens:.0f} tokens, "
    line += f"{spent['wasted_tokens']:.0f} of them wasted"
    return [line + (f"; {spent['cost_usd']:.4g} $, {spent['wasted_usd']:.4g} $ wasted" if spent["cost_usd"] else "")]


def _confused(job: Job, panel: _Panel) -> list[str]:
    """Labels against outcomes: the vote, and each of its voters where there are several."""
    names = [_VOTE] + (list(panel.moderator.checks) if len(panel.moderator.checks) > 1 else [])
    table = Confusion(names)
    ends = {True: "flag", False: "pass", None: "abstain"}
    for row in job.rows:
        wanted = violates(row.label, panel.check, kind=panel.kind)
        if wanted is None or row.number not in job.results:
            continue
        result = job.results[row.number]
        outcome = "error" if row.number in job.failed else ends[result["flagged"]]
        said = {_VOTE: outcome, **{vote["voter"]: vote["outcome"] for vote in result["votes"]}}
        label = dict.fromkeys(names, "flag" if wanted else "pass")
        table.add(label, [{"check": name, "outcome": said[name]} for name in names])
    return table.lines()
