"""The seams between parts: white space as in the source, nothing doubled, headings and numbers kept.

`Stitcher` works while the text streams. It holds back white space until it knows whether more follows, and, behind
an overlap, the first characters of a part while they may still be a repetition of what stands before.
"""

import re
from dataclasses import dataclass, field

from quorate.apps.sections.joints import markdown_headings
from quorate.apps.sections.parts import Part

MIN_DOUBLED = 12
"""Characters that a repetition must have to be one: shorter ones happen by themselves."""

_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9}){0,8})(?=[\s.):]|\Z)")
_FIRST_ITEM = re.compile(r"\s*(\d{1,9})[.)][ \t]")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\r\n]*)", re.MULTILINE)
_BLANK_LINES = re.compile(r"\A(?:[ \t]*[\r\n])+")
_SHOWN = 60


@dataclass(slots=True)
class Stitcher:
    """Puts the parts' output together, piece by piece, in the order it is released.

    Attributes:
        separator: what stands between two parts in place of the source's white space; None keeps that.
        exact: leave every character as the parts said it, as where there is no source.
        overlap: characters at the beginning of a part in which a repetition is looked for; 0 looks for none.
        doubled: characters that were cut as a repetition, by the part's number.
    """

    separator: str | None = None
    overlap: int = 0
    exact: bool = False
    doubled: dict[int, int] = field(default_factory=dict)
    _part: Part | None = None
    _tail: str = ""
    _head: str = ""
    _space: str = ""
    _heading: bool = False
    _began: bool = False
    _any: bool = False

    def feed(self, part: Part, text: str) -> str:
        """Take what a part said; returns what can go out now."""
        out = self._enter(part)
        if self._heading:
            self._head += text
            if len(self._head) < self.overlap and self._head.strip() in self._tail:
                return out
            text, self._head, self._heading = self._cut(part, self._head), "", False
        return out + self._say(text)

    def mark(self, part: Part, text: str) -> str:
        """Take the mark of a part that failed; it stands in a line of its own."""
        out = self._enter(part) + self._settle(part)
        apart = "\n\n" if self._began and not self._space.endswith("\n\n") else ""
        self._space = ""
        return out + apart + self._say(text)

    def close(self) -> str:
        """What is left when the last part has ended."""
        return self._leave()

    def _enter(self, part: Part) -> str:
        if self._part is part:
            return ""
        out = self._leave()
        self._part, self._began, self._space = part, False, ""
        self._heading = self.overlap > 0 and bool(part.lead)
        return out

    def _leave(self) -> str:
        """End the part that speaks: its own white space at the end is replaced by the source's."""
        if self._part is None:
            return ""
        out = self._settle(self._part)
        if self.separator is None:
            out += self._part.after
            self._remember(self._part.after)
        self._part, self._space = None, ""
        return out

    def _settle(self, part: Part) -> str:
        if not self._heading:
            return ""
        text, self._head, self._heading = self._cut(part, self._head), "", False
        return self._say(text)

    def _say(self, text: str) -> str:
        if self.exact:
            return text
        if not self._began:  # Blank lines go, the indentation of the first line stays.
            text, self._space = _BLANK_LINES.sub("", self._space + text), ""
        body = text.rstrip()
        if not body:
            self._space += text
            return ""
        out = self._space + body
        if not self._began:
            out = self._joint() + out
            self._began = self._any = True
        self._space = text[len(body) :]
        self._remember(out)
        return out

    def _joint(self) -> str:
        if self._part is None or self.separator is None:
            return self._part.before if self._part is not None else ""
        return self.separator if self._any else ""

    def _remember(self, text: str) -> None:
        if self.overlap:
            self._tail = (self._tail + text)[-self.overlap :]

    def _cut(self, part: Part, head: str) -> str:
        """The beginning of a part without what it repeats of the text before it."""
        start = len(head) - len(head.lstrip())
        bare, tail = head[start:], self._tail.rstrip()
        own = part.item if isinstance(part.item, str) else ""
        for length in range(min(len(bare), len(tail)), MIN_DOUBLED - 1, -1):
            if tail.endswith(bare[:length].rstrip()) and not own.startswith(bare[:length]):
                if len(bare[:length].rstrip()) < MIN_DOUBLED:
                    break
                self.doubled[part.number] = length
                return bare[length:]
        return head


def lost_headings(source: str, said: str) -> list[str]:
    """Headings and list numbers of the source that the answer does not have, in order; a line each.

    A heading is kept where the answer has one of the same level, with the same number before its text, after the
    one kept before; the words may differ, as in a translation.
    """
    theirs = markdown_headings(said)
    at = 0
    lost = []
    for heading in markdown_headings(source):
        wanted = (heading.level, _number(heading.text))
        match = next((n for n in range(at, len(theirs)) if (theirs[n].level, _number(theirs[n].text)) == wanted), None)
        if match is None:
            lost.append(f"lost the heading {heading.text[:_SHOWN]!r} (level {heading.level})")
        else:
            at = match + 1
    first, answered = _FIRST_ITEM.match(source), _FIRST_ITEM.match(said)
    if first and (answered is None or answered[1] != first[1]):
        lost.append(f"does not begin with number {first[1]} of the list, as its section does")
    return lost


def open_fence(text: str) -> bool:
    """Whether a Markdown text leaves a code fence open, which would swallow all that follows."""
    opened = ""
    for found in _FENCE.finditer(text):
        marks, rest = found[1], found[2]
        if not opened:
            if marks[0] == "~" or "`" not in rest:
                opened = marks
        elif marks[0] == opened[0] and len(marks) >= len(opened) and not rest.strip():
            opened = ""
    return bool(opened)


def _number(text: str) -> str:
    found = _NUMBER.match(text)
    return found[1] if found else ""
