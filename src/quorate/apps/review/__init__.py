"""Code reviewed for security mistakes by reviewers with different eyes, in parallel, and their findings voted on."""

from quorate.apps.review.changes import changed_lines
from quorate.apps.review.findings import SEVERITIES, Clearance, Finding, Opinion, Severity, Unread, family
from quorate.apps.review.panel import Cluster
from quorate.apps.review.reports import as_json, as_markdown, as_sarif, summary
from quorate.apps.review.reviewing import Options, Review, review
from quorate.apps.review.source import Source, collect, units

__all__ = [
    "SEVERITIES",
    "Clearance",
    "Cluster",
    "Finding",
    "Opinion",
    "Options",
    "Review",
    "Severity",
    "Source",
    "Unread",
    "as_json",
    "as_markdown",
    "as_sarif",
    "changed_lines",
    "collect",
    "family",
    "review",
    "summary",
    "units",
]
