"""`quorate ask`: one message through the front door."""

import argparse
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

from quorate.apps.frontdoor import Decision
from quorate.apps.report import as_json
from quorate.cli.render import console, draw
from quorate.cli.safe import safe
from quorate.errors import UsageError
from quorate.settings import Settings, load_settings
from quorate.telemetry import JsonLog
from quorate.wiring import App, example_config, load, with_model

EXIT = {"admit": 0, "refuse": 3, "escalate": 4}


def chosen(args: argparse.Namespace) -> tuple[Path, Settings]:
    """The config that the arguments name, with their model in it.

    Raises:
        ConfigError: it has mistakes.
        UsageError: --base-url without --model, or the other way round.
    """
    path = args.config if args.config is not None else example_config()
    settings = load_settings(path)
    if (args.base_url is None) != (args.model is None):
        raise UsageError("--base-url and --model belong together: give both, or neither")
    return path, with_model(settings, base_url=args.base_url, model=args.model) if args.model is not None else settings


def _appending(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="ascii")
    except OSError as error:
        raise UsageError(f"--log {path}: cannot be written: {error.strerror}") from error


def _logging(stack: AsyncExitStack, path: Path) -> JsonLog:
    """A log that keeps every line; what could not be written is said at the end."""
    log = JsonLog(stack.enter_context(_appending(path)), limit=None)

    def close() -> None:
        log.close()
        if log.lost:
            print(f"quorate: --log {safe(str(path), lines=False)}: {log.lost} lines lost: {log.error}", file=sys.stderr)

    stack.callback(close)
    return log


async def opened(stack: AsyncExitStack, args: argparse.Namespace) -> App:
    """Load the app that the arguments describe, for as long as the stack is open."""
    path, settings = chosen(args)
    watch = [_logging(stack, args.log)] if args.log is not None else []
    app = await stack.enter_async_context(load(path, settings=settings, watch=watch))
    for note in app.notes:
        print(f"quorate: note: {safe(note, lines=False)}", file=sys.stderr)
    return app


async def run(args: argparse.Namespace) -> int:
    """Ask, print, and return the exit code."""
    text = sys.stdin.buffer.read().decode(errors="replace") if args.text == "-" else args.text
    async with AsyncExitStack() as stack:
        app = await opened(stack, args)
        decision = await _respond(app, text, evaluate_all=args.evaluate_all, stream=not args.json)
    if args.json:
        print(json.dumps(as_json(decision)))
    else:
        out = console()
        if decision.sources:
            out.print("Sources: " + safe("; ".join(decision.sources), lines=False), style="dim")
        out.print()
        draw(out, decision)
    return EXIT[decision.decision]


async def _respond(app: App, text: str, *, evaluate_all: bool, stream: bool) -> Decision:
    async with app.door.respond(text, evaluate_all=evaluate_all) as response:
        async for piece in response:
            if stream and isinstance(piece, str):
                print(safe(piece), end="", flush=True)
        if stream:
            print()
        await response.run.finished()
    return response.report()
