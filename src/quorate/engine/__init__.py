"""The engine: the only code that starts tasks, reads the clock and cancels."""

from quorate.engine.alarm import Timeout
from quorate.engine.arm import size_of, spend
from quorate.engine.lanes import Lane, StopFlag, in_thread
from quorate.engine.run import (
    GRACE_S,
    HELD_BYTES,
    TIMEOUT_S,
    Observer,
    Run,
    abandoned_tasks,
    fan_out,
    observers,
)
from quorate.engine.timeline import Span, Timeline

__all__ = [
    "GRACE_S",
    "HELD_BYTES",
    "TIMEOUT_S",
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
    "observers",
    "size_of",
    "spend",
]
