"""Dividing texts: pieces joined again are the text, budgets hold, units stay whole, edits move few cuts."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.sections import Piece, Split, estimate, split
from quorate.apps.sections.split import Kind, lead_in
from quorate.errors import UsageError

KINDS: list[Kind] = ["markdown", "text", "code"]
WORDS = ["lamp", "cable", "order", "Monday", "invoice", "12", "warranty", "bulb,", "socket.", "glass"]
ODD = st.text(st.sampled_from("ab .\n\r\t#`-|>*1)\u2028\x0c\x85\ufeff。é𝄞{}\"'\\_="), max_size=400)

prose = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join)
fence = st.tuples(st.sampled_from(["```", "~~~", "````"]), prose).map(
    lambda drawn: f"{drawn[0]}python\n# not a heading\n\n{drawn[1]}\n{drawn[0]}"
)
bullets = st.lists(prose, min_size=1, max_size=6).map(lambda items: "\n".join(f"- {item}" for item in items))
table = st.lists(prose, min_size=1, max_size=5).map(
    lambda rows: "\n".join(["| a |", "|---|", *(f"| {r} |" for r in rows)])
)
heading = st.tuples(st.integers(1, 6), st.sampled_from(WORDS)).map(lambda drawn: f"{'#' * drawn[0]} {drawn[1]}")
blocks = st.lists(st.one_of(prose, fence, bullets, table, heading), min_size=1, max_size=14)


def joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


# --- laws -----------------------------------------------------------------------------------------


@given(st.one_of(ODD, st.text(max_size=200), blocks.map("\n\n".join)), st.sampled_from(KINDS), st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_joined_again_the_pieces_are_the_text(text: str, kind: Kind, budget: int) -> None:
    """Whatever the text, byte for byte; no piece is empty; each knows where it starts and how large it is."""
    pieces = split(text, Split(kind, budget))
    assert joined(pieces) == text and all(piece.text for piece in pieces)
    at = 0
    for piece in pieces:
        assert (piece.start, piece.tokens) == (at, estimate(piece.text))
        assert piece.over == (piece.tokens > budget)
        at += len(piece.text)


@given(st.one_of(ODD, prose, blocks.map("\n\n".join)), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_over_the_budget_is_only_what_cannot_be_divided(text: str, budget: int) -> None:
    """In plain text that is one word, in code one line."""
    for piece in split(text, Split("text", budget)):
        assert not piece.over or len(piece.text.split()) <= 1
    for piece in split(text, Split("code", budget)):
        assert not piece.over or len(piece.text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")) == 1


@given(blocks, st.integers(4, 120))
@settings(max_examples=200, deadline=None)
def test_a_block_that_fits_is_never_cut(drawn: list[str], budget: int) -> None:
    """Lists, tables and paragraphs are kept whole where they fit, and a code fence always is."""
    text = "\n\n".join(drawn) + "\n"
    pieces = split(text, Split("markdown", budget))
    at = 0
    for block in drawn:
        end = at + len(block)
        whole = any(p.start <= at and end <= p.start + len(p.text) for p in pieces)
        # What begins with "- " right behind another list is one list with it, and may not fit.
        if block.startswith(("```", "~~~")) or (len(block) + 2 <= 4 * budget and not block.startswith("-")):
            assert whole, block
        at = end + 2


@given(blocks.map("\n\n".join), st.sampled_from(KINDS), st.integers(3, 40))
@settings(deadline=None)
def test_a_tokenizer_may_count(text: str, kind: Kind, budget: int) -> None:
    """With a function that counts, the budget holds by its count, though counts of parts do not add up."""

    def count(part: str) -> int:
        return len(part.split()) + (1 if part.strip() else 0)

    pieces = split(text, Split(kind, budget, count=count))
    assert joined(pieces) == text
    assert all(piece.over == (count(piece.text) > budget) and piece.tokens == count(piece.text) for piece in pieces)


@given(blocks.map("\n\n".join), st.integers(1, 40), st.integers(0, 30), st.integers(0, 400))
@settings(deadline=None)
def test_the_lead_in_is_what_stands_right_before(text: str, budget: int, overlap: int, at: int) -> None:
    """It ends where the piece begins, and has at most as many tokens as asked for."""
    at = min(at, len(text))
    lead = lead_in(text, at, how=Split("text", budget, overlap))
    assert text[:at].endswith(lead) and estimate(lead) <= overlap


# --- joints ---------------------------------------------------------------------------------------


def test_headings_are_the_first_choice_and_name_the_pieces() -> None:
    """Chapters that fit are pieces; their titles and the headings above them are known."""
    body = "Some words about it that take room. " * 8
    text = f"# Guide\n\n{body}\n\n## Install\n\n{body}\n\n### Linux\n\n{body}\n\n## Use\n\n{body}\n"
    pieces = split(text, Split(budget=100))
    assert [piece.title for piece in pieces] == ["Guide", "Install", "Linux", "Use"]
    assert [piece.above for piece in pieces] == [(), ("Guide",), ("Guide", "Install"), ("Guide",)]
    assert split(f"{body}\n\n{body}", Split(budget=100))[1].title == ""
    [_, more] = split(f"# Only\n\n{body}\n\n{body}", Split(budget=100))
    assert (more.title, more.above) == ("Only", ("Only",))


def test_a_heading_stays_with_its_text() -> None:
    """No piece ends with a heading, nor with what announces a list, as long as anything else will do."""
    body = "Words that fill the section up with something. " * 6
    text = "\n\n".join(f"## Part {n}\n\n{body}\n\nSuch as:\n\n- one\n- two" for n in range(8))
    for budget in (90, 120, 150):
        for piece in split(text, Split(budget=budget)):
            last = piece.text.rstrip().rsplit("\n", 1)[-1]
            assert not last.startswith("#") and not last.endswith("as:")


def test_headings_inside_fences_and_front_matter_are_text() -> None:
    """Neither a comment in a code block nor a line of front matter is a place to cut, or a title."""
    code = "```sh\n# first\n\n# second\necho done\n```"
    front = "---\ntitle: A handbook\n---\n"
    text = f"{front}\n{code}\n\nThe end of it is here.\n"
    pieces = split(text, Split(budget=8))
    assert any(code in piece.text for piece in pieces) and any(front in piece.text for piece in pieces)
    assert {piece.title for piece in pieces} == {""} and joined(pieces) == text


def test_a_long_list_is_cut_between_items_and_a_long_table_between_rows() -> None:
    """Where a block does not fit, its parts are kept whole."""
    items = "\n".join(f"{n}. the item with number {n} says a thing" for n in range(1, 40))
    assert all(piece.text[0].isdigit() for piece in split(items, Split(budget=60)))
    rows = "| a | b |\n|---|---|\n" + "".join(f"| row {n} | more |\n" for n in range(60))
    assert all(piece.text.startswith("|") and piece.text.endswith("|\n") for piece in split(rows, Split(budget=60)))


@pytest.mark.parametrize("mark", [". ", "! ", "。", '." '])
def test_a_long_paragraph_is_cut_between_sentences(mark: str) -> None:
    """Also where no space follows the end of a sentence."""
    text = mark.join(["This sentence has a few words in it"] * 40)
    pieces = split(text, Split("text", 60))
    assert len(pieces) > 5 and all(piece.text.startswith("This") for piece in pieces)


def test_abbreviations_end_no_sentence() -> None:
    """Neither a title, nor an initial, nor what goes on in lower case."""
    text = "We met Dr. Brown, J. Smith and others, e.g. the owner of it all, on a Monday. " * 10
    assert all(piece.text.startswith("We met") for piece in split(text, Split("text", 40)))


PYTHON = '''
"""A module."""

import os


@wraps(os)
# with a comment
def first(x):
    if x:
        return """
