"""`quorate calibrate`: bounds of a check from labelled rows, with a promise, written down with their evidence."""

import argparse
import datetime
import hashlib
import json
import os
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quorate.apps.frontdoor import FrontDoor, Response
from quorate.apps.moderate import Moderator
from quorate.checks import Verdict
from quorate.cli.ballots import asked, countable, is_panel, panel_key, recorded, tallied
from quorate.cli.choose import Choice, Scored, by_false_alarms
from quorate.cli.confusion import violates
from quorate.cli.costs import by_costs
from quorate.cli.flags import FlagCosts, Tally, by_flag_costs, by_promise
from quorate.cli.options import COSTS
from quorate.cli.render import console
from quorate.cli.rewrite import replace_config
from quorate.cli.rows import Row, as_text, read_bytes, read_rows, say, work
from quorate.cli.tiers import by_tiers
from quorate.cli.tradeoff import draw_plot, save_plot
from quorate.errors import QuorateError, UsageError
from quorate.events import Answered, Failed
from quorate.journal import Journal
from quorate.settings import CheckTable, Settings, load_settings
from quorate.stats import Costs
from quorate.wiring import App, example_config, load

SCHEMA = "quorate.calibration/1"
FIRST, LAST = "first", "last"
_TOLD_BAD = 20
_COSTS = (
    "--cost-false-alarm, --cost-miss, --cost-human: all three (a panel needs no --cost-human), "
    "each above 0 and at most 1e12"
)


@dataclass(frozen=True, slots=True)
class Job:
    """What is scored, by whom, and what came of it, by line."""

    ask: Callable[[Row], Awaitable[dict[str, Any]]]
    journal: Journal | None
    results: dict[int, dict[str, Any]]
    failed: dict[int, str]

    async def one(self, row: Row) -> None:
        """Score a row by every tier; what fails is kept apart and asked again on `--resume`."""
        try:
            result = await self.ask(row)
        except QuorateError as error:
            self.failed[row.number] = f"line {row.number}: {error}"
            return
        if self.journal is not None:
            self.journal.add(row.key, result)
        self.results[row.number] = result


async def _tiers(door: FrontDoor, row: Row) -> dict[str, Any]:
    response = Response(door, row.source, evaluate_all=True)
    async with response.run as run:
        await run.finished()
    ends = response.run.ended
    broken = [end.error for end in ends.values() if isinstance(end, Failed)]
    if broken:
        raise UsageError(str(broken[0]) or type(broken[0]).__name__)
    found = {name: end.value for name, end in ends.items() if isinstance(end, Answered)}
    return {name: _kept(verdict) for name, verdict in found.items() if isinstance(verdict, Verdict)}


def _kept(verdict: Verdict) -> dict[str, Any]:
    return {"outcome": verdict.outcome, "score": verdict.score}


async def run(args: argparse.Namespace) -> int:
    """Score, choose, show and write; 0 when bounds were chosen (and written), 1 when none keeps the promise."""
    _sensible(args)
    path = args.config if args.config is not None else example_config()
    settings = load_settings(path)
    if args.check not in settings.checks:
        raise UsageError(f"--check: found {args.check!r}, allowed are {', '.join(settings.checks)}")
    table = settings.checks[args.check]
    _fitting(args, table)
    before = tomllib.loads(path.read_text(encoding="utf-8-sig"))["checks"][args.check]
    data = read_bytes(args.data)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(load(path, settings=settings))
        version, kind = app.versions[args.check], app.door.checks[args.check].kind
        rows = _labelled(data, args, kind=kind, fingerprint=app.fingerprint)
        if is_panel(table):
            choice = _of_flags(args, *await _tallied(args, app, rows))
        else:
            choice = _choice(args, table, await _scored(args, path, settings, rows=rows))
    evidence = {
        "method": choice.method,
        "date": datetime.date.today().isoformat(),
        "data": "stdin" if args.data == "-" else Path(args.data).name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "version": version,
        "confidence": args.confidence,
        **choice.evidence,
    }
    below = "tier_evidence" if choice.method == "tiers" else "evidence"
    if not args.dry_run:
        change = {"bounds": choice.bounds, "table": below, "evidence": evidence}
        replace_config(path, args.check, before=before, change=change)
    if args.plot is not None:
        save_plot(args.plot, choice.plot, title=f"{args.check}: {len(rows)} labelled rows")
    _show(args, choice, {"check": args.check, "bounds": choice.bounds, below: evidence}, path)
    return 0


