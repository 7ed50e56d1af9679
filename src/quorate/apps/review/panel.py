"""From many reviewers' findings to one list: clustered, voted on, ranked by calibrated confidence.

Two thresholds. One finder is enough to report: nobody outvotes a finding. To dismiss one takes agreement: a reviewer
must have looked at that very place and said why it is right, no more independent voices may stand for the finding
than against it, and the confidence learned from labelled code must be low. What is dismissed is kept and counted.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Final

from quorate.apps.review.analysers import ANALYSERS
from quorate.apps.review.findings import SEVERITIES, Clearance, Finding, Opinion, Severity, Unread, family

NEAR: Final = 3
"""Findings of the same kind by different reviewers are one if at most so many lines lie between them."""

DISMISS_BELOW: Final = 0.5
_VOICES: Final = dict.fromkeys(ANALYSERS, "analysers")
_SPACE: Final = re.compile(r"\s+")
_STRENGTHS: Final = ("", "free", "param", "input", "web")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One mistake, and everybody who says something about it.

    Attributes:
        findings: of all who found it, the most telling first.
        cleared: reviewers who say that this very place is right, and why.
        confidence: probability that it is a mistake, as learned from labelled code.
        severity: the highest that was given.
        dismissed: why it is not reported, or "".
        suppressed: the reason that stands in the code for not reporting it, or "".
        fingerprint: stays the same when lines before it come or go.
    """

    findings: tuple[Finding, ...]
    cleared: tuple[Clearance, ...] = ()
    confidence: float = 0.5
    severity: Severity = "medium"
    dismissed: str = ""
    suppressed: str = ""
    fingerprint: str = ""

    @property
    def head(self) -> Finding:
        """The finding that stands for all."""
        return self.findings[0]

    @property
    def family(self) -> str:
        """The kind of mistake."""
        return family(self.head.cwe)

    @property
    def reviewers(self) -> tuple[str, ...]:
        """Who found it, each once."""
        return tuple(sorted({finding.reviewer for finding in self.findings}))

    @property
    def line(self) -> int:
        """Where it begins."""
        return min(finding.line for finding in self.findings)


def normalised(snippet: str) -> str:
    """A snippet without what formatting changes: white space, and quotes' kind."""
    return _SPACE.sub("", snippet).replace('"', "'")


def cluster(findings: Iterable[Finding]) -> list[tuple[Finding, ...]]:
    """Put together what is one mistake: same file, same CWE family, and the same place.

    Places are the same where lines overlap, or, for different reviewers, where at most `NEAR` lines lie between: one
    names the line on which a text is built, another that on which it is used. The same code on another line is
    another place.
    """
    groups: dict[tuple[str, str], list[list[Finding]]] = {}
    for finding in sorted(findings, key=_order):
        clusters = groups.setdefault((finding.path, family(finding.cwe)), [])
        home = next((found for found in clusters if any(_gap(finding, other) == 0 for other in found)), None)
        if home is None:
            clusters.append([finding])
        else:
            home.append(finding)
    out = [tuple(sorted(found, key=_telling)) for clusters in groups.values() for found in _neighbours(clusters)]
    return sorted(out, key=lambda found: (found[0].path, min(f.line for f in found), found[0].cwe, found[0].rule))


def _neighbours(clusters: list[list[Finding]]) -> list[list[Finding]]:
    """Join what different reviewers say about lines close by, the closest first."""
    while True:
        pairs = [
            (_distance(one, other), at, to)
            for at, one in enumerate(clusters)
            for to, other in enumerate(clusters[at + 1 : at + 6], at + 1)
            if _distance(one, other) <= NEAR and _strangers(one, other)
        ]
        if not pairs:
            return clusters
        _, at, to = min(pairs)
        clusters[at] = clusters[at] + clusters.pop(to)


def _distance(one: Sequence[Finding], other: Sequence[Finding]) -> int:
    return min(_gap(a, b) for a in one for b in other)


def _strangers(one: Sequence[Finding], other: Sequence[Finding]) -> bool:
    apart = not {f.reviewer for f in one} & {f.reviewer for f in other}
    copies = {normalised(f.snippet) for f in one} & {normalised(f.snippet) for f in other}
    return apart and not copies - {""}


def _order(finding: Finding) -> tuple[object, ...]:
    place = (finding.path, finding.line, finding.end_line, finding.cwe, finding.reviewer, finding.rule)
    return (*place, finding.message, finding.snippet, finding.severity, finding.strength)


def _telling(finding: Finding) -> tuple[object, ...]:
    local = finding.reviewer not in ANALYSERS
    return (not local, -_STRENGTHS.index(finding.strength), -SEVERITIES.index(finding.severity), *_order(finding))


