"""Pure decision logic: events in, steps out. No tasks, no clock, no I/O, no randomness."""

from quorate.merges.adaptive import Adaptive
from quorate.merges.afterwards import Afterwards
from quorate.merges.base import (
    EVERY,
    NOTHING,
    UNDECIDED,
    Cancel,
    Decision,
    EvaluateAll,
    Merge,
    Observed,
    Start,
    Step,
    Undecided,
)
from quorate.merges.electorate import Electorate
from quorate.merges.guarded import (
    DECIDE_TIMEOUT_S,
    ON_ERROR,
    Admission,
    Guarded,
    OnError,
    OutputGuards,
    Ruling,
    Veto,
)
from quorate.merges.race import Race
from quorate.merges.scores import Combination, Mean, Median, Scored, Stacked, Trimmed
from quorate.merges.sections import Sections, Stitched
from quorate.merges.texts import Agree, Draft, Pick, Synthesize, likeness, normal
from quorate.merges.voting import Collect, Collected, First, Majority, Quorum
from quorate.merges.weighted import Weighted, log_odds

__all__ = [
    "DECIDE_TIMEOUT_S",
    "EVERY",
    "NOTHING",
    "ON_ERROR",
    "UNDECIDED",
    "Adaptive",
    "Admission",
    "Afterwards",
    "Agree",
    "Cancel",
    "Collect",
    "Collected",
    "Combination",
    "Decision",
    "Draft",
    "Electorate",
    "EvaluateAll",
    "First",
    "Guarded",
    "Majority",
    "Mean",
    "Median",
    "Merge",
    "Observed",
    "OnError",
    "OutputGuards",
    "Pick",
    "Quorum",
    "Race",
    "Ruling",
    "Scored",
    "Sections",
    "Stacked",
    "Start",
    "Step",
    "Stitched",
    "Synthesize",
    "Trimmed",
    "Undecided",
    "Veto",
    "Weighted",
    "likeness",
    "log_odds",
    "normal",
]
