"""Checks: a question, who answers it, and what the answer means for admission."""

from quorate.checks.conversation import Conversation, Part, Subject, moderation_subject, scope_subject, threat_subject
from quorate.checks.judges import LocalModerationJudge, LocalScopeJudge, LocalThreatJudge, PromptJudge
from quorate.checks.panel import AfterRefusal, Panel, Tiers, Unsure
from quorate.checks.prompt import Template
from quorate.checks.verdict import Check, Judge, Verdict, ruling

__all__ = [
    "AfterRefusal",
    "Check",
    "Conversation",
    "Judge",
    "LocalModerationJudge",
    "LocalScopeJudge",
    "LocalThreatJudge",
    "Panel",
    "Part",
    "PromptJudge",
    "Subject",
    "Template",
    "Tiers",
    "Unsure",
    "Verdict",
    "moderation_subject",
    "ruling",
    "scope_subject",
    "threat_subject",
]
