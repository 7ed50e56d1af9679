"""Who may ask what, and what they learn: keys, rights, pages on this machine, the first key, the time of a refusal."""

import asyncio
import json
import os
import random
import re
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from quorate.service.app import KEYED
from quorate.service.chat import ROUTE
from quorate.service.verdicts import CHECKS, GUARDRAIL, MODERATIONS
from quorate.testing import StandIn
from quorate.testing.standin import Fixed, Profile
from service_process import chat, quorate, said_to, serve
from service_world import ATTACK, HONEST, Served, config, served

pytestmark = pytest.mark.sockets

BODIES: dict[str, Any] = {
    ROUTE: {"model": "gpt-4o", "messages": [{"role": "user", "content": HONEST}]},
    CHECKS: {"input": HONEST},
    GUARDRAIL: {"texts": [HONEST], "input_type": "request"},
    MODERATIONS: {"input": HONEST},
    "/admin/reload": {},
    "/admin/mode": {"mode": "enforce", "why": "a test"},
}
NEEDED = {
    ("POST", ROUTE): "call",
    ("GET", "/v1/models"): "call",
    ("POST", CHECKS): "details",
    ("POST", GUARDRAIL): "details",
    ("POST", MODERATIONS): "details",
    ("POST", "/admin/reload"): "admin",
    ("POST", "/admin/mode"): "admin",
    ("GET", "/metrics"): "details",
}
REFUSALS, AT_ONCE = (2_000 if os.environ.get("SOAK") == "1" else 200), 8
RIGHTS = ("call", "details", "admin")


async def ask(world: Served, method: str, route: str, **headers: str) -> int:
    said = await (world.post(route, BODIES[route], **headers) if method == "POST" else world.get(route, **headers))
    if said.status in (401, 403):
        assert said.json["error"].keys() == {"message", "type", "param", "code"}
    return said.status


async def test_every_route_takes_its_right_and_no_other(tmp_path: Path) -> None:
    """With the right it is served, with all the others it is a 403; the table names every route that takes a key."""
    assert NEEDED.keys() == {*KEYED, ("POST", ROUTE), ("GET", "/metrics")}
    async with served(tmp_path) as world:
        for right in RIGHTS:
            await world.key(right)
            for (method, route), needed in NEEDED.items():
                status = await ask(world, method, route)
                assert (status < 300) == (needed == right) and (status == 403) == (needed != right), (right, route)
        assert world.standin.stats()["models"]["answer"]["started"] == 1


async def test_no_key_a_wrong_key_a_revoked_key(tmp_path: Path) -> None:
    """All of them are a 401 on every route, however they are wrong; no call is made and nothing is recorded."""
    async with served(tmp_path) as world:
        good = await world.key(*RIGHTS)
        key, revoked = await world.service.store.create_key("old", RIGHTS)
        await world.service.store.revoke(key.id)
        world.service.callers.refresh(await world.service.store.keys())
        _, id, secret = good.split("_", 2)
        wrong = [
            "", "Bearer", "Bearer ", f"Basic {good}", f"Bearer {good}x", f"Bearer {good[:-1]}", f"Bearer {revoked}",
            f"Bearer qk_{key.id}_{secret}", f"Bearer qk_{id}_", f"Bearer qk__{secret}", f"Bearer {secret}",
            f"Bearer {good} {good}", f"Bearer {good.upper()}", "Bearer " + "x" * 8000, "Bearer qk_\xff_\xfe",
            f"Bearer {revoked}, Bearer {good}",
        ]  # fmt: skip
        for authorization in wrong:
            for method, route in NEEDED:
                headers = {"Authorization": authorization}
                assert await ask(world, method, route, **headers) == 401, (authorization[:40], route)
        assert world.standin.stats()["total"]["started"] == 0
        assert await world.records() == []
        for header in ("api-key", "x-api-key"):
            world.headers = {header: good}
            assert await ask(world, "GET", "/v1/models") == 200
        for route in ("/healthz", "/readyz", "/openapi.json"):
            world.headers = {}
            assert (await world.get(route)).status == 200


