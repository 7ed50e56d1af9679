"""Many HTTP/1.1 clients in one closed loop, as cheap as Python can: raw connections and a parser in C.

Every client sends its next request when the reply to the last is complete. What counts is a window in the middle: the
server is warm when it begins, and as busy when it ends.
"""

import asyncio
import gc
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import httptools

from benchmarks.processes import cpu_s, family, memory_mb

_BUSY_S = 0.05  # a client that was told 429 comes back after so long
_LONGEST_S = 30.0  # what warm-up and window may each take on a machine that others use


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body, and seconds from the request to the first byte of content and to the last."""

    status: int
    body: bytes
    first_s: float
    whole_s: float


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.reply: asyncio.Future[Reply] | None = None
        self.body: list[bytes] = []
        self.sent = self.first = 0.0

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def ask(self, request: bytes) -> Reply:
        """Send a whole request, wait for the whole reply.

        Raises:
            ConnectionError: the server closed before.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionError("closed")
        self.body, self.first = [], 0.0
        self.reply = asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        self.transport.write(request)
        return await self.reply

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # What the loop and the parser call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        # A comment keeps the line open and is no content.
        if not self.first and not body.startswith(b":"):
            self.first = time.perf_counter()
        self.body.append(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self.reply is not None and not self.reply.done():
            first = (self.first or now) - self.sent
            self.reply.set_result(Reply(self.parser.get_status_code(), b"".join(self.body), first, now - self.sent))
        if not self.parser.should_keep_alive():
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(ConnectionError("cut"))


def post(path: str, body: bytes, *, key: str = "") -> bytes:
    """A POST request of JSON, as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *([f"Authorization: Bearer {key}"] if key else []), "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass(slots=True)
class Window:
    """What was seen between two moments.

    Attributes:
        took_s: length of the window.
        replies: kind of request and reply, for each that ended in the window.
        cut: connections that the server closed in the middle of a reply.
        cpu_s: CPU seconds of the server's processes in the window.
        own_cpu_s: of this one.
        rss_mb: the server's memory at the end.
    """

    took_s: float = 0.0
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    cut: int = 0
    cpu_s: float = 0.0
    own_cpu_s: float = 0.0
    rss_mb: float = 0.0


Draw = Callable[[], tuple[str, bytes]]
"""The next request: its kind, and its bytes."""


async def closed_loop(
    draw: Draw,
    *,
    host: str,
    port: int,
    pid: int,
    clients: int,
    warm_s: float = 1.0,
    run_s: float = 3.0,
    think_s: float = 0.0,
) -> Window:
    """Drive a server with so many clients.

    Each thinks between two requests, `think_s` seconds in the mean: without, those that once came together stay so.
    They start spread over half of the warm-up, so as not to go in step. Where the machine is slow, the warm-up goes on
    until there were two replies for each client, and the window until there were three more.
    """
    window = Window()
    counting = over = False
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        await asyncio.sleep(warm_s / 2 * number / clients)
        connection = await Connection.open(host, port)
        while not over:
            kind, request = draw()
            try:
                reply = await connection.ask(request)
            except ConnectionError as error:
                window.cut += counting and str(error) == "cut"
                connection.close()
                with suppress(OSError):
                    connection = await Connection.open(host, port)
                continue
            answered += 1
            if counting:
                window.replies.append((kind, reply))
            if reply.status == 429:
                await asyncio.sleep(_BUSY_S)
            elif think_s:
                await asyncio.sleep(random.uniform(0, 2 * think_s))
        connection.close()

    async def enough(seconds: float, replies: int) -> None:
        end = time.perf_counter() + _LONGEST_S
        await asyncio.sleep(seconds)
        while answered < replies and time.perf_counter() < end:  # noqa: ASYNC110 - an event a reply costs more
            await asyncio.sleep(0.05)

    gc.collect()
    gc.disable()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
        await enough(warm_s, 2 * clients)
        pids = family(pid)
        theirs, own, start = cpu_s(pids), time.process_time(), time.perf_counter()
        counting = True
        await enough(run_s, answered + 3 * clients)
        counting = False
        window.took_s = time.perf_counter() - start
        window.cpu_s, window.own_cpu_s = cpu_s(pids) - theirs, time.process_time() - own
        window.rss_mb = memory_mb(pids)
        over = True
    gc.enable()
    return window


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all do not pass; NaN of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def pin(cpu: int | None) -> None:
    """Keep this process on one CPU."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
