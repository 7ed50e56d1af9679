"""`quorate sections`: a long document worked on in sections, at once, streamed in order; unchanged ones are reused."""

import argparse
import bisect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress

from quorate.apps.sections import Part, Prompted, Report, Sectioning, Split, section
from quorate.apps.sections.joints import line_starts
from quorate.apps.sections.parts import is_blank, parts_of
from quorate.apps.sections.split import Kind
from quorate.cli.render import console
from quorate.cli.rows import say
from quorate.cli.safe import safe
from quorate.cli.section_report import SCHEMA, as_json, draw, plan_row, told
from quorate.engine import Run, observers
from quorate.errors import ConfigError, UsageError
from quorate.events import Answered, Event
from quorate.journal import Journal
from quorate.models import Model
from quorate.settings import ModelTable, load_settings
from quorate.wiring import open_models

MAX_BYTES = 64 << 20
FIRST_S = 60.0
_BINARY_SHARE = 0.1
_CONTROLS = bytes(sorted({*range(32), 127} - set(b"\t\n\r\f\x1b")))
_MARKDOWN = frozenset((".md", ".markdown", ".mdown", ".mkd"))
_CODE = frozenset(
    f".{ending}"
    for ending in (
        *("py", "pyi", "js", "mjs", "ts", "tsx", "jsx", "go", "rs", "java", "kt", "c", "h", "cc", "cpp", "hpp", "cs"),
        *(
            "rb",
            "php",
            "swift",
            "scala",
            "sh",
            "bash",
            "sql",
            "lua",
            "pl",
            "r",
            "zig",
            "dart",
            "ex",
            "exs",
            "hs",
            "clj",
        ),
        *("css", "scss"),
    )
)


async def run(args: argparse.Namespace) -> int:
    """Divide, work, stitch, tell; 0 when every section is done and every seam holds, 1 when not."""
    _sensible(args)
    text = read_document(args.file)
    how = Split(args.kind or kind_of(args.file), args.budget, args.overlap, args.context)
    if args.keep_headings and how.kind != "markdown":
        raise UsageError(f"--keep-headings: the document is read as {how.kind}, and only Markdown has headings")
    parts = parts_of(text, how)
    lines = _lines(text, parts)
    if args.plan:
        return _plan(args, parts, lines)
    if len(parts) > args.max_sections:
        raise UsageError(
            f"{args.file}: this makes {len(parts)} sections, and as many calls; "
            f"raise --budget, or allow it with --max-sections {len(parts)}"
        )
    if args.prompt is None:
        raise UsageError("--prompt PROMPT: say what is to be done with each section; --plan only shows the division")
    task = read_prompt(args.prompt)
    async with AsyncExitStack() as stack:
        model, identity = await _model(stack, args)
        work = Prompted(model, task, keep_headings=args.keep_headings, max_tokens=args.max_tokens, identity=identity)
        journal = _journal(args)
        if journal is not None:
            stack.enter_context(journal)
        job = section(
            text,
            work,
            split=how,
            concurrency=args.concurrency,
            attempts=args.attempts,
            journal=journal,
            timeout_s=args.timeout,
        )
        report = await _work(job, args, journal)
    _tell(report, args, lines)
    return 0 if report.sound else 1


def _sensible(args: argparse.Namespace) -> None:
    least = {"budget": 1, "overlap": 0, "context": 0, "concurrency": 1, "attempts": 1, "max_sections": 1}
    for name, low in least.items():
        if getattr(args, name) < low:
            raise UsageError(f"--{name.replace('_', '-')}: found {getattr(args, name)}, allowed is {low} or more")
    if args.max_tokens is not None and args.max_tokens < 1:
        raise UsageError(f"--max-tokens: found {args.max_tokens}, allowed is 1 or more")
    if not 0 < args.timeout <= 86_400:
        raise UsageError(f"--timeout: found {args.timeout:g}, allowed are seconds above 0 and up to 86400")
    if args.config is not None and args.base_url is not None:
        raise UsageError("--config and --base-url: each says who is asked; give one of them")
    if args.base_url is not None and args.model is None:
        raise UsageError("--base-url and --model belong together: give both")
    if args.fresh and args.out is None and args.cache is None:
        raise UsageError("--fresh: there is no journal to pass over; it needs --out FILE or --cache FILE")
    for name in ("out", "cache"):
        path = getattr(args, name)
        if path is not None:
            _writable(f"--{name} {path}", path, args.file)
    if args.out is not None and args.cache is not None and os.path.abspath(args.out) == os.path.abspath(args.cache):
        raise UsageError("--out and --cache name the same file")


