"""What a front door decides by, and what it decided: policy, texts for customers, one row for each check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from quorate.checks.conversation import Origin
from quorate.checks.verdict import CheckMode
from quorate.engine import HELD_BYTES, TIMEOUT_S, Timeline
from quorate.events import Usage
from quorate.merges import DECIDE_TIMEOUT_S, Admission, Ruling

RowOutcome = Literal["pass", "flag", "abstain", "error", "cancelled"]


class Row(NamedTuple):
    """One check's line in a decision; fields as in `Verdict`, with "error" and "cancelled" for checks without one.

    `would` is what an observed check would have ruled; None for one that is enforced or has not ended by itself.
    """

    check: str
    outcome: RowOutcome
    score: float | None
    category: str
    reason: str
    model: str
    version: str
    elapsed_ms: float
    mode: CheckMode = "enforce"
    would: Ruling | None = None


@dataclass(frozen=True, slots=True)
class Refusals:
    """What customers are told. Kind, useful, and silent about which rule fired.

    Attributes:
        texts: by check id, by "<check id>:<category>", and by the categories "too_long", "unread" and "error".
        default: where there is none for the reason; the only one used when `uniform` is set.
        uniform: tell everybody the same.
        handover: for messages that go to a person.
    """

    texts: Mapping[str, str]
    default: str
    handover: str
    uniform: bool = False

    def text(self, row: Row | None) -> str:
        """What the customer is told after a refusal by this row, None where the time to decide was up."""
        if self.uniform:
            return self.default
        if row is None or row.outcome == "error":
            return self.texts.get("error", self.default)
        # Other categories are a judge's own words and choose nothing, but where the check has a text for just that.
        reason = row.category if row.category in ("too_long", "unread") else f"{row.check}:{row.category}"
        return self.texts.get(reason) or self.texts.get(row.check) or self.default

    @property
    def all(self) -> frozenset[str]:
        """Every text we may have told a customer instead of an answer."""
        return frozenset((*self.texts.values(), self.default))


@dataclass(frozen=True, slots=True)
class Policy:
    """How a front door behaves.

    Attributes:
        refusals: what customers are told.
        trusted: origins that need no check; name them only where nobody outside can write them.
        speculate: start the answer beside the checks.
        decide_timeout_s: seconds until undecided checks become their `on_error`.
        timeout_s: seconds for a whole message.
        held_bytes: bytes of the answer that may be held or unread before its source is slowed.
    """

    refusals: Refusals
    trusted: frozenset[Origin] = frozenset()
    speculate: bool = True
    decide_timeout_s: float = DECIDE_TIMEOUT_S
    timeout_s: float = 2 * TIMEOUT_S
    held_bytes: int = HELD_BYTES


@dataclass(slots=True)
class Decision:
    """What the front door decided on one message.

    Attributes:
        decision: "admit", "refuse" or "escalate".
        decided_by: id of the check that refused or escalated, "deadline", or None on admission.
        why: a few words for people.
        verdicts: one row for each check; where an answer was asked for, the output checks' come last.
        timeline: who ran when.
        reply: the refusal or hand-over text; the answer once it is complete; None before.
        elapsed_ms: milliseconds until the decision, or until the end of the message once that is known.
        speculated: whether the answer was written beside the checks.
        sources: names of the help-centre sections that the answer stands on.
    """

    decision: Admission
    decided_by: str | None
    why: str
    verdicts: list[Row]
    timeline: Timeline
    reply: str | None
    elapsed_ms: float
    speculated: bool = False
    sources: tuple[str, ...] = ()

    @property
    def usage(self) -> Usage:
        """What the message cost."""
        return self.timeline.usage
