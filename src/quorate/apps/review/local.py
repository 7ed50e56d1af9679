"""Reviewers of our own that need no key: what outsiders' values reach, how libraries are called, and secrets."""

import ast
import math
import re
from collections import Counter
from typing import Final, cast

from quorate.apps.review.findings import Clearance, Finding, Opinion, Severity, Strength, Unread
from quorate.apps.review.flow import FLOW, MISUSE, interpret
from quorate.apps.review.flow.values import STRENGTH, Value
from quorate.apps.review.source import Source

SECRETS: Final = "secrets"
LOCAL: Final = (FLOW, MISUSE, SECRETS)
_MAX_SNIPPET = 300
_SECRET_NAME: Final = re.compile(
    r"(?i)(^|_)(pass(wo?r?d|phrase)?|pwd|secret(_?key)?|api_?key|auth_?token|access_?token|private_?key|token|credential)s?$"
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)^$|^(none|null|true|false|changeme|change[-_ ]me|your[-_ ].*|<.*>|\{.*\}|x+|\*+|\.+|example.*|test|todo|"
    r"password|passwd|secret|token|api_?key|username|user)$|^\$|%\(|%s|\{\}|\s.*\s|^https?://|^[A-Z_]+$|^[/.]|[:?]$"
)
_SHAPES: Final = (
    (re.compile(r"-----BEGIN (RSA |EC |OPENSSH |DSA |PGP )?PRIVATE KEY"), "a private key"),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), "an AWS access key"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}\b"), "a GitHub token"),
    (re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"), "a Slack token"),
    (re.compile(r"\bsk_live_[A-Za-z0-9]{20,}"), "a Stripe key"),
    (re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"), "a Google key"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"), "a signed token"),
)
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def review_locally(source: Source, reviewer: str) -> Opinion:
    """Read one file with one of the local reviewers.

    Args:
        source: the file.
        reviewer: one of `LOCAL`.
    """
    unread = [
        Unread(source.path, reviewer, "is no Python that can be parsed", f"{first}-{last}")
        for first, last in source.readable.blanked
    ]
    if reviewer == SECRETS:
        return Opinion(tuple(_secrets(source)), (), tuple(unread))
    state, whole = interpret(source.readable.tree, reviewer)
    if not whole:
        unread.append(Unread(source.path, reviewer, "is too large or too tangled to be followed to its end"))
    findings: dict[tuple[int, str, int], Finding] = {}
    cleared: set[Clearance] = set()
    for hit in state.hits:
        line, end_line = source.lines_of(hit.node)
        if hit.fine:
            cleared.add(Clearance(reviewer, hit.cwe, source.path, line, end_line, hit.message))
            continue
        found = Finding(
            reviewer, hit.rule, hit.cwe, source.path, line, end_line, hit.message,
            cast(Severity, hit.severity), source.snippet(line, end_line)[:_MAX_SNIPPET],
            _strength(hit.value), _trace(hit.value, source.readable.shift),
        )  # fmt: skip
        known = findings.get((line, hit.rule, hit.cwe))
        if known is None or STRENGTH.get(known.strength, -1) < STRENGTH.get(found.strength, -1):
            findings[(line, hit.rule, hit.cwe)] = found
    # A place that was fine on one way through the code and wrong on another is wrong.
    wrong = {(f.line, f.cwe) for f in findings.values()}
    kept = sorted((c for c in cleared if (c.line, c.cwe) not in wrong), key=lambda c: (c.line, c.cwe, c.reason))
    return Opinion(tuple(findings.values()), tuple(kept), tuple(unread))


def _strength(value: Value) -> Strength:
    kinds = sorted((t.kind for t in value.taint), key=STRENGTH.__getitem__)
    return cast(Strength, kinds[-1]) if kinds else ""


def _trace(value: Value, shift: int) -> tuple[str, ...]:
    ordered = sorted(value.taint, key=lambda t: (-STRENGTH[t.kind], t.line))
    return tuple(f"line {max(1, t.line - shift)}: {t.what[:80]}" for t in ordered[:5])


def _secrets(source: Source) -> list[Finding]:
    found: list[Finding] = []

    def add(node: ast.AST, rule: str, *, message: str, severity: Severity, cwe: int = 798) -> None:
        line, end_line = source.lines_of(node)
        snippet = source.snippet(line, end_line)[:_MAX_SNIPPET]
        found.append(Finding(SECRETS, rule, cwe, source.path, line, end_line, message, severity, snippet))

    for node in ast.walk(source.readable.tree):
        for name, value in _named(node):
            if _SECRET_NAME.search(name) and looks_secret(value.value):
                add(value, "hard-coded", message=f"a secret stands in the code as {name[:60]!r}", severity="medium")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for pattern, what in _SHAPES:
                if pattern.search(node.value):
                    add(node, "known-shape", message=f"{what} stands in the code", severity="high")
    for number, line in enumerate(source.text.split("\n"), 1):
        if _BIDI.search(line):
            message = "invisible characters change the order in which the code is shown"
            found.append(
                Finding(SECRETS, "bidirectional", 838, source.path, number, number, message, "high", line[:200])
            )
    return found


def _named(node: ast.AST) -> list[tuple[str, ast.Constant]]:
    pairs: list[tuple[ast.expr | str | None, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs = [(node.target, node.value)]
    elif isinstance(node, ast.keyword):
        pairs = [(node.arg, node.value)]
    elif isinstance(node, ast.Dict):
        pairs = list(zip(node.keys, node.values, strict=True))
    elif isinstance(node, ast.Compare) and len(node.comparators) == 1 and isinstance(node.ops[0], ast.Eq):
        pairs = [(node.left, node.comparators[0])]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.defaults:
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)][-len(node.args.defaults) :]
        pairs = list(zip(names, node.args.defaults, strict=False))
    found = []
    for target, value in pairs:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.append((_name_of(target), value))
    return found


def _name_of(target: ast.expr | str | None) -> str:
    match target:
        case str():
            return target
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))) | ast.Constant(value=str(name)):
            return name
        case _:
            return ""


def looks_secret(value: object) -> bool:
    """Whether a text reads like a secret and not like a placeholder, a name or a sentence."""
    if not isinstance(value, str) or not 3 < len(value) < 500 or _PLACEHOLDER.search(value):
        return False
    return len(value) >= 6 or entropy(value) > 1.5


def entropy(text: str) -> float:
    """Bits per character of a text's own distribution (Shannon 1948)."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