def _writable(told_as: str, path: Path, source: str) -> None:
    if path.is_dir():
        raise UsageError(f"{told_as}: is a folder, allowed is a file")
    if not path.parent.is_dir():
        raise UsageError(f"{told_as}: there is no folder {path.parent}")
    if source != "-" and path.exists() and os.path.exists(source) and path.samefile(source):
        raise UsageError(f"{told_as}: is the document itself; it would be overwritten")


def read_document(file: str) -> str:
    """The text of a document, every character as it stands.

    Raises:
        UsageError: it cannot be read, is too large, is empty, is no UTF-8, or does not look like text.
    """
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{file}: is larger than {MAX_BYTES >> 20} MiB; divide it into files first")
    if b"\0" in data or len(data) - len(data.translate(None, _CONTROLS)) > _BINARY_SHARE * len(data):
        raise UsageError(f"{file}: does not look like text (is it UTF-16, or no text at all?); allowed is UTF-8 text")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file}: is not UTF-8 at byte {error.start}; convert it first, so that nothing in it is changed"
        ) from error
    if is_blank(text):
        raise UsageError(f"{file}: is empty: there is nothing to work on")
    return text


def read_prompt(prompt: str) -> str:
    """A prompt as given; one word that ends like a file, or names one, is read from there.

    Raises:
        UsageError: that file is not there, or the prompt is empty.
    """
    one_word = bool(prompt) and not any(char.isspace() for char in prompt)
    path = Path(prompt)
    if one_word and (path.suffix in (".md", ".txt") or "/" in prompt or os.path.exists(prompt)):
        try:
            prompt = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UsageError(f"--prompt {prompt}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"--prompt {path}: is not UTF-8 text") from error
    if not prompt.strip():
        raise UsageError("--prompt: is empty; say what is to be done with each section")
    return prompt


def kind_of(file: str) -> Kind:
    """What a document is written in, by its name; what comes from stdin is taken for Markdown."""
    suffix = Path(file).suffix.lower()
    if file == "-" or suffix in _MARKDOWN:
        return "markdown"
    return "code" if suffix in _CODE else "text"


def _lines(text: str, parts: tuple[Part, ...]) -> dict[int, tuple[int, int]]:
    """First and last line of each section, 1 is the first of the document."""
    starts = line_starts(text)
    found = {}
    for part in parts:
        if part.piece is not None:
            first = part.piece.start + len(part.before)
            last = max(first, first + len(part.item) - 1)
            found[part.number] = (bisect.bisect_right(starts, first), bisect.bisect_right(starts, last))
    return found


def _plan(args: argparse.Namespace, parts: tuple[Part, ...], lines: Mapping[int, tuple[int, int]]) -> int:
    rows = [plan_row(part, lines) for part in parts]
    if args.json:
        print(json.dumps({"schema": SCHEMA, "plan": rows}))
        return 0
    for row in rows:
        over = "  over the budget: cannot be divided" if row["over_budget"] else ""
        where = "{}-{}".format(*row["lines"])
        print(
            safe(f"{row['section']:4}  lines {where:>13}  {row['tokens']:6} tokens  {row['title']}{over}", lines=False)
        )
    total = sum(row["tokens"] for row in rows)
    say(f"{len(rows)} sections of at most {args.budget} tokens, {total} together; tokens are estimated")
    return 0


async def _model(stack: AsyncExitStack, args: argparse.Namespace) -> tuple[Model, str]:
    """The model that the arguments name, and what stands for it in keys."""
    if args.base_url is not None:
        key = "QUORATE_API_KEY" if os.environ.get("QUORATE_API_KEY") else "OPENAI_API_KEY"
        try:
            table = ModelTable(
                base_url=args.base_url,
                model=args.model,
                api_key_env=key,
                first_s=min(FIRST_S, args.timeout),
                idle_s=min(FIRST_S, args.timeout),
                total_s=args.timeout,
            )
        except ValueError as error:
            found = "found no such thing; allowed are an http:// or https:// address and a model's name"
            raise ConfigError("--base-url, --model", [found]) from error
        tables, name, base = {"llm": table}, "llm", Path()
    elif args.config is not None:
        tables, base = load_settings(args.config).models, args.config.parent
        names = ", ".join(tables) or "none: the config has no [models]"
        if args.model is None and len(tables) != 1:
            raise UsageError(f"--model NAME: say which model of the config works on the sections; there are {names}")
        name = args.model if args.model is not None else next(iter(tables))
        if name not in tables:
            raise UsageError(f"--model: found {name!r}, allowed are {names}")
    else:
        raise UsageError(
            "this command needs a model: --base-url URL --model NAME, or --config FILE. "
            "To try it without one, run `quorate stand-in`; --plan shows the division alone"
        )
    table = tables[name]
    asked = [table] if table.fallback is None else [table, tables[table.fallback]]
    models = await stack.enter_async_context(open_models(tables, base))
    return models[name], " or ".join(f"{one.model} at {one.base_url}" for one in asked)


def _journal(args: argparse.Namespace) -> Journal | None:
    path = args.cache if args.cache is not None else Path(f"{args.out}.journal") if args.out is not None else None
    if path is None:
        return None
    journal = Journal(path, resume=True)
    if args.fresh:
        journal.results.clear()
    return journal


async def _work(job: Sectioning, args: argparse.Namespace, journal: Journal | None) -> Report:
    with ExitStack() as stack:
        write = stack.enter_context(_output(args))
        stack.enter_context(_progress(job, shown=args.out is not None or args.json))
        try:
            async with job:
                async for piece in job:
                    write(piece)
        finally:
            if job.run.decision is None and journal is not None:
                done = sum(key in journal.results for key in job.keys)
                say(f"stopped: {done} of {len(job.parts)} sections done and kept; the same command goes on from there")
        return job.report()


class _Write(Protocol):
    def __call__(self, piece: str, /) -> None: ...


@contextmanager
def _output(args: argparse.Namespace) -> Iterator[_Write]:
    """Where the text goes: a file that takes its place when it is whole, a terminal, a pipe, or (JSON) nowhere yet."""
    if args.out is not None:
        part = args.out.with_name(args.out.name + ".part")
        try:
            file = part.open("wb")
        except OSError as error:
            raise UsageError(f"--out {args.out}: cannot be written: {error.strerror}") from error
        try:
            with file:
                yield lambda piece: _send(file, piece)
            os.replace(part, args.out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    elif args.json:
        yield lambda piece: None
    elif sys.stdout.isatty():
        yield lambda piece: print(safe(piece.replace("\r\n", "\n")), end="", flush=True)
    else:
        yield lambda piece: _send(sys.stdout.buffer, piece)


def _send(stream: BinaryIO, piece: str) -> None:
    stream.write(piece.encode("utf-8", "replace"))
    stream.flush()


class _Watch:
    """Moves the progress bar when a section has ended well."""

    def __init__(self, job: Sectioning, progress: Progress) -> None:
        self._job, self._progress = job, progress
        self._task = progress.add_task("sections", total=len(job.parts))

    def event(self, run: Run[Any], event: Event, /) -> None:
        if run is self._job.run and isinstance(event, Answered):
            self._progress.advance(self._task)

    def ended(self, run: Run[Any], /) -> None:
        pass


@contextmanager
def _progress(job: Sectioning, *, shown: bool) -> Iterator[None]:
    if not shown or not sys.stderr.isatty():
        yield
        return
    columns = (BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        token = observers.set((*observers.get(), _Watch(job, progress)))
        try:
            yield
        finally:
            observers.reset(token)


def _tell(report: Report, args: argparse.Namespace, lines: Mapping[int, tuple[int, int]]) -> None:
    out = str(args.out) if args.out is not None else None
    if args.json:
        print(json.dumps(as_json(report, lines, out=out)))
    elif out is None and sys.stdout.isatty() and not report.text.endswith("\n"):
        print()
    if sys.stderr.isatty() and not args.json:
        draw(report)
    for line in told(report):
        say(line)
