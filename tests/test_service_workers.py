"""Several workers, as real processes: one config, one set of keys, one scrape; over both databases."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from postgres_world import postgres
from quorate.store import Store
from quorate.testing import StandIn
from service_process import Serving, parents, quorate, serve
from service_world import ATTACK, HONEST, Said, config, until
from store_world import url

__all__ = ["postgres", "url"]
pytestmark = [pytest.mark.sockets, pytest.mark.timeout(300)]
STREAM = "answer-0ms-400x10ms"
LOOKS_AGAIN_S = 2.0
"""Workers look for new keys every second; which of them answers a request is the system's choice."""


@dataclass
class World:
    """Two workers over a stand-in, and a key with every right."""

    serving: Serving
    standin: StandIn
    path: Path
    url: str
    key: str

    async def ask(self, route: str, body: Any = None, *, key: str | None = None, **headers: str) -> Said:
        """One request on a connection of its own, so that any worker may answer."""
        sent = {"Authorization": f"Bearer {self.key if key is None else key}", **headers}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
            client.request(
                "GET" if body is None else "POST", self.serving.url + route, json=body, headers=sent
            ) as response,
        ):
            return Said(response.status, dict(response.headers), await response.read())

    async def chat(self, text: str = HONEST, *, key: str | None = None, **more: Any) -> Said:
        messages = [{"role": "user", "content": text}]
        return await self.ask("/v1/chat/completions", {"model": "gpt-4o", "messages": messages, **more}, key=key)

    async def versions(self, least: int) -> set[int]:
        """The config version of each worker, once so many live."""
        async with Store.open(self.url) as store:
            while len(found := await store.workers(3.0)) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return {worker.version or 0 for worker in found}

    async def everywhere(self, status: int, key: str) -> Said:
        """A key gets this status, and no other for longer than any worker may take to look again; the last reply."""
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(20):
            since = clock()
            while clock() - since < LOOKS_AGAIN_S:
                said = await self.chat(key=key)
                if said.status != status:
                    since = clock()
        return said

    async def counted(self, admissions: int) -> None:
        """Six scrapes in a row, of whichever worker, say that there were so many admissions."""
        async with asyncio.timeout(20):
            while {admitted(await self.ask("/metrics")) for _ in range(6)} != {admissions}:
                pass

    async def follows(self, version: int, within_s: float) -> None:
        """Every worker runs a version within so many seconds, or is not ready."""
        async with Store.open(self.url) as store, asyncio.timeout(within_s):
            while not all(row.version == version for row in await store.workers(3.0)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def world(tmp_path: Path, url: str, **changes: str) -> AsyncIterator[World]:
    async with StandIn() as models:
        path = config(tmp_path, models.base_url, **changes)
        made = await asyncio.to_thread(
            quorate, "keys", "create", "all", "--store", url, "--json",
            *("--right", "call", "--right", "details", "--right", "admin"),
        )  # fmt: skip
        key = json.loads(made.stdout)["secret"]
        with serve(path, "--store", url, "--workers", "2") as serving:
            here = World(serving, models, path, url, key)
            async with asyncio.timeout(60):
                await here.versions(2)
            yield here


def rewrite(path: Path, old: str, new: str) -> str:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text


async def test_a_config_reaches_every_worker(tmp_path: Path, url: str) -> None:
    """By POST, by SIGHUP and by the command line, within a second; a broken one changes nothing and says why."""
    async with world(tmp_path, url) as here:
        assert (await here.chat(ATTACK)).decision == "refuse"
        rewrite(here.path, 'name = "Lantern Post"', 'name = "Lantern Two"')
        said = await here.ask("/admin/reload", {})
        assert said.status == 200 and (said.json["version"], said.json["pending"]) == (2, {})
        assert len(said.json["workers"]) == 2
        assert (await here.ask("/readyz")).json["config"]["version"] == 2
        async with asyncio.timeout(10):
            while "2 live workers" not in (await here.ask("/readyz")).json["limits"]:
                pass

        good = rewrite(here.path, "version = 1", "version = 99")
        said = await here.ask("/admin/reload", {})
        assert said.status == 400 and said.json["problems"] and said.json["error"]["code"] == "config_rejected"
        assert (await here.chat()).decision == "admit"
        assert await here.versions(2) == {2}
        here.serving.send(signal.SIGHUP)
        async with asyncio.timeout(10):
            await until(lambda: "the config was not taken" in here.serving.told)
        assert await here.versions(2) == {2}

        here.path.write_text(good.replace("Lantern Two", "Lantern Three"), encoding="utf-8")
        here.serving.send(signal.SIGHUP)
        await here.follows(3, 20)
        words = ("mode", "observe", "--why", "a test", "--config", str(here.path), "--store", url, "--json")
        done = await asyncio.to_thread(quorate, *words)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["version"] == 4 and await here.versions(2) == {4}
        for _ in range(8):
            assert (await here.chat(ATTACK)).decision == "admit"
        said = await here.ask("/admin/mode", {"mode": "enforce", "why": "back"})
        assert said.status == 200 and len(said.json["workers"]) == 2
        for _ in range(8):
            assert (await here.chat(ATTACK)).decision == "refuse"
        assert (await here.ask("/readyz")).json["config"] | {"digest": ""} == {
            "version": 5, "digest": "", "mode": "enforce",
        }  # fmt: skip
    assert all(line.isprintable() for line in here.serving.told.splitlines())


async def test_running_requests_end_on_the_config_they_began_with(tmp_path: Path) -> None:
    """A reload in the middle of an answer neither cuts nor changes it; its record names the old version."""
    url = f"sqlite:///{tmp_path}/quorate.db"
    async with world(tmp_path, url, answer=STREAM) as here:
        asking = asyncio.create_task(here.chat(stream=True))
        await until(lambda: here.standin.stats()["models"].get(STREAM))
        rewrite(here.path, 'name = "Lantern Post"', 'name = "Lantern Two"')
        assert (await here.ask("/admin/reload", {})).status == 200
        assert not asking.done()
        said = await asking
        assert said.events[-1] == "[DONE]" and said.events[-2]["choices"][0]["finish_reason"] == "stop"
        async with Store.open(url) as store:
            [row] = await store.records()
        assert row.record.config_version == 1


async def test_keys_count_everywhere_within_a_second(tmp_path: Path, url: str) -> None:
    """A key that is made is good, and one that is revoked is not, in every worker."""
    async with world(tmp_path, url) as here:
        async with Store.open(url) as store:
            key, secret = await store.create_key("new")
            await here.everywhere(200, secret)
            assert await store.revoke(key.id)
            said = await here.everywhere(401, secret)
        assert said.json["error"]["code"] == "invalid_api_key"
        assert secret not in here.serving.told + "\n".join(here.serving.log)


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """The other one serves meanwhile; what both count is one sum, and nothing that was counted is lost with it."""
    url = f"sqlite:///{tmp_path}/quorate.db"
    async with world(tmp_path, url) as here:
        for _ in range(10):
            assert (await here.chat()).status == 200
        await here.counted(10)
        first, other = sorted(here.serving.workers())
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            await until(lambda: len(here.serving.workers()) == 2 and first not in here.serving.workers())
            assert other in here.serving.workers()
            assert (await here.chat()).status == 200
            while len((await here.ask("/readyz")).json["problems"]) or len(await names(url)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await here.chat()).status == 200
        await here.counted(12)


async def names(url: str) -> list[str]:
    async with Store.open(url) as store:
        return [worker.worker for worker in await store.workers(1.0)]


def admitted(said: Said) -> float:
    """Admissions in a scrape."""
    assert said.status == 200
    lines = said.raw.decode().splitlines()
    found = [line for line in lines if line.startswith("quorate_decisions_total{") and 'decision="admit"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


async def reached(serving: Serving) -> bool:
    """Whether it takes connections."""
    try:
        _, writer = await asyncio.open_connection(serving.host, serving.port)
    except OSError:
        return False
    writer.transport.abort()
    return True


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_drain_lets_answers_end(tmp_path: Path, workers: int) -> None:
    """After SIGTERM a running answer is finished, nobody new is let in, and every process ends with 0."""
    async with StandIn() as models:
        path = config(tmp_path, models.base_url, answer=STREAM)
        with serve(path, "--workers", str(workers)) as serving:
            here = World(serving, models, path, "", "")
            asking = asyncio.create_task(here.chat(stream=True))
            await until(lambda: models.stats()["models"].get(STREAM))
            family = [serving.process.pid, *serving.workers()]
            serving.send(signal.SIGTERM)
            async with asyncio.timeout(10):
                while await reached(serving):
                    pass
            said = await asking
            assert said.events[-1] == "[DONE]"
            assert await asyncio.to_thread(serving.wait) == 0
            assert not set(family) & parents().keys()
        async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store:
            [row] = await store.records()
    assert row.outcome == "done"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_signal_stops_now(tmp_path: Path, workers: int) -> None:
    """The answer is cut at the upstream, its record says abandoned, and no process is left."""
    async with StandIn() as models:
        path = config(tmp_path, models.base_url, answer="answer-0ms-9999x10ms")
        with serve(path, "--workers", str(workers)) as serving:
            here = World(serving, models, path, "", "")
            asking = asyncio.create_task(here.chat(stream=True))
            await until(lambda: models.stats()["models"].get("answer-0ms-9999x10ms"))
            family = [serving.process.pid, *serving.workers()]
            async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store, asyncio.timeout(10):
                while not await store.records():
                    pass
            serving.send(signal.SIGTERM)
            async with asyncio.timeout(10):
                while await reached(serving):
                    pass
            assert not asking.done()
            serving.send(signal.SIGTERM)
            await asyncio.to_thread(serving.wait, 10.0)
            [broke] = await asyncio.gather(asking, return_exceptions=True)
            assert isinstance(broke, aiohttp.ClientError) or "[DONE]" not in broke.events
            assert not set(family) & parents().keys()
        async with Store.open(f"sqlite:///{tmp_path}/quorate.db") as store:
            [row] = await store.records()
    assert (row.record.decision, row.outcome) == ("admit", "abandoned")
    assert models.stats()["total"]["cut"] == 1


async def test_workers_end_with_whoever_started_them(tmp_path: Path) -> None:
    """Killed with -9 the first process takes its workers along, and the address is free again."""
    async with StandIn() as models:
        path = config(tmp_path, models.base_url)
        with serve(path, "--workers", "2") as serving:
            here = World(serving, models, path, "", "")
            assert (await here.chat()).status == 200
            workers = serving.workers()
            serving.send(signal.SIGKILL)
            await asyncio.to_thread(serving.wait)
            async with asyncio.timeout(20):
                await until(lambda: not set(workers) & parents().keys())
            with serve(path, "--port", str(serving.port)) as again:
                assert (await World(again, models, path, "", "").chat()).status == 200


async def test_a_signal_while_a_worker_is_started_again(tmp_path: Path) -> None:
    """A worker that died in the last moment does not keep the service from ending."""
    async with StandIn() as models:
        path = config(tmp_path, models.base_url)
        with serve(path, "--workers", "2") as serving:
            assert (await World(serving, models, path, "", "").chat()).status == 200
            os.kill(serving.workers()[0], signal.SIGKILL)
            async with asyncio.timeout(10):
                await until(lambda: "starting it again" in serving.told)
            serving.send(signal.SIGTERM)
            assert await asyncio.to_thread(serving.wait, 20.0) == 0


async def test_a_signal_that_comes_too_early_ends_no_worker(tmp_path: Path) -> None:
    """A reload while workers are still starting reaches or misses them; it ends none, and no password shows in `ps`."""
    async with StandIn() as models:
        path = config(tmp_path, models.base_url)
        with serve(path, "--workers", "2") as serving:
            children = serving.workers()
            for child in children:
                os.kill(child, signal.SIGHUP)
            command = Path(f"/proc/{children[0]}/cmdline").read_bytes()
            assert b"--worker" in command and b"quorate.db" not in command
            assert (await World(serving, models, path, "", "").chat()).status == 200
            assert serving.workers() == children and "starting it again" not in serving.told


async def test_the_usual_limit_of_files_is_not_the_services(tmp_path: Path) -> None:
    """Started with few open files allowed, it takes what it may have; where that is too little it says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    path = config(tmp_path, "http://127.0.0.1:9/v1", service="max_queued = 100000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serve(path) as serving:
            limits = Path(f"/proc/{serving.process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert allowed == "unlimited" or int(allowed) == min(1 << 16, hard if hard >= 0 else 1 << 16)
    assert "open files are allowed" in serving.told
