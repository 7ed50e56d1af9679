"""One run of the interpreter over a file: what was found, what is defined, and how much work is left."""

import ast
from dataclasses import dataclass, field
from typing import NamedTuple

from quorate.apps.review.flow.values import Env, Value

MAX_STEPS = 150_000
MAX_DEPTH = 4


class Exhausted(Exception):
    """The file is too large or too tangled: the interpreter has spent its steps."""


class Hit(NamedTuple):
    """A rule that matched at a node, and the value that made it match; `fine` where it was looked at and is right."""

    rule: str
    cwe: int
    node: ast.AST
    value: Value
    message: str
    severity: str
    fine: bool = False


class Stored(NamedTuple):
    """An assignment to an attribute or an element: dotted name of the place, node, key, value."""

    name: str
    node: ast.AST
    key: Value
    value: Value


class Returned(NamedTuple):
    """What a function that a web framework calls returns, where, and out of which run of it."""

    node: ast.AST
    value: Value
    frame: "Frame"


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(slots=True)
class Closure:
    """A function of the file and the variables around it."""

    node: Definition
    env: Env
    owner: str = ""


@dataclass(slots=True)
class Frame:
    """A function that is being run.

    Attributes:
        node: the function, or None for the module.
        returns: values of its return statements.
        breaks: variables at each break and continue of the innermost loop.
        handler: whether a web framework calls it.
    """

    node: Definition | None = None
    returns: list[tuple[ast.AST, Value]] = field(default_factory=list)
    breaks: list[Env] = field(default_factory=list)
    handler: bool = False


@dataclass(slots=True)
class State:
    """Everything that a run shares."""

    hits: list[Hit] = field(default_factory=list)
    closures: dict[str, Closure] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=lambda: [Frame()])
    derived: dict[str, set[str]] = field(default_factory=dict)
    steps: int = 0
    fragment: bool = False

    def step(self) -> None:
        """Count a step.

        Raises:
            Exhausted: there were too many.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Exhausted

    def hit(self, rule: str, cwe: int, *, node: ast.AST, value: Value, message: str, severity: str) -> None:
        """Note that a rule matched."""
        self.hits.append(Hit(rule, cwe, node, value, message, severity))

    def fine(self, cwe: int, node: ast.AST, *, why: str) -> None:
        """Note that a dangerous call was looked at and is right."""
        self.hits.append(Hit("", cwe, node, Value(), why, "low", fine=True))
