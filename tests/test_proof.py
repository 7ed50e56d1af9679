"""The socket proof: thousands of refused messages against a stand-in in a process of its own leave nothing behind.

A tenth of it runs by default, all of it with SOAK=1; both figures are printed.
"""

import asyncio
import gc
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from door_world import ATTACK, HONEST, TEXTS, Doors, hear
from model_world import full_listener, no_proxy_of_the_machine, open_files, other_tasks, until
from quorate.apps.frontdoor import FrontDoor
from quorate.engine import abandoned_tasks
from quorate.models.http import Session
from quorate.testing.standin import Counts, SpawnedStandIn, spawn_standin
from quorate.testing.standin.profiles import REPLY

__all__ = ["no_proxy_of_the_machine"]
pytestmark = [pytest.mark.sockets, pytest.mark.timeout(1200)]
both_ways = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])

SOAK = os.environ.get("SOAK") == "1"
MESSAGES, OF_MESSAGES = (10_000 if SOAK else 1_000), 10_000
CANCELS, OF_CANCELS = (2_000 if SOAK else 200), 2_000
IN_FLIGHT = 60
LONG_ANSWERS = ("answer-0ms-9999x5ms", "answer-20s", "answer-20s+tool", "answer-3ms-9999x6ms")
QUICK_ANSWERS = ("answer-0ms+tool", "answer-1ms")


@pytest.fixture(scope="module")
def server() -> Iterator[SpawnedStandIn]:
    with spawn_standin() as spawned:
        yield spawned


@asynccontextmanager
async def nothing_left(server: SpawnedStandIn) -> AsyncIterator[Doors]:
    """Doors over a session: after the block no task and no connection is in use, after the session nothing is open."""
    server.reset()
    gc.collect()
    before = open_files(), other_tasks()
    async with Session() as session:
        yield Doors(server.base_url, session)
        assert other_tasks() == before[1]
        assert session.in_use == 0
        assert abandoned_tasks() == 0
    await until(lambda: open_files() == before[0])
    assert (open_files(), other_tasks()) == before
    await until(lambda: server.stats()["total"]["in_flight"] == 0)
    await until(lambda: server.stats()["connections_open"] == 0)
    for counts in (server.stats()["total"], *server.stats()["models"].values()):
        assert counts["started"] == counts["finished"] + counts["cut"] + counts["failed"]
        assert counts["tokens_after_cut"] == 0


