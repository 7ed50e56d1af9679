"""Twice as much as it can take, for a while: 200 or 429 and nothing else, and no memory, task, socket or row is left.

About 15 seconds by default, 30 minutes with SOAK=1; the figures are printed.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from quorate.store import Store, Wanted
from quorate.testing import spawn_standin
from service_process import Serving, chat, serve
from service_world import ATTACK, HONEST, config, until

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(2400)]

SOAK = os.environ.get("SOAK") == "1"
WARM_S, RUN_S = (180.0, 1800.0) if SOAK else (5.0, 12.0)
RUNNING, QUEUED = 16, 16
CLIENTS = 2 * (RUNNING + QUEUED)
GROWTH = 0.05 if SOAK else 0.20  # A short run still fills its caches and pools.


class Load:
    """Clients that ask again as soon as they have been answered, or told to come back later."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[int] = Counter()
        self.wrong: list[bytes] = []
        self.retry_after = 0

    async def client(self, number: int) -> None:
        dice = random.Random(number)
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
                try:
                    for _ in range(50):
                        await self.ask(reader, writer, dice)
                finally:
                    writer.transport.abort()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dice: random.Random) -> None:
        stream, attack = dice.random() < 0.5, dice.random() < 0.2
        writer.write(chat(f"{ATTACK if attack else HONEST} {dice.random()}", stream=stream))
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.statuses[status] += 1
        self.retry_after += b"retry-after: " in head.lower()
        if b"content-length" in head.lower():
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(size)
        else:
            body = await reader.readuntil(b"\r\n0\r\n\r\n")
        whole = b"[DONE]" in body if stream and status == 200 else body.endswith(b"}")
        if status not in (200, 429) or not whole or (status == 200 and (b"content_filter" in body) != attack):
            self.wrong.append(head + body[:300])
        if status == 429:
            await asyncio.sleep(dice.uniform(0.02, 0.1))


AT_REST = ("quorate_requests_running", "quorate_store_queued")
"""Gauges that are 0 once the service has nothing to do."""


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def gauges(serving: Serving) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    rows = [line.rpartition(" ") for line in lines if line.startswith("quorate_") and "{" not in line]
    return {name: float(value) for name, _, value in rows}


async def test_twice_as_much_as_it_can_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every reply is a whole 200 or a 429 with Retry-After; after it nothing runs, waits or is held."""
    loop = asyncio.get_running_loop()
    with spawn_standin() as standin:
        standin.configure("answer", "answer-20ms-20x1ms")
        standin.configure("scope", "scope-10ms")
        standin.configure("threat", "threat-10ms")
        path = config(tmp_path, standin.base_url, service=f"max_running = {RUNNING}\nmax_queued = {QUEUED}")
        with serve(path) as serving:
            pid, load = serving.process.pid, Load(serving.port)
            idle_files = files(pid)
            clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
            await asyncio.sleep(WARM_S)
            seen, start_s = [memory_mb(pid)], loop.time()
            while loop.time() < start_s + RUN_S:
                await asyncio.sleep(RUN_S / 12)
                seen.append(memory_mb(pid))
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            async with asyncio.timeout(20):
                await until(lambda: standin.stats()["total"]["in_flight"] == 0)
                found = await gauges(serving)
                while any(found[name] for name in AT_REST):
                    await asyncio.sleep(0.1)
                    found = await gauges(serving)
            await asyncio.sleep(1.5)
            assert serving.process.poll() is None
            async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store:
                await store.note("flush", by="test")
                after, unfinished, kept = None, 0, 0
                while page := await store.records(Wanted(limit=1000, after=after)):
                    after, kept = page[-1], kept + len(page)
                    unfinished += sum(row.end is None for row in page)
            left_files = files(pid)
            counts = standin.stats()["total"]
    growth = max(seen[len(seen) // 2 :]) / seen[0] - 1
    with capsys.disabled():
        sys.stdout.write(
            f"\noverload: {CLIENTS} clients for room of {RUNNING}+{QUEUED}, {RUN_S + WARM_S:g} s: "
            f"{dict(load.statuses)}, {len(load.wrong)} wrong; memory {seen[0]:.0f} -> {seen[-1]:.0f} MB "
            f"({100 * growth:+.1f} %); files {idle_files} -> {left_files}; {kept} records, {unfinished} unfinished\n"
        )
    assert load.wrong == []
    assert load.statuses.keys() == {200, 429} and load.retry_after == load.statuses[429]
    assert growth <= GROWTH, seen
    assert unfinished == 0 and kept >= load.statuses[200]
    assert left_files <= idle_files + 3 * RUNNING  # Idle connections to the models live on for 30 s.
    assert counts["started"] == counts["finished"] + counts["cut"] + counts["failed"] and counts["failed"] == 0
    assert found["quorate_abandoned_tasks"] == 0
