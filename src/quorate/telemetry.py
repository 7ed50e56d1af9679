"""What runs do, as structured log lines: one event is one line of JSON in ASCII, whatever the texts in it hold."""

import json
from typing import Any, TextIO

from quorate.engine import Run
from quorate.events import Answered, Cancelled, Delta, Event, Expired, Failed, Queued, Started


class JsonLog:
    """An observer that writes a line for each branch that ends and one for each run.

    Judged texts and answers are not logged; a reason or an error may quote them, escaped.

    Args:
        stream: where to; flushed after each line, so that a reader sees whole lines only.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def event(self, run: Run[Any], event: Event, /) -> None:
        """Log the end of a branch."""
        match event:
            case Answered(usage=usage):
                ended, why = "answered", ""
            case Failed(error=error, usage=usage):
                ended, why = "failed", f"{type(error).__name__}: {error}"
            case Cancelled(why=why, usage=usage):
                ended = "cancelled"
            case Queued() | Started() | Delta() | Expired():
                return
        self._write(
            event="branch", run=run.timeline.run_id, branch=event.branch, ended=ended, why=why, tokens=usage.tokens
        )

    def ended(self, run: Run[Any], /) -> None:
        """Log a run."""
        timeline, decision = run.timeline, run.decision
        parent = "/".join(timeline.parent) if timeline.parent else None
        self._write(
            event="run",
            run=timeline.run_id,
            parent=parent,
            outcome=run.outcome,
            why=decision.why if decision is not None else str(run.error or ""),
            ms=round(1000 * (timeline.ended_s or 0.0), 1),
            tokens=timeline.usage.tokens,
            wasted=timeline.wasted.tokens,
        )

    def _write(self, **fields: object) -> None:
        self._stream.write(json.dumps(fields) + "\n")
        self._stream.flush()
