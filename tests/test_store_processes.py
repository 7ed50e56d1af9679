"""Several processes on one database, and processes that are killed at any moment."""

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from postgres_world import postgres
from quorate.store import Store, Wanted
from store_world import record, url

__all__ = ["postgres", "url"]

pytestmark = pytest.mark.sockets

KILLS = 50 if os.environ.get("SOAK") == "1" else 5
WRITER = """
import asyncio, itertools, sys
from datetime import UTC, datetime
from quorate.store import End, Record, Store, Turn

async def client(store, name, numbers, most):
    while (number := next(numbers)) < most:
        id = f"{name}-{number}"
        words = [{"role": "user", "content": f"{id} " * 200}]
        await store.decided(Record(id=id, conversation=name, at=datetime.now(UTC), route="chat", decision="admit",
                                   messages=words, turn=Turn(id, [{"check": id}], "x")))
        print(id, flush=True)
        store.ended(End(id=id, outcome="done", reply=f"{id} " * 100))

async def main(url, name, most):
    async with Store.open(url) as store:
        numbers = itertools.count()
        await asyncio.gather(*(client(store, name, numbers, most) for _ in range(8)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start(url: str, name: str, most: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(most)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def every(store: Store) -> dict[str, str]:
    """All records by id, each looked through: a torn one would not be read."""
    out: dict[str, str] = {}
    after = None
    while page := await store.records(Wanted(limit=1000, after=after)):
        after = page[-1]
        for row in page:
            id = row.record.id
            assert row.record.messages == [{"role": "user", "content": f"{id} " * 200}]
            assert row.end is None or row.end.reply == f"{id} " * 100
            turn = await store.recall([id])
            assert turn is not None and turn.verdicts == [{"check": id}]
            out[id] = row.outcome
    return out


def test_several_processes_open_and_write_at_once(url: str) -> None:
    """Three processes that find an empty database at the same moment make it once, and lose none of their records."""
    workers = [start(url, f"w{number}", 100) for number in range(3)]
    for worker in workers:
        out, errors = worker.communicate(timeout=100)
        assert worker.returncode == 0 and errors == ""
        assert len(out.split()) == 100

    async def look() -> dict[str, str]:
        async with Store.open(url) as store:
            return await every(store)

    found = asyncio.run(look())
    assert found == {f"w{number}-{row}": "done" for number in range(3) for row in range(100)}


@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments under load: every acknowledged record is there and whole, and the database opens."""
    path = tmp_path / "s.db"
    chance = random.Random(4)
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        worker = start(f"sqlite:///{path}", f"k{kill}", 10**9)
        assert worker.stdout is not None and worker.stderr is not None
        said = [worker.stdout.readline().strip() for _ in range(chance.randrange(1, 300))]
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(chance.random() / 50)  # Somewhere between two lines.
        worker.kill()
        rest, errors = worker.communicate(timeout=60)
        whole, _, _ = rest.rpartition("\n")
        acknowledged |= {*filter(None, said), *whole.split()}
        assert errors == "" and said[-1]

    async def look() -> dict[str, str]:
        async with Store.open(f"sqlite:///{path}") as store:
            await store.decided(
                record("after", messages=[{"role": "user", "content": "after " * 200}], conversation="x")
            )
            await store.forget("x")
            return await every(store)

    found = asyncio.run(look())
    assert acknowledged - found.keys() == set()
    assert len(acknowledged) >= KILLS
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
