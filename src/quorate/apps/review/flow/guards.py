"""What a test proves about the variables in it: allow-lists, digits, prefixes, and checks by name."""

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from quorate.apps.review.flow import known
from quorate.apps.review.flow.values import ANY, CERTAIN, Env, Unknown, Value

_BAD_PARTS: Final = {
    "..": ("path",), "../": ("path",), "/": ("path",), "\\": (), "'": ("xpath", "sql?"), '"': ("xpath?",),
    "\n": ("log", "header"), "\r": ("log", "header"), "<": ("html",), ";": ("shell?",), "://": ("redirect", "ssrf"),
    "//": ("redirect", "ssrf"),
}  # fmt: skip


def names_in(node: ast.expr) -> set[str]:
    """Variables that an expression reads, as keys; not those it calls."""
    found: set[str] = set()
    called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and id(part) not in called:
            found.add(part.id)
        elif isinstance(part, ast.Attribute) and id(part) not in called and isinstance(part.value, ast.Name):
            found.add(f"{part.value.id}.{part.attr}")
    return found


def narrowed(
    test: ast.expr,
    env: Env,
    *,
    truth: bool,
    value: Callable[[ast.expr, Env], Value],
    derived: dict[str, set[str]],
) -> Env:
    """The variables where a test has this truth; the same object where it proves nothing."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return narrowed(test.operand, env, truth=not truth, value=value, derived=derived)
    if isinstance(test, ast.BoolOp):
        if isinstance(test.op, ast.And) == truth:
            for part in test.values:
                env = narrowed(part, env, truth=truth, value=value, derived=derived)
            for name in _quoted(test.values, truth=truth) & env.keys():
                env = {**env, name: env[name].clean_for("code", CERTAIN)} if env[name].taint else env
        return env
    proved, names = _proved(test, env, truth=truth, value=value)
    if not proved or not names:
        return env
    out = dict(env)
    for name in names | {origin for given in names for origin in derived.get(given, ())}:
        if name in out and out[name].taint:
            out[name] = out[name].clean_for(*proved)
    return out


def _quoted(parts: list[ast.expr], *, truth: bool) -> set[str]:
    """Variables that begin and end with a quote and hold none in between: as code they are one text and no more."""
    seen: set[tuple[str, str, object]] = set()
    for part in parts:
        holds = truth
        while isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
            part, holds = part.operand, not holds
        match part:
            case ast.Call(ast.Attribute(ast.Name(name), "startswith" | "endswith" as end), [ast.Constant(quote)]) if (
                holds
            ):
                seen.add((name, end, quote))
            case ast.Compare(
                ast.Constant(quote), [op], [ast.Subscript(ast.Name(name), ast.Slice(ast.Constant(1), stop, None))]
            ) if isinstance(op, ast.In | ast.NotIn) and isinstance(op, ast.In) != holds:
                if stop is not None and ast.unparse(stop) == "-1":
                    seen.add((name, "between", quote))
            case _:
                pass
    whole = ("startswith", "endswith", "between")
    return {name for name, _, quote in seen if quote in ("'", '"') and all((name, at, quote) in seen for at in whole)}


def _proved(
    test: ast.expr, env: Env, *, truth: bool, value: Callable[[ast.expr, Env], Value]
) -> tuple[tuple[str, ...], set[str]]:
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compared(test, env, truth=truth, value=value)
    if isinstance(test, ast.Call):
        return _called(test, truth=truth, env=env, value=value) if truth else ((), set())
    return (), set()


def _compared(
    test: ast.Compare, env: Env, *, truth: bool, value: Callable[[ast.expr, Env], Value]
) -> tuple[tuple[str, ...], set[str]]:
    op, left, right = test.ops[0], test.left, test.comparators[0]
    positive = isinstance(op, ast.Eq | ast.In | ast.Is) == truth
    if isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        if not positive:
            return (), set()
        other = value(right, env)
        if (other.known and other.const is not None) or (not other.taint and not other.known):
            uses = ("redirect", "ssrf", ANY) if _is_netloc(left, env) or other.known else ("redirect", "ssrf", "path")
            return uses, names_in(left)
        return (), set()
    if not isinstance(op, ast.In | ast.NotIn):
        return (), set()
    inside = value(left, env)
    if isinstance(inside.const, str):
        if positive:
            return (), set()
        return _BAD_PARTS.get(inside.const, ()), names_in(right)
    collection = value(right, env)
    if positive and (not collection.taint or collection.strength == 0) and not isinstance(collection.const, str):
        return (ANY, CERTAIN) if collection.fixed else (ANY,), names_in(left)
    return (), set()


def _is_netloc(node: ast.expr, env: Env) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("netloc", "hostname", "scheme")
    return isinstance(node, ast.Name) and node.id in env and "netloc" in env[node.id].name


def _called(
    test: ast.Call, *, truth: bool, env: Env, value: Callable[[ast.expr, Env], Value]
) -> tuple[tuple[str, ...], set[str]]:
    name = test.func.attr if isinstance(test.func, ast.Attribute) else getattr(test.func, "id", "")
    receiver = test.func.value if isinstance(test.func, ast.Attribute) else None
    if receiver is not None and name in known.DIGITS_ONLY:
        return (ANY,), names_in(receiver)
    if name == "isinstance" and len(test.args) == 2:
        kinds = names_in(test.args[1])
        return ((ANY,), names_in(test.args[0])) if kinds and kinds <= {"int", "float", "bool"} else ((), set())
    if receiver is not None and name == "startswith" and test.args:
        return _prefixed(value(test.args[0], env)), names_in(receiver)
    if name in ("match", "fullmatch"):
        return _matched(test, env, value=value)
    for pattern, uses in known.GUARD_NAMES:
        if pattern.search(name):
            targets = set().union(*[names_in(arg) for arg in test.args])
            if (receiver is not None and not test.args) or ("path" in uses and receiver is not None):
                targets |= names_in(receiver)
            return uses, targets
    return (), set()


def _prefixed(prefix: Value) -> tuple[str, ...]:
    text = prefix.const
    if isinstance(text, str):
        if re.match(r"^https?://[^/]+/", text):
            return ("redirect", "ssrf")
        return ("path", "redirect?") if text.startswith("/") and len(text) > 1 else ("path",)
    return ("path", "redirect", "ssrf") if not prefix.taint or prefix.strength == 0 else ()


def _matched(test: ast.Call, env: Env, *, value: Callable[[ast.expr, Env], Value]) -> tuple[tuple[str, ...], set[str]]:
    """A whole-text match of a constant pattern that lets no dangerous character through."""
    if not test.args:
        return (), set()
    first = value(test.args[0], env)
    subject = test.args[1] if len(test.args) > 1 else test.args[0]
    pattern = first.const if len(test.args) > 1 else None
    if isinstance(pattern, Unknown) or len(test.args) == 1:
        return (ANY,), names_in(subject)  # A compiled pattern with a name of its own.
    if not isinstance(pattern, str):
        return (), set()
    whole = test.func.attr == "fullmatch" if isinstance(test.func, ast.Attribute) else False
    ends = pattern.endswith(("$", r"\Z"))
    return (
        ((ANY,), names_in(subject)) if (whole or ends) and ".*" not in pattern and ".+" not in pattern else ((), set())
    )


def cleaned_by_check(call: ast.Call, env: Env) -> Env:
    """The variables after a bare call such as `validate_name(x)`, which returns only when all is well."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    for pattern, uses in known.GUARD_NAMES:
        if pattern.search(name.lower()):
            out = dict(env)
            for key in set().union(*[names_in(arg) for arg in call.args]):
                if key in out and out[key].taint:
                    out[key] = replace(out[key], safe=out[key].safe | frozenset(uses))
            return out
    return env
