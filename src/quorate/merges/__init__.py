"""Pure decision logic: events in, steps out. No tasks, no clock, no I/O, no randomness."""

from quorate.merges.base import (
    EVERY,
    NOTHING,
    UNDECIDED,
    Cancel,
    Decision,
    EvaluateAll,
    Merge,
    Start,
    Step,
    Undecided,
)
from quorate.merges.guarded import DECIDE_TIMEOUT_S, Admission, Guarded, OnError, Ruling, Veto
from quorate.merges.race import Race
from quorate.merges.sections import Sections, Stitched
from quorate.merges.voting import Collect, Collected, First, Majority, Quorum

__all__ = [
    "DECIDE_TIMEOUT_S",
    "EVERY",
    "NOTHING",
    "UNDECIDED",
    "Admission",
    "Cancel",
    "Collect",
    "Collected",
    "Decision",
    "EvaluateAll",
    "First",
    "Guarded",
    "Majority",
    "Merge",
    "OnError",
    "Quorum",
    "Race",
    "Ruling",
    "Sections",
    "Start",
    "Step",
    "Stitched",
    "Undecided",
    "Veto",
]
