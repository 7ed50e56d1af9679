"""Temporary."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """Temporary."""

    def __init__(self, *, max_running: int, max_queued: int) -> None:
        self.running = 0
        self.queued = 0

    @asynccontextmanager
    async def room(self, key: str) -> AsyncIterator[None]:
        """Temporary."""
        yield


class KeyLimits:
    """Temporary."""
