"""Checks: a question, who answers it, and what the answer means for admission."""

from quorate.checks.conversation import (
    Conversation,
    Part,
    Said,
    Subject,
    moderation_subject,
    output_subject,
    scope_subject,
    threat_subject,
)
from quorate.checks.judges import LocalModerationJudge, LocalScopeJudge, LocalThreatJudge, PromptJudge
from quorate.checks.leak import LeakJudge, with_canary
from quorate.checks.links import LinkJudge, hosts_of
from quorate.checks.panel import AfterRefusal, Panel, Tiers, Unsure
from quorate.checks.prompt import Template
from quorate.checks.verdict import Check, Judge, Verdict, ruling

__all__ = [
    "AfterRefusal",
    "Check",
    "Conversation",
    "Judge",
    "LeakJudge",
    "LinkJudge",
    "LocalModerationJudge",
    "LocalScopeJudge",
    "LocalThreatJudge",
    "Panel",
    "Part",
    "PromptJudge",
    "Said",
    "Subject",
    "Template",
    "Tiers",
    "Unsure",
    "Verdict",
    "hosts_of",
    "moderation_subject",
    "output_subject",
    "ruling",
    "scope_subject",
    "threat_subject",
    "with_canary",
]
