"""`quorate evaluate`: answers judged aspect by aspect, with error bars; two evaluations compared."""

import argparse
import contextlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from quorate.apps.evaluate.compare import REPORT, SCORES, compare, read_folder
from quorate.apps.evaluate.figures import agreement_told, aspect_rows, interval, notes, points
from quorate.apps.evaluate.judging import Seat
from quorate.apps.evaluate.markdown import markdown_comparison, markdown_report
from quorate.apps.evaluate.page import html_comparison, html_report
from quorate.apps.evaluate.rows import read_rows
from quorate.apps.evaluate.runner import Bench, Outcome, evaluate
from quorate.apps.evaluate.suite import Suite, load_suite
from quorate.apps.evaluate.summary import scores, summarise
from quorate.apps.report import usage_json
from quorate.cli.rows import as_text, progress, read_bytes, say
from quorate.cli.safe import safe
from quorate.errors import UsageError
from quorate.journal import Journal
from quorate.settings import ModelTable, Settings, load_settings
from quorate.wiring import App, example_config, load, with_model

JOURNAL, COSTS = "journal.jsonl", "run.json"


async def run(args: argparse.Namespace) -> int:
    """Evaluate or compare; 0 all judged and above every bound, 1 not so."""
    if args.compare is not None:
        return _compared(args)
    if args.suite is None or args.data is None or args.out is None:
        raise UsageError("evaluate needs SUITE.toml, --data FILE and --out DIR, or --compare OLD NEW")
    if args.concurrency < 1:
        raise UsageError(f"--concurrency: found {args.concurrency}, allowed is 1 or more")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: is a file, allowed is a folder")
    settings, names, path = _settings(args)
    suite = load_suite(args.suite, models=names, checks=list(settings.checks))
    _known(args.fail_below, [*suite.aspects, "overall"])
    rows, bad = read_rows(as_text(read_bytes(args.data)), suite.aspects)
    args.out.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(load(path, settings=_needed(settings, suite)))
        journal = stack.enter_context(Journal(args.out / JOURNAL, resume=args.resume))
        bench = _bench(app, names, base=args.suite.parent)
        try:
            with progress("rows", len(rows)) as advance:
                outcome = await evaluate(
                    suite, rows, bench=bench, journal=journal, concurrency=args.concurrency, advance=advance
                )
        except BaseException:
            say(f"stopped: {len(journal.results)} results done and kept; go on with --resume")
            raise
        report = summarise(suite, outcome, bad=bad)
        _write(args.out, suite, outcome=outcome, report=report)
        journal.finish()
    return _told(args, report, outcome)


def _settings(args: argparse.Namespace) -> tuple[Settings, list[str], Path]:
    """The config, and the models that may judge: its own, or with --base-url that one under every name of the suite."""
    path = args.config if args.config is not None else example_config()
    settings = load_settings(path)
    if (args.base_url is None) != (args.model is None):
        raise UsageError("--base-url and --model belong together: give both, or neither")
    if args.model is None:
        return settings, list(settings.models), path
    [table] = with_model(settings, base_url=args.base_url, model=args.model).models.values()
    names = _named(args.suite) or ["llm"]
    models = {**settings.models, **dict.fromkeys(names, table)}
    return settings.model_copy(update={"models": models}), names, path


def _needed(settings: Settings, suite: Suite) -> Settings:
    """The settings without the checks that no aspect asks for, since loading classifiers takes a while.

    One must stay, because an app has checks; the local scope check, which is fitted anew, only where there is no other.
    """
    asked = {table.check for table in suite.aspects.values()} & settings.checks.keys()
    cheapest = min(settings.checks, key=lambda name: (settings.checks[name].kind or name) == "scope")
    kept = {name: table for name, table in settings.checks.items() if name in (asked or {cheapest})}
    return settings.model_copy(update={"checks": kept})


def _named(path: Path) -> list[str]:
    """The models that a suite names, as far as it can be read; what is wrong with it is said later."""
    found: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        answers, aspects = raw.get("answers"), raw.get("aspects")
        if isinstance(answers, dict):
            found += [answers[key] for key in ("model", "other") if isinstance(answers.get(key), str)]
        for table in aspects.values() if isinstance(aspects, dict) else ():
            judges = table.get("judges", []) if isinstance(table, dict) else []
            found += [name for name in judges if isinstance(name, str)] if isinstance(judges, list) else []
    return list(dict.fromkeys(found))


def _known(bounds: Sequence[tuple[str, float]], names: Sequence[str]) -> None:
    for name, _ in bounds:
        if name not in names:
            raise UsageError(f"--fail-below {name}: is no aspect; allowed are {', '.join(names)}")


