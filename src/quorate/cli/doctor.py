"""`quorate doctor`: is everything that the config names usable?"""

import argparse
import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from quorate.cli.safe import safe
from quorate.errors import QuorateError
from quorate.models import Message, Prompt
from quorate.settings import LOCAL, Settings, api_key, load_settings
from quorate.wiring import App, example_config, load

HELLO = Prompt((Message("user", "Say hello."),), max_tokens=5)


async def run(args: argparse.Namespace) -> int:
    """Say one line for each part; returns 0 when all are usable, 1 when not, 2 for a config with mistakes."""
    path = args.config if args.config is not None else example_config()
    settings = load_settings(path)
    print(safe(f"ok    config     {path}", lines=False))
    broken = False
    async with load(path, settings=settings) as app:
        async for good, line in _findings(app, settings):
            broken |= not good
            print(safe(f"{'ok  ' if good else 'FAIL'}  {line}", lines=False))
        # As `serve` does: the example's own folder may not be writable.
        base = path.resolve().parent if args.config is not None else Path.cwd()
        async for level, line in _serving(app, settings, base):
            broken |= level == "FAIL"
            print(safe(f"{level:<4}  {line}", lines=False))
        for note in app.notes:
            print(safe(f"warn  evidence   {note}", lines=False))
        for note in _languages(settings):
            print(safe(f"warn  language   {note}", lines=False))
    return 1 if broken else 0


def _languages(settings: Settings) -> Iterator[str]:
    """Checks that nobody but an English-only classifier answers, in front of customers who write another language."""
    knowledge = settings.knowledge
    if knowledge is None or knowledge.language.lower() == "english":
        return
    for name, table in settings.checks.items():
        # A scope is fitted to the help centre, in whatever language that is.
        if (table.kind or name) != "scope" and all(tier == LOCAL for tier in table.models):
            yield (
                f"checks.{name}: its classifier knows only English and the help centre is in {knowledge.language}; "
                f"it abstains from other languages; add a language model to checks.{name}.models"
            )


async def _serving(app: App, settings: Settings, base: Path) -> AsyncIterator[tuple[str, str]]:
    if any(importlib.util.find_spec(name) is None for name in ("sqlalchemy", "starlette", "uvicorn")):
        if settings.model_fields_set & {"service", "upstream"}:
            yield "warn", "service    is not installed: pip install 'quorate[service]'"
        return
    from quorate.cli.doctor_service import findings

    async for finding in findings(app, settings, base):
        yield finding


async def _findings(app: App, settings: Settings) -> AsyncIterator[tuple[bool, str]]:
    if app.knowledge is not None:
        sections = app.knowledge.sections
        articles = len({section.file for section in sections})
        yield True, f"knowledge  {articles} articles, {len(sections)} sections"
    for name, table in settings.models.items():
        if table.api_key_env and not api_key(table):
            yield False, f"model      {name}: the environment has no {table.api_key_env}; set it to the model's key"
            continue
        try:
            reply = await app.models[name].complete(HELLO)
        except QuorateError as error:
            yield False, f"model      {name}: {error}"
        else:
            yield True, f"model      {name}: {reply.model} answers"
    decision = await app.door.decide("Hello, where is my order?", evaluate_all=True)
    for row in decision.verdicts:
        by = f" by {row.model} ({row.version})" if row.model else f": {row.reason}"
        yield row.outcome != "error", f"check      {row.check}: {row.outcome}{by}"
