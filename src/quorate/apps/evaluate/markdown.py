"""The report as Markdown, for a pull request or a terminal; every text in it is escaped."""

from collections.abc import Mapping, Sequence
from typing import Any

from quorate.apps.evaluate.figures import agreement_told, aspect_rows, interval, notes, points
from quorate.apps.evaluate.text import for_markdown

SHOWN = 20
"""Failing rows that the Markdown shows."""


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(for_markdown(cell) for cell in row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def markdown_report(report: Mapping[str, Any]) -> str:
    """The report of an evaluation."""
    told = f"{report['rows']} rows" + (f" from {report['sources']} sources" if report["sources"] else "")
    out = [
        f"# {for_markdown(report['suite'])}",
        "",
        f"{told}. Overall {for_markdown(interval(report['overall']))}.",
        "",
    ]
    out += [f"**{for_markdown(note)}**\n" for note in notes(report)]
    out += [*_table(aspect_rows(report)), ""]
    for name, table in report["aspects"].items():
        lines = agreement_told(table)
        if lines:
            out += [f"## {for_markdown(name)}", "", *(f"- {for_markdown(line)}" for line in lines), ""]
    out += [f"## Failures by example \\({len(report['failures'])}\\)", ""]
    for one in report["failures"][:SHOWN]:
        out.append(f"- **{for_markdown(str(one['id']), limit=80)}**, line {one['line']}: {_wrong(one['aspects'])}")
    if len(report["failures"]) > SHOWN:
        out.append(f"\n{len(report['failures']) - SHOWN} more are in report\\.json\\.")
    return "\n".join(out) + "\n"


def _wrong(aspects: Mapping[str, Any]) -> str:
    parts = []
    for name, judged in aspects.items():
        score = "failed" if judged["score"] is None else f"{judged['score']:g}"
        said = for_markdown(judged["error"] or judged["reason"], limit=200)
        parts.append(f"{for_markdown(name)} {for_markdown(score)}" + (f" \\({said}\\)" if said else ""))
    return "; ".join(parts)


def markdown_comparison(found: Mapping[str, Any]) -> str:
    """The report of a comparison."""
    rows = [["aspect", "old", "new", "difference", "95 % interval", "better", "same", "worse", "verdict"]]
    for name, t in found["aspects"].items():
        ends = f"{points(t['low'], signed=True)} to {points(t['high'], signed=True)}"
        both = [points(t["old"]), points(t["new"]), points(t["mean"], signed=True)]
        counts = [str(t["better"]), str(t["same"]), str(t["worse"])]
        rows.append([name, *both, ends, *counts, t["verdict"]])
    out = [
        f"# {for_markdown(found['new'])}",
        "",
        f"New minus old, in points, on {found['rows']} shared rows ({found['only_old']} only in the old, "
        f"{found['only_new']} only in the new).",
        "",
        *_table(rows),
    ]
    out += [
        f"\n**{for_markdown(name)}: not judged by the same judge in both.**" for name in found["judged_differently"]
    ]
    return "\n".join(out) + "\n"
