"""Decisions and timelines drawn in a terminal. Every text passes `safe` on its way."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quorate.apps.frontdoor import ANSWER, Decision, Row
from quorate.cli.safe import safe
from quorate.engine import Span, Timeline
from quorate.merges import Admission

WIDTH = 32
_STYLES = {"admit": "bold green", "refuse": "bold red", "escalate": "bold yellow"}
_WORDS = {"admit": "ADMITTED", "refuse": "REFUSED", "escalate": "HANDED OVER"}
_MARKS = {"pass": "green", "flag": "red", "abstain": "yellow", "error": "red", "cancelled": "dim"}
_BARS = {"answered": "cyan", "failed": "red"}


def console(*, stderr: bool = False) -> Console:
    """A console that takes no markup from the texts it is given."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def draw(out: Console, decision: Decision) -> None:
    """Draw the outcome, who ran when, and what it would have taken one after another."""
    head = Text(_WORDS[decision.decision], style=_STYLES[decision.decision])
    head.append(f"  {safe(decision.why, lines=False)}", style="default")
    decided_ms = 1000 * (decision.timeline.decided_s or 0.0)
    head.append(f"  after {decided_ms:.0f} ms", style="dim")
    out.print(head)
    out.print(
        bars(decision.timeline, {row.check: _told(row) for row in decision.verdicts}, admission=decision.decision)
    )
    ended_ms = 1000 * (decision.timeline.ended_s or 0.0)
    line = f"one after another {1000 * decision.timeline.sequential_s:.0f} ms, side by side {ended_ms:.0f} ms"
    usage, wasted = decision.usage, decision.timeline.wasted
    if usage.calls:
        about = "about " if usage.estimated else ""
        line += f"; {about}{usage.tokens} tokens, {wasted.tokens} of them wasted"
    if ANSWER in {span.branch for span in decision.timeline} and not decision.speculated:
        line += "; the answer waited for the verdict"
    out.print(Text(line, style="dim"))


def _told(row: Row) -> Text:
    score = "" if row.score is None else f" {row.score:.2f}"
    score += "  (only observed)" if row.mode == "observe" else ""
    return Text(f"{row.outcome}{score}  {safe(row.reason, lines=False)}", style=_MARKS[row.outcome])


def bars(timeline: Timeline, notes: Mapping[str, Text], *, admission: Admission | None) -> Table:
    """One row for each branch: when it ran, what it said in half tone while it was held, and how it ended."""
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    whole_s = max([s.ended_s or 0.0 for s in timeline] + [timeline.ended_s or 0.0, 1e-6])
    for span in timeline:
        when = "not started" if span.started_s is None else f"{1000 * (span.ended_s or 0.0):.0f} ms"
        table.add_row(
            Text(f"  {safe(span.branch, lines=False)}"),
            _bar(span, timeline, whole_s, admitted=admission == "admit"),
            Text(when, justify="right"),
            notes.get(span.branch) or Text(_ended(span, admission)),
        )
    return table


def _ended(span: Span, admission: Admission | None) -> str:
    if span.ended == "cancelled":
        return "cut, nothing of it went out" if span.branch == ANSWER else f"cut: {safe(span.why, lines=False)}"
    if span.ended == "failed":
        return f"failed: {safe(span.why, lines=False)}"
    if span.branch != ANSWER:
        return "done"
    return "held, then let out" if admission == "admit" else "dropped, nothing of it went out"


def _bar(span: Span, timeline: Timeline, whole_s: float, *, admitted: bool) -> Text:
    start = 0.0 if span.started_s is None else span.started_s
    end = start if span.ended_s is None else span.ended_s
    first, last = round(WIDTH * start / whole_s), round(WIDTH * end / whole_s)
    length = max(last - first, 1) if span.started_s is not None else 0
    first = min(first, WIDTH - length)
    bar = Text(" " * first)
    if span.branch == ANSWER:
        until_s = timeline.decided_s if admitted and timeline.decided_s is not None else end
        held = min(length, max(0, round(WIDTH * until_s / whole_s) - first))
        bar.append("░" * held, style="dim")
        bar.append("█" * (length - held), style="green")
    else:
        bar.append("█" * length, style=_BARS.get(span.ended or "", "dim"))
    bar.pad_right(WIDTH - len(bar))
    return bar
