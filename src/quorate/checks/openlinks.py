"""Where, at the end of a text that still grows, a link begins that is not complete yet.

A stream that holds back from there shows no link before it was judged whole, wherever the pieces are cut. It holds
back a word too much rather than a link too little.
"""

import re

LOOK_BACK = 8_000
"""A link is looked for in so many of the last characters; one that is longer is held from wherever it still shows."""
LABEL_CHARS = 1_000
"""An open bracket further back than this is no link's label (CommonMark: at most 999 characters)."""

# What a host or a scheme can be made of, in plain or full-width forms. Words of other letters alone are let go.
_SIGNS = re.compile(r"[!-~。．｡\uff01-\uff5e]")
_PARAGRAPH = re.compile(r"\n[ \t\r]*+\n")
_TOKEN = re.compile(r"\\.|[\[\]()]", re.DOTALL)
_TAG = re.compile(r"<(?=[A-Za-z!/?]|\Z)")
_TAG_PIECE = re.compile(r"[\"'>]")
_CSS = re.compile(r"url\(|@import", re.IGNORECASE)
_DEFINED = re.compile(r":\s*+\S++\s")


def open_link(text: str) -> int | None:
    """The place where a link or image, or a tag, begins that the end of the text cuts, or None.

    Linear in the last `LOOK_BACK` characters.
    """
    base = max(len(text) - LOOK_BACK, 0)
    tail = text[base:]
    word = _word(tail)
    starts = [word]
    for seen in (tail, tail[:word]):  # The last word may close what is still open where it begins.
        starts += [_bracket(seen), _tag(seen), _css(seen)]
    found = [at for at in starts if at is not None]
    return base + min(found) if found else None


def _word(tail: str) -> int | None:
    """The last word, if more of it may make a link of it."""
    if not tail or tail[-1].isspace():
        return None
    word = tail.split(None)[-1]
    return len(tail) - len(word) if _SIGNS.search(word) else None


def _bracket(tail: str) -> int | None:
    """An open label, or one that is closed and whose destination, reference or definition is not."""
    start = 0
    for match in _PARAGRAPH.finditer(tail):
        start = match.end()
    opened: list[int] = []
    target: tuple[int, int] | None = None  # Where the link began, and how many brackets of its destination are open.
    for match in _TOKEN.finditer(tail, start):
        token, after = match[0], match.end()
        if target is not None:
            depth = target[1] + (token == "(") - (token == ")")
            target = (target[0], depth) if depth else None
        elif token == "[":
            opened.append(match.start())
        elif token == "]" and opened:
            label = opened.pop()
            if tail.startswith("(", after):
                target = (label, 0)
            elif tail.startswith("[", after):
                opened.append(label)  # Its reference's bracket closes it a second time.
            elif after == len(tail) or (tail.startswith(":", after) and not _DEFINED.match(tail, after)):
                return _image(tail, label)
    if target is not None:
        return _image(tail, target[0])
    near = [at for at in opened if at >= len(tail) - LABEL_CHARS]
    return _image(tail, near[0]) if near else None


def _image(tail: str, start: int) -> int:
    return start - 1 if start and tail[start - 1] == "!" else start


def _tag(tail: str) -> int | None:
    """A tag that is not closed; a `>` inside of quotes does not close it."""
    at = 0
    while match := _TAG.search(tail, at):
        quote, at = "", match.end()
        for piece in _TAG_PIECE.finditer(tail, at):
            if piece[0] == quote:
                quote = ""
            elif not quote and piece[0] == ">":
                at = piece.end()
                break
            elif not quote:
                quote = piece[0]
        else:
            return match.start()
    return None


def _css(tail: str) -> int | None:
    """A style's address that is not closed."""
    last = None
    for match in _CSS.finditer(tail):
        last = match
    if last is None:
        return None
    closers = ")" if last[0].endswith("(") else ";\n"
    return None if any(char in closers for char in tail[last.end() :]) else last.start()