def _bench(app: App, names: Sequence[str], *, base: Path) -> Bench:
    tables = app.settings.models
    seats = {name: Seat(name, app.models[name], _identity(tables[name])) for name in names}
    checks = {name: (check, app.versions[name]) for name, check in app.door.checks.items()}
    return Bench(seats, checks, base)


def _identity(table: ModelTable) -> str:
    return f"{table.model} at {table.base_url}"


def _write(folder: Path, suite: Suite, *, outcome: Outcome, report: Mapping[str, Any]) -> None:
    lines = [json.dumps(line) + "\n" for line in scores(suite, outcome)]
    _put(folder / REPORT, json.dumps(report, indent=1) + "\n")
    _put(folder / SCORES, "".join(lines))
    _put(folder / "report.md", markdown_report(report))
    _put(folder / "report.html", html_report(report))
    _put(folder / COSTS, json.dumps(_costs(outcome), indent=1) + "\n")


def _costs(outcome: Outcome) -> dict[str, Any]:
    """Time and money of this run; of what the journal gave, an earlier run has paid."""
    return {
        "schema": "quorate.run/1",
        "elapsed_s": round(outcome.elapsed_s, 3),
        "made": outcome.made,
        "reused": outcome.reused,
        **usage_json(outcome.usage, outcome.wasted),
    }


def _put(path: Path, text: str) -> None:
    """Put a file in its place in one step: a reader sees the old one or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def _told(args: argparse.Namespace, report: Mapping[str, Any], outcome: Outcome) -> int:
    tables = {**report["aspects"], "overall": {**report["overall"], "corrected": None}}
    below = [
        _shortfall(name, tables[name].get("corrected") or tables[name], wanted, by=args.fail_by)
        for name, wanted in args.fail_below
    ]
    failing = [told for told in below if told]
    failed = sum(table["failed"] for table in report["aspects"].values())
    if args.json:
        print(json.dumps({**report, "run": _costs(outcome), "below": failing}))
    else:
        _table(aspect_rows(report))
        print(f"overall: {interval(report['overall'])}")
        for name, table in report["aspects"].items():
            for line in agreement_told(table):
                print(safe(f"{name}: {line}", lines=False))
        usage = outcome.usage
        spent = f"{outcome.made} judgements made, {outcome.reused} reused, {usage.calls} calls, {usage.tokens} tokens"
        spent += f", {outcome.wasted.tokens} of them wasted, ${usage.cost_usd:.4f}, {outcome.elapsed_s:.1f} s"
        print(f"{spent}; reports in {safe(str(args.out), lines=False)}")
    for line in [*report["bad_lines"], *notes(report), *failing]:
        say(line)
    return 1 if failing or failed or report["bad_lines"] else 0


def _shortfall(name: str, table: Mapping[str, Any], wanted: float, *, by: str, signed: bool = False) -> str:
    """Why a bound is not met, or "". What is not shown to be met is not met."""
    value = table["low"] if by == "low" else table["mean"]
    if value is not None and value >= wanted:
        return ""
    ends = f"{points(table['low'], signed=signed)} to {points(table['high'], signed=signed)}"
    mean = points(table["mean"], signed=signed)
    why = "is below" if table["mean"] is None or table["mean"] < wanted else "is not shown to reach"
    return f"{name}: {mean} ({ends}) {why} {points(wanted, signed=signed)}"


def _table(rows: Sequence[Sequence[str]]) -> None:
    shown = [[safe(cell, lines=False) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in shown) for at in range(len(shown[0]))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _compared(args: argparse.Namespace) -> int:
    if args.suite is not None or args.data is not None:
        raise UsageError("--compare OLD NEW reads two finished folders; it takes no suite and no --data")
    found = compare(*(read_folder(path) for path in args.compare))
    _known(args.fail_below, list(found["aspects"]))
    below = [
        _shortfall(name, found["aspects"][name], wanted, by=args.fail_by, signed=True)
        for name, wanted in args.fail_below
    ]
    failing = [told for told in below if told]
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        _put(args.out / "comparison.json", json.dumps(found, indent=1) + "\n")
        _put(args.out / "comparison.md", markdown_comparison(found))
        _put(args.out / "comparison.html", html_comparison(found))
    if args.json:
        print(json.dumps({**found, "below": failing}))
    else:
        rows = [["aspect", "old", "new", "difference", "95 % interval", "verdict"]]
        for name, t in found["aspects"].items():
            ends = f"{points(t['low'], signed=True)} to {points(t['high'], signed=True)}"
            both = [points(t["old"]), points(t["new"]), points(t["mean"], signed=True)]
            rows.append([name, *both, ends, t["verdict"]])
        _table(rows)
        print(f"{found['rows']} shared rows; {found['only_old']} only in the old, {found['only_new']} only in the new")
    for name in found["judged_differently"]:
        say(f"{name}: not judged by the same judge in both")
    for line in failing:
        say(line)
    return 1 if failing else 0
