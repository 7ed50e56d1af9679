"""Source text that this Python cannot parse, brought to a form that it can, line for line.

Code under review may be newer than the Python that runs the review (f-strings of 3.12, type parameters, `except`
without parentheses), or much older (Python 2), or a piece cut out of a file. tree-sitter reads all of these and goes
on after errors; what it finds is rewritten in place, without moving anything to another line, so that every reviewer
can read it. What is left over is blanked and reported as not read.
"""

import ast
import re
import warnings
from dataclasses import dataclass, field
from functools import lru_cache

import tree_sitter
import tree_sitter_python

MAX_CHARS = 2_000_000
_MAX_BLANKS = 40
_MOST_LINES = 20
_STATEMENT = re.compile(r"_(statement|definition)$|^ERROR$")


@dataclass(frozen=True, slots=True)
class Readable:
    """A text that can be parsed.

    Attributes:
        text: what reviewers read; a line more than the original where `shift` is 1.
        tree: its syntax.
        shift: how many lines `text` has before the original's first.
        changed: whether anything had to be rewritten.
        blanked: first and last line of each part that could not be read, from 1.
    """

    text: str
    tree: ast.Module
    shift: int = 0
    changed: bool = False
    blanked: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _Edits:
    source: bytes
    found: list[tuple[int, int, bytes]] = field(default_factory=list)

    def replace(self, start: int, end: int, *, by: str | bytes) -> None:
        self.found.append((start, end, by.encode() if isinstance(by, str) else by))

    def applied(self) -> bytes:
        out, at = [], 0
        for start, end, text in sorted(self.found, key=lambda e: e[:2]):
            if start < at:
                continue  # Lies within a part that was rewritten already.
            out += [self.source[at:start], text]
            at = end
        return b"".join([*out, self.source[at:]])


@lru_cache(maxsize=1)
def _language() -> tree_sitter.Language:
    return tree_sitter.Language(tree_sitter_python.language())


def parsed(text: str) -> ast.Module | None:
    """The syntax of a text, or None where this Python cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def readable(text: str) -> Readable:
    """Bring a text to a form that this Python can parse; the best that can be done where it cannot be whole."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ").replace("\f", " ")
    tree = parsed(text)
    if tree is not None:
        return Readable(text, tree)
    shift = 0
    first = next((line for line in text.split("\n") if line.strip()), "")
    if first[:1] in (" ", "\t"):  # A method cut out of its class.
        text, shift = "if True:\n" + text, 1
    text = _tabs(text)
    tree = parsed(text)
    if tree is None:
        text = _rewritten(text)
        tree = parsed(text)
    blanked: list[tuple[int, int]] = []
    while tree is None and len(blanked) < _MAX_BLANKS:
        smaller = _blanked(text, blanked)
        if smaller is None:
            break
        text = smaller
        tree = parsed(text)
    if tree is None:
        lines = text.count("\n") + 1
        return Readable("\n" * (lines - 1), ast.Module([], []), 0, True, ((1, lines - shift),))
    return Readable(text, tree, shift, True, tuple((max(1, a - shift), max(1, b - shift)) for a, b in sorted(blanked)))


def _tabs(text: str) -> str:
    """Tabs in indentation count to the next multiple of eight, as Python 2 had it."""
    if "\t" not in text:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent:
            lines[number] = indent.expandtabs(8) + line[len(indent) :]
    return "\n".join(lines)


def _rewritten(text: str) -> str:
    source = text.encode("utf-8", "replace")
    tree = tree_sitter.Parser(_language()).parse(source)
    edits = _Edits(source)
    waiting = [tree.root_node]
    while waiting:
        node = waiting.pop()
        if not _rewrite(node, edits):
            waiting += node.children
    return edits.applied().decode("utf-8", "replace")


def _rewrite(node: tree_sitter.Node, edits: _Edits) -> bool:
    """Rewrite one node; True where its children need no look any more."""
    match node.type:
        case "string" | "concatenated_string":
            return _text(node, edits)
        case "print_statement":
            word = node.children[0]
            edits.replace(word.start_byte, node.children[1].start_byte, by="print(")
            edits.replace(node.end_byte, node.end_byte, by=")")
            for child in node.children:
                if child.type == "chevron":
                    edits.replace(child.children[0].start_byte, child.children[0].end_byte, by="*")
        case "exec_statement":
            if node.children[1].type not in ("tuple", "parenthesized_expression"):
                edits.replace(node.children[0].start_byte, node.children[1].start_byte, by="exec(")
                edits.replace(node.end_byte, node.end_byte, by=")")
            for child in node.children:
                if child.type == "in":
                    edits.replace(child.start_byte, child.end_byte, by=", ")
        case "raise_statement" if any(child.type == "expression_list" for child in node.children):
            edits.replace(node.children[1].start_byte, node.children[1].start_byte, by="(")
            edits.replace(node.end_byte, node.end_byte, by=")")
        case "except_clause" | "except_group_clause":
            commas = [child for child in node.children if child.type == ","]
            ends = [child for child in node.children if child.type == ":"]
            if commas and ends:
                edits.replace(node.children[1].start_byte, node.children[1].start_byte, by="(")
                edits.replace(ends[0].start_byte, ends[0].start_byte, by=")")
        case "<>":
            edits.replace(node.start_byte, node.end_byte, by="!=")
        case "integer":
            number = node.text or b""
            if re.fullmatch(rb"0[0-7]+[lL]?", number):
                edits.replace(node.start_byte, node.end_byte, by=b"0o" + number[1:].rstrip(b"lL"))
            elif number[-1:] in (b"l", b"L"):
                edits.replace(node.end_byte - 1, node.end_byte, by=" ")
        case "type_parameter" if node.parent is not None and node.parent.type != "generic_type":
            edits.replace(node.start_byte, node.end_byte, by="")
        case "type_alias_statement":
            word, name = node.children[0], node.children[1]
            edits.replace(word.start_byte, name.start_byte, by="")
            for part in name.children[0].children if name.children else ():
                if part.type == "type_parameter":
                    edits.replace(part.start_byte, part.end_byte, by="")
        case _:
            pass
    return False


