"""Untrusted text on its way to a terminal."""

import unicodedata

_SHOWN = frozenset("\n\t")
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def safe(text: str, *, lines: bool = True) -> str:
    r"""The text with every control, format and unassigned character written out, such as \x1b or \u202e.

    No escape sequence, link, direction override or carriage return is left that a terminal could obey.

    Args:
        text: anything.
        lines: keep line feeds and tabs; without, they are written out too and the result is one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _fine(char, lines) else _written(char) for char in text)


def _fine(char: str, lines: bool) -> bool:
    return (lines and char in _SHOWN) or unicodedata.category(char) not in _HIDDEN


def _written(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
