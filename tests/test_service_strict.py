"""`audit = "strict"`: nothing of a decision goes out before its record is on the disk."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorate.store.database import connect
from quorate.testing import StandIn
from quorate.testing.standin import Profile
from service_process import chat, said_to
from service_world import ATTACK, HONEST, served, until

pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
texts = pytest.mark.parametrize("text", [HONEST, ATTACK], ids=["admitted", "refused"])


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else writes to the database and does not come to an end."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


@texts
@both_ways
async def test_no_byte_before_the_commit(tmp_path: Path, text: str, stream: bool) -> None:
    """While the commit is held up the client sees nothing, however ready the answer is; after it, all of it."""
    async with served(tmp_path, service="keepalive_s = 0") as world:
        port = int(world.url.rpartition(":")[2])
        with locked(tmp_path / "quorate.db") as other:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(chat(text, stream=stream))
            await until(
                lambda: world.service.store.stats.queued >= 1 and not world.standin.stats()["total"]["in_flight"]
            )
            await until(lambda: world.standin.stats()["total"]["started"] >= 2)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await reader.read(1)
            assert other.execute("SELECT count(*) FROM records").fetchone()[0] == 0
            other.execute("ROLLBACK")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        connection = sqlite3.connect(tmp_path / "quorate.db")
        assert connection.execute("SELECT count(*) FROM records").fetchone()[0] == 1
        connection.close()
        writer.close()
        await writer.wait_closed()


@both_ways
async def test_what_keeps_a_line_open_says_nothing(tmp_path: Path, stream: bool) -> None:
    """Before the commit there is at most a comment and `pending`, whatever was decided."""
    async with served(tmp_path, service="keepalive_s = 0.1") as world:
        with locked(tmp_path / "quorate.db"):
            port = int(world.url.rpartition(":")[2])
            came = await said_to(port, chat(HONEST, stream=stream), wait_s=1.0)
        assert b"Thank" not in came and b"data:" not in came
        assert b"admit" not in came and b"refuse" not in came


@texts
@both_ways
async def test_a_store_that_is_away(tmp_path: Path, text: str, stream: bool) -> None:
    """What cannot be recorded is not answered: a 503 that says when to try again, and no word of the answer."""
    async with served(tmp_path) as world:
        connection = sqlite3.connect(tmp_path / "quorate.db")
        connection.execute("ALTER TABLE records RENAME TO elsewhere")
        connection.commit()
        said = await world.chat(text, stream=stream)
        assert (said.status, said.headers["Retry-After"]) == (503, "2")
        assert said.json["error"]["type"] == "service_unavailable_error"
        assert b"Thank" not in said.raw and b"records" not in said.raw and b"sqlite" not in said.raw.lower()
        connection.execute("ALTER TABLE elsewhere RENAME TO records")
        connection.commit()
        connection.close()
        assert (await world.chat(text, stream=stream)).status == 200
        await until(lambda: world.service.configs.live.users == 0)
        assert world.service.admission.running == 0
        assert (await world.get("/readyz")).status == 200


async def test_a_store_that_is_away_answers_nothing_else_either(tmp_path: Path) -> None:
    """Verdicts that are told to somebody are decisions too."""
    async with served(tmp_path) as world:
        await world.key("call", "details")
        connection = sqlite3.connect(tmp_path / "quorate.db")
        connection.execute("ALTER TABLE records RENAME TO elsewhere")
        connection.commit()
        said = await world.post("/v1/checks", {"input": HONEST})
        assert said.status == 503 and b"threat" not in said.raw
        connection.execute("ALTER TABLE elsewhere RENAME TO records")
        connection.commit()
        connection.close()


def test_commits_are_on_the_disk(tmp_path: Path) -> None:
    """Every connection of ours to SQLite has a write-ahead log and waits for the disk."""
    engine = connect(f"sqlite:///{tmp_path}/s.db")
    with engine.connect() as connection:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


async def test_who_leaves_while_the_record_is_written(tmp_path: Path) -> None:
    """There is one record, of the decision that was made, and its end says that nobody was there to hear it."""
    async with served(tmp_path, service="keepalive_s = 0") as world:
        with locked(tmp_path / "quorate.db"):
            asking = asyncio.create_task(world.chat())
            await until(lambda: world.standin.stats()["models"].get("answer", {}).get("finished"))
            await until(lambda: world.service.store.stats.queued >= 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: world.service.admission.running == 0)
        [row] = await world.records()
    assert (row.record.decision, row.outcome) == ("admit", "abandoned")


async def test_async_audit_answers_first(tmp_path: Path) -> None:
    """With `audit = "async"` the answer does not wait for the disk; the record comes soon after."""
    async with served(tmp_path, service='audit = "async"') as world:
        with locked(tmp_path / "quorate.db"):
            assert (await world.chat()).status == 200
        [row] = await world.records()
    assert row.outcome == "done"


async def test_what_is_recorded_is_all_that_a_person_needs(tmp_path: Path) -> None:
    """Verdicts, timeline, usage, who decided, versions; texts without e-mail addresses and card numbers."""
    async with served(tmp_path, standin=StandIn({"answer": Profile(reply="Write to eve@lantern.test.")})) as world:
        await world.chat("I am bob@example.org, card 4111 1111 1111 1111. Where is my order?", stream=True)
        await world.chat(ATTACK)
        answered, refused = await world.records()
    assert refused.record.decided_by == "threat"
    for row in (answered, refused):
        record, end = row.record, row.end
        assert end is not None and {span["branch"] for span in end.timeline} == {"scope", "threat", "answer"}
        assert {verdict["check"] for verdict in record.verdicts} == {"scope", "threat"}
        assert record.config and record.config_version == 1 and record.versions and end.usage["calls"] >= 2
    kept = json.dumps([list(answered.record.messages or ()), answered.end and answered.end.reply])
    assert "example.org" not in kept and "lantern.test" not in kept and "4111" not in kept
