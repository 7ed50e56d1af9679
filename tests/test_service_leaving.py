"""Clients that vanish at random moments: their calls are cut at the upstream, nothing of them is left, all is recorded.

150 of them by default, 2,000 with SOAK=1. How fast the cut is measures `python -m benchmarks.service_leaving`.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from model_world import no_proxy_of_the_machine, open_files, other_tasks
from quorate.store import Stored, Wanted
from quorate.testing import StandIn
from quorate.testing.standin import Fixed, Profile
from service_process import chat
from service_world import ATTACK, HONEST, TOOL, Served, served, until

__all__ = ["no_proxy_of_the_machine"]
pytestmark = [pytest.mark.sockets, pytest.mark.timeout(1200)]

CLIENTS = 2_000 if os.environ.get("SOAK") == "1" else 150
AT_ONCE = 50
PROFILES = {
    "scope": Profile(Fixed(0.02)),
    "threat": Profile(Fixed(0.03)),
    "answer": Profile(Fixed(0.01), tokens=200, token_s=0.005),
}


async def vanish(port: int, raw: bytes, dice: random.Random) -> str:
    """Send a request, or a part of it, read for a while, and be gone in one of the ways there are."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    part = dice.choice([len(raw)] * 6 + [dice.randrange(len(raw))])
    writer.write(raw[:part])
    after_s = dice.choice(
        [0.0, dice.uniform(0, 0.02), dice.uniform(0, 0.1), dice.uniform(0, 0.5), dice.uniform(0.5, 2)]
    )
    came = b""
    try:
        async with asyncio.timeout(after_s):
            while chunk := await reader.read(1 << 16):
                came += chunk
    except (TimeoutError, OSError):
        pass
    way = dice.choice(["reset", "close", "half"])
    if way == "half":
        writer.write_eof()
        await asyncio.sleep(dice.uniform(0, 0.05))
    if way == "close":
        writer.close()
    else:
        writer.transport.abort()
    return "nothing" if part < len(raw) else "some" if came else "silence"


async def all_records(world: Served) -> list[Stored]:
    await world.service.store.note("flush", by="test")
    found: list[Stored] = []
    while page := await world.service.store.records(Wanted(limit=1000, after=found[-1] if found else None)):
        found += page
    return found


def rested(world: Served) -> bool:
    """Whether no request, call or config is in use, here and at the upstream."""
    service, total = world.service, world.standin.stats()["total"]
    live = service.configs.live
    here = live.users + live.app.session.in_use + service.admission.running + service.admission.queued
    return here == 0 and total["in_flight"] == 0


@pytest.mark.parametrize("crowded", [False, True], ids=["room for all", "most wait"])
async def test_clients_that_vanish(tmp_path: Path, crowded: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a client had sent or heard, it takes all its work along, and its record says how it ended."""
    dice, ways = random.Random(5), Counter[str]()
    places = {"service": "max_running = 8\nmax_queued = 500"} if crowded else {}
    files = open_files()
    async with served(tmp_path, standin=StandIn(PROFILES), **places) as world:
        assert (await world.chat()).status == 200
        tasks = other_tasks()
        port, room = int(world.url.rpartition(":")[2]), asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            text = dice.choice([HONEST, ATTACK]) + f" {number}"
            more = {"tools": [TOOL]} if number % 5 == 0 else {}
            async with room:
                ways[await vanish(port, chat(text, stream=number % 3 != 0, **more), dice)] += 1

        await asyncio.gather(*(one(number) for number in range(CLIENTS // 2)))
        async with asyncio.timeout(30):
            await until(lambda: rested(world))
            await until(lambda: len(other_tasks()) <= len(tasks))
        stats, records = world.standin.stats(), await all_records(world)
        await until(lambda: world.service.store.stats.queued == 0)
        assert (await world.chat()).status == 200
    async with asyncio.timeout(10):
        await until(lambda: open_files() <= files)
    total, scope = stats["total"], stats["models"]["scope"]
    assert total["started"] == total["finished"] + total["cut"] + total["failed"]
    assert total["tokens_after_cut"] == 0 and total["failed"] == 0
    outcomes = Counter(row.outcome for row in records)
    assert outcomes.keys() <= {"abandoned", "done"}
    assert all(row.outcome == "abandoned" for row in records if row.record.decision == "undecided")
    least = 1 if crowded else CLIENTS // 20  # A busy machine starts fewer of them in time.
    assert len(records) >= scope["started"] >= least
    assert total["cut"] >= least
    with capsys.disabled():
        sys.stdout.write(
            f"\nvanished: {CLIENTS // 2} of 1000 clients {dict(ways)}; {total['cut']} calls cut at the upstream, "
            f"0 orphans; {len(records)} records {dict(outcomes)}\n"
        )
