"""Code that this Python cannot parse is read all the same, line for line, or said not to have been."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.review.lower import readable
from review_world import found, source_of

NEWER = {
    "quotes in a place": "x = f'{a['b']}'\n",
    "backslash in a place": "x = f'{\"\\n\".join(a)}'\n",
    "comment in a place": "x = f'{\n  a # why\n}'\n",
    "place in a place": "x = f'{f'{a['b']}'}'\n",
    "parts side by side": "x = ('a' f'{b['c']}'\n 'd{}')\n",
    "conversion and width": "x = f'{a['b']!r:>{w}}'\n",
    "type alias and parameters": "type X[T] = list[T]\ndef f[T: int](x: T) -> T: return x\nclass A[T]: pass\n",
    "exceptions side by side": "try:\n  pass\nexcept A, B:\n  pass\n",
    "template text": "x = t'{a}'\n",
}
OLDER = {
    "print": "print 'a', x\n",
    "print to a file": "print >>f, x\n",
    "exec": "exec 'x = 1'\n",
    "raise": "raise E, 'message'\n",
    "caught by comma": "try:\n  pass\nexcept A, e:\n  print e\n",
    "unequal": "if a <> b: pass\n",
    "octal and long": "x = 0777\ny = 10L\n",
    "raw unicode": "x = ur'a'\n",
    "tabs and blanks": "if a:\n        x = 1\n\ty = 2\n",
}


@pytest.mark.parametrize("code", [*NEWER.values(), *OLDER.values()], ids=[*NEWER, *OLDER])
def test_other_versions_are_read_whole_and_line_for_line(code: str) -> None:
    """Nothing is blanked, and no line moves."""
    result = readable(code)
    assert result.blanked == ()
    assert result.text.count("\n") == code.count("\n")
    ast.parse(result.text)


def test_a_mistake_in_newer_code_is_found_on_its_line() -> None:
    """An f-string of Python 3.12 hides nothing on 3.11."""
    code = "import os\nfrom flask import request\nos.system(f'ls {request.args['a']}')\n"
    assert 78 in found(code)


def test_a_piece_with_leading_blanks_keeps_its_line_numbers() -> None:
    """A method cut out of its class starts on line 1."""
    source = source_of("x")
    cut = type(source).of("a.py", "    def f(self):\n        eval(input())\n")
    node = next(n for n in ast.walk(cut.readable.tree) if isinstance(n, ast.Call))
    assert cut.readable.shift == 1 and cut.lines_of(node) == (2, 2)


def test_what_cannot_be_read_is_said_and_the_rest_is_read() -> None:
    """A broken line is blanked; a mistake behind it is still found."""
    code = "def f(:\n  pass\nimport os\nos.system(input())\nx = = 2\n"
    assert readable(code).blanked
    assert 78 in found(code)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_text_is_too_strange(text: str) -> None:
    """Whatever the text, the result can be parsed and has its lines."""
    result = readable(text)
    ast.parse(result.text)
    clean = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert result.text.count("\n") == clean.count("\n") + result.shift or result.blanked