def _gap(one: Finding | Clearance, other: Finding | Clearance) -> int:
    return max(one.line - other.end_line, other.line - one.end_line, 0)


def decide(opinions: Sequence[Opinion], *, by: Mapping[str, float] | None = None) -> list[Cluster]:
    """Cluster all findings, vote, and rank: the surest and gravest first; `by` are other figures than the committed."""
    cleared: dict[tuple[str, str], list[Clearance]] = {}
    for opinion in opinions:
        for clearance in opinion.cleared:
            cleared.setdefault((clearance.path, family(clearance.cwe)), []).append(clearance)
    out: list[Cluster] = []
    for found in cluster(finding for opinion in opinions for finding in opinion.findings):
        finders = {finding.reviewer for finding in found}
        said = cleared.get((found[0].path, family(found[0].cwe)), ())
        near = _closest([c for c in said if c.reviewer not in finders], found)
        confidence = probability(features(found, near), by=by)
        severity = max((finding.severity for finding in found), key=SEVERITIES.index)
        made = Cluster(found, tuple(_once(near)), confidence, severity)
        out.append(replace(made, dismissed=_dismissal(made)))
    return sorted(out, key=rank)


def _closest(clearances: Sequence[Clearance], found: Sequence[Finding]) -> list[Clearance]:
    """What was said of these very lines, or else of those close by."""
    by_gap = [(min(_gap(clearance, finding) for finding in found), clearance) for clearance in clearances]
    nearest = min((gap for gap, _ in by_gap), default=NEAR + 1)
    return [clearance for gap, clearance in by_gap if gap <= NEAR and gap == nearest]


def rank(found: Cluster) -> tuple[object, ...]:
    """The order of a report: confidence first, then severity, then place."""
    return (-round(found.confidence, 2), -SEVERITIES.index(found.severity), found.head.path, found.line, found.head.cwe)


def _once(clearances: Sequence[Clearance]) -> list[Clearance]:
    seen: dict[str, Clearance] = {}
    for clearance in clearances:
        seen.setdefault(clearance.reviewer, clearance)
    return list(seen.values())


def voice(reviewer: str) -> str:
    """Whose opinion a reviewer's is: Ruff's rules are Bandit's written anew, and prompts to one model share a mind."""
    return _VOICES.get(reviewer, "model" if reviewer.startswith("llm:") else reviewer)


def _dismissal(found: Cluster) -> str:
    if not found.cleared or found.confidence >= DISMISS_BELOW:
        return ""
    against = {voice(clearance.reviewer) for clearance in found.cleared}
    if len({voice(name) for name in found.reviewers}) > len(against):
        return ""
    said = "; ".join(f"{clearance.reviewer}: {clearance.reason}" for clearance in found.cleared)
    return f"{said}; confidence {found.confidence:.2f}"


# --- confidence -----------------------------------------------------------------------------------


def features(found: Sequence[Finding], cleared: Sequence[Clearance]) -> dict[str, float]:
    """What a cluster's confidence depends on: who found it, of which kind, who chooses the value, who cleared it."""
    out: dict[str, float] = {"bias": 1.0}
    for finding in found:
        name = "llm" if finding.reviewer.startswith("llm:") else finding.reviewer
        out[f"by {name}"] = 1.0
        out[f"{name} {family(finding.cwe)}"] = 1.0
        if finding.strength:
            out[f"{name} {family(finding.cwe)} {finding.strength}"] = 1.0
    for clearance in cleared:
        out[f"cleared by {clearance.reviewer}"] = 1.0
        if re.search("constant|certainly|resolves no", clearance.reason):
            out["cleared with proof"] = 1.0
    out["voices"] = float(len({voice(finding.reviewer) for finding in found}) - 1)
    return out


@lru_cache(maxsize=1)
def weights() -> Mapping[str, float]:
    """The committed figures of `python -m training.review`; see docs/review.md for where they come from."""
    text = (resources.files("quorate.apps.review") / "calibration.json").read_text(encoding="utf-8")
    found: dict[str, float] = json.loads(text)["weights"]
    return found


def probability(given: Mapping[str, float], *, by: Mapping[str, float] | None = None) -> float:
    """The confidence of a cluster with these features, by logistic regression."""
    figures = weights() if by is None else by
    total = sum(value * figures.get(name, 0.0) for name, value in given.items())
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))


def unread_of(opinions: Sequence[Opinion]) -> list[Unread]:
    """Everything that was not fully read, each once, in a stable order."""
    found = {unread for opinion in opinions for unread in opinion.unread}
    return sorted(found, key=lambda u: (u.path, u.reviewer, u.lines, u.why))
