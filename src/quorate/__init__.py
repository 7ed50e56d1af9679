"""Checks run beside the answer; nothing leaves until they pass.

Names are loaded when they are first used, so that `import quorate` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.apps.frontdoor import Decision, FrontDoor
    from quorate.apps.guard import Refused, guard
    from quorate.checks import Check, Verdict
    from quorate.engine import Run, Timeline, fan_out
    from quorate.errors import QuorateError
    from quorate.events import Branch, Usage
    from quorate.merges import (
        UNDECIDED,
        Collect,
        EvaluateAll,
        First,
        Guarded,
        Majority,
        Quorum,
        Race,
        Sections,
        Veto,
    )
    from quorate.patterns import guarded, hedge, race, section, vote
    from quorate.wiring import load

__version__ = "0.1.0"

_HOME = {
    "quorate.apps.frontdoor": ("Decision", "FrontDoor"),
    "quorate.apps.guard": ("Refused", "guard"),
    "quorate.checks": ("Check", "Verdict"),
    "quorate.engine": ("Run", "Timeline", "fan_out"),
    "quorate.errors": ("QuorateError",),
    "quorate.events": ("Branch", "Usage"),
    "quorate.merges": (
        *("UNDECIDED", "Collect", "EvaluateAll", "First", "Guarded"),
        *("Majority", "Quorum", "Race", "Sections", "Veto"),
    ),
    "quorate.patterns": ("guarded", "hedge", "race", "section", "vote"),
    "quorate.wiring": ("load",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "UNDECIDED",
    "Branch",
    "Check",
    "Collect",
    "Decision",
    "EvaluateAll",
    "First",
    "FrontDoor",
    "Guarded",
    "Majority",
    "QuorateError",
    "Quorum",
    "Race",
    "Refused",
    "Run",
    "Sections",
    "Timeline",
    "Usage",
    "Verdict",
    "Veto",
    "fan_out",
    "guard",
    "guarded",
    "hedge",
    "load",
    "race",
    "section",
    "vote",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'quorate' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
