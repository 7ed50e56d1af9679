"""A review as JSON, Markdown and SARIF 2.1.0. Texts of the code under review are inert in each."""

import re
import unicodedata
from typing import Any, Final
from urllib.parse import quote

from quorate.apps.review.findings import SEVERITIES
from quorate.apps.review.panel import Cluster
from quorate.apps.review.reviewing import Review

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS: Final = 5000
"""GitHub shows the first 5,000 results of a run, takes 25,000, 25,000 rules, 20 tags a rule and 10 MB gzipped."""

_LEVELS: Final = {"low": "note", "medium": "warning", "high": "error", "critical": "error"}
_SCORES: Final = {"low": "3.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&@:/$])")
_HIDDEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def inert(text: str) -> str:
    """One line without control, format or unassigned characters: each is written out."""
    return "".join(
        char if unicodedata.category(char) not in _HIDDEN else f"\\u{{{ord(char):x}}}"
        for char in text.replace("\t", " ")
    )


def as_json(review: Review) -> dict[str, Any]:
    """The whole review as plain data."""
    return {
        "version": 1,
        "files": review.files,
        "reviewers": list(review.reviewers),
        "findings": [_found(cluster) for cluster in review.reported],
        "suppressed": [{**_found(c), "reason": c.suppressed} for c in review.clusters if c.suppressed],
        "dismissed": [
            {**_found(c), "reason": c.dismissed} for c in review.clusters if c.dismissed and not c.suppressed
        ],
        "unread": [
            {"path": u.path, "reviewer": u.reviewer, "lines": u.lines, "why": u.why} for u in review.unread
        ],
        "comments": [{"path": m.path, "line": m.line, "problem": m.problem} for m in review.marks],
        "dropped": dict(review.dropped),
        "usage": {
            "calls": review.usage.calls,
            "input_tokens": review.usage.input_tokens,
            "output_tokens": review.usage.output_tokens,
            "cost_usd": review.usage.cost_usd,
            "wasted_tokens": review.wasted.tokens,
            "wasted_usd": review.wasted.cost_usd,
            "estimated": review.usage.estimated,
        },
    }  # fmt: skip


def _found(cluster: Cluster) -> dict[str, Any]:
    head = cluster.head
    return {
        "path": head.path,
        "line": head.line,
        "end_line": head.end_line,
        "cwe": f"CWE-{head.cwe}",
        "kind": cluster.family,
        "severity": cluster.severity,
        "confidence": round(cluster.confidence, 3),
        "message": head.message,
        "snippet": head.snippet,
        "trace": list(head.trace),
        "reviewers": list(cluster.reviewers),
        "cleared_by": [clearance.reviewer for clearance in cluster.cleared],
        "rules": sorted({f"{f.reviewer}:{f.rule}" for f in cluster.findings}),
        "cwes": sorted({f"CWE-{f.cwe}" for f in cluster.findings if f.cwe}),
        "fingerprint": cluster.fingerprint,
    }


def as_markdown(review: Review) -> str:
    """The review as a Markdown page on which no text of the code becomes markup."""
    out = [f"# Review of {review.files} files", "", summary(review), ""]
    if review.reported:
        out += ["| severity | confidence | weakness | place | what | found by |", "|---|---|---|---|---|---|"]
    for cluster in review.reported:
        head = cluster.head
        ours = (cluster.severity, f"{cluster.confidence:.2f}", f"CWE-{head.cwe}")
        theirs = (f"{head.path}:{head.line}", head.message, ", ".join(cluster.reviewers))
        out.append("| " + " | ".join((*ours, *map(escaped, theirs))) + " |")
    for title, lines in (
        ("Not fully read", [f"{u.path} {u.lines}: {u.reviewer}: {u.why}" for u in review.unread]),
        (
            "Suppressed",
            [f"{c.head.path}:{c.line}: CWE-{c.head.cwe}: {c.suppressed}" for c in review.clusters if c.suppressed],
        ),
        ("Comments that suppress nothing", [f"{m.path}:{m.line}: {m.problem}" for m in review.marks]),
    ):
        if lines:
            out += ["", f"## {title}", "", *(f"- {escaped(line)}" for line in lines)]
    return "\n".join(out) + "\n"


