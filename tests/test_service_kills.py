"""kill -9 of a real service under load: whoever saw a byte of an answer has its record, and it starts again.

Five times by default, fifty with SOAK=1.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from postgres_world import postgres
from quorate.store import Store, Wanted
from quorate.testing import StandIn
from quorate.testing.standin import Profile
from service_process import chat, serve
from service_world import ATTACK, HONEST, config
from store_world import url

__all__ = ["postgres", "url"]
KILLS = 50 if os.environ.get("SOAK") == "1" else 5
pytestmark = [pytest.mark.sockets, pytest.mark.timeout(120 + 20 * KILLS)]
CLIENTS = 12


class Crowd:
    """Clients that ask on and on; `answered` are the request ids of replies that began."""

    def __init__(self) -> None:
        self.answered: dict[str, str] = {}
        self.sent = 0

    async def one(self, port: int, name: str) -> None:
        dice, number = random.Random(name), 0
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    number += 1
                    self.sent += 1
                    text = dice.choice([HONEST, HONEST, ATTACK]) + f" {name}-{number}"
                    writer.write(chat(text, stream=False, head=f"X-Conversation-Id: {name}\r\n"))
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                    assert head.startswith("HTTP/1.1 200"), head
                    self.answered[lines["x-request-id"]] = lines["x-quorate-decision"]
                    await reader.readexactly(int(lines["content-length"]))
            finally:
                writer.transport.abort()


@asynccontextmanager
async def crowding(crowd: Crowd, port: int, turn: int) -> AsyncIterator[None]:
    """The crowd asks while the block runs."""
    tasks = [asyncio.create_task(crowd.one(port, f"k{turn}-{number}")) for number in range(CLIENTS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def every(url: str) -> dict[str, str]:
    """Every record's decision, each of them read whole."""
    found: dict[str, str] = {}
    async with Store.open(url) as store:
        after = None
        while page := await store.records(Wanted(limit=1000, after=after)):
            after = page[-1]
            for row in page:
                found[row.record.id] = row.record.decision
                assert {verdict["check"] for verdict in row.record.verdicts} == {"scope", "threat"} or (
                    row.record.decision == "undecided"
                )
                assert row.record.messages and row.record.messages[0]["role"] == "user"
    return found


async def test_killed_under_load(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed at random moments: each answered request has its whole record, and the service starts on what is left."""
    crowd, dice = Crowd(), random.Random(9)
    models = StandIn({"answer": Profile(reply="word " * 200)})
    async with models:
        path = config(tmp_path, models.base_url)
        for turn in range(KILLS):
            with serve(path, "--store", url) as serving:
                async with crowding(crowd, serving.port, turn):
                    before = len(crowd.answered)
                    async with asyncio.timeout(60):
                        while len(crowd.answered) < before + CLIENTS:  # noqa: ASYNC110
                            await asyncio.sleep(0.005)
                    await asyncio.sleep(dice.random() / 2)
                    serving.send(signal.SIGKILL)
                    await asyncio.to_thread(serving.wait)
        with serve(path, "--store", url) as serving:
            assert serving.process.poll() is None
            found = await every(url)
    assert len(crowd.answered) >= KILLS * CLIENTS
    assert {id: found.get(id) for id in crowd.answered} == crowd.answered
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
    with capsys.disabled():
        sys.stdout.write(
            f"\nkilled {KILLS} of 50 times over {url.partition(':')[0]}: {crowd.sent} sent, {len(crowd.answered)} "
            f"answered, {len(found)} records, 0 answered without one, 0 torn\n"
        )
