"""Checks run beside the answer; nothing leaves until they pass.

Names are loaded when they are first used, so that `import quorate` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.apps.frontdoor import Decision, FrontDoor
    from quorate.apps.guard import Refused, guard
    from quorate.apps.moderate import Moderation, Moderator, moderate
    from quorate.apps.sections import Prompted, Split, section
    from quorate.apps.voters import voter, voters
    from quorate.checks import Check, Verdict
    from quorate.engine import Run, Timeline, fan_out
    from quorate.errors import QuorateError
    from quorate.events import Branch, Usage
    from quorate.merges import (
        UNDECIDED,
        Adaptive,
        Agree,
        Collect,
        Combination,
        Draft,
        EvaluateAll,
        First,
        Guarded,
        Majority,
        Mean,
        Median,
        Pick,
        Quorum,
        Race,
        Sections,
        Stacked,
        Synthesize,
        Trimmed,
        Veto,
        Weighted,
        log_odds,
    )
    from quorate.patterns import guarded, hedge, poll, race, vote
    from quorate.wiring import load

__version__ = "0.1.0"

_HOME = {
    "quorate.apps.frontdoor": ("Decision", "FrontDoor"),
    "quorate.apps.guard": ("Refused", "guard"),
    "quorate.apps.sections": ("Prompted", "Split", "section"),
    "quorate.apps.moderate": ("Moderation", "Moderator", "moderate"),
    "quorate.apps.voters": ("voter", "voters"),
    "quorate.checks": ("Check", "Verdict"),
    "quorate.engine": ("Run", "Timeline", "fan_out"),
    "quorate.errors": ("QuorateError",),
    "quorate.events": ("Branch", "Usage"),
    "quorate.merges": (
        *("UNDECIDED", "Adaptive", "Agree", "Collect", "Combination", "Draft", "EvaluateAll", "First", "Guarded"),
        *("Majority", "Mean", "Median", "Pick", "Quorum", "Race", "Sections", "Stacked", "Synthesize", "Trimmed"),
        *("Veto", "Weighted", "log_odds"),
    ),
    "quorate.patterns": ("guarded", "hedge", "poll", "race", "vote"),
    "quorate.wiring": ("load",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "UNDECIDED",
    "Adaptive",
    "Agree",
    "Branch",
    "Check",
    "Collect",
    "Combination",
    "Decision",
    "Draft",
    "EvaluateAll",
    "First",
    "FrontDoor",
    "Guarded",
    "Majority",
    "Mean",
    "Median",
    "Moderation",
    "Moderator",
    "Pick",
    "Prompted",
    "QuorateError",
    "Quorum",
    "Race",
    "Refused",
    "Run",
    "Sections",
    "Split",
    "Stacked",
    "Synthesize",
    "Timeline",
    "Trimmed",
    "Usage",
    "Verdict",
    "Veto",
    "Weighted",
    "fan_out",
    "guard",
    "guarded",
    "hedge",
    "load",
    "log_odds",
    "moderate",
    "poll",
    "race",
    "section",
    "vote",
    "voter",
    "voters",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'quorate' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