def summary(review: Review) -> str:
    """One line: how much was found, and how much is not shown."""
    counts = {name: sum(c.severity == name for c in review.reported) for name in reversed(SEVERITIES)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
    dismissed = sum(bool(c.dismissed) and not c.suppressed for c in review.clusters)
    suppressed = sum(bool(c.suppressed) for c in review.clusters)
    parts = [f"Found: {told}.", f"Dismissed by agreement: {dismissed}.", f"Suppressed in the code: {suppressed}."]
    if review.unread:
        parts.append(f"Not fully read: {len({u.path for u in review.unread})} files.")
    if review.dropped:
        parts.append(f"Findings of models dropped: {sum(review.dropped.values())}.")
    return " ".join(parts)


def escaped(text: str) -> str:
    """A text in which Markdown and HTML find nothing to do."""
    return _MARKDOWN.sub(r"\\\1", inert(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def as_sarif(review: Review) -> dict[str, Any]:
    """The review as a SARIF 2.1.0 log (OASIS), within what GitHub takes.

    Rules are named by weakness and tagged `external/cwe/cwe-NNN`. Suppressed results carry their reason. Dismissed
    ones are left out: SARIF has suppressions for what a person decided, not for what a vote did.
    """
    wanted = [c for c in review.clusters if c.suppressed or not c.dismissed]
    shown = wanted[:MAX_RESULTS]
    ids = sorted({_rule_id(cluster) for cluster in shown})
    rules = [_rule(name, [c for c in shown if _rule_id(c) == name]) for name in ids]
    unread = [
        _notification(u.path, f"{u.reviewer} did not read {u.lines or 'it'}: {u.why}") for u in review.unread[:1000]
    ]
    unread += [_notification(m.path, f"line {m.line}: the comment {m.problem}") for m in review.marks[:1000]]
    if len(wanted) > len(shown):
        unread.append(
            {"level": "warning", "message": {"text": f"only the first {len(shown)} of {len(wanted)} are here"}}
        )
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "quorate", "version": "0.1.0", "rules": rules}},
                "automationDetails": {"id": "quorate-review/"},
                "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "Where the review was started."}}},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": unread}],
                "results": [_result(cluster, ids) for cluster in shown],
            }
        ],
    }


def _rule_id(cluster: Cluster) -> str:
    return f"quorate/cwe-{cluster.head.cwe}"


def _rule(name: str, clusters: list[Cluster]) -> dict[str, Any]:
    number, worst = clusters[0].head.cwe, max((c.severity for c in clusters), key=SEVERITIES.index)
    text = f"CWE-{number}: {clusters[0].family}" if number else "a weakness without a number"
    tags = ["security", f"external/cwe/cwe-{number:03d}"] if number else ["security"]
    rule: dict[str, Any] = {
        "id": name,
        "name": f"Cwe{number}",
        "shortDescription": {"text": text},
        "fullDescription": {"text": f"{text}, found by one or more reviewers."},
        "defaultConfiguration": {"level": _LEVELS[worst]},
        "help": {
            "text": f"Read about CWE-{number} at MITRE. Suppress with a reason: quorate: ignore[CWE-{number}] why"
        },
        "properties": {"tags": tags, "precision": "medium", "security-severity": _SCORES[worst]},
    }
    if number:
        rule["helpUri"] = f"https://cwe.mitre.org/data/definitions/{number}.html"
    return rule


def _result(cluster: Cluster, ids: list[str]) -> dict[str, Any]:
    head = cluster.head
    result: dict[str, Any] = {
        "ruleId": _rule_id(cluster),
        "ruleIndex": ids.index(_rule_id(cluster)),
        "level": _LEVELS[cluster.severity],
        "message": {"text": _placeholders(f"{head.message} (found by {', '.join(cluster.reviewers)})")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(head.path), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": max(1, head.line), "endLine": max(1, head.line, head.end_line)},
                }
            }
        ],
        # GitHub goes by the first name alone; others should not take our value for one of their own making.
        "partialFingerprints": {"primaryLocationLineHash": cluster.fingerprint, "quorate/v1": cluster.fingerprint},
        "rank": round(100 * cluster.confidence, 1),
        "properties": {"confidence": round(cluster.confidence, 3), "reviewers": list(cluster.reviewers)},
    }
    if cluster.suppressed:
        result["suppressions"] = [{"kind": "inSource", "justification": inert(cluster.suppressed)}]
    return result


def _uri(path: str) -> str:
    """A path as a URI reference; bytes of a file name that are no UTF-8 stand as themselves."""
    return quote(path.encode("utf-8", "surrogateescape"))


def _placeholders(text: str) -> str:
    """Braces and brackets mean arguments and links in SARIF messages."""
    return inert(text).replace("{", "{{").replace("}", "}}").replace("[", "\\[").replace("]", "\\]")


def _notification(path: str, text: str) -> dict[str, Any]:
    return {
        "level": "warning",
        "message": {"text": _placeholders(text)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(path), "uriBaseId": "%SRCROOT%"}}}],
    }
