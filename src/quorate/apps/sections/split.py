"""Dividing a text at its natural joints under a budget of tokens.

The pieces joined again are the text, character for character. No piece is over the budget, but where one unit that
cannot be divided is: that piece says so (`Piece.over`).

Cuts hold still under edits: between half of the budget and the whole of it the strongest joint wins, and among
equals the one whose text has the smallest checksum, as content-defined chunking does it (Muthitacharoen, Chen and
Mazières, "A Low-bandwidth Network File System", 2001). A paragraph put in at the top moves the next cut or two and
not all that follow, so that the rest is still what it was for the journal.
"""

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from quorate.apps.sections.joints import Found, Heading, Joint, code_joints, markdown_joints, prose_joints
from quorate.errors import UsageError

CHARS_PER_TOKEN = 4
"""Rule of thumb for English text. For other scripts, or to be exact, give a tokenizer as `Split.count`."""

Kind = Literal["markdown", "text", "code"]
Count = Callable[[str], int]
_FINDERS = {"markdown": markdown_joints, "text": prose_joints, "code": code_joints}
_SMALL = 1 / 8
"""Share of the budget under which a piece is not ended for a stronger joint."""


def estimate(text: str) -> int:
    """About how many tokens a text has: its characters by four, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Split:
    """How a text is divided.

    Attributes:
        kind: what it is written in.
        budget: tokens of one piece at most. Overlap, context and the prompt come on top.
        overlap: tokens of the text right before a piece that its worker reads as a lead-in.
        context: how many pieces before it a worker reads whole, for reference; or, declared, a function from a
            piece's number (1 is the first) to the numbers of the pieces that it reads.
        count: counts a text's tokens; by default `estimate`.
        gist: what of a piece its readers read, such as its title or a summary; by default all of it. A change that
            leaves the gist as it was runs no reader again.
    """

    kind: Kind = "markdown"
    budget: int = 1500
    overlap: int = 0
    context: int | Callable[[int], Iterable[int]] = 0
    count: Count | None = None
    gist: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.kind not in _FINDERS:
            raise UsageError(f"split: found kind {self.kind!r}, allowed are {', '.join(_FINDERS)}")
        if self.budget < 1 or self.overlap < 0 or (isinstance(self.context, int) and self.context < 0):
            raise UsageError("split: allowed are a budget of 1 token or more, an overlap and a context of 0 or more")

    def tokens(self, text: str) -> int:
        """How many tokens a text has, as this split counts them."""
        return estimate(text) if self.count is None else self.count(text)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text.

    Attributes:
        text: the piece, every character of it.
        start: where it begins in the text.
        title: the heading it begins with, or else stands under; "" where there is none.
        above: the headings that its text stands under, highest first; the one it begins with is not among them.
        tokens: how many it has.
        over: whether it is over the budget, because it is one unit that cannot be divided.
    """

    text: str
    start: int
    title: str = ""
    above: tuple[str, ...] = ()
    tokens: int = 0
    over: bool = False


def split(text: str, how: Split | None = None) -> list[Piece]:
    """Divide a text; an empty one has no pieces.

    Raises:
        UsageError: `count` gave something that is no whole number of 0 or more.
    """
    how = how or Split()
    if not text:
        return []
    measure = _measure(text, how)

    def fits(start: int, end: int) -> bool:
        return measure(start, end) <= how.budget

    found: Found = _FINDERS[how.kind](text, fits)
    atoms = _atoms(len(text), _usable(found.joints, len(text)), fits)
    cuts = _pack(text, atoms, measure, how.budget)
    pieces, titles = [], _Titles(text, found.headings)
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        title, above = titles.of(start, end)
        body = text[start:end]
        pieces.append(Piece(body, start, title, above, how.tokens(body), not fits(start, end)))
    return pieces


