"""The parts of one job: what each is, and what else its worker may read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quorate.apps.sections.split import Piece, Split, lead_in, split
from quorate.errors import UsageError

_EDGE = "\ufeff\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a job, as its worker gets it.

    Attributes:
        number: 1 is the first.
        name: its branch's name in timelines and reports.
        item: what is to be worked on: a piece of text without the blank lines around it, or one of the items.
        title: the heading it stands under, or the item's name; "" where there is none.
        above: the headings its text stands under, highest first; given with context only.
        lead: the overlap: the text right before it; for reading.
        reads: the items of the parts that it declared as its context, or the gist of them, in order; for reading.
        before: white space before the text, which the output keeps.
        after: white space behind the text, which the output keeps.
        piece: the piece of the text it was made from, or None.
    """

    number: int
    name: str
    item: Any
    title: str = ""
    above: tuple[str, ...] = ()
    lead: str = ""
    reads: tuple[Any, ...] = ()
    before: str = ""
    after: str = ""
    piece: Piece | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """All that its result depends on, apart from the worker."""
        return (self.item, self.above, self.lead, self.reads)


Splitter = Callable[[str], Sequence[str]]


def parts_of(source: str | Sequence[Any] | Mapping[str, Any], how: Split | Splitter | None) -> tuple[Part, ...]:
    """Divide a text, or take items as the parts.

    Args:
        source: a text, items, or items by name.
        how: how a text is divided; a function must give pieces that joined again are the text.

    Raises:
        UsageError: there is nothing to work on, or the pieces are not the text.
    """
    rules = how if isinstance(how, Split) else Split()
    if isinstance(source, str):
        if is_blank(source):
            raise UsageError("there is nothing to work on: the text is empty")
        parts = [
            _of_piece(number, piece, lead_in(source, piece.start, how=rules), rules.context != 0)
            for number, piece in enumerate(_no_blanks(_pieces(source, how)), 1)
        ]
    else:
        if callable(how):
            raise UsageError("split: a function divides a text; items are parts already")
        named = source if isinstance(source, Mapping) else {f"section {n}": item for n, item in enumerate(source, 1)}
        titles = isinstance(source, Mapping)
        parts = [
            Part(number, name, item, name if titles else "") for number, (name, item) in enumerate(named.items(), 1)
        ]
    if not parts:
        raise UsageError("there is nothing to work on: there are no items")
    return tuple(replace(part, reads=_reads(part.number, parts, rules)) for part in parts)


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be worked on: it is white space and byte order marks."""
    return not text.replace("\ufeff", "").strip()


def _pieces(text: str, how: Split | Splitter | None) -> list[Piece]:
    if how is None or isinstance(how, Split):
        return split(text, how)
    cut = [piece for piece in how(text) if piece]
    if "".join(cut) != text:
        raise UsageError("split: the pieces joined again are not the text; to leave something out, give items")
    pieces, at = [], 0
    for body in cut:
        pieces.append(Piece(body, at, tokens=Split().tokens(body)))
        at += len(body)
    return pieces


def _no_blanks(pieces: list[Piece]) -> list[Piece]:
    """A piece of white space alone, as a function may cut one, goes to the piece before it, or else behind it."""
    out: list[Piece] = []
    blank = ""
    for piece in pieces:
        if is_blank(piece.text):
            if out:
                out[-1] = replace(out[-1], text=out[-1].text + piece.text)
            else:
                blank += piece.text
        else:
            out.append(replace(piece, text=blank + piece.text, start=piece.start - len(blank)) if blank else piece)
            blank = ""
    return out


def _of_piece(number: int, piece: Piece, lead: str, titled: bool) -> Part:
    """Indentation of the first line belongs to the text, blank lines before it to the seam."""
    body = piece.text.lstrip(_EDGE)
    blank = body[: len(body) - len(body.lstrip())]
    cut = max(blank.rfind("\n"), blank.rfind("\r")) + 1
    body = body[cut:]
    core = body.rstrip()
    before = piece.text[: len(piece.text) - len(body)]
    above = piece.above if titled else ()
    return Part(number, f"section {number}", core, piece.title, above, lead, (), before, body[len(core) :], piece)


def _reads(number: int, parts: Sequence[Part], how: Split) -> tuple[Any, ...]:
    if isinstance(how.context, int):
        wanted: Iterable[int] = range(max(1, number - how.context), number)
    else:
        wanted = how.context(number)
    found = []
    for other in wanted:
        if not 1 <= other <= len(parts) or other == number:
            raise UsageError(f"split: part {number} declares part {other} as context; allowed are the other parts")
        item = parts[other - 1].item
        found.append(item if how.gist is None else how.gist(item))
    return tuple(found)