def _sensible(args: argparse.Namespace) -> None:
    costs = [getattr(args, name) for name in COSTS]
    asked = [args.max_false_alarms is not None, any(cost is not None for cost in costs), args.tier is not None]
    if sum(asked) != 1:
        raise UsageError(
            "say what is promised, one of: --max-false-alarms SHARE; --cost-false-alarm, --cost-miss and --cost-human; "
            "--tier with --max-local-error SHARE"
        )
    if asked[1] and not (None not in costs[:2] and all(0 < cost < 1e12 for cost in costs if cost is not None)):
        raise UsageError(_COSTS)
    if (args.tier is None) != (args.max_local_error is None):
        raise UsageError("--tier and --max-local-error belong together: give both, or neither")
    if args.violations is not None and not asked[1]:
        raise UsageError("--violations weighs costs; the other promises hold for any share of violations")
    if args.concurrency < 1:
        raise UsageError(f"--concurrency: found {args.concurrency}, allowed is 1 or more")
    if args.resume and args.journal is None:
        raise UsageError("--resume needs --journal FILE, where the finished rows are")
    if args.config is None and not args.dry_run:
        raise UsageError("--config FILE: name the config to write to, or add --dry-run to try the example company")
    if args.plot is not None and find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'quorate[plot]'")
    if args.plot is not None and not args.plot.parent.is_dir():
        raise UsageError(f"--plot {args.plot}: there is no folder {args.plot.parent}")


def _fitting(args: argparse.Namespace, table: CheckTable) -> None:
    """Refuse what does not go with a panel, or only goes with one."""
    if not is_panel(table):
        if args.cost_miss is not None and args.cost_human is None:
            raise UsageError(_COSTS)
        if args.votes is not None:
            raise UsageError(f"--votes: checks.{args.check} is no panel, such as models = [[...]]")
        return
    countable(table, check=args.check)
    if args.tier is not None:
        raise UsageError(f"--tier: checks.{args.check} is a panel and has no first tier")
    if args.votes is not None and (args.journal is not None or args.votes == args.data == "-"):
        raise UsageError("--votes are there already: give no --journal, and not both files on stdin")


def _labelled(data: bytes, args: argparse.Namespace, *, kind: str, fingerprint: str) -> list[tuple[Row, bool]]:
    """The rows whose label says something of the check. One bad line is too many: evidence names the whole file."""
    config = f"calibrate:{args.check}:{args.tier == 'both'}:{fingerprint}"
    rows, bad = read_rows(as_text(data), config=config, need_id=False)
    if bad:
        more = [f"and {len(bad) - _TOLD_BAD} more"] if len(bad) > _TOLD_BAD else []
        raise UsageError("\n".join([f"{args.data}: {len(bad)} bad line(s)", *bad[:_TOLD_BAD], *more]))
    said = [(row, violates(row.label, args.check, kind=kind)) for row in rows]
    kept = [(row, wanted) for row, wanted in said if wanted is not None]
    if len(kept) < len(rows):
        say(f"{len(rows) - len(kept)} of {len(rows)} rows left out: their label says nothing of {args.check}")
    if not kept:
        words = 'true, "violation", "attack", "out_of_scope" or false, "ok", "benign", "in_scope"'
        raise UsageError(f"{args.data}: no row's label says anything of {args.check}; labels are {words}")
    return kept


async def _scored(
    args: argparse.Namespace, path: Path, settings: Settings, *, rows: list[tuple[Row, bool]]
) -> list[Scored]:
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(load(path, settings=_for_scores(settings, args)))
        results = await _results(args, rows, partial(_tiers, _door(app)))
    tier = partial(_tier_of, results)
    return [Scored(wanted, tier(row, FIRST), tier(row, LAST), _flagged(results, row)) for row, wanted in rows]


async def _tallied(args: argparse.Namespace, app: App, rows: list[tuple[Row, bool]]) -> tuple[list[Tally], int]:
    """The votes on every row, and how many voters there are."""
    check = app.door.checks[args.check]
    moderator = Moderator.of(check, trusted=app.door.policy.trusted)
    voters = list(moderator.checks)
    if args.votes is None:
        said: Mapping[int, Mapping[str, Any]] = await _results(args, rows, partial(asked, moderator))
    else:
        panel = panel_key(app.settings.checks[args.check], app.versions[args.check])
        said = recorded(args.votes, [row for row, _ in rows], voters=voters, panel=panel)
    return tallied(said, rows), len(voters)


