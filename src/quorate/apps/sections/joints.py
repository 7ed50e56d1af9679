"""Where a text may be cut, and how well each place suits: the natural joints of Markdown, prose and code.

A joint is an offset in the text and a strength. Between two neighbouring joints nothing can be divided. Offsets
count characters of the text as it came; line ends are not touched, so that pieces joined again are the text.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

HEADING, BLOCK, ITEM, SENTENCE, LINE, WORD = 10.0, 4.0, 2.0, 1.5, 1.0, 0.1
GLUED = 0.05
"""Strength of the place right after a heading, or between "as follows:" and what follows: the last resort."""

Fits = Callable[[int, int], bool]
"""Whether the text between two offsets keeps the budget."""

_LINE_END = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*(?:\r\n?|\n)(?:(?!---).*(?:\r\n?|\n)){0,200}---[ \t]*(?:\r\n?|\n|\Z)")
_BLANK_LINES = re.compile(r"(?:\r\n?|\n)(?:[ \t]*(?:\r\n?|\n))+")
_SPACE = re.compile(r"[。！？]+[」』”’）)]*\s*|\s+")
_ENDS = re.compile(r"[.!?…][\"'”’»)\]]*\Z")
_ABBREVIATION = re.compile(r"(?:\b\w|\b(?:Dr|Mr|Mrs|Ms|St|vs|etc|cf|No|Fig|approx))\.\Z")
_WHOLE = frozenset(("fence", "code_block", "heading", "hr"))
_CLOSERS = (")", "]", "}", "end", "else", "elif", "except", "finally", "catch", "*/", "fi", "done", "esac")


class Joint(NamedTuple):
    """A place where the text may be cut."""

    at: int
    strength: float


class Heading(NamedTuple):
    """A heading: where its line begins, its level (1 is the highest), its text."""

    at: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a text: its joints in order, 0 not among them, and its headings."""

    joints: list[Joint]
    headings: list[Heading]


@dataclass(slots=True)
class _Block:
    kind: str
    start: int
    end: int
    children: list["_Block"]


def line_starts(text: str) -> list[int]:
    """Offsets of the beginnings of all lines, as Markdown ends them, and of the end of the text."""
    starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
    return starts if starts[-1] == len(text) else [*starts, len(text)]


def markdown_headings(text: str) -> list[Heading]:
    """The headings of a Markdown text that stand outside of lists and quotes."""
    starts = line_starts(text)
    return _headings(_parsed(text), starts, 0)


def markdown_joints(text: str, fits: Fits) -> Found:
    """The joints of Markdown: headings by level, blocks, items and rows, sentences.

    What fits is kept whole: a list, a table or a paragraph has joints inside only where it does not. A code fence
    has none at all. Front matter is one block.
    """
    front = _FRONT_MATTER.match(text)
    skip = front.end() if front else 0
    tokens = _parsed(text[skip:])
    starts = [skip + at for at in line_starts(text[skip:])]
    headings = _headings(tokens, starts, skip)
    levels = {heading.at: heading.level for heading in headings}
    blocks = _tree(tokens, starts)
    if front:
        blocks.insert(0, _Block("hr", 0, skip, []))
    joints: list[Joint] = []
    for position, block in enumerate(blocks):
        if position:
            strength = HEADING - levels[block.start] if block.start in levels else BLOCK
            before = blocks[position - 1]
            opening = text[before.start : before.end].rstrip().endswith(":") and before.kind == "paragraph"
            weak = (before.start in levels and before.kind == "heading") or (opening and block.start not in levels)
            joints.append(Joint(block.start, GLUED if weak else strength))
        end = blocks[position + 1].start if position + 1 < len(blocks) else len(text)
        joints += _inside(text, block, end, fits)
    return Found([joint for joint in joints if joint.at > 0], headings)


def _parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").disable("inline").parse(text)


def _headings(tokens: Sequence[Token], starts: Sequence[int], skip: int) -> list[Heading]:
    found = []
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            found.append(Heading(starts[token.map[0]], int(token.tag[1]), " ".join(content.content.split())))
    return found


def _tree(tokens: Sequence[Token], starts: Sequence[int]) -> list[_Block]:
    """The blocks with what stands inside of them; lines that belong to none (definitions of links) are blocks too."""
    root = _Block("root", 0, starts[-1], [])
    path = [root]
    for token in tokens:
        if token.nesting < 0:
            path.pop()
            continue
        if token.map is None or token.type == "inline":
            block = _Block(token.type, path[-1].start, path[-1].end, [])
        else:
            start, end = starts[min(token.map[0], len(starts) - 1)], starts[min(token.map[1], len(starts) - 1)]
            block = _Block(token.type.removesuffix("_open"), start, end, [])
            path[-1].children.append(block)
        if token.nesting > 0:
            path.append(block)
    return root.children