def _text(node: tree_sitter.Node, edits: _Edits) -> bool:
    """Rewrite a text with places to fill in as `"...{}...".format(...)`, where this Python cannot read it."""
    parts = (
        [child for child in node.children if child.type == "string"] if node.type == "concatenated_string" else [node]
    )
    source = (node.text or b"").decode("utf-8", "replace")
    if parsed(f"({source})") is not None:
        return True
    if not any(child.type == "interpolation" for part in parts for child in part.children):
        prefix = (parts[0].text or b"")[:2].lower()
        if prefix == b"ur":
            edits.replace(parts[0].start_byte, parts[0].start_byte + 2, by="r")
        return True
    if len(parts) == 1:
        edits.replace(node.start_byte, node.end_byte, by=_formatted(node))
        return True
    edits.replace(node.start_byte, node.start_byte, by="(")
    for number, part in enumerate(parts):
        end = "" if number == len(parts) - 1 else " + "
        edits.replace(part.start_byte, part.end_byte, by=_formatted(part) + end)
    edits.replace(node.end_byte, node.end_byte, by=")")
    return True


def _formatted(node: tree_sitter.Node) -> str:
    start = (node.children[0].text or b"").decode() if node.children else ""
    if not any(child.type == "interpolation" for child in node.children):
        return (node.text or b"").decode("utf-8", "replace")
    out = [re.sub(r"[fFtT]", "", start)]
    given: list[str] = []
    for child in node.children[1:]:
        if child.type == "interpolation":
            out.append(_hole(child, given))
        else:
            out.append((child.text or b"").decode("utf-8", "replace"))
    text = "".join(out) + f".format({', '.join(given)}"
    missing = (node.text or b"").count(b"\n") - text.count("\n")
    return text + "\n" * max(0, missing) + ")"


def _hole(node: tree_sitter.Node, given: list[str]) -> str:
    end = ""
    for child in node.children:
        if child.type in ("{", "}", "=", "comment"):
            continue
        if child.type == "type_conversion":
            end += (child.text or b"").decode()
        elif child.type == "format_specifier":
            text = (child.text or b"").decode("utf-8", "replace")
            end += text if "{" not in text else ""
        else:
            given.append("(" + _rewritten((child.text or b"").decode("utf-8", "replace")) + ")")
    return "{" + end + "}"


def _blanked(text: str, blanked: list[tuple[int, int]]) -> str | None:
    """The text without the smallest statement around the place that cannot be read; None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        at, indented = error.lineno or 1, isinstance(error, IndentationError)
    except (ValueError, RecursionError, MemoryError):
        return None
    else:
        return None
    lines = text.split("\n")
    at = min(max(at, 1), len(lines))
    root = tree_sitter.Parser(_language()).parse(text.encode("utf-8", "replace")).root_node
    first, last = _statement_at(root, at - 1)
    if indented or last - first > _MOST_LINES or not first <= at <= last:
        first = last = at  # An error that spans so much says nothing about where it is.
    if not "".join(lines[first - 1 : last]).strip():
        return None
    indent = "" if indented else lines[first - 1][: len(lines[first - 1]) - len(lines[first - 1].lstrip())] + "pass"
    if lines[first - 1 : last] == [indent]:
        indent = ""
    blanked.append((first, last))
    lines[first - 1 : last] = [indent] + [""] * (last - first)
    return "\n".join(lines)


def _statement_at(root: tree_sitter.Node, row: int) -> tuple[int, int]:
    """First and last line, from 1, of the smallest statement on a row."""
    best = (row + 1, row + 1)
    node: tree_sitter.Node | None = root
    while node is not None:
        inner = next((c for c in node.children if c.start_point[0] <= row <= c.end_point[0] and c.is_named), None)
        if inner is not None and _STATEMENT.search(inner.type) and inner.type not in ("if_statement", "try_statement"):
            definition = inner.type.endswith("definition")
            best = best if definition else (inner.start_point[0] + 1, inner.end_point[0] + 1)
        node = inner
    return best