def not_a_function():
"""
    return 2


class Thing:
    """A class."""

    def one(self):
        return 1

    # about two
    async def two(self):
        return 2
'''
GO = "package x\n\n// First does it.\nfunc First() {\n\tif x {\n\t\ty()\n\t}\n}\n\nfunc Second() {\n\ty()\n}\n"


def test_python_is_cut_between_functions() -> None:
    """Decorators and comments stay with what they stand above, and a text in quotes is no code."""
    starts = [piece.text.lstrip("\n").split("\n")[0] for piece in split(PYTHON, Split("code", 26))]
    assert "@wraps(os)" in starts and "class Thing:" in starts and "    # about two" in starts
    assert not any(start.startswith("def not_a") for start in starts)


@pytest.mark.parametrize(
    ("text", "budget"),
    [(GO, 14), (GO.replace("\t", ""), 14), (GO.replace("\n", "\r\n"), 15)],
    ids=["go", "flat", "crlf"],
)
def test_other_code_is_cut_by_its_shape(text: str, budget: int) -> None:
    """By indentation, or by brackets where there is none."""
    pieces = split(text, Split("code", budget))
    assert joined(pieces) == text
    assert [piece.text.split("\n")[0].rstrip() for piece in pieces][-1] == "func Second() {"
    assert any(piece.text.startswith("// First") for piece in pieces)


def test_code_that_does_not_parse_is_divided_all_the_same() -> None:
    """A newer syntax, a half of a file, a null byte: shape is enough."""
    for broken in (PYTHON + "def f(:\n", PYTHON + "\0\n", PYTHON.replace("return 2", "return (2")):
        assert joined(split(broken, Split("code", 20))) == broken and len(split(broken, Split("code", 20))) > 3


# --- edits, sizes, mistakes -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["markdown", "text"])
def test_an_edit_moves_few_cuts(kind: Kind) -> None:
    """A paragraph put in at the top leaves nearly all pieces what they were."""
    rng = random.Random(7)
    text = "\n\n".join(" ".join(rng.choices(WORDS, k=rng.randint(10, 90))) for _ in range(300))
    before = {piece.text for piece in split(text, Split(kind, 500))}
    after = split("A paragraph that was not there yet.\n\n" + text, Split(kind, 500))
    assert len(before) > 15 and sum(piece.text not in before for piece in after) <= 3


def test_pieces_are_not_small_without_need() -> None:
    """Even paragraphs fill more than half of the budget on the average."""
    text = "\n\n".join("A paragraph with about ten words in it, no more." for _ in range(400))
    pieces = split(text, Split("markdown", 500))
    assert estimate(text) / len(pieces) > 250


def test_hostile_shapes_take_little_time() -> None:
    """Deep nesting, one endless line, a thousand fences: divided, within the test's time limit."""
    for text in (">" * 20_000 + "a", "- " * 20_000, "x" * 200_000, "```\n" * 9_001, "[" * 50_000, "\n" * 100_000):
        for kind in KINDS:
            assert joined(split(text, Split(kind, 200))) == text


def test_nothing_has_no_pieces() -> None:
    """An empty text is divided into nothing."""
    assert split("") == [] and lead_in("abc", 0, how=Split(overlap=3)) == ""


@pytest.mark.parametrize(
    "make",
    [
        lambda: Split("html"),  # type: ignore[arg-type]
        lambda: Split(budget=0),
        lambda: Split(overlap=-1),
        lambda: Split(context=-1),
        lambda: split("abc", Split(count=lambda text: -1)),
        lambda: split("abc", Split(count=lambda text: 0.5)),  # type: ignore[arg-type, return-value]
    ],
)
def test_what_cannot_be_is_said(make: Callable[[], object]) -> None:
    """A mistake in how to divide is an error at once."""
    with pytest.raises(UsageError, match="split"):
        make()
