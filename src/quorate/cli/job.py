"""One result for each row, in input order, resumable: what `check` and `moderate` share."""

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from quorate.cli.rows import Row, as_text, read_bytes, read_rows, say, work
from quorate.errors import QuorateError, UsageError
from quorate.journal import Journal


@dataclass(slots=True)
class Job:
    """A run over rows: what is to be done, and how far it is.

    Attributes:
        rows: the good lines.
        bad: a sentence for each bad one.
        one: makes a row's result, as JSON can hold it; a `QuorateError` is noted and the row left out.
        again: whether a kept result rests on something that broke; such a row is asked again.
        stamp: what a row itself adds to its result, and the journal need not know.
        journal: keeps results, or None.
        stream: where results go at once, in input order, or None.
        results: by line.
        failed: a sentence for each row without a result, by line.
        written: how many rows the stream is past.
    """

    rows: list[Row]
    bad: list[str]
    one: Callable[[Row], Awaitable[dict[str, Any]]]
    again: Callable[[Mapping[str, Any]], bool]
    stamp: Callable[[Row], Mapping[str, Any]]
    journal: Journal | None
    stream: TextIO | None
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    written: int = 0

    @property
    def problems(self) -> list[str]:
        """A sentence for each line without a result."""
        return [*self.bad, *(self.failed[number] for number in sorted(self.failed))]

    async def work(self, concurrency: int) -> None:
        """Do every row that the journal does not know, so many at once."""
        kept = self.journal.results if self.journal is not None else {}
        todo: list[Row] = []
        for row in self.rows:
            if row.key in kept and not self.again(kept[row.key]):
                self.results[row.number] = {**kept[row.key], **self.stamp(row)}
            else:
                todo.append(row)
        self._flush()
        await work(todo, self._do, concurrency=concurrency, done=len(self.results))

    async def _do(self, row: Row) -> None:
        try:
            result = await self.one(row)
        except QuorateError as error:
            self.failed[row.number] = f"line {row.number}: {error}"
        else:
            if self.journal is not None:  # It has the result before anybody else.
                self.journal.add(row.key, result)
            self.results[row.number] = {**result, **self.stamp(row)}
        self._flush()

    def _flush(self) -> None:
        """Print what is next in input order, where the output is a stream."""
        while self.stream is not None and self.written < len(self.rows):
            row = self.rows[self.written]
            if row.number in self.results:
                self.stream.write(json.dumps(self.results[row.number]) + "\n")
                self.stream.flush()
            elif row.number not in self.failed:
                return
            self.written += 1

    def write_whole(self, path: Path) -> None:
        """Put the output in its place in one step: a reader sees the old one or the new one, never a part."""
        part = path.with_name(path.name + ".part")
        with part.open("w", encoding="ascii") as file:
            for row in self.rows:
                if row.number in self.results:
                    file.write(json.dumps(self.results[row.number]) + "\n")
        os.replace(part, path)


def sensible(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        UsageError: no row at once, or `--resume` without `--out`.
    """
    if args.concurrency < 1:
        raise UsageError(f"--concurrency: found {args.concurrency}, allowed is 1 or more")
    if args.resume and args.out is None:
        raise UsageError("--resume needs --out FILE: the journal of a run stands beside its output")


async def run_job(
    args: argparse.Namespace,
    one: Callable[[Row], Awaitable[dict[str, Any]]],
    *,
    config: str,
    again: Callable[[Mapping[str, Any]], bool],
    stamp: Callable[[Row], Mapping[str, Any]] = lambda _row: {},
) -> Job:
    """Read `args.file`, do its rows, write to `args.out` or stdout; the journal stands beside `args.out`.

    Args:
        args: has `file`, `out`, `concurrency` and `resume`.
        one: see `Job`.
        config: what else a result depends on.
        again: see `Job`.
        stamp: see `Job`.

    Raises:
        UsageError: input or output cannot be used.
    """
    rows, bad = read_rows(as_text(read_bytes(args.file)), config=config)
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(args)) if args.out is not None else None
        job = Job(rows, bad, one, again, stamp, journal, sys.stdout if args.out is None else None)
        try:
            await job.work(args.concurrency)
        finally:
            left = len(rows) - len(job.results) - len(job.failed)
            if left and journal is not None:
                say(f"stopped: {len(job.results)} of {len(rows)} done and kept; go on with --resume")
        if args.out is not None:
            job.write_whole(args.out)
        if journal is not None:
            journal.finish()
    return job


def _journal(args: argparse.Namespace) -> Journal:
    path = Path(f"{args.out}.journal")
    if args.file != "-" and args.out.exists() and args.out.samefile(args.file):
        raise UsageError(f"--out {args.out}: is the input; the decisions would take its place")
    if args.out.is_dir():
        raise UsageError(f"--out {args.out}: is a folder, allowed is a file")
    if not path.parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no folder {path.parent}")
    return Journal(path, resume=args.resume)
