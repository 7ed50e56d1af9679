"""Public fakes: a scripted model, a stand-in model server over real sockets, and virtual time.

Names load on first use, so that a test of two coroutines in virtual time does not pay for an HTTP server.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.testing.clock import VirtualLoop, run_virtual
    from quorate.testing.scripted import ScriptedModel, verdict
    from quorate.testing.standin import Profile, StandIn, spawn_standin

__all__ = ["Profile", "ScriptedModel", "StandIn", "VirtualLoop", "run_virtual", "spawn_standin", "verdict"]

_HOMES = {
    "Profile": "standin",
    "ScriptedModel": "scripted",
    "StandIn": "standin",
    "VirtualLoop": "clock",
    "run_virtual": "clock",
    "spawn_standin": "standin",
    "verdict": "scripted",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
