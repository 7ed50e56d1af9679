"""A decision as JSON, in the form that other programs read. Fields are only ever added."""

from typing import Any

from quorate.apps.frontdoor import Decision
from quorate.engine import Span, Timeline
from quorate.events import NO_USAGE, Usage

SCHEMA = "quorate.decision/1"


def as_json(decision: Decision, *, reply: bool = True) -> dict[str, Any]:
    """The decision with its verdicts, timeline and usage. Times in milliseconds since the start of the message."""
    timeline = decision.timeline
    out: dict[str, Any] = {
        "schema": SCHEMA,
        "decision": decision.decision,
        "decided_by": decision.decided_by,
    }
    if reply:
        out["reply"] = decision.reply
    out["verdicts"] = verdicts_json(decision)
    out["timeline"] = timeline_json(timeline)
    out["usage"] = usage_json(timeline.usage, timeline.wasted)
    out["elapsed_ms"] = round(decision.elapsed_ms, 3)
    return out


def verdicts_json(decision: Decision) -> list[dict[str, Any]]:
    """One object for each check."""
    return [
        {
            "check": row.check,
            "outcome": row.outcome,
            "score": None if row.score is None else round(row.score, 6),
            "category": row.category,
            "reason": row.reason,
            "model": row.model,
            "version": row.version,
            "elapsed_ms": round(row.elapsed_ms, 3),
            **({"mode": row.mode, "would": row.would} if row.mode == "observe" else {}),
        }
        for row in decision.verdicts
    ]


def timeline_json(timeline: Timeline) -> list[dict[str, Any]]:
    """One object for each branch."""
    return [_span(span) for span in timeline]


def _span(span: Span) -> dict[str, Any]:
    return {
        "branch": span.branch,
        "started_ms": _ms(span.started_s),
        "first_ms": _ms(span.first_s),
        "ended_ms": _ms(span.ended_s),
        "ended": span.ended,
        "why": span.why,
        "usage": usage_json(span.usage, span.waste),
    }


def usage_json(usage: Usage, wasted: Usage | None = None) -> dict[str, Any]:
    """Calls, tokens and money, and what of it was spent on branches that did not count, where that is known."""
    lost = NO_USAGE if wasted is None else wasted
    told = {
        "calls": usage.calls,
        "cancelled_calls": usage.cut_calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "wasted_tokens": lost.tokens,
        "cost_usd": usage.cost_usd,
        "wasted_usd": lost.cost_usd,
        "estimated": usage.estimated,
    }
    return told if wasted is not None else {name: value for name, value in told.items() if "wasted" not in name}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
