"""The stand-in server's ledger of clients that leave, its HTTP against hostile bytes, and its own process."""

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

import aiohttp
import pytest

from quorate.testing.standin import Profile, spawn_standin
from quorate.testing.standin.profiles import REPLY
from standin_client import CHAT, Client, run, serving, until

pytestmark = pytest.mark.sockets


# Who left when


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["answer-10s", "answer-20ms-400x20ms", "answer+stall", "answer+slow-drip:200ms"])
def test_clients_that_leave_are_cut(model, stream):
    async def test(client):
        async def leave():
            async with asyncio.timeout(0.2):
                async with client.ask(model, stream=stream) as response:
                    await response.read()

        results = await asyncio.gather(*(leave() for _ in range(20)), return_exceptions=True)
        left = time.monotonic()
        assert {type(result) for result in results} == {TimeoutError}
        await until(lambda: client.server.stats()["total"]["cut"] == 20)
        assert time.monotonic() - left < 1.0
        await until(lambda: client.server.stats()["connections_open"] == 0)
        stats = client.server.stats()
        counts = stats["models"][model]
        assert counts["in_flight"] == counts["finished"] == counts["failed"] == 0
        assert counts["peak_in_flight"] == 20
        assert counts["cut_streamed" if stream else "cut_plain"] == 20
        assert stats["connections_opened"] == 20
        assert all(0.15 < cut["after_s"] < 2 and cut["seen_as"] in ("eof", "reset") for cut in stats["cuts"])
        if "x20ms" in model:
            assert 20 * 6 <= counts["tokens_generated"] == counts["tokens_cut"] <= 20 * 50
        generated = counts["tokens_generated"]
        await asyncio.sleep(0.1)
        assert client.server.stats()["total"]["tokens_generated"] == generated

    run(test)


def test_leaving_in_the_middle_of_much():
    async def test(client):
        async with client.ask("answer+huge") as response:
            await response.content.readexactly(1000)
        await until(lambda: client.server.stats()["total"]["cut"] == 1)

    run(test)


def test_closing_ends_calls_and_is_not_a_cut():
    async def main():
        async with serving() as client:
            call = asyncio.ensure_future(client.text("answer-10s"))
            await until(lambda: client.server.stats()["total"]["in_flight"] == 1)
            server = client.server
            await server.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await call
            counts = server.stats()["total"]
            assert (counts["failed"], counts["cut"], counts["in_flight"]) == (1, 0, 0)

    asyncio.run(main())


# HTTP