def _inside(text: str, block: _Block, end: int, fits: Fits) -> Iterator[Joint]:
    """Joints inside a block that reaches to `end` with the blank lines, or definitions, behind it."""
    if fits(block.start, end):
        return
    if not fits(block.end, end):
        yield from _gap(text, block.end, end, fits)
    elif text[block.end : end].strip():
        yield Joint(block.end, BLOCK)
    if fits(block.start, block.end) or block.kind in _WHOLE:
        return
    children = block.children
    if children and block.kind != "paragraph":
        for position, child in enumerate(children):
            if child.start > block.start:
                yield Joint(child.start, ITEM)
            after = children[position + 1].start if position + 1 < len(children) else block.end
            yield from _inside(text, child, after, fits)
    elif block.kind in ("paragraph", "inline"):
        yield from _words(text, block.start, block.end)
    else:
        yield from _gap(text, block.start, block.end, fits)


def _gap(text: str, start: int, end: int, fits: Fits) -> Iterator[Joint]:
    at = start
    for line in text[start:end].splitlines(keepends=True):
        if at:
            yield Joint(at, LINE)
        if not fits(at, at + len(line)):
            yield from _words(text, at, at + len(line))
        at += len(line)


def prose_joints(text: str, fits: Fits) -> Found:
    """The joints of plain text: paragraphs, and within one that does not fit, sentences, line ends, words."""
    joints: list[Joint] = []
    start = 0
    for end, strength in [*((found.end(), _gap_strength(found[0])) for found in _BLANK_LINES.finditer(text)), (-1, 0)]:
        stop = end if end >= 0 else len(text)
        if not fits(start, stop):
            joints += _words(text, start, stop)
        if 0 < stop < len(text):
            joints.append(Joint(stop, strength))
        start = stop
    return Found(joints, [])


def _gap_strength(gap: str) -> float:
    return BLOCK + 0.5 if len(_LINE_END.findall(gap)) > 2 else BLOCK


def _words(text: str, start: int, end: int) -> Iterator[Joint]:
    """Joints between the words of a passage; the ends of sentences are the best of them, line ends come next."""
    for found in _SPACE.finditer(text, start, end):
        at = found.end()
        if at >= end or found.start() == start:
            continue
        before = text[max(start, found.start() - 12) : found.start()]
        if found[0][0] in "。！？" or (
            _ENDS.search(before) and not _ABBREVIATION.search(before) and not text[at].islower()
        ):
            yield Joint(at, SENTENCE)
        else:
            yield Joint(at, LINE if "\n" in found[0] or "\r" in found[0] else WORD)


def code_joints(text: str, fits: Fits) -> Found:
    """The joints of code: between functions and classes, then between statements, at line ends only.

    Python that parses is read by its syntax; anything else by its indentation, or, where it has none, by its
    brackets. A comment or decorator stays with what it stands above. `fits` is not asked: a line is never cut.
    """
    starts = line_starts(text)
    lines = [text[a:b] for a, b in pairwise(starts)]
    strengths, titles = _python(text, len(lines)) or _by_shape(lines)
    joints = [Joint(starts[n], strength) for n, strength in enumerate(_lifted(lines, strengths)) if n]
    return Found(joints, [Heading(starts[n], level, lines[n].strip()) for n, level in sorted(titles.items())])


def _python(text: str, count: int) -> tuple[list[float], dict[int, int]] | None:
    """Strengths by line from the syntax tree, or None where it is no Python that this Python knows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    strengths, titles = [WORD] * count, dict[int, int]()
    todo: list[tuple[ast.stmt, int]] = [(node, 0) for node in tree.body]
    while todo:
        node, depth = todo.pop()
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        if first < count:
            strengths[first] = max(strengths[first], (HEADING - 1 if named else BLOCK) - min(depth, 30) * 0.1)
        if named and node.lineno <= count:
            titles[node.lineno - 1] = depth + 1
        for field in ("body", "orelse", "finalbody"):
            todo += [(child, depth + 1) for child in getattr(node, field, []) if isinstance(child, ast.stmt)]
        for handler in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            todo += [(child, depth + 1) for child in handler.body]
    return strengths, titles


def _by_shape(lines: Sequence[str]) -> tuple[list[float], dict[int, int]]:
    indents = [len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip()) for line in lines]
    flat = not any(indent for indent, line in zip(indents, lines, strict=True) if line.strip())
    strengths, titles, depth = [], dict[int, int](), 0
    for number, line in enumerate(lines):
        bare = line.strip()
        level = 4 * depth if flat else indents[number]
        depth = max(0, depth + sum(map(bare.count, "{([")) - sum(map(bare.count, "})]")))
        after_blank = number > 0 and not lines[number - 1].strip()
        if not bare or bare.startswith(_CLOSERS):
            strengths.append(WORD)
        elif level == 0 and after_blank:
            strengths.append(HEADING - 1)
            titles[number] = 1
        else:
            strengths.append((BLOCK if after_blank else ITEM) - min(level, 60) * 0.03)
    return strengths, titles


def _lifted(lines: Sequence[str], strengths: list[float]) -> list[float]:
    """The strengths with comments tied to what they stand above: the joint moves up to their first line."""
    out = list(strengths)
    for number in range(len(lines) - 1, 0, -1):
        above = lines[number - 1].strip()
        if out[number] > WORD and above.startswith(("#", "//", "--", ";;", "@", "///", "#[")) and lines[number].strip():
            out[number - 1], out[number] = max(out[number - 1], out[number]), WORD
    return out
