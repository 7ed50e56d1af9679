"""Code to review, and what the local reviewers make of it."""

import textwrap

from quorate.apps.review.findings import Finding, Opinion
from quorate.apps.review.local import LOCAL, review_locally
from quorate.apps.review.source import Source


def source_of(code: str, path: str = "app.py") -> Source:
    return Source.of(path, textwrap.dedent(code).strip("\n") + "\n")


def opinions(code: str) -> list[Opinion]:
    source = source_of(code)
    return [review_locally(source, reviewer) for reviewer in LOCAL]


def found(code: str) -> set[int]:
    """The CWE numbers that the local reviewers report."""
    return {finding.cwe for opinion in opinions(code) for finding in opinion.findings}


def handler(body: str, source: str = 'request.args.get("q")') -> str:
    """A web handler in which `q` is a client's."""
    head = 'from flask import request, redirect, session, make_response\n@app.route("/x")\ndef view():\n'
    return head + textwrap.indent(f"q = {source}\n" + textwrap.dedent(body).strip("\n") + "\n", "    ")


def finding(
    reviewer: str = "flow",
    *,
    line: int = 1,
    end_line: int | None = None,
    cwe: int = 89,
    snippet: str = "",
    path: str = "a.py",
    message: str = "message",
) -> Finding:
    return Finding(reviewer, f"{reviewer}-rule", cwe, path, line, end_line or line, message, "high", snippet, "web")
