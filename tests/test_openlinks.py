"""A link is held back from its beginning until it is complete, wherever the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_tricks import HONEST, HOSTS, TRICKS
from quorate.checks.links import Hosts, foreign
from quorate.checks.openlinks import LABEL_CHARS, LOOK_BACK, open_link
from strategies import PURE

ALLOWED = Hosts(HOSTS)


@pytest.mark.parametrize("trick", TRICKS)
def test_no_cut_divides_a_link_so_that_neither_half_is_one(trick: str) -> None:
    """Cut anywhere, what is let go or what is held back is still seen as the link it was."""
    whole = "Hello there, " + trick
    for cut in range(len("Hello there, ") + 1, len(whole)):
        at = open_link(whole[:cut])
        held = cut if at is None else at
        assert foreign(whole[:held], ALLOWED) or foreign(whole[held:], ALLOWED)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("See ![x](https://evil.test/a", "![x]"),
        ("See ![x](", "![x]"),
        ("See ![x]", "![x]"),
        ("See ![two words", "![two"),
        ("See [x](<https://a b", "[x]"),
        ('See [x](https://a.test "two wo', "[x]"),
        ("See [x][two wo", "[x]"),
        ("See [x][r", "[x]"),
        ("See [r]:", "[r]"),
        ("See [r]:   ", "[r]"),
        ("See [r]: https://a", "[r]"),
        ("See [a [b](https://a", "[a [b]"),
        ("See <img alt='>' src=", "<img"),
        ("See <img ", "<img"),
        ("See <", "<"),
        ("See <a\nhref='x' ", "<a"),
        ("See htt", "htt"),
        ("See https://a.test", "https"),
        ("See &#104;ttps", "&#104"),
        ("See %68", "%68"),
        ("See {background: url( 'x' ", "url("),
        ("See @import 'x' ", "@import"),
        ("See 请看https", "请看https"),
        ("See ![x](https://a.test) ", None),
        ("See [r]: https://a.test\n", None),
        ("See <img src=x> ", None),
        ("See [1] there ", None),
        ("Two words ", None),
        ("请看", None),
        ("", None),
        ("a < b ", None),
        ("see [x\n\nnew paragraph ", None),
    ],
)
def test_where_an_open_link_begins(text: str, begins: str | None) -> None:
    """Labels, destinations, references, definitions, tags, styles and words that may go on; nothing that is over."""
    assert open_link(text) == (None if begins is None else text.index(begins))


@pytest.mark.parametrize("text", HONEST)
def test_a_new_paragraph_lets_go_of_what_is_complete(text: str) -> None:
    """Nothing complete is held once a new paragraph has begun."""
    assert open_link(text + "\n\nAnd so on. ") is None


def test_an_open_bracket_is_held_no_further_than_a_label_goes() -> None:
    """A stray bracket does not hold up the rest of an answer."""
    assert open_link("a [b " + "c " * (LABEL_CHARS // 2)) is None


@PURE
@given(st.text(alphabet="[]()<>!\\\n :/ahref=\"'", max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    """Any text has an answer, which is a place within it."""
    at = open_link(text)
    assert at is None or 0 <= at < len(text)


def test_it_looks_back_no_further_than_it_says() -> None:
    """An endless link is held from wherever it still shows, so that the work stays bounded."""
    text = "https://a.test/" + "x" * (2 * LOOK_BACK)
    assert open_link(text) == len(text) - LOOK_BACK