def told(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def summed(models: dict[str, Counts], names: tuple[str, ...]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name in names:
        total.update(models.get(name, {}))
    return total


@both_ways
async def test_refused_messages_leave_nothing(
    server: SpawnedStandIn, stream: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a refused answer nothing reaches the caller, text or tool call; the server sees it cut; nothing is left over.

    Every twentieth message is an honest one beside them, which gets its whole answer.
    """
    outcomes: Counter[str] = Counter()
    async with nothing_left(server) as doors:
        names = (*LONG_ANSWERS, *QUICK_ANSWERS)
        checks = [("scope-20ms", "threat-5ms"), ("scope-5ms", "threat-20ms")]
        refusing = [
            doors.door(answer=name, scope=scope, threat=threat, stream=stream)
            for name in names
            for scope, threat in checks
        ]
        admitting = doors.door(answer="honest-answer-3ms", scope="scope-5ms", threat="threat-5ms", stream=stream)
        numbers = iter(range(MESSAGES))

        async def worker() -> None:
            for n in numbers:
                check = ("scope", "threat")[n // len(refusing) % 2]
                heard = await hear(refusing[n % len(refusing)], f"{ATTACK} [[flag:{check}]] {n}")
                assert heard.pieces == [TEXTS.texts["scope"]] or heard.pieces == [TEXTS.texts["threat"]]
                assert heard.error is None
                outcomes[heard.verdict[0]] += 1
                span = heard.decision.timeline["answer"] if heard.decision else None
                outcomes["answers cancelled"] += span is not None and span.ended == "cancelled"
                if n % 20 == 0:
                    honest = await hear(admitting, f"{HONEST} {n}")
                    assert (honest.text, honest.verdict, honest.error) == (REPLY, ("admit", None), None)
                    outcomes["honest"] += 1

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    models = server.stats()["models"]
    long, quick = summed(models, LONG_ANSWERS), summed(models, QUICK_ANSWERS)
    assert outcomes["refuse"] == MESSAGES
    assert (long["finished"], long["failed"], long["cut"]) == (0, 0, long["started"])
    assert long["cut_streamed" if stream else "cut_plain"] == long["cut"]
    # An answer that was refused before its request had left is not at the server at all.
    assert outcomes["answers cancelled"] >= long["cut"] > outcomes["answers cancelled"] / 2
    assert models["honest-answer-3ms"]["finished"] == outcomes["honest"] == MESSAGES // 20
    told(
        capsys,
        f"proof, {'streamed' if stream else 'plain'}: {MESSAGES} of {OF_MESSAGES} refused messages; "
        f"{outcomes['answers cancelled']} answers cancelled, {long['cut'] + quick['cut']} cut at the server, "
        f"{quick['finished']} finished unseen, 0 characters and 0 tool calls out; "
        f"{outcomes['honest']} honest ones answered beside them",
    )


async def cancelled_at_random(doors: list[FrontDoor], count: int, rng: random.Random) -> Counter[str]:
    """Send messages whose callers leave at any moment, a quarter of them insisting; count how they ended."""
    ends: Counter[str] = Counter()

    async def one(door: FrontDoor, text: str, after_s: float, *, insists: bool) -> None:
        caller = asyncio.create_task(hear(door, text))
        await asyncio.sleep(after_s)
        caller.cancel()
        if insists:
            await asyncio.sleep(0)
            caller.cancel()
        try:
            heard = await caller
        except asyncio.CancelledError:
            ends["cancelled"] += 1
            return
        ends[heard.verdict[0]] += 1
        assert heard.error is None
        whole = (REPLY, "")  # The latter from the model that calls a tool instead.
        assert heard.text in whole if heard.verdict[0] == "admit" else heard.text in TEXTS.all

    def drawn() -> float:
        """From before its first step, over connecting and the checks, to the middle of its answer."""
        return rng.choice([0.0, rng.uniform(0, 0.01), rng.uniform(0, 0.1), rng.uniform(0, 0.5)])

    await asyncio.gather(
        *(one(doors[n % len(doors)], rng.choice([HONEST, ATTACK]), drawn(), insists=n % 4 == 0) for n in range(count))
    )
    return ends


@both_ways
async def test_callers_that_leave_at_any_moment(
    server: SpawnedStandIn, stream: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller cancelled at any moment, while connecting too, takes everything along, whatever was going on."""
    ends: Counter[str] = Counter()
    rng, batch = random.Random(7), 50
    for _ in range(CANCELS // 2 // batch):  # The other half of the callers is the other way's.
        async with nothing_left(server) as doors:
            answers = ("answer-3ms-20x1ms", "answer-20s", "answer-0ms+tool", "answer+stall", "answer-5ms+slow-drip")
            made = [
                doors.door(answer=name, scope="scope-5ms", threat=threat, stream=stream)
                for name in answers[:3]
                for threat in ("threat-10ms", "threat+stall")
            ]
            ends += await cancelled_at_random(made, batch, rng)
    assert ends["cancelled"] > CANCELS // 8
    told(
        capsys, f"proof, {'streamed' if stream else 'plain'}: {CANCELS // 2} of {OF_CANCELS // 2} callers: {dict(ends)}"
    )


@both_ways
async def test_callers_that_leave_while_connecting(server: SpawnedStandIn, stream: bool) -> None:
    """Callers whose model's server accepts no more connections leave no file open and no task behind."""
    with full_listener() as port:
        async with nothing_left(server) as doors:
            stuck = Doors(f"http://127.0.0.1:{port}/v1", doors.session)
            door = doors.door(answer="answer-20s", scope="scope-1ms", stream=stream)
            door.checks["threat"] = stuck.door().checks["threat"]
            ends = await cancelled_at_random([door], CANCELS // 4, random.Random(11))
    assert ends == {"cancelled": CANCELS // 4}
