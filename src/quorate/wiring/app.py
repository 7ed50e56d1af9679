"""What a config becomes: an `App`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quorate.apps.frontdoor import FrontDoor
from quorate.apps.relay import Windowing
from quorate.checks import Check
from quorate.knowledge import Knowledge
from quorate.models import Model
from quorate.models.adaptive import Pace
from quorate.models.breaker import Breaker
from quorate.models.http import Session
from quorate.models.relay import Relay
from quorate.settings import Settings


@dataclass(frozen=True, slots=True)
class App:
    """Everything that a config describes, ready to use.

    Attributes:
        settings: what it was made from.
        door: the front door, with its answerer.
        knowledge: the help centre, or None where the config has none.
        session: the HTTP session that its models share.
        fingerprint: changes with anything that decisions depend on: config, prompts, weights, help centre.
        models: the models of the config by name, with their policies around them.
        versions: what judges each check: weights, prompts and models, in one line.
        relay: the upstream that answers in place of the door's own answerer, or None where there is none.
        windowing: how relayed answers are judged while they are released, or None.
        output: the checks of what is said.
        canary: a marker for callers' system messages, or None.
        paces: room towards each server, by host; two of one host with different keys show as the last.
        breakers: by the name of the model they are around.
    """

    settings: Settings
    door: FrontDoor
    knowledge: Knowledge | None
    session: Session
    fingerprint: str
    models: Mapping[str, Model]
    versions: Mapping[str, str]
    relay: Relay | None = None
    windowing: Windowing | None = None
    output: Sequence[Check] = ()
    canary: str | None = None
    paces: Mapping[str, Pace] = field(default_factory=dict)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What is doubtful about the config though nothing in it is wrong, a line each."""
        tables = self.settings.checks.items()
        found = [(name, kept) for name, table in tables for kept in (table.evidence, table.tier_evidence) if kept]
        return [
            f"checks.{name}: its bounds were calibrated for {kept.version}, and now {self.versions[name]} judges: "
            f"what {kept.data} promised may not hold; run `quorate calibrate` again"
            for name, kept in found
            if kept.version != self.versions[name]
        ]

    @property
    def checks(self) -> list[Check]:
        """The checks, for `guard()`."""
        return list(self.door.checks.values())
