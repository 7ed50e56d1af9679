"""`quorate check`: many messages through the checks, resumable, with a confusion table where rows are labelled."""

import argparse
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from quorate.cli.ask import opened
from quorate.cli.confusion import Confusion
from quorate.cli.output import as_json
from quorate.cli.render import console
from quorate.cli.safe import safe
from quorate.engine import fan_out
from quorate.errors import QuorateError, UsageError
from quorate.events import branch
from quorate.journal import Journal, key_of
from quorate.merges import Collect
from quorate.wiring import App


@dataclass(frozen=True, slots=True)
class Row:
    """One good line of the input."""

    number: int
    id: Any
    source: Any
    label: Any
    key: str


@dataclass(slots=True)
class Job:
    """A run of `check`: what is to be done, and how far it is."""

    rows: list[Row]
    bad: list[str]
    app: App
    journal: Journal | None
    evaluate_all: bool
    stream: TextIO | None
    results: dict[int, dict[str, Any]]
    failed: dict[int, str]
    written: int = 0

    def note(self, row: Row, result: dict[str, Any]) -> None:
        """Keep a result; the journal has it before anybody else."""
        if self.journal is not None:
            self.journal.add(row.key, result)
        self.results[row.number] = result
        self.flush()

    def flush(self) -> None:
        """Print what is next in input order, where the output is a stream."""
        while self.stream is not None and self.written < len(self.rows):
            row = self.rows[self.written]
            if row.number in self.results:
                self.stream.write(json.dumps(self.results[row.number]) + "\n")
                self.stream.flush()
            elif row.number not in self.failed:
                return
            self.written += 1


async def run(args: argparse.Namespace) -> int:
    """Screen every line; returns 0 when each got a decision, 1 when any was bad."""
    if args.concurrency < 1:
        raise UsageError(f"--concurrency: found {args.concurrency}, allowed is 1 or more")
    if args.resume and args.out is None:
        raise UsageError("--resume needs --out FILE: the journal of a run stands beside its output")
    text = _read(args.file)
    async with AsyncExitStack() as stack:
        app = await opened(stack, args)
        rows, bad = read_rows(text, config=f"{app.fingerprint}:{args.evaluate_all}")
        journal = _journal(args) if args.out is not None else None
        if journal is not None:
            stack.enter_context(journal)
        stream = sys.stdout if args.out is None else None
        job = Job(rows, bad, app, journal, args.evaluate_all, stream, {}, {})
        try:
            await _work(job, args.concurrency)
        finally:
            left = len(rows) - len(job.results) - len(job.failed)
            if left and journal is not None:
                _say(f"stopped: {len(job.results)} of {len(rows)} done and kept; go on with --resume")
        if args.out is not None:
            _write_whole(args.out, job)
        if journal is not None:
            journal.finish()
    return _report(job)


def read_rows(text: str, *, config: str) -> tuple[list[Row], list[str]]:
    """The good lines, and one sentence for each bad one. Lines end at line feeds only, as JSON Lines has it."""
    rows: list[Row] = []
    bad: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _row(line, number, config)
        except UsageError as error:
            bad.append(f"line {number}: {error}")
            continue
        first = seen.setdefault(json.dumps(row.id), number)
        if first != number:
            bad.append(f"line {number}: id {json.dumps(row.id)} stands in line {first} already")
            continue
        rows.append(row)
    return rows, bad


def _row(line: str, number: int, config: str) -> Row:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("is not JSON") from error
    if not isinstance(data, dict) or not isinstance(data.get("id"), str | int) or isinstance(data["id"], bool):
        raise UsageError('needs an object with an "id" that is a text or a whole number')
    source = data.get("text", data.get("messages"))
    if not isinstance(source, str | list) or ("text" in data) == ("messages" in data):
        raise UsageError('needs either "text" (a text) or "messages" (a list)')
    key = key_of(number, data["id"], source, config)
    return Row(number, data["id"], source, data.get("label"), key)


async def _work(job: Job, concurrency: int) -> None:
    kept = job.journal.results if job.journal is not None else {}
    todo: deque[Row] = deque()
    for row in job.rows:
        if row.key in kept and not _undecided(kept[row.key]):
            job.results[row.number] = kept[row.key]
        else:
            todo.append(row)
    job.flush()
    with _progress(len(job.rows), len(job.results)) as advance:

        async def worker() -> None:
            while todo:
                row = todo.popleft()
                await _one(job, row)
                advance()

        workers = [branch(f"worker {i}", worker, timeout_s=None) for i in range(1, min(concurrency, len(todo)) + 1)]
        if workers:
            async with fan_out(workers, Collect[None](len(workers)), timeout_s=None) as run_:
                outcome = await run_.finished()
            for error in outcome.value.errors.values():
                raise error


async def _one(job: Job, row: Row) -> None:
    try:
        decision = await job.app.door.decide(row.source, evaluate_all=job.evaluate_all)
    except QuorateError as error:
        job.failed[row.number] = f"line {row.number}: {error}"
        job.flush()
        return
    job.note(row, {"id": row.id, **as_json(decision, reply=False)})


def _undecided(result: Mapping[str, Any]) -> bool:
    """Whether a kept result rests on a check that broke; such a one is asked again."""
    broke = any(verdict["outcome"] == "error" for verdict in result["verdicts"])
    return broke or result["decided_by"] == "deadline"


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    return data.decode(errors="replace").removeprefix("\ufeff")


def _journal(args: argparse.Namespace) -> Journal:
    path = Path(f"{args.out}.journal")
    if args.file != "-" and args.out.exists() and args.out.samefile(args.file):
        raise UsageError(f"--out {args.out}: is the input; the decisions would take its place")
    if args.out.is_dir():
        raise UsageError(f"--out {args.out}: is a folder, allowed is a file")
    if not path.parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no folder {path.parent}")
    return Journal(path, resume=args.resume)


def _write_whole(path: Path, job: Job) -> None:
    """Put the output in its place in one step: a reader sees the old one or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="ascii") as file:
        for row in job.rows:
            if row.number in job.results:
                file.write(json.dumps(job.results[row.number]) + "\n")
    os.replace(part, path)


@contextlib.contextmanager
def _progress(total: int, done: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("check", total=total, completed=done)
        yield lambda: progress.advance(task)


def _report(job: Job) -> int:
    problems = [*job.bad, *(job.failed[number] for number in sorted(job.failed))]
    for problem in problems:
        _say(problem)
    counts = dict.fromkeys(("admit", "refuse", "escalate"), 0)
    for result in job.results.values():
        counts[result["decision"]] += 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    _say(f"{len(job.results)} decided ({told}), {len(problems)} bad")
    table = Confusion(list(job.app.door.checks))
    for row in job.rows:
        if row.number in job.results:
            table.add(row.label, job.results[row.number]["verdicts"])
    for line in table.lines():
        _say(line)
    return 1 if problems else 0


def _say(text: str) -> None:
    print(safe(text, lines=False), file=sys.stderr)
