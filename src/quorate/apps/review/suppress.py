"""`# quorate: ignore[CWE-89] reason`: a finding left standing on purpose, by somebody who says why."""

import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from quorate.apps.review.findings import family
from quorate.apps.review.panel import Cluster
from quorate.apps.review.source import Source

_COMMENT: Final = re.compile(r"#\s*quorate:\s*ignore\b(?:\[([^\]]*)\])?\s*[:-]?\s*(.*)$", re.IGNORECASE)
_CWE: Final = re.compile(r"(?i)^\s*CWE-(\d{1,5})\s*$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A comment that suppresses.

    Attributes:
        path: of the file.
        line: on which it stands.
        cwes: what it suppresses; nothing else.
        reason: why.
        problem: why it suppresses nothing, or "".
    """

    path: str
    line: int
    cwes: tuple[int, ...]
    reason: str
    problem: str = ""


def marks(source: Source) -> list[Mark]:
    """Every such comment of a file; one within a text is none."""
    if "quorate:" not in source.text:
        return []
    found: list[Mark] = []
    for line, text in _comments(source):
        match = _COMMENT.search(text)
        if match is None:
            continue
        named = [_CWE.match(part) for part in (match[1] or "").split(",") if part.strip()]
        cwes = tuple(int(part[1]) for part in named if part is not None)
        problem = ""
        if not cwes or None in named:
            problem = "names no weakness: write ignore[CWE-89] and a reason"
        elif len(match[2].strip()) < 3:
            problem = "gives no reason: write why behind the bracket"
        found.append(Mark(source.path, line, cwes, match[2].strip()[:300], problem))
    return found


def _comments(source: Source) -> list[tuple[int, str]]:
    text, shift = source.readable.text, source.readable.shift
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        return [(t.start[0] - shift, t.string) for t in tokens if t.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError):
        return [(n, line[line.index("#") :]) for n, line in enumerate(source.lines, 1) if "#" in line]


def suppress(clusters: Sequence[Cluster], sources: Sequence[Source]) -> tuple[list[Cluster], list[Mark]]:
    """Mark what comments suppress: on a line of the finding, or alone on the line before it.

    Returns:
        The clusters, and the comments that suppress nothing: without a reason or a CWE, or with nothing to suppress.
    """
    by_path = {source.path: source for source in sources}
    all_marks = {source.path: marks(source) for source in sources}
    used: set[Mark] = set()
    out: list[Cluster] = []
    for found in clusters:
        reason = ""
        for mark in all_marks.get(found.head.path, ()):
            if not mark.problem and _covers(mark, found, by_path[found.head.path]):
                used.add(mark)
                reason = mark.reason
        out.append(replace(found, suppressed=reason))
    left: list[Mark] = []
    for mark in (mark for found_marks in all_marks.values() for mark in found_marks):
        if mark.problem:
            left.append(mark)
        elif mark not in used:
            left.append(replace(mark, problem="suppresses nothing"))
    return out, left


def _covers(mark: Mark, found: Cluster, source: Source) -> bool:
    if family(found.head.cwe) not in {family(cwe) for cwe in mark.cwes}:
        return False
    alone = source.lines[mark.line - 1].lstrip().startswith("#")
    return any(f.line <= mark.line + (1 if alone else 0) <= f.end_line for f in found.findings)