def lead_in(text: str, start: int, *, how: Split) -> str:
    """The overlap before an offset: at most `how.overlap` tokens, from the beginning of a line or a word if it can."""
    if how.overlap < 1 or start < 1:
        return ""
    low = max(0, start - how.overlap * CHARS_PER_TOKEN)
    while low < start and how.tokens(text[low:start]) > how.overlap:
        low += max(1, (start - low) // 8)
    window = text[low:start]
    if low and not text[low - 1].isspace():
        for mark in ("\n", " "):
            at = window.find(mark)
            if 0 <= at < len(window) - 1 and window[at + 1 :].strip():
                return window[at + 1 :]
    return window


def _measure(text: str, how: Split) -> Callable[[int, int], float]:
    count = how.count
    if count is None:
        return lambda start, end: (end - start) / CHARS_PER_TOKEN

    def counted(start: int, end: int) -> int:
        tokens = count(text[start:end])
        if not isinstance(tokens, int) or tokens < 0:
            raise UsageError(f"split: count gave {tokens!r}, allowed is a whole number of 0 or more")
        return tokens

    return counted


def _usable(joints: Iterable[Joint], length: int) -> list[Joint]:
    """Joints in order, one for each offset, the strongest."""
    best: dict[int, float] = {}
    for at, strength in joints:
        if 0 < at < length:
            best[at] = max(best.get(at, 0.0), strength)
    return [Joint(at, best[at]) for at in sorted(best)]


def _atoms(length: int, joints: list[Joint], fits: Callable[[int, int], bool]) -> list[Joint]:
    """The joints that are needed: what fits between two strong ones is kept whole."""
    kept: list[Joint] = []
    todo: list[tuple[int, int, list[Joint]]] = [(0, length, joints)]
    while todo:
        start, end, inner = todo.pop()
        if not inner or fits(start, end):
            continue
        strongest = max(joint.strength for joint in inner)
        edges = [joint for joint in inner if joint.strength == strongest]
        kept += edges
        position = 0
        for left, right in zip([start, *(e.at for e in edges)], [*(e.at for e in edges), end], strict=True):
            until = position
            while until < len(inner) and inner[until].at < right:
                until += 1
            todo.append((left, right, [joint for joint in inner[position:until] if joint.strength < strongest]))
            position = until
    return sorted(kept)


def _pack(text: str, joints: list[Joint], measure: Callable[[int, int], float], budget: int) -> list[int]:
    """Where to cut, so that pieces are large, their edges strong, and edits move few of them."""
    edges = [joint.at for joint in joints] + [len(text)]
    sizes = [measure(left, right) for left, right in zip([0, *edges[:-1]], edges, strict=True)]
    cuts: list[int] = []
    start, first = 0, 0
    while first < len(edges):
        size, last = 0.0, first
        while last < len(edges) and size + sizes[last] <= budget:
            size += sizes[last]
            last += 1
        if last == len(edges) and measure(start, len(text)) <= budget:
            break
        choice = _best(text, joints[first:last], sizes[first:last], budget)
        # Counts of parts need not add up to the count of the whole: give back what is too much.
        while choice > 0 and measure(start, edges[first + choice]) > budget:
            choice -= 1
        first += choice + 1
        if first >= len(edges):
            break
        start = edges[first - 1]
        cuts.append(start)
    return cuts


def _best(text: str, joints: list[Joint], sizes: list[float], budget: int) -> int:
    """The position of the joint to cut at, among those that the piece can reach."""
    size, best, choice = 0.0, (-math.inf, False, 0), max(len(joints) - 1, 0)
    for position, joint in enumerate(joints):
        size += sizes[position]
        if size < budget * _SMALL:
            continue
        checksum = zlib.crc32(text[joint.at : joint.at + 256].encode("utf-8", "surrogatepass"))
        rank = (joint.strength, size >= budget / 2, -checksum)
        if rank > best:
            best, choice = rank, position
    return choice


class _Titles:
    """Gives each piece, asked for in order, the heading it begins with or stands under, and those above its text."""

    def __init__(self, text: str, headings: list[Heading]) -> None:
        self._text, self._headings = text, headings
        self._next = 0
        self._open: list[Heading] = []

    def of(self, start: int, end: int) -> tuple[str, tuple[str, ...]]:
        text = self._text
        first = next((n for n in range(start, end) if not text[n].isspace() and text[n] != "\ufeff"), start)
        while self._next < len(self._headings) and self._headings[self._next].at <= first:
            heading = self._headings[self._next]
            self._next += 1
            while self._open and self._open[-1].level >= heading.level:
                self._open.pop()
            self._open.append(heading)
        if not self._open:
            coming = self._headings[self._next : self._next + 1]
            return (coming[0].text if coming and coming[0].at < end else ""), ()
        above = self._open[:-1] if self._open[-1].at >= start else self._open
        return self._open[-1].text, tuple(heading.text for heading in above)
