"""What `sections` tells at its end: one JSON object for programs, a few lines and a timeline for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from quorate.apps.report import usage_json
from quorate.apps.sections import Part, PartReport, Report, Speed
from quorate.cli.render import bars, console
from quorate.cli.safe import safe

SCHEMA = "quorate.sections/1"
MAX_DRAWN = 60
_STYLES = {"done": "cyan", "reused": "green", "failed": "red"}


def as_json(report: Report, lines: Mapping[int, tuple[int, int]], *, out: str | None) -> dict[str, Any]:
    """The report; times in milliseconds since the start. The text stands in it unless it went to a file.

    Args:
        report: of the finished job.
        lines: first and last line of each section in the document, by its number.
        out: the file that the text went to, or None.
    """
    usage, wasted = report.timeline.usage, report.timeline.wasted
    told: dict[str, Any] = {"schema": SCHEMA, "sound": report.sound}
    told |= {"text": report.text} if out is None else {"out": out}
    told["sections"] = [_row(row, lines, report) for row in report.parts]
    told["speed"] = {key: _ms(value) for key, value in _times(report.speed).items()}
    told["speed"] |= {"longest": report.speed.longest, "concurrency": report.speed.at_once}
    told["reused"] = {"sections": len(report.reused), "saved_tokens": report.saved_tokens}
    told["timeline"] = [
        {
            "branch": span.branch,
            "started_ms": _ms(span.started_s),
            "first_ms": _ms(span.first_s),
            "ended_ms": _ms(span.ended_s),
            "ended": span.ended,
            "why": span.why,
        }
        for span in report.timeline
    ]
    told["usage"] = usage_json(usage, wasted)
    return told


def _row(row: PartReport, lines: Mapping[int, tuple[int, int]], report: Report) -> dict[str, Any]:
    return {
        **plan_row(row.part, lines),
        "state": row.state,
        "attempts": row.attempts,
        "error": row.error,
        "problems": list(row.problems),
        "doubled_characters_cut": report.doubled.get(row.part.number, 0),
        "took_ms": _ms(row.took_s),
        "usage": usage_json(row.usage),
    }


def plan_row(part: Part, lines: Mapping[int, tuple[int, int]]) -> dict[str, Any]:
    """One section as it was divided."""
    piece = part.piece
    return {
        "section": part.number,
        "title": part.title,
        "lines": list(lines[part.number]),
        "tokens": piece.tokens if piece else None,
        "over_budget": piece.over if piece else False,
    }


def _times(speed: Speed) -> dict[str, float | None]:
    return {
        "took_ms": speed.took_s,
        "first_text_ms": speed.first_s,
        "longest_ms": speed.longest_s,
        "ideal_ms": speed.ideal_s,
        "one_after_another_ms": speed.sequential_s,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def told(report: Report) -> Iterator[str]:
    """The end in a few lines: what does not hold first, then the counts, the speed and the price."""
    for row in report.parts:
        piece = row.part.piece
        title = f" ({row.part.title[:60]!r})" if row.part.title else ""
        if row.state == "failed":
            yield f"{row.part.name}{title} failed: {row.error}"
        for problem in row.problems:
            yield f"{row.part.name}{title}: {problem}"
        if piece is not None and piece.over:
            yield f"note: {row.part.name}{title} is over the budget with {piece.tokens} tokens: it cannot be divided"
        if row.part.number in report.doubled:
            cut = report.doubled[row.part.number]
            yield f"note: {row.part.name}: {cut} characters that repeated the overlap were cut"
    done = len(report.parts) - len(report.failed) - len(report.reused)
    yield f"{len(report.parts)} sections: {done} worked on, {len(report.reused)} reused, {len(report.failed)} failed"
    if done or report.failed:
        yield _speed(report.speed)
    usage, wasted = report.timeline.usage, report.timeline.wasted
    about = "about " if usage.estimated else ""
    line = f"{usage.calls} calls, {about}{usage.tokens} tokens, {wasted.tokens} of them wasted"
    if usage.cost_usd:
        line += f", ${usage.cost_usd:.4f}, ${wasted.cost_usd:.4f} of it wasted"
    if report.saved_tokens:
        line += f"; reuse saved {report.saved_tokens} tokens"
    yield line


def _speed(speed: Speed) -> str:
    times = speed.sequential_s / speed.took_s if speed.took_s else 1.0
    return (
        f"took {speed.took_s:.2f} s; the longest, {speed.longest}, {speed.longest_s:.2f} s; "
        f"the ideal at {speed.at_once} at once {speed.ideal_s:.2f} s; "
        f"one after another would have taken {speed.sequential_s:.2f} s ({times:.1f} times as long)"
    )


def draw(report: Report) -> None:
    """The timeline, on stderr; of a job with very many sections none."""
    timeline = report.timeline
    if len(timeline.spans) > MAX_DRAWN:
        return
    notes = {}
    for row in report.parts:
        words = f"{row.state}  {safe(row.part.title[:18], lines=False)}"
        notes[row.part.name if row.attempts < 2 else f"{row.part.name}#{row.attempts}"] = Text(
            words, style=_STYLES[row.state]
        )
    console(stderr=True).print(bars(timeline, notes, admission=None))
