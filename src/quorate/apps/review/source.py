"""Files under review: found, read, made readable, and divided by function and class for reviewers that ask."""

import ast
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.apps.review.findings import Unread
from quorate.apps.review.lower import MAX_CHARS, Readable, readable
from quorate.errors import UsageError

SKIPPED: Final = frozenset(
    (".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".mypy_cache", "site-packages",
     ".ruff_cache", ".pytest_cache", ".eggs", "build", "dist")
)  # fmt: skip
MAX_TOKENS: Final = 3000
_CHARS_PER_TOKEN: Final = 3.2
"""Code has more tokens than prose has; used for budgets only, never for bills."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file under review.

    Attributes:
        path: as findings name it: relative to where the review started, with forward slashes.
        text: as it stands in the file, with line feeds only.
        readable: what can be parsed of it.
        changed: the lines that a change touched; None where all of the file is under review.
    """

    path: str
    text: str
    readable: Readable
    changed: frozenset[int] | None = None
    lines: list[str] = field(default_factory=list, compare=False)

    @classmethod
    def of(cls, path: str, text: str, *, changed: frozenset[int] | None = None) -> "Source":
        """Make a source of a text."""
        clean = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        return cls(path, clean, readable(clean), changed, clean.split("\n"))

    def lines_of(self, node: ast.AST) -> tuple[int, int]:
        """First and last line of a node in the file."""
        shift, most = self.readable.shift, len(self.lines)
        first = min(max(getattr(node, "lineno", 1) - shift, 1), most)
        return first, min(max((getattr(node, "end_lineno", None) or first + shift) - shift, first), most)

    def snippet(self, first: int, last: int) -> str:
        """Lines of the file, verbatim."""
        return "\n".join(self.lines[first - 1 : last])


@dataclass(frozen=True, slots=True)
class Unit:
    """A section of a file for a reviewer that reads prompts.

    Attributes:
        name: dotted name of the function or class, "" for what stands outside of any.
        first: its first line, from 1.
        last: its last line.
        code: its lines.
        context: imports, constants and signatures of the file that it may need.
    """

    name: str
    first: int
    last: int
    code: str
    context: str


def collect(paths: Sequence[str], *, base: Path) -> tuple[list[Source], list[Unread]]:
    """Read Python files, and those of folders, in a stable order; symbolic links out of a folder are not followed.

    Raises:
        UsageError: a path is not there.
    """
    sources: list[Source] = []
    unread: list[Unread] = []
    for path in _files(paths):
        name = shown(path, base)
        try:
            data = path.read_bytes()
        except OSError as error:
            unread.append(Unread(name, "all", f"cannot be read: {error.strerror}"))
            continue
        if len(data) > MAX_CHARS:
            unread.append(Unread(name, "all", f"is longer than {MAX_CHARS:,} bytes"))
            continue
        sources.append(Source.of(name, decoded(data)))
    return sources, unread


def decoded(data: bytes) -> str:
    """A file's text by its own declaration (PEP 263), or UTF-8, or what never fails."""
    declared = re.match(rb"(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)", data[:400])
    for name in ([declared[1].decode("ascii", "replace")] if declared else []) + ["utf-8"]:
        try:
            return data.decode(name)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


def shown(path: Path, base: Path) -> str:
    """A path as findings name it."""
    try:
        return path.resolve().relative_to(base.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def _files(paths: Sequence[str]) -> Iterable[Path]:
    seen: set[Path] = set()
    for name in paths:
        path = Path(name)
        if not path.exists():
            raise UsageError(f"{name}: is not there")
        found = [path] if path.is_file() else _below(path)
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _below(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(files):
            file = Path(root) / name
            if name.endswith((".py", ".pyw")) and not file.is_symlink():
                yield file


def units(source: Source, *, max_tokens: int = MAX_TOKENS) -> list[Unit]:
    """Divide a file by function and class so that each section, with its context, keeps to a budget.

    A class that fits stays whole, a larger one is divided by method; a function that does not fit is divided into
    runs of lines that overlap by a tenth. Only what a change touched is given where the source says what that is.
    """
    room = int(max_tokens * _CHARS_PER_TOKEN)
    context = _context(source, room // 4)
    rest: list[tuple[int, int]] = []
    pieces: list[tuple[str, int, int]] = []
    for node in source.readable.tree.body:
        _divide(node, "", source=source, room=room - len(context), pieces=pieces, rest=rest)
    pieces += _outside(rest, source, room - len(context))
    found = [
        Unit(name, first, last, source.snippet(first, last), context)
        for name, first, last in sorted(pieces, key=lambda piece: piece[1:])
        if source.changed is None or any(first <= line <= last for line in source.changed)
    ]
    return [unit for unit in found if unit.code.strip()]


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _divide(
    node: ast.stmt, prefix: str, *, source: Source, room: int,
    pieces: list[tuple[str, int, int]], rest: list[tuple[int, int]],
) -> None:  # fmt: skip
    first, last = source.lines_of(node)
    if isinstance(node, _Definition):
        if node.decorator_list:
            first = min(first, source.lines_of(node.decorator_list[0])[0])
        name = f"{prefix}{node.name}"
        if len(source.snippet(first, last)) <= room:
            pieces.append((name, first, last))
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                _divide(inner, f"{name}.", source=source, room=room, pieces=pieces, rest=rest)
        else:
            pieces += [(name, a, b) for a, b in _runs(first, last, source=source, room=room)]
    elif source.readable.shift and isinstance(node, ast.If) and first == 1:
        for inner in node.body:
            _divide(inner, prefix, source=source, room=room, pieces=pieces, rest=rest)
    else:
        rest.append((first, last))


def _outside(rest: list[tuple[int, int]], source: Source, room: int) -> list[tuple[str, int, int]]:
    """Statements outside of any function, neighbours together."""
    grouped: list[tuple[int, int]] = []
    for first, last in rest:
        if grouped and first - grouped[-1][1] <= 3 and len(source.snippet(grouped[-1][0], last)) <= room:
            grouped[-1] = (grouped[-1][0], last)
        else:
            grouped.append((first, last))
    return [("", a, b) for first, last in grouped for a, b in _runs(first, last, source=source, room=room)]


def _runs(first: int, last: int, *, source: Source, room: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    start = at = first
    size = 0
    while at <= last:
        size += len(source.lines[at - 1]) + 1
        if size > room and at > start:
            runs.append((start, at - 1))
            start = max(start + 1, at - max(1, (at - start) // 10))
            size, at = 0, start
            continue
        at += 1
    runs.append((start, last))
    return runs


def _context(source: Source, room: int) -> str:
    """What a section may need from the rest of its file: imports, constants, signatures; cut at a line's end."""
    out: list[str] = []
    for node in source.readable.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign):
            first, last = source.lines_of(node)
            out += source.lines[first - 1 : min(last, first + 4)]
        elif isinstance(node, _Definition):
            out.append(source.lines[source.lines_of(node)[0] - 1])
            for inner in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    out.append(source.lines[source.lines_of(inner)[0] - 1])
    kept: list[str] = []
    for line in out:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept)
