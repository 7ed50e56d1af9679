"""What runs do, as structured log lines: one event is one line of JSON in ASCII, whatever the texts in it hold."""

import json
import math
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

from quorate.engine import Run
from quorate.engine.clock import wall_s
from quorate.events import Answered, Cancelled, Delta, Event, Expired, Failed, Queued, Started
from quorate.telemetry.writer import Writer

LIMIT = 10_000
"""Default for the lines that may wait to be written."""
PATIENCE_S = 5.0
"""Seconds that closing a bounded log waits for a reader that takes nothing."""
MAX_TEXT = 2000
"""The most characters of one text in a line."""

Value = str | int | float | bool | None

request_id: ContextVar[str | None] = ContextVar("quorate_request_id", default=None)
"""The request that the running code belongs to; whoever handles one sets it. Nested runs inherit it."""


class JsonLog:
    """An observer that writes a line for each branch that ends and one for each run.

    A thread writes them, so no run waits for a disk or a pipe. Judged texts and answers are not logged; a reason or
    an error may quote them, escaped and cut to `MAX_TEXT` characters. Lines that are lost are counted, and said in a
    line of their own as soon as one can be written: `{"event": "log", "lost": 3}`.

    Args:
        stream: where to; flushed after each batch of whole lines. Close the log before the stream.
        limit: the most lines that may wait; None keeps every line and waits for the last at the end, for files.
    """

    def __init__(self, stream: TextIO, *, limit: int | None = LIMIT) -> None:
        self._stream = stream
        self._said = 0
        patience_s = None if limit is None else PATIENCE_S
        self._writer = Writer(self._lines, name="quorate-log", limit=limit, patience_s=patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """How many lines were lost so far."""
        return self._writer.lost

    @property
    def error(self) -> Exception | None:
        """What the last write that failed raised, or None."""
        return self._writer.error

    def close(self) -> None:
        """Write what waits, and how much was lost. Blocks for it; a bounded log for `PATIENCE_S` seconds at most."""
        self._writer.close()
        if self.lost > self._said and self.error is None:
            self._lines([])

    def event(self, run: Run[Any], event: Event, /) -> None:
        """Log the end of a branch."""
        match event:
            case Queued() | Started() | Delta() | Expired():
                return
            case Answered(usage=usage):
                ended, why = "answered", ""
            case Failed(error=error, usage=usage):
                ended, why = "failed", f"{type(error).__name__}: {error}"
            case Cancelled(why=why, usage=usage):
                ended = "cancelled"
        self.say("branch", run=run.timeline.run_id, branch=event.branch, ended=ended, why=why, tokens=usage.tokens)

    def ended(self, run: Run[Any], /) -> None:
        """Log a run."""
        timeline, decision = run.timeline, run.decision
        self.say(
            "run",
            run=timeline.run_id,
            parent="/".join(timeline.parent) if timeline.parent else None,
            outcome=run.outcome,
            why=decision.why if decision is not None else str(run.error or ""),
            ms=round(1000 * (timeline.ended_s or 0.0), 1),
            tokens=timeline.usage.tokens,
            wasted=timeline.wasted.tokens,
        )

    def say(self, what: str, /, **fields: Value) -> None:
        """Log anything else, such as a reload. Never waits.

        Args:
            what: kind of the event; the line's first field.
            fields: names are ours, never a caller's; texts may be anybody's.
        """
        line: dict[str, Value] = {"event": what, "at": wall_s()}
        for name, value in {"request": request_id.get(), **fields}.items():
            if isinstance(value, str):
                value = value[:MAX_TEXT]
            elif isinstance(value, float) and not math.isfinite(value):
                value = str(value)  # JSON has no word for it.
            line[name] = value
        self._writer.put(line)

    def _lines(self, lines: list[dict[str, Value]]) -> None:
        lost = self._writer.lost
        if lost > self._said:
            lines = [*lines, {"event": "log", "at": wall_s(), "request": None, "lost": lost - self._said}]
        self._stream.write("".join(map(_line, lines)))
        self._stream.flush()
        self._said = lost


def _line(fields: dict[str, Value]) -> str:
    at = fields["at"]
    if isinstance(at, float):
        fields["at"] = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return json.dumps(fields) + "\n"
