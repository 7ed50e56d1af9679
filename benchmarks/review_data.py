"""Labelled functions and files for the review: read, and given to every reviewer once."""

import ast
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quorate.apps.review.analysers import ANALYSERS, BANDIT, analyse
from quorate.apps.review.findings import Opinion
from quorate.apps.review.local import LOCAL, review_locally
from quorate.apps.review.lower import Readable
from quorate.apps.review.source import Source

REVIEWERS = (*LOCAL, *ANALYSERS)


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled piece of code; `group` names the pair of before and after a fix, or the case itself."""

    id: str
    code: str
    vulnerable: bool
    cwe: int
    source: str
    group: str


def read_cases(path: Path) -> list[Case]:
    """Read JSONL with {"id", "code", "label", "cwe", "source"}."""
    cases = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            row = json.loads(line)
            cwe = int(str(row.get("cwe") or "CWE-0").upper().removeprefix("CWE-"))
            group = (row.get("meta") or {}).get("pair") or row["id"]
            cases.append(Case(row["id"], row["code"], row["label"] == "vulnerable", cwe, row.get("source", ""), group))
    return cases


def bandit_as_it_is(cases: Sequence[Case]) -> list[Opinion]:
    """Bandit's opinion of the code as it stands, which this Python may not be able to parse."""
    nothing = ast.Module([], [])
    raw = [
        Source(f"case{n}.py", case.code, Readable(case.code, nothing), None, case.code.split("\n"))
        for n, case in enumerate(cases)
    ]
    return asyncio.run(analyse(BANDIT, raw))


def opinions_of(cases: Sequence[Case]) -> list[list[Opinion]]:
    """Every reviewer's opinion of every case, in the order of `REVIEWERS`."""
    sources = [Source.of(f"case{number}.py", case.code) for number, case in enumerate(cases)]
    out = [[review_locally(source, reviewer) for reviewer in LOCAL] for source in sources]
    for analyser in ANALYSERS:
        for mine, opinion in zip(out, asyncio.run(analyse(analyser, sources)), strict=True):
            mine.append(opinion)
    return out
