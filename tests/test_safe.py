"""Text on its way to a terminal: nothing is left that it could obey, nothing readable is lost."""

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorate.cli.safe import safe

BAD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
BIDI = [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u061c", "\u200e", "\u200f"]
ANY = st.text(st.characters(codec=None), max_size=80)


@settings(max_examples=500, deadline=None)
@given(ANY, st.booleans())
@example("\x1b]8;;http://evil.example\x07click\x1b]8;;\x07", True)
@example("a\r\nb", False)
@example("\ud83d\ude00", True)
def test_nothing_is_left_that_a_terminal_obeys(text: str, lines: bool) -> None:
    """Only visible characters, spaces and, where asked for, line feeds and tabs come out; twice is once."""
    shown = safe(text, lines=lines)
    assert not {unicodedata.category(char) for char in shown.replace("\n", "").replace("\t", "")} & BAD
    assert lines or ("\n" not in shown and "\t" not in shown and len(shown.splitlines()) <= 1)
    assert safe(shown, lines=lines) == shown
    shown.encode()


@settings(max_examples=300, deadline=None)
@given(ANY.filter(lambda text: "\\" not in text))
def test_nothing_is_lost(text: str) -> None:
    """Each character is there, as it was or as its number."""
    back = re.sub(
        r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))",
        lambda found: chr(int(found[1] or found[2] or found[3], 16)),
        safe(text, lines=False),
    )
    assert back == text


def test_every_control_and_every_override_is_written_out() -> None:
    """C0, DEL, C1, bidi controls, zero-width, tag and line-separator characters, one by one."""
    wanted = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *BIDI, *map(chr, range(0xE0000, 0xE0080))]
    for char in [*wanted, "\u200b", "\u200d", "\u2060", "\ufeff", "\u2028", "\u2029", "\xad", "\ud800", "\udc80"]:
        shown = safe(f"a{char}b", lines=False)
        assert shown.isascii() and shown.isprintable() and int(shown[3:-1], 16) == ord(char)


@pytest.mark.parametrize(
    "text", ["Where is my order?", "Grüße, 日本語, עברית, हिन्दी", "e\u0301 🙂 ❤️", "C:\\new\\x1b", ""]
)
def test_readable_text_is_left_alone(text: str) -> None:
    """What people write is shown as they wrote it."""
    assert safe(text) == safe(text, lines=False) == text


def test_lines_and_tabs_are_kept_where_asked_for() -> None:
    """Line feeds and tabs stay in a text and leave a line; carriage returns stay nowhere."""
    assert safe("a\n\tb\r") == "a\n\tb\\x0d"
    assert safe("a\n\tb\r", lines=False) == "a\\x0a\\x09b\\x0d"
