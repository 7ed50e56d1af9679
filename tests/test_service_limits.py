"""Bounds of keys and of the service, over real sockets: 429 with Retry-After, lost speculation, fair queues."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from quorate.service.limits import LEAST_DECISIONS
from quorate.testing import StandIn
from service_world import ATTACK, HONEST, Said, Served, served, until

pytestmark = pytest.mark.sockets


def turned_away(said: Said) -> bool:
    """Whether it is a 429 in OpenAI's shape that says when to try again."""
    if said.status != 429:
        assert said.status == 200, said.raw
        return False
    assert int(said.headers["Retry-After"]) >= 1
    assert said.json["error"]["type"] == "rate_limit_error" and said.json["error"]["code"] == "rate_limit_exceeded"
    return True


async def rejected(world: Served) -> Counter[str]:
    """What the scrape counts as turned away, by reason."""
    lines = (await world.get("/metrics")).raw.decode().splitlines()
    found = [line for line in lines if line.startswith("quorate_rejected_total{")]
    return Counter({line.split('"')[1]: int(float(line.rpartition(" ")[2])) for line in found})


async def test_a_keys_rate(tmp_path: Path) -> None:
    """After its requests of a minute a key gets a 429; another key does not notice."""
    async with served(tmp_path) as world:
        await world.key("call", "details", per_minute=3)
        assert [turned_away(await world.chat()) for _ in range(5)] == [False] * 3 + [True] * 2
        assert (await rejected(world))["rate"] == 2
        await world.key("call")
        assert not turned_away(await world.chat())
        assert len(await world.records()) == 4


async def test_a_keys_concurrency(tmp_path: Path) -> None:
    """So many at once and no more, streamed answers counted until their end."""
    async with served(tmp_path, answer="answer-0ms-50x10ms") as world:
        await world.key("call", "details", concurrency=2)
        said = await asyncio.gather(*(world.chat(stream=True) for _ in range(6)))
        assert sum(map(turned_away, said)) == 4
        assert not turned_away(await world.chat())
        assert (await rejected(world))["concurrency"] == 4


async def test_a_full_queue(tmp_path: Path) -> None:
    """Beyond what runs and what may wait there is a 429 at once; whoever waited is answered."""
    places = {"service": "max_running = 2\nmax_queued = 3", "scope": "scope-300ms"}
    async with served(tmp_path, **places) as world:
        asked = [asyncio.create_task(world.chat()) for _ in range(5)]
        await until(lambda: (world.service.admission.running, world.service.admission.queued) == (2, 3))
        assert turned_away(await world.chat()) and turned_away(await world.chat(stream=True))
        assert not any(turned_away(said) for said in await asyncio.gather(*asked))
        assert (world.service.admission.running, world.service.admission.queued) == (0, 0)
        assert (await rejected(world))["queue"] == 2


async def test_who_leaves_the_queue_is_counted(tmp_path: Path) -> None:
    """A client that gives up while it waits for room takes none, and the figures say that it was still in the queue."""
    places = {"service": "max_running = 1\nmax_queued = 3", "scope": "scope-300ms"}
    async with served(tmp_path, **places) as world:
        asked = [asyncio.create_task(world.chat()) for _ in range(2)]
        await until(lambda: world.service.admission.queued == 1)
        asked[1].cancel()
        await until(lambda: world.service.admission.queued == 0)
        assert (await asked[0]).status == 200
        lines = (await world.get("/metrics")).raw.decode().splitlines()
        assert 'quorate_clients_gone_total{stage="queued"} 1.0' in lines


async def test_a_flood_waits_for_itself(tmp_path: Path) -> None:
    """While one key floods, another one's request is answered among the next, and not after the flood."""
    places = {"service": "max_running = 1\nmax_queued = 20", "scope": "scope-20ms"}
    async with served(tmp_path, **places) as world:
        await world.key("call")
        flood = [asyncio.create_task(world.chat()) for _ in range(20)]
        await until(lambda: world.service.admission.queued >= 15)
        await world.key("call")
        assert not turned_away(await world.chat())
        assert sum(not task.done() for task in flood) >= 10
        await asyncio.gather(*flood)


async def test_over_its_waste_budget_a_key_loses_speculation(tmp_path: Path) -> None:
    """What is cut counts; then answers wait for the verdict, which is recorded with its reason; other keys' do not."""
    async with served(tmp_path, answer="answer-0ms-500x5ms", threat="threat-50ms") as world:
        await world.key("call", waste_tokens=1)
        await world.chat(ATTACK)
        started = world.standin.stats()["models"]["answer-0ms-500x5ms"]["started"]
        assert (await world.chat(ATTACK)).decision == "refuse"
        assert world.standin.stats()["models"]["answer-0ms-500x5ms"]["started"] == started == 1
        await world.key("call")
        await world.chat(ATTACK)
        assert world.standin.stats()["models"]["answer-0ms-500x5ms"]["started"] == 2
        first, second, third = await world.records()
    assert [row.record.speculated for row in (first, second, third)] == [True, False, True]
    assert "waste budget" in second.record.why and "waste budget" not in first.record.why + third.record.why


async def test_over_its_share_of_refusals_a_key_loses_speculation(tmp_path: Path) -> None:
    """A key whose messages are mostly refused is answered late, never refused for it."""
    async with served(tmp_path) as world:
        await world.key("call", refusal_share=0.5)
        await asyncio.gather(*(world.chat(ATTACK) for _ in range(LEAST_DECISIONS)))
        assert (await world.chat(HONEST)).decision == "admit"
        *_, last = await world.records()
    assert not last.record.speculated and "refusals" in last.record.why


async def test_bounds_of_a_body(tmp_path: Path) -> None:
    """Each bound of the config is a 4xx that names the field and the bound; nothing reaches a model."""
    service = "max_body = 5000\nmax_messages = 3\nmax_tools = 1\nmax_n = 2\nmax_tokens = 10"
    tool = {"type": "function", "function": {"name": "f"}}
    async with served(tmp_path, service=service) as world:
        for more, status, param in (
            ({"text": "x" * 6000}, 413, None),
            ({"text": [{"role": "user", "content": "x"}] * 4}, 400, "messages"),
            ({"tools": [tool, tool]}, 400, "tools"),
            ({"n": 3}, 400, "n"),
            ({"max_tokens": 11}, 400, "max_tokens"),
            ({"max_completion_tokens": 11}, 400, "max_completion_tokens"),
        ):
            said = await world.chat(**more)  # type: ignore[arg-type]
            assert (said.status, said.json["error"]["param"]) == (status, param), said.raw
        assert world.standin.stats()["total"]["started"] == 0


async def test_an_upstream_that_is_full(tmp_path: Path) -> None:
    """Where no more calls may run or wait towards the upstream it is a 429 for those that are beyond, and no 5xx."""
    async with StandIn() as bots:
        places = {"upstream": "max_running = 1\nmax_queued = 1", "answer": "answer-50ms"}
        async with served(tmp_path, upstream_url=bots.base_url, **places) as world:
            said = await asyncio.gather(*(world.chat() for _ in range(12)))
            assert 0 < sum(map(turned_away, said)) < 12
            assert bots.stats()["total"]["peak_in_flight"] == 1