TELLING = re.compile(rb"scope|threat|score|verdict|decided|timeout|standin|sqlite|127\.0\.0\.1|reason\"", re.IGNORECASE)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_callers_learn_nothing_but_the_decision(tmp_path: Path, stream: bool) -> None:
    """With uniform_refusal all refusals are the same, byte by byte but for ids and times, whoever refused and why."""
    unlike = [
        "[[flag:scope]] x", "[[flag:threat]] x", "[[flag]] x", ATTACK, "x" * 250_000,
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ]  # fmt: skip
    async with served(tmp_path, more="[refusals]\nuniform_refusal = true", service="keepalive_s = 0") as world:
        await world.key("call")
        seen = set()
        for text in unlike:
            said = await world.chat(text, stream=stream)
            assert (said.status, said.decision) == (200, "refuse")
            seen.add(shape(said.raw, said.headers))
        for fault in ("500", "wrong-nonce", "stall:50ms", "429"):
            world.standin.inject("threat", fault)
            said = await world.chat(stream=stream)
            if said.decision == "refuse":
                seen.add(shape(said.raw, said.headers))
        assert len(seen) == 1, seen
        assert not TELLING.search(repr(seen).replace("finish_reason", "").encode())
        admitted = await world.chat(stream=stream)
        assert "quorate" not in admitted.raw.decode()
        assert not TELLING.search(repr(list(admitted.headers.items())).encode())


def shape(raw: bytes, headers: Any) -> tuple[str, ...]:
    """A reply without what differs in every reply."""
    text = re.sub(r'"created": \d+|chatcmpl-[0-9a-f]+', "", raw.decode())
    names = ("x-request-id", "x-quorate-conversation", "date")
    return text, *(f"{name}: {value}" for name, value in sorted(headers.items()) if name.lower() not in names)


async def test_errors_tell_nothing_of_what_is_behind(tmp_path: Path) -> None:
    """No host, model, check, key or text of the upstream's stands in an error that is not about the request itself."""
    async with served(tmp_path) as world:
        for fault in ("500", "401", "redirect", "cut", "malformed", "empty-body", "429"):
            world.standin.inject("answer", fault)
            for said in (await world.chat(stream=True), await world.chat(model="nobody")):
                assert said.status >= 400 and not TELLING.search(said.raw) and b"injected" not in said.raw


