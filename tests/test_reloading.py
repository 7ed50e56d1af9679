"""Who has followed a new config, and who is named because it has not."""

from pathlib import Path

import pytest

from quorate.service import reloading
from quorate.service.reloading import followed
from quorate.store import Store


@pytest.mark.sockets
async def test_a_worker_that_falls_silent_has_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not heard of while it builds the config is waited for and named; others count at once."""
    monkeypatch.setattr(reloading, "LIVE_S", 0.05)
    monkeypatch.setattr(reloading, "FOLLOW_S", 0.5)
    async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store:
        await store.beat("old", version=1, ready=True)
        await store.beat("new", version=2, ready=True)
        outcome = await followed(store, 2)
    assert outcome["version"] == 2 and list(outcome["pending"]) == ["old"]
    assert outcome["workers"] == ["new"] and outcome["pending"]["old"]


@pytest.mark.sockets
async def test_a_worker_that_cannot_follow_says_why(tmp_path: Path) -> None:
    """Where all that is left has failed, nobody waits, and the reason is told."""
    async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store:
        await store.beat("broken", version=1, ready=False, error="no such file")
        assert (await followed(store, 2))["pending"] == {"broken": "no such file"}