async def _results(
    args: argparse.Namespace, rows: list[tuple[Row, bool]], ask: Callable[[Row], Awaitable[dict[str, Any]]]
) -> dict[int, dict[str, Any]]:
    """What was said of each row, by line; asked now, or kept in the journal."""
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(args.journal, resume=args.resume)) if args.journal is not None else None
        job = Job(ask, journal, {}, {})
        kept = journal.results if journal is not None else {}
        job.results.update({row.number: kept[row.key] for row, _ in rows if row.key in kept})
        todo = [row for row, _ in rows if row.number not in job.results]
        await work(todo, job.one, concurrency=args.concurrency, done=len(job.results))
        if job.failed:
            for number in sorted(job.failed)[:_TOLD_BAD]:
                say(job.failed[number])
            hint = "; --resume asks only these again" if journal is not None else ""
            raise QuorateError(f"{len(job.failed)} of {len(rows)} rows could not be scored, nothing was written{hint}")
        if journal is not None:
            journal.finish()
    return job.results


def _tier_of(results: Mapping[int, Mapping[str, Any]], row: Row, tier: str) -> float | None:
    score = results[row.number].get(tier, {}).get("score")
    return None if score is None else float(score)


def _flagged(results: Mapping[int, Mapping[str, Any]], row: Row) -> bool | None:
    """Whether the last tier flags by its own bound; None where there is no such tier or it abstains."""
    outcome = results[row.number].get(LAST, {}).get("outcome")
    return None if outcome in (None, "abstain") else bool(outcome == "flag")


def _for_scores(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with the check's tiers as checks of their own, whose bounds hide no score."""
    table = settings.checks[args.check]
    tiers = table.models
    if any(isinstance(tier, list) for tier in tiers) or len(tiers) > 2:
        raise UsageError(
            f"checks.{args.check}: has a panel among its tiers, or more than two tiers, so its verdict is no single "
            f"score; calibrate its models in checks of their own, or a panel alone"
        )
    if args.tier is not None and len(tiers) < 2:
        raise UsageError(f'checks.{args.check}: --tier needs two tiers in `models`, such as ["local", "guard"]')
    hidden = {"threshold": 1.0, "pass_below": 1.0, "clear_below": 0.0, "flag_above": None}
    common = {
        "kind": table.kind or args.check,
        "head_start_ms": 0.0,
        "on_error": "block",
        "on_abstain": None,
        "evidence": None,
        "tier_evidence": None,
    }
    checks = {FIRST: table.model_copy(update={**common, **hidden, "models": tiers[:1]})}
    if len(tiers) > 1 and args.tier != "local":
        own = {} if args.tier == "both" else hidden
        checks[LAST] = table.model_copy(update={**common, **own, "models": tiers[1:]})
    seconds = max(settings.limits.timeout_s, 2 * table.timeout_s)
    limits = settings.limits.model_copy(update={"decide_timeout_s": seconds, "timeout_s": 2 * seconds})
    refusals = settings.refusals.model_copy(update={"checks": {}})
    return settings.model_copy(update={"checks": checks, "limits": limits, "refusals": refusals})


def _door(app: App) -> FrontDoor:
    return FrontDoor(app.checks, None, policy=app.door.policy)


def _choice(args: argparse.Namespace, table: CheckTable, scored: list[Scored]) -> Choice:
    if args.max_false_alarms is not None:
        return by_false_alarms(scored, table, target=args.max_false_alarms, confidence=args.confidence)
    if args.tier is not None:
        return by_tiers(scored, target=args.max_local_error, confidence=args.confidence)
    costs = Costs(*(getattr(args, name) for name in COSTS))
    return by_costs(scored, table, costs=costs, confidence=args.confidence, violations=args.violations)


def _of_flags(args: argparse.Namespace, rows: list[Tally], n: int) -> Choice:
    if args.max_false_alarms is not None:
        return by_promise(rows, n, target=args.max_false_alarms, confidence=args.confidence)
    costs = FlagCosts(*(getattr(args, name) for name in COSTS))
    return by_flag_costs(rows, n, costs=costs, confidence=args.confidence, violations=args.violations)


def _show(args: argparse.Namespace, choice: Choice, result: Mapping[str, Any], path: Path) -> None:
    if args.json:
        print(json.dumps({"schema": SCHEMA, **result, "points": choice.points, "written": not args.dry_run}))
        return
    out = console()
    out.print(choice.table)
    if choice.plot.curve:
        draw_plot(out, choice.plot)
    for line in choice.told:
        out.print(line)
    bounds = ", ".join(f"{key} = {value:g}" for key, value in choice.bounds.items())
    name = os.fspath(path)
    say(f"{bounds}: " + ("not written (--dry-run)" if args.dry_run else f"written to checks.{args.check} in {name}"))
