"""For the tests of models: a server that says any bytes, a proxy, a fake model, and counts of what is open."""

import asyncio
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quorate.engine import clock, fan_out, spend
from quorate.errors import ModelUnavailable
from quorate.events import Branch, Usage
from quorate.merges import First
from quorate.models import Emit, Message, Model, Prompt, Reply, ToolCallDelta, ask
from quorate.models.http import Session
from quorate.models.openai import OpenAIModel, Timeouts

KEY = "sk-5ecret0123456789"
PROMPT = Prompt(())
QUESTION = Prompt((Message("system", "Be kind."), Message("user", "Where is my order?")), max_tokens=64)
HASTE = Timeouts(first_s=0.25, idle_s=0.25, total_s=2.0)
PATIENT = Timeouts(first_s=20.0, idle_s=20.0, total_s=20.0)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import this fixture where models are made: what the machine has set must not reach the test."""
    for name in PROXY_NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def response(body: bytes, *head: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *head]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(text: str = "Hello", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text, **fields}
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return response(json.dumps(whole).encode())


def error(message: str, status: str = "400 Bad Request", *head: str) -> bytes:
    return response(json.dumps({"error": {"message": message}}).encode(), *head, status=status)


def events(*chunks: Any, done: bool = True) -> bytes:
    """A stream of events: texts are deltas of content, bytes are sent as they are, anything else is one JSON."""
    out = []
    for chunk in chunks:
        if isinstance(chunk, bytes):
            out.append(chunk)
            continue
        data = {"choices": [{"index": 0, "delta": {"content": chunk}}]} if isinstance(chunk, str) else chunk
        out.append(f"data: {json.dumps(data)}\n\n".encode())
    return STREAM + b"".join(out) + (b"data: [DONE]\n\n" if done else b"")


@dataclass
class Asked:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """What a raw server has seen. `left` counts clients that closed a connection which the server kept open."""

    port: int = 0
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    accepted: int = 0
    left: int = 0
    sent: int = 0

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"


async def read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rows = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows) if name}
    return Asked(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def raw_server(*says: bytes | Script | None, context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Say these in turn, one a request, the last for ever; None says nothing. Then wait for the client to leave."""
    server, busy = RawServer(scheme="https" if context else "http"), set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.accepted += 1
        # Ends of clients, and of this server, in the middle of anything are what it is for.
        with suppress(OSError, EOFError, asyncio.CancelledError):
            while True:
                said = says[min(len(server.asked), len(says) - 1)]
                if said is None:
                    await reader.read()
                    server.left += 1
                    return
                asked = await read_request(reader)
                server.asked.append(asked)
                if callable(said):
                    await said(asked, writer)
                else:
                    writer.write(said)
                    await writer.drain()
                    if b"Connection: close" in said.partition(b"\r\n\r\n")[0]:
                        writer.write_eof()
        server.left += reader.at_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        busy.add(task)
        await talk(reader, writer)
        await _closed(writer)
        busy.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=512)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await _close(listener, busy)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


async def _close(listener: asyncio.Server, busy: set[Any]) -> None:
    await asyncio.sleep(0.01)  # What was accepted in this very moment has its task then.
    listener.close()
    for task in tuple(busy):
        task.cancel()
    await until(lambda: not busy)


@dataclass
class Proxy:
    """A forward proxy: `asked` are the requests in the clear that it saw, CONNECT among them."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def forward_proxy() -> AsyncIterator[Proxy]:
    """Forward what comes in absolute form, and tunnel what is asked for with CONNECT; every host is this machine."""
    proxy, busy = Proxy(), set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        busy.add(task)
        with suppress(OSError, EOFError, asyncio.CancelledError):
            asked = await read_request(reader)
            proxy.asked.append(asked)
            method, target, _ = asked.line.split(" ")
            authority = target if method == "CONNECT" else target.split("/")[2]
            far, near = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                rows = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
                near.write(f"{method} {path} HTTP/1.1\r\n{rows}\r\n".encode() + asked.body)
            try:
                await asyncio.gather(pipe(reader, near), pipe(far, writer))
            finally:
                await _closed(near)
        await _closed(writer)
        busy.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        await _close(listener, busy)


class Ear:
    """An `emit` that collects. `pace_s` makes it a slow reader."""

    def __init__(self, pace_s: float = 0.0) -> None:
        self.heard: list[str | ToolCallDelta] = []
        self._pace_s = pace_s

    async def __call__(self, delta: str | ToolCallDelta) -> None:
        self.heard.append(delta)
        await asyncio.sleep(self._pace_s)

    @property
    def text(self) -> str:
        return "".join(delta for delta in self.heard if isinstance(delta, str))


def model_at(base_url: str, session: Session, model: str = "m", **settings: Any) -> OpenAIModel:
    settings.setdefault("timeouts", PATIENT)
    return OpenAIModel(model, base_url=base_url, session=session, **settings)


async def complete(model: Model, *, stream: bool, prompt: Prompt = QUESTION, ear: Ear | None = None) -> Reply:
    """Ask, streamed or not; what was streamed must be what the reply repeats."""
    if not stream:
        return await model.complete(prompt)
    ear = ear if ear is not None else Ear()
    reply = await model.complete(prompt, ear)
    assert ear.text == reply.text
    return reply


async def usage_of(model: Model, *, stream: bool, prompt: Prompt = QUESTION, cut_after_s: float | None = None) -> Usage:
    """What one call is booked as: as the only branch of a run, left after `cut_after_s` seconds, or at its end."""
    only = Branch("only", ask(model, prompt, stream=stream), None)
    async with fan_out([only], First[Reply](1)) as run:
        if cut_after_s is None:
            with suppress(Exception):
                await run.decided()
        else:
            await asyncio.sleep(cut_after_s)
    return run.timeline.usage


@dataclass
class Fake:
    """A model whose calls take turns: (seconds, what it says, how it ends). The last turn is for ever."""

    turns: Sequence[tuple[float, Sequence[Any], str | Exception]]
    name: str = "fake"
    asked_s: list[float] = field(default_factory=list)
    running: int = 0
    peak: int = 0
    cut: int = 0

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        seconds, says, end = self.turns[min(len(self.asked_s), len(self.turns) - 1)]
        self.asked_s.append(clock.now())
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            spend(Usage(1))
            for delta in says:
                if emit is not None:
                    await emit(delta)
            await clock.sleep(seconds)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.running -= 1
        if isinstance(end, Exception):
            raise end
        return Reply(end, self.name)


def down(retry_after_s: float | None = None, *, says: Sequence[Any] = (), seconds: float = 0.0) -> Any:
    return seconds, says, ModelUnavailable("down", retry_after_s=retry_after_s)


UP = (0.0, (), "up")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for may be in another process
            await asyncio.sleep(0.002)


@contextmanager
def full_listener() -> Iterator[int]:
    """A port that takes no more connections: who connects waits in the middle of it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            for _ in range(20):
                knocking = socket.socket()
                knocking.setblocking(False)
                knocking.connect_ex(("127.0.0.1", port))
                waiting.append(knocking)
                time.sleep(0.01)
                if knocking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and not _connected(knocking):
                    break
            else:
                pytest.skip("this system's backlog never fills")
            yield port
        finally:
            for knocking in waiting:
                knocking.close()


def _connected(knocking: socket.socket) -> bool:
    try:
        knocking.getpeername()
    except OSError:
        return False
    return True


def open_files() -> int:
    """How many file descriptors this process has."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if Path(folder).is_dir():
            return len(os.listdir(folder))
    pytest.skip("this system does not say which files are open")


def other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}
