"""Verdicts, and the one interface behind which every way of judging stands."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from quorate.checks.conversation import Subject, standing
from quorate.events import Context
from quorate.merges import OnError, Ruling

VerdictOutcome = Literal["pass", "flag", "abstain"]
OnAbstain = Literal["next_tier", "escalate", "admit"]
CheckKind = Literal["scope", "threat", "moderation", "output"]
CheckMode = Literal["enforce", "observe"]

MAX_CHARS = 200_000
"""Default for the longest text a check reads, in characters: some forty pages."""


class Verdict(NamedTuple):
    """What a check says.

    Attributes:
        outcome: "pass", "flag" or "abstain".
        score: calibrated probability in [0, 1] that the text violates; None for an abstention without one.
        category: short name of what was found, "none" where nothing was.
        reason: one line for people. It may quote judged text or come from a model: untrusted, never markup.
        model: who said so.
        version: of the prompt or the weights.
        check: id of the check; filled in by it.
    """

    outcome: VerdictOutcome
    score: float | None
    category: str
    reason: str
    model: str
    version: str
    check: str = ""


class Judge(Protocol):
    """Anything that gives a verdict. Judges nest: tiers, panels and windows are judges around judges."""

    async def judge(self, subject: Subject) -> Verdict:
        """Judge a subject. Raises `QuorateError` when it cannot; that is never a pass."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question that is asked of every message.

    Attributes:
        id: its name in config, verdicts and timelines.
        question: what it asks, in words.
        judge: who answers it.
        kind: which share of a conversation it reads: "scope" the customer's last text with what it follows,
            "threat" everything not trusted, "moderation" all that the customer wrote; "output" reads the answer.
        timeout_s: seconds until it fails.
        on_error: what a failure means.
        on_abstain: what an abstention of its last tier means: "admit", or an escalation.
        on_unread: what content means that no check can read, such as an image.
        max_chars: longer subjects are flagged as too long.
        mode: "observe" runs it and records what it would have ruled; it holds nothing and decides nothing.
        egress: the answer waits for the verdict, as where nothing may leave the house before this check has passed.
    """

    id: str
    question: str
    judge: Judge
    kind: CheckKind = "threat"
    timeout_s: float = 8.0
    on_error: OnError = "block"
    on_abstain: OnAbstain = "escalate"
    on_unread: OnError = "block"
    max_chars: int = MAX_CHARS
    mode: CheckMode = "enforce"
    egress: bool = False

    async def run(self, subject: Subject, _context: Context | None = None, /) -> Verdict:
        """Judge, and sign the verdict with the check's id; `partial(check.run, subject)` is a branch's work.

        What is too long, or of a kind nobody can read, is not judged: the first is flagged, the second does what
        `on_unread` says. Turns that were refused before, and that the answerer does not see, are left out where
        they alone make it too long.
        """
        if len(subject.text) > self.max_chars:
            subject = replace(subject, parts=standing(subject.parts))
            if len(subject.text) <= self.max_chars:
                return await self.run(subject)
            reason = f"longer than {self.max_chars} characters"
            return Verdict("flag", 1.0, "too_long", reason, "limit", "limit", self.id)
        if subject.unread and self.on_unread != "allow":
            outcome: VerdictOutcome = "flag" if self.on_unread == "block" else "abstain"
            score = 1.0 if outcome == "flag" else None
            reason = f"no check can read: {', '.join(sorted(set(subject.unread)))}"
            return Verdict(outcome, score, "unread", reason, "limit", "limit", self.id)
        v = await self.judge.judge(subject)
        return Verdict(v.outcome, v.score, v.category, v.reason, v.model, v.version, self.id)


def ruling(checks: Mapping[str, Check], verdict: Verdict) -> Ruling:
    """What a verdict means for admission: a flag blocks, an abstention does what its check says."""
    if verdict.outcome == "pass":
        return "admit"
    if verdict.outcome == "flag":
        return "block"
    admitted = checks[verdict.check].on_abstain == "admit" and verdict.category != "unread"
    return "admit" if admitted else "escalate"