async def raw(client: Client, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def post(body: bytes, path: str = CHAT, close: bool = True, extra: str = "") -> bytes:
    ending = "Connection: close\r\n" if close else ""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{extra}{ending}Content-Length: {len(body)}\r\n\r\n".encode() + body


ASK = b'{"model": "%s", "messages": [{"role": "user", "content": "hi"}]}'
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
HOSTILE: list[tuple[int, bytes]] = [
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
    (400, b"GARBAGE\r\n\r\n"),
    (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (400, HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    (400, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (431, HEAD + b"X: " + b"a" * 200_000 + b"\r\nConnection: close\r\n\r\n"),
    (431, HEAD + b"X: " + b"a" * 4_000_000),
    (431, HEAD + b"X: y\r\n" * 40_000 + b"\r\n"),
    (413, b"POST /faults HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc"),
    (413, post(bytes(9_000_000))),
    (413, b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + bytes(0xFFFFFF)),
    (400, post(b"{")),
    (400, post(b"[" * 1_000_000)),
    (400, post(b"\xff\xfe")),
    (400, post(b"[]")),
    (400, post(b"{}")),
    (400, post(b'{"model": "a", "messages": []}')),
    (400, post(b'{"model": "a", "messages": [7]}')),
    (400, post(ASK % (b"a" * 300))),
    (404, post(ASK % b"check+nonsense")),
    (400, post(b'{"model": "a", "faults": ["x"]}', "/faults")),
    (400, post(b'{"model": "a"}', "/faults")),
    (400, post(b'{"model": "a", "like": "a+x"}', "/profiles")),
    (400, post((ASK % b"a")[:-1] + b', "max_tokens": -1}')),
    (400, post((ASK % b"a")[:-1] + b', "response_format": "x"}')),
    (400, post((ASK % b"a")[:-1] + b', "response_format": {"type": "json_schema"}}')),
    (404, HEAD.replace(b"/healthz", b"/nowhere?x=1") + b"Connection: close\r\n\r\n"),
    (405, HEAD.replace(b"/healthz", CHAT.encode()) + b"Connection: close\r\n\r\n"),
    (405, post(b"", "/healthz")),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_hostile_bytes_get_a_clean_error(case):
    status, data = HOSTILE[case]

    async def test(client):
        head, _, body = (await raw(client, data)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert json.loads(body)["error"]["message"]
        assert client.server.stats()["rejected"] == 1
        assert await client.text("answer") == REPLY

    run(test)


def test_pipelined_split_and_old_requests():
    async def test(client):
        asks = [post(ASK % model, close=model == b"c") for model in (b"a-60ms", b"b-5ms", b"c")]
        reply = await raw(client, b"".join(asks))
        assert [reply.index(b'"model": "%s' % model) for model in (b"a", b"b", b"c")] == sorted(
            reply.index(b'"model": "%s' % model) for model in (b"a", b"b", b"c")
        )
        assert (await raw(client, HEAD + b"\r\nGARBAGE\r\n\r\n")).count(b"HTTP/1.1 ") == 2
        reply = await raw(client, HEAD + b"Connection: close\r\n\r\n" + HEAD + b"\r\n")
        assert reply.count(b"HTTP/1.1 ") == 1
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        for byte in post(ASK % b"a"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert b"200 OK" in await reader.read()
        writer.close()
        await writer.wait_closed()
        streamed = (ASK % b"a")[:-1] + b', "stream": true}'
        reply = await raw(client, post(streamed).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert reply.endswith(b"data: [DONE]\n\n")
        assert b"chunked" not in reply
        assert b"100 Continue" in await raw(client, post(ASK % b"a", extra="Expect: 100-continue\r\n"))
        assert b"429" in (await raw(client, (HEAD + b"\r\n") * 5000))[-400:]

    run(test)


def test_routes_and_who_is_counted():
    async def test(client):
        async def get(path: str) -> Any:
            async with client.session.get(client.root + path) as response:
                assert response.status == 200
                return await response.json()

        assert await get("/healthz") == {"status": "ok"}
        assert (await get("/stats"))["connections_opened"] == 0
        assert "mine" in [model["id"] for model in (await get("/v1/models"))["data"]]
        await client.text("mine")
        assert (await get("/stats")) == client.server.stats()
        assert client.server.stats()["connections_open"] == 1
        async with client.session.post(client.root + "/stats/reset") as response:
            assert response.status == 200
        assert (await get("/stats"))["total"]["started"] == 0

    run(test, profiles={"mine": Profile()})


# A process of its own


def test_a_process_of_its_own():
    with spawn_standin(cpu=sorted(os.sched_getaffinity(0))[-1] if hasattr(os, "sched_getaffinity") else None) as server:

        async def main() -> None:
            async with aiohttp.ClientSession() as session:
                body = {"model": "answer", "messages": [{"role": "user", "content": "hi"}]}
                for expected in (500, 429, 200):
                    async with session.post(server.base_url + "/chat/completions", json=body) as response:
                        assert response.status == expected

        server.inject("answer", "500")
        server.configure("answer", "answer+429+ok")
        asyncio.run(main())
        stats = server.stats()
        assert (stats["total"]["finished"], stats["total"]["failed"], stats["connections_open"]) == (1, 2, 0)
        server.reset()
        assert server.stats()["total"]["started"] == 0
        with pytest.raises(ValueError, match="no fault"):
            server.inject("answer", "nonsense")
    with pytest.raises(OSError):
        server.stats()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process as POSIX does")
def test_it_dies_with_its_parent():
    program = (
        "import os\nfrom quorate.testing.standin import spawn_standin\n"
        "with spawn_standin() as server:\n    print(server.pid, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=30, check=False)
    assert parent.returncode == -9

    patience = time.monotonic() + 5
    while alive(int(parent.stdout)):
        assert time.monotonic() < patience
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        if not os.path.exists("/proc/self/stat"):
            return True
        # Where nobody reaps orphans the dead process stays in the table.
        with open(f"/proc/{pid}/stat") as file:
            return ") Z " not in file.read()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_an_address_in_use_is_said_plainly():
    with spawn_standin() as server:
        command = [sys.executable, "-m", "quorate.testing.standin", "--port", str(server.port)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith("cannot listen on 127.0.0.1:")
