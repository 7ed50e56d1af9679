"""Hostile input over raw sockets to a real process: none is executed, none crashes it, and no key gets anywhere."""

import asyncio
import json
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from quorate.service import exchange, server
from quorate.testing import StandIn
from quorate.testing.standin import Profile
from service_hostile import PROOF, inputs
from service_process import chat, post, said_to, serve
from service_world import HONEST, config, served, until

pytestmark = pytest.mark.sockets
UPSTREAM_KEY = "sk-upstream-5ecret-0123456789"
CALLERS_KEY = "sk-callers-0wn-secret-9876543210"
WITH_KEY = 'api_key_env = "UPSTREAM_KEY"'
STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ")


def status(came: bytes) -> int:
    found = STATUS.match(came)
    return int(found[1]) if found else 0


@pytest.mark.timeout(300)
async def test_two_hundred_hostile_inputs(tmp_path: Path) -> None:
    """Each ends in a 2xx, a 4xx or a closed line; none is executed; the process serves on and logs by the line."""
    hostile = inputs()
    assert len(hostile) >= 200
    async with StandIn() as models:
        path = config(tmp_path, models.base_url, models=WITH_KEY, upstream=WITH_KEY)
        with serve(path, env={"UPSTREAM_KEY": UPSTREAM_KEY}) as serving:
            room = asyncio.Semaphore(16)
            authorization = f"Authorization: Bearer {CALLERS_KEY}\r\n".encode()

            async def one(number: int, raw: bytes) -> None:
                with_key = raw.replace(b"\r\nHost: localhost\r\n", b"\r\nHost: localhost\r\n" + authorization, 1)
                async with room:
                    came = await said_to(serving.port, with_key, wait_s=20.0, half_close=False)
                where = (number, raw[:200], came[:300])
                assert status(came) < 500, where
                assert b"text/html" not in came.lower(), where
                assert UPSTREAM_KEY.encode() not in came and CALLERS_KEY.encode() not in came, where
                head = came.partition(b"\r\n\r\n")[0].lower()
                assert b"set-cookie" not in head and b"location:" not in head, where

            for at in range(0, len(hostile), 40):
                batch = hostile[at : at + 40]
                await asyncio.gather(*(one(at + number, closing(raw)) for number, raw in enumerate(batch)))
                assert status(await said_to(serving.port, closing(chat(HONEST)))) == 200
            assert serving.process.poll() is None
            serving.send(signal.SIGTERM)
            assert await asyncio.to_thread(serving.wait) == 0
            written = serving.told + "\n".join(serving.log)
            lines, told = serving.log, serving.told.splitlines()
    assert PROOF not in names(tmp_path)
    assert all(isinstance(json.loads(line), dict) for line in lines) and len(lines) > 100
    assert all(line.startswith("quorate: ") and line.isprintable() for line in told), told
    assert "Traceback" not in written
    kept = database(tmp_path)
    for secret in (UPSTREAM_KEY, CALLERS_KEY):
        assert secret not in written and secret.encode() not in kept
    connection = sqlite3.connect(tmp_path / "quorate.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM records").fetchone()[0] > 40
    connection.close()


def names(folder: Path) -> set[str]:
    """What is there, here and where the tests run."""
    return {found.name for found in [*folder.rglob("*"), *Path.cwd().iterdir()]}


def database(folder: Path) -> bytes:
    return b"".join(found.read_bytes() for found in folder.glob("quorate.db*"))


def closing(raw: bytes) -> bytes:
    """The same, asking for the line to be closed after the reply, so that nobody waits for its end."""
    line, _, rest = raw.partition(b"\r\n")
    return line + b"\r\nConnection: close\r\n" + rest if raw[:4] in (b"POST", b"GET ") and rest else raw


async def test_a_body_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and no body, or a byte now and then: a 408, and the config is in use no more."""
    monkeypatch.setattr(exchange, "BODY_S", 0.3)
    async with served(tmp_path) as world:
        port = int(world.url.rpartition(":")[2])
        whole = chat(HONEST)
        head, _, body = whole.partition(b"\r\n\r\n")
        came = await asyncio.gather(
            said_to(port, head + b"\r\n\r\n"),
            said_to(port, head + b"\r\n\r\n", body[:5]),
            said_to(port, head.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX") + b"\r\n\r\n5;a"),
        )
        assert [status(one) for one in came] == [408, 408, 408]
        await until(lambda: world.service.configs.live.users == 0)


async def test_a_head_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is closed in time, also behind a request that was answered."""
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    async with served(tmp_path) as world:
        port = int(world.url.rpartition(":")[2])
        assert await said_to(port) == b""
        assert await said_to(port, b"POST /v1/chat/completions HT") == b""
        came = await said_to(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /he")
        assert status(came) == 200 and came.count(b"HTTP/1.1") == 1


async def test_a_client_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loses its line and its room in time, its upstream call is cut, and it is recorded as abandoned."""
    monkeypatch.setattr(server, "TAKE_S", 0.3)
    models = StandIn({"answer": Profile(reply="word " * 20, tokens=100_000, token_s=0.00001)})
    async with served(tmp_path, standin=models) as world:
        port = int(world.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(chat(HONEST, stream=True))
        await until(lambda: world.service.admission.running == 1)
        await until(lambda: world.service.admission.running == 0)
        await until(lambda: world.standin.stats()["total"]["in_flight"] == 0)
        [row] = await world.records()
        writer.transport.abort()
    assert (row.record.decision, row.outcome) == ("admit", "abandoned")
    assert world.standin.stats()["models"]["answer"]["cut"] == 1


async def test_a_body_too_long_is_not_read(tmp_path: Path) -> None:
    """Announced or not, a body over the bound is a 413, and the next request on another line is served."""
    async with served(tmp_path, service="max_body = 2000") as world:
        port = int(world.url.rpartition(":")[2])
        announced = post(b"x" * 3000)
        chunked = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        chunked += b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
        assert status(await said_to(port, announced, wait_s=0.5)) == 413
        assert status(await said_to(port, chunked, b"400\r\n" + b"x" * 1024 + b"\r\n", wait_s=0.5)) == 413
        assert (await world.chat()).status == 200


async def test_who_shuts_its_half_has_left(tmp_path: Path) -> None:
    """A client that closes its sending half counts as gone: its calls are cut."""
    async with served(tmp_path, answer="answer-5s", scope="scope-5s") as world:
        port = int(world.url.rpartition(":")[2])
        assert await said_to(port, chat(HONEST), half_close=True) == b""
        await until(lambda: world.service.admission.running == 0)
        await until(lambda: world.standin.stats()["total"]["in_flight"] == 0)


async def test_who_asks_twice_at_once_and_leaves(tmp_path: Path) -> None:
    """A second request behind one that still runs does not hide that the client left."""
    async with served(tmp_path, answer="answer-5s", scope="scope-5s") as world:
        port = int(world.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat(HONEST))
        await until(lambda: world.standin.stats()["total"]["started"] >= 3)
        writer.write(chat(HONEST) * 3)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        async with asyncio.timeout(2):
            await until(lambda: world.standin.stats()["total"]["in_flight"] == 0)
