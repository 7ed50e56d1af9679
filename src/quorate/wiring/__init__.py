"""From settings to ready objects: the only place that joins the layers."""

from quorate.wiring.app import App
from quorate.wiring.builder import QUESTIONS
from quorate.wiring.loading import example_config, load, open_models, with_model
from quorate.wiring.texts import ScopeTexts, scope_texts

__all__ = [
    "QUESTIONS",
    "App",
    "ScopeTexts",
    "example_config",
    "load",
    "open_models",
    "scope_texts",
    "with_model",
]
