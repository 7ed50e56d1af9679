"""Configs that change in one worker: what went wrong before is not held against what comes next."""

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from service_process import chat
from service_world import ATTACK, served, until

pytestmark = pytest.mark.sockets


async def test_an_old_mistake_is_not_held_against_a_new_config(tmp_path: Path) -> None:
    """A worker that could not build one version is waited for when the next one is put in force."""
    async with served(tmp_path) as world:
        await world.key("admin", "call")
        await world.service.store.propose("version = 1", digest="broken", by="another machine")
        await until(lambda: world.service.follower.error)
        assert "version 2: " in world.service.follower.error
        assert (await world.chat()).status == 200
        said = await world.post("/admin/mode", {"mode": "observe", "why": "a test"})
        assert (said.status, said.json["pending"]) == (200, {}), said.raw
        assert (await world.chat(ATTACK)).decision == "admit"


async def test_a_changed_file_is_a_new_version(tmp_path: Path) -> None:
    """A prompt that the config names is part of it: a reload under the same text takes the new one, and only then."""
    prompt = tmp_path / "own-v1.md"
    prompt.write_text("Is it about lamps?", encoding="utf-8")
    async with served(tmp_path, checks=f'prompt = "{prompt.name}"') as world:
        await world.key("admin", "call")
        assert (await world.post("/admin/reload", {})).json["version"] == 1
        before = (await world.get("/readyz")).json["config"]["digest"]
        prompt.write_text("Is it about lamps or candles?", encoding="utf-8")
        assert (await world.post("/admin/reload", {})).json["version"] == 2
        assert (await world.get("/readyz")).json["config"]["digest"] != before
        assert (await world.chat()).decision == "admit"
        record = (await world.records())[-1].record
    assert record.config_version == 2 and "own-v1@" in record.versions["scope"]


async def test_a_worker_follows_again_once_the_store_is_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the store is away it says so once and looks on; the next key counts within a second of its return."""
    caplog.set_level(logging.ERROR, logger="quorate.service")
    async with served(tmp_path) as world:
        await world.key("call")
        connection = sqlite3.connect(tmp_path / "quorate.db", isolation_level=None)
        connection.execute("ALTER TABLE configs RENAME TO elsewhere")
        await until(lambda: caplog.messages)
        await asyncio.sleep(2)
        assert (await world.chat()).status == 200
        connection.execute("ALTER TABLE elsewhere RENAME TO configs")
        connection.close()
        _, secret = await world.service.store.create_key("new", ("call",))
        world.headers["Authorization"] = f"Bearer {secret}"
        await asyncio.sleep(1)
        assert (await world.chat()).status == 200
    assert len(caplog.messages) == 1 and "the store is away" in caplog.messages[0]


async def test_who_leaves_a_route_that_judges(tmp_path: Path) -> None:
    """A client that leaves `/v1/checks` takes its checks along."""
    async with served(tmp_path, scope="scope-5s", threat="threat-5s") as world:
        await world.key("call", "details")
        asking = asyncio.create_task(world.post("/v1/checks", {"input": "Where is my order?"}))
        await until(lambda: world.standin.stats()["total"]["in_flight"] == 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(2):
            await until(lambda: world.standin.stats()["total"]["cut"] == 2)
            await until(lambda: world.service.admission.running == 0)


async def test_comments_do_not_tell_when_it_was_decided(tmp_path: Path) -> None:
    """Up to the floor of a refusal comments go on as if nothing had been decided, each at its multiple."""
    places = {"service": "keepalive_s = 0.1\nrefusal_floor_ms = 950", "threat": "threat-250ms"}
    async with served(tmp_path, **places) as world:
        loop, port = asyncio.get_running_loop(), int(world.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        start_s, times = loop.time(), []
        writer.write(chat(ATTACK, stream=True))
        while b"content_filter" not in (line := await reader.readline()):
            if line == b": held\n":
                times.append(loop.time() - start_s)
        writer.close()
        await writer.wait_closed()
    assert len(times) >= 8, times
