"""A small abstract interpreter of Python: which values an outsider can choose, and where they end up."""

import ast

from quorate.apps.review.flow import misuse, pages, sinks
from quorate.apps.review.flow.interpreter import Interpreter
from quorate.apps.review.flow.state import Hit, State

FLOW = "flow"
MISUSE = "misuse"
_RULES = {
    FLOW: (pages.xml, sinks.look, sinks.commands, sinks.sql, pages.markup),
    MISUSE: (misuse.look, misuse.crypto, misuse.web, misuse.transport, misuse.files),
}

__all__ = ["FLOW", "MISUSE", "Hit", "State", "interpret"]


def interpret(tree: ast.Module, reviewer: str) -> tuple[State, bool]:
    """Run the rules of one reviewer over a file.

    Args:
        tree: the file.
        reviewer: `FLOW` follows outsiders' values; `MISUSE` looks at how libraries are called.

    Returns:
        What was found, and whether the whole file was read.
    """
    state = State()
    flow = reviewer == FLOW
    interpreter = Interpreter(
        state,
        _RULES[reviewer],
        stores=(sinks.store,) if flow else (misuse.store,),
        returns=(pages.page,) if flow else (),
    )
    return state, interpreter.run(tree)
