"""Many rows of JSON Lines through a worker each: what `check` and `calibrate` share."""

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from quorate.cli.render import console
from quorate.cli.safe import safe
from quorate.errors import UsageError
from quorate.journal import key_of
from quorate.patterns import work_off


@dataclass(frozen=True, slots=True)
class Row:
    """One good line of the input."""

    number: int
    id: Any
    source: Any
    label: Any
    key: str


def read_bytes(file: str) -> bytes:
    """A file's bytes, or those of stdin for "-".

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error


def as_text(data: bytes) -> str:
    """The text of a file's bytes, whatever they are, without a byte order mark."""
    return data.decode(errors="replace").removeprefix("\ufeff")


def read_rows(text: str, *, config: str, need_id: bool = True) -> tuple[list[Row], list[str]]:
    """The good lines, and one sentence for each bad one. Lines end at line feeds only, as JSON Lines has it.

    Args:
        text: the whole input.
        config: what else a row's result depends on; part of its key.
        need_id: whether a line without an id is bad; else its number stands in for it.
    """
    rows: list[Row] = []
    bad: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _row(line, number, config=config, need_id=need_id)
        except UsageError as error:
            bad.append(f"line {number}: {error}")
            continue
        first = seen.setdefault(json.dumps(row.id), number)
        if first != number:
            bad.append(f"line {number}: id {json.dumps(row.id)} stands in line {first} already")
            continue
        rows.append(row)
    return rows, bad


def _row(line: str, number: int, *, config: str, need_id: bool) -> Row:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("is not JSON") from error
    if isinstance(data, dict) and not need_id:
        data.setdefault("id", f"line {number}")
    if not isinstance(data, dict) or not isinstance(data.get("id"), str | int) or isinstance(data["id"], bool):
        raise UsageError('needs an object with an "id" that is a text or a whole number')
    source = data.get("text", data.get("messages"))
    if not isinstance(source, str | list) or ("text" in data) == ("messages" in data):
        raise UsageError('needs either "text" (a text) or "messages" (a list)')
    key = key_of(number, data["id"], source, config)
    return Row(number, data["id"], source, data.get("label"), key)


async def work(todo: Sequence[Row], one: Callable[[Row], Awaitable[None]], *, concurrency: int, done: int = 0) -> None:
    """Do `one` for each row, so many at once, with a progress bar where stderr is a terminal.

    Args:
        todo: the rows.
        one: handles a row; what it raises ends the work, once the rows that are under way have ended.
        concurrency: rows at once.
        done: rows that were done before, for the progress bar.
    """
    with progress("rows", len(todo) + done, done=done) as advance:

        async def counted(row: Row) -> None:
            await one(row)
            advance()

        await work_off(todo, counted, concurrency=concurrency)


@contextlib.contextmanager
def progress(what: str, total: int | None, *, done: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr, where that is a terminal; what it gives is called whenever something is done.

    Without arguments the call counts one more; `completed=` and `total=` set both anew.
    """
    if not sys.stderr.isatty():
        yield lambda **_: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, completed=done)

        def advance(**counts: int) -> None:
            shown.update(task, **(counts or {"advance": 1}))  # type: ignore[arg-type]

        yield advance


def say(text: str) -> None:
    """One line on stderr, without control characters."""
    print(safe(text, lines=False), file=sys.stderr)
