"""`quorate review`: files, folders or a change, read by many reviewers; exit codes as linters have them."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from quorate.cli.ask import opened
from quorate.cli.render import console
from quorate.cli.rows import progress, say
from quorate.cli.safe import safe
from quorate.errors import ConfigError, UsageError
from quorate.journal import Journal
from quorate.models import Model

try:
    from quorate.apps.review import (
        Options,
        Review,
        Source,
        Unread,
        as_json,
        as_markdown,
        as_sarif,
        changed_lines,
        collect,
        review,
        summary,
    )
except ModuleNotFoundError as error:  # pragma: no cover - the extra is there in tests.
    raise UsageError(f"review needs {error.name}: pip install 'quorate[review]'") from error

_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}


async def run(args: argparse.Namespace) -> int:
    """Review; returns 0 when clean, 1 when something is as grave as --fail-on or graver."""
    if args.concurrency < 1:
        raise UsageError(f"--concurrency: found {args.concurrency}, allowed is 1 or more")
    if args.resume and args.out is None:
        raise UsageError("--resume needs --out FILE: the journal of a run stands beside its output")
    if not args.paths and args.diff is None:
        raise UsageError("give files or folders to review, or --diff REV")
    sources, unread = await _sources(args)
    for item in unread:
        say(f"not read: {item.path}: {item.why}")
    if not sources and args.diff is None:
        raise UsageError("found no Python file to review")
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(_journal(args.out, resume=args.resume)) if args.out is not None else None
        model = await _model(stack, args)
        advance = stack.enter_context(progress("review", None))
        options = Options(model=model, concurrency=args.concurrency)
        try:
            found = await review(
                sources, options, journal=journal, advance=lambda done, total: advance(completed=done, total=total)
            )
        except BaseException:
            if journal is not None:
                say(f"stopped: {len(journal.results)} pieces of work done and kept; go on with --resume")
            raise
        _write(args, found)
        if journal is not None:
            journal.finish()
    return 1 if found.at_least(args.fail_on) else 0


async def _sources(args: argparse.Namespace) -> tuple[list[Source], list[Unread]]:
    base = Path.cwd()
    if args.diff is None:
        sources, unread = collect(args.paths, base=base)
        return sources, list(unread)
    folder = Path(args.paths[0]) if args.paths else base
    root, changed = await changed_lines(args.diff, folder=_folder(folder))
    return _changed(args.paths, root, changed=changed)


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _changed(
    paths: Sequence[str], root: Path, *, changed: Mapping[str, frozenset[int]]
) -> tuple[list[Source], list[Unread]]:
    files = [str(root / path) for path in sorted(changed) if (root / path).is_file() and not (root / path).is_symlink()]
    if paths:
        roots = [Path(path).resolve() for path in paths]
        files = [file for file in files if any(Path(file).resolve().is_relative_to(r) for r in roots)]
    sources, unread = collect(files, base=root)
    touched = [Source.of(source.path, source.text, changed=changed[source.path]) for source in sources]
    return touched, list(unread)


async def _model(stack: AsyncExitStack, args: argparse.Namespace) -> Model | None:
    """The model of --config or --base-url: the config's model that answers, or its only one."""
    if args.config is None and args.base_url is None and args.model is None:
        return None
    app = await opened(stack, args)
    chosen = app.models.get(app.settings.answer.model) or next(iter(app.models.values()), None)
    if chosen is None:
        raise ConfigError(str(args.config), ["models: a review asks a model: add one, or leave --config"])
    return chosen


def _journal(out: Path, *, resume: bool) -> Journal:
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder, allowed is a file")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    return Journal(out.with_name(out.name + ".journal"), resume=resume)


def _write(args: argparse.Namespace, found: Review) -> None:
    if args.format == "terminal" and args.out is None:
        draw(console(), found)
    else:
        text = _text(args.format, found)
        if args.out is None:
            sys.stdout.write(text)
        else:
            part = args.out.with_name(args.out.name + ".part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, args.out)
    if args.format != "terminal" or args.out is not None:
        say(summary(found))
    if found.usage.calls:
        about = "about " if found.usage.estimated else ""
        spent = f"{found.usage.calls} calls, {about}{found.usage.tokens} tokens, {found.wasted.tokens} of them wasted"
        say(f"{spent}, ${found.usage.cost_usd:.4f}")


def _text(form: str, found: Review) -> str:
    match form:
        case "json":
            return json.dumps(as_json(found), indent=2) + "\n"
        case "sarif":
            return json.dumps(as_sarif(found), indent=1) + "\n"
        case "markdown":
            return as_markdown(found)
        case _:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                out = Console(record=True, file=nowhere, markup=False, highlight=False, emoji=False, width=120)
                draw(out, found)
                return out.export_text()


def draw(out: Console, found: Review) -> None:
    """Draw the findings, the surest first, then what was not read and what is not shown."""
    for cluster in found.reported:
        head = cluster.head
        line = Text(f"{cluster.severity:8}", style=_STYLES[cluster.severity])
        line.append(f" {cluster.confidence:.2f}  CWE-{head.cwe:<5}", style="default")
        line.append(f"{safe(head.path, lines=False)}:{head.line}", style="bold")
        out.print(line)
        out.print(Text(f"    {safe(head.message, lines=False)}"))
        for code in head.snippet.split("\n")[:3]:
            out.print(Text(f"    | {safe(code, lines=False)[:160]}", style="dim"))
        by = ", ".join(cluster.reviewers)
        against = ", ".join(f"{c.reviewer} sees it right ({c.reason})" for c in cluster.cleared)
        out.print(
            Text(f"    found by {by}" + (f"; right says {safe(against, lines=False)}" if against else ""), style="dim")
        )
    for mark in found.marks:
        out.print(Text(f"{safe(mark.path, lines=False)}:{mark.line}: the comment {mark.problem}", style="yellow"))
    for item in found.unread:
        where = f"{safe(item.path, lines=False)}{':' + item.lines if item.lines else ''}"
        out.print(Text(f"not fully read: {where}: {item.reviewer}: {safe(item.why, lines=False)}", style="yellow"))
    out.print(Text(summary(found), style="bold"))
    for why, count in found.dropped.items():
        out.print(Text(f"dropped {count}: a model's finding {why}", style="dim"))