def test_the_first_key_is_made_and_shown_once(tmp_path: Path) -> None:
    """Any address but this machine's own needs keys: the first start makes one, prints it once, and keeps its hash."""
    path = config(tmp_path, "http://127.0.0.1:9/v1")
    shown = []
    for _ in range(2):
        with serve(path, "--host", "0.0.0.0") as serving:
            port = serving.port
            without = asyncio.run(
                said_to(port, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            )
            assert without.startswith(b"HTTP/1.1 401")
            shown = re.findall(r"qk_\w+", serving.told)
            assert len(shown) == 1
            head = f"Authorization: Bearer {shown[0]}\r\nConnection: close\r\n"
            asked = f"GET /v1/models HTTP/1.1\r\nHost: anything.test\r\n{head}\r\n".encode()
            assert asyncio.run(said_to(port, asked)).startswith(b"HTTP/1.1 200")
    kept = b"".join(found.read_bytes() for found in tmp_path.glob("quorate.db*"))
    assert shown[0].rpartition("_")[2].encode() not in kept and shown[0] not in (tmp_path / "log").read_text()
    connection = sqlite3.connect(tmp_path / "quorate.db")
    assert connection.execute("SELECT count(*) FROM keys").fetchone() == (1,)
    connection.close()


def test_a_key_of_the_command_line_ends_the_time_without_keys(tmp_path: Path) -> None:
    """Once there is a key, none is never enough again, also when the only one is revoked."""
    path = config(tmp_path, "http://127.0.0.1:9/v1")
    made = json.loads(quorate("keys", "create", "a", "--config", str(path), "--json").stdout)
    assert quorate("keys", "revoke", made["id"], "--config", str(path)).returncode == 0
    with serve(path) as serving:
        asked = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert asyncio.run(said_to(serving.port, asked)).startswith(b"HTTP/1.1 401")


PAGES = [
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.test"},
    {"Origin": "https://127.0.0.1.evil.test"},
    {"Origin": "http://evil.test@localhost"},
    {"Origin": "file://"},
    {"Host": "evil.test"},
    {"Host": "localhost.evil.test:80"},
    {"Host": "127.0.0.1.nip.test"},
    {"Host": ""},
    {"Host": "evil.test#localhost"},
    {"Host": "localhost@evil.test"},
    {"Host": "[::1].evil.test"},
    {"Host": "2130706433"},
]


@pytest.mark.parametrize("headers", PAGES, ids=lambda headers: "".join(headers.values()) or "empty")
async def test_a_page_cannot_use_a_service_without_keys(tmp_path: Path, headers: dict[str, str]) -> None:
    """A page from elsewhere, or a name that was bent to this machine, reaches no route that does or tells anything."""
    async with served(tmp_path) as world:
        for method, route in NEEDED:
            assert await ask(world, method, route, **headers) == 403, route
        assert world.standin.stats()["total"]["started"] == 0


async def test_what_a_page_can_send_unasked_is_no_json(tmp_path: Path) -> None:
    """The three content types that a form may have, and none, are a 415; a preflight gets no permission."""
    async with served(tmp_path) as world:
        for kind in (
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "",
            "text/json",
        ):
            for route in (ROUTE, MODERATIONS):
                said = await world.post(route, BODIES[route], **{"Content-Type": kind})
                assert said.status in (415, 403), (kind, route)
        port = int(world.url.rpartition(":")[2])
        wanted = b"Origin: http://evil.test\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        came = await said_to(port, b"OPTIONS " + ROUTE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + wanted)
        assert came.startswith(b"HTTP/1.1 405") and b"access-control" not in came.lower()
        assert world.standin.stats()["total"]["started"] == 0
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8080", "localhost."):
            assert await ask(world, "POST", ROUTE, Host=host, Origin="http://localhost:3000") == 200


def auc(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The chance that a draw of the one is above a draw of the other, ties counting half."""
    ranked = sorted([(value, 0) for value in ours] + [(value, 1) for value in theirs])
    above = at = 0.0
    while ranked:
        value = ranked[0][0]
        tied = [row for row in ranked if row[0] == value]
        ranked = ranked[len(tied) :]
        mine = sum(kind == 0 for _, kind in tied)
        above += mine * (at + (len(tied) - mine) / 2)
        at += len(tied) - mine
    return above / (len(ours) * len(theirs))


@pytest.mark.timeout(600)
async def test_the_time_of_a_refusal_does_not_tell_the_checks_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checks of 5 and 60 ms behind a floor: of the time alone nobody can say which of them refused."""
    count = REFUSALS // 2
    models = StandIn({"scope": Profile(Fixed(0.005)), "threat": Profile(Fixed(0.06))})
    floor = "refusal_floor_ms = 300\nkeepalive_s = 0"
    async with served(tmp_path, standin=models, service=floor, more="[refusals]\nuniform_refusal = true") as world:
        port, dice, room = int(world.url.rpartition(":")[2]), random.Random(3), asyncio.Semaphore(AT_ONCE)
        times: dict[str, list[float]] = {"scope": [], "threat": []}
        loop = asyncio.get_running_loop()

        async def one(check: str) -> None:
            async with room:
                await asyncio.sleep(dice.random() / 5)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                sent_s = loop.time()
                writer.write(chat(f"Where is it? [[flag:{check}]]"))
                await reader.readuntil(b"content_filter")
                times[check].append(round(loop.time() - sent_s, 3))
                writer.transport.abort()

        order = ["scope", "threat"] * count
        dice.shuffle(order)
        await asyncio.gather(*(one(check) for check in order))
        records = await world.records()
    found = auc(times["threat"], times["scope"])
    assert {row.record.decided_by for row in records} == {"scope", "threat"}
    told = max(found, 1 - found)
    with capsys.disabled():
        sys.stdout.write(f"\nrefusal times: {2 * count} of 2000, AUC {told:.3f}\n")
    assert min(min(row) for row in times.values()) >= 0.299
    # By chance alone 200 differ from 0.5 by 0.04 (standard error) and 2,000 by 0.013; without a floor it is 0.95.
    assert told <= (0.55 if count >= 1000 else 0.75)
