"""The engine: the only code that starts tasks, reads the clock and cancels."""

from quorate.engine.alarm import Timeout
from quorate.engine.arm import abandoned_tasks, size_of, spend
from quorate.engine.lanes import Lane, StopFlag, in_thread
from quorate.engine.leaving import leaving
from quorate.engine.run import (
    GRACE_S,
    HELD_BYTES,
    TIMEOUT_S,
    Observer,
    Run,
    fan_out,
    observers,
)
from quorate.engine.supervised import Jobs, supervised
from quorate.engine.timeline import Span, Timeline

__all__ = [
    "GRACE_S",
    "HELD_BYTES",
    "TIMEOUT_S",
    "Jobs",
    "Lane",
    "Observer",
    "Run",
    "Span",
    "StopFlag",
    "Timeline",
    "Timeout",
    "abandoned_tasks",
    "fan_out",
    "in_thread",
    "leaving",
    "observers",
    "size_of",
    "spend",
    "supervised",
]
