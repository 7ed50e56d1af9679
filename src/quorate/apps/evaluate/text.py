"""Untrusted text on its way into a report: nothing in it can act, in HTML, in Markdown or on a terminal."""

import html
import re
import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
SHOWN = 600
"""Characters of a text that a report shows."""


def visible(text: str, *, limit: int = SHOWN) -> str:
    r"""The text on one line, every control and format character written out as \x1b or \u202e, and cut."""
    cut = " ".join(text[: 4 * limit].split())
    shown = "".join(char if unicodedata.category(char) not in _HIDDEN else _written(char) for char in cut)
    more = len(shown) > limit or len(text) > 4 * limit
    return shown[:limit] + ("…" if more else "")


def _written(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def for_html(text: str, *, limit: int = SHOWN) -> str:
    """The text for HTML, inside an element or a quoted attribute."""
    return html.escape(visible(text, limit=limit), quote=True)


def for_markdown(text: str, *, limit: int = SHOWN) -> str:
    """The text for Markdown, every punctuation mark escaped: no link, image, tag, table or heading is left."""
    return _PUNCTUATION.sub(r"\\\1", visible(text, limit=limit)).replace("\\<", "&lt;").replace("\\&", "&amp;")
