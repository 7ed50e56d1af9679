"""Small classifiers of our own: no key, no network, a fraction of a millisecond, and honest about what they miss.

Trained by `python -m training`; `docs/cards` says on what and how well. Objects are immutable after construction, so
threads may share them.
"""

from quorate.models.local.language import Languages
from quorate.models.local.moderation import HARMS, LocalModeration
from quorate.models.local.scope import LocalScope
from quorate.models.local.threat import THREATS, LocalThreat
from quorate.models.local.weights import WEIGHTS, Scored

__all__ = ["HARMS", "THREATS", "WEIGHTS", "Languages", "LocalModeration", "LocalScope", "LocalThreat", "Scored"]
