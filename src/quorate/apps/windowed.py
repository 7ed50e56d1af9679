"""Temporary."""

from quorate.errors import QuorateError


class AnswerBlocked(QuorateError):
    """Temporary."""
