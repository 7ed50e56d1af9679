"""Records and databases for the tests of the store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from postgres_world import Server
from quorate.store import Record

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def record(id: str, **fields: Any) -> Record:
    """An admitted decision, with whatever a test changes."""
    known: dict[str, Any] = {"conversation": "c1", "at": NOON, "route": "chat", "decision": "admit"}
    return Record(id=id, **(known | fields))


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.database()
