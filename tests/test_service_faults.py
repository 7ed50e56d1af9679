"""The fault matrix through the service: every fault, in each of the three calls, streamed and plain."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from model_world import no_proxy_of_the_machine
from quorate.merges import OnError
from quorate.testing import StandIn
from quorate.testing.standin import Fixed, Profile
from quorate.testing.standin.profiles import KINDS
from service_world import HONEST, Said, Served, served, until

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets

CANARY = "The canary 7f3a sits in this answer and sings, from its first word to its very last word."
LATE = ("429", "429:20ms", "503")  # With Retry-After: whoever asks next has to wait.
STATUSES = ("400", "401", "403", "404", "408", "413", "422", "500", "502", "504", "529", *LATE)
STALLS = ("slow-drip", "stall", "stall:2s", "stall-mid")
QUICK = (*sorted(KINDS - {"ok", *STALLS}), *STATUSES)
LEARNED = ("no-schema", "no-format")
OF_VERDICTS = ("wrong-nonce", "no-nonce", "second-verdict", "bad-verdict", "bad-types")
SAID = {"empty": "", "extra-text": f"{CANARY}\n\nAnd one more thing."}
HARMLESS_TO_ANSWERS = (*LEARNED, *OF_VERDICTS, *SAID)
MID = ("cut-mid", "stall-mid")
PASSED_ON = {"400": 400, "404": 404, "413": 413, "422": 422, "429": 429, "429:20ms": 429}
OUTCOME = {"block": "refuse", "allow": "admit", "escalate": "escalate"}
ON_ERROR: tuple[OnError, ...] = ("block", "allow", "escalate")
HUGE = 9 << 20
HASTE = "first_s = 1.0\nidle_s = 1.0\ntotal_s = 1.0"
PROFILES = {
    "answer": Profile(reply=CANARY, token_s=0.001, huge_bytes=HUGE),
    "late": Profile(Fixed(0.03), reply=CANARY, token_s=0.001, huge_bytes=HUGE),
    "scope": Profile(huge_bytes=HUGE),
    "threat": Profile(huge_bytes=HUGE),
    "slow-scope": Profile(Fixed(0.05)),
    "slow-threat": Profile(Fixed(0.05)),
}
both_ways = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
of_faults = pytest.mark.parametrize("faults", [QUICK, STALLS], ids=["broken", "stalled"])


@asynccontextmanager
async def world(tmp_path: Path, name: str, faults: tuple[str, ...], **changes: str) -> AsyncIterator[Served]:
    """A service over the stand-in; at the end no call or config is in use and each request has its record and end."""
    places = ({"models": HASTE, "upstream": HASTE} if faults == STALLS else {}) | changes
    folder = tmp_path / name
    folder.mkdir()
    async with served(folder, standin=StandIn(PROFILES), **places) as made:
        yield made
        live = made.service.configs.live
        await until(lambda: live.users == 0 and live.app.session.in_use == 0 and made.service.admission.running == 0)
        await until(lambda: made.standin.stats()["total"]["in_flight"] == 0)
        records = await made.records()
        assert {row.outcome for row in records} <= {"done", "failed"}


async def every(cases: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them beside each other: most of their time is waiting."""
    async with asyncio.TaskGroup() as group:
        for case in cases:
            group.create_task(case)


def held_back(said: Said, fault: str) -> None:
    """Nothing of the answer is in what went out, and it is an ordinary message."""
    assert said.status == 200, (fault, said.raw)
    assert "canary" not in said.raw.decode() and "sings" not in said.raw.decode(), fault
    last = said.events[-2] if "event-stream" in said.headers["Content-Type"] else said.json
    assert last["choices"][0]["finish_reason"] == "content_filter", fault


@pytest.mark.parametrize("on_error", ON_ERROR)
async def test_a_fault_in_a_check(tmp_path: Path, on_error: OnError) -> None:
    """A check that breaks ends as its on_error says, beside an answer that is ready; it is never a 5xx."""

    async def one(broken: str, stream: bool, faults: tuple[str, ...]) -> None:
        name = f"{broken} {stream} {len(faults)}"
        async with world(tmp_path, name, faults, checks=f'on_error = "{on_error}"') as made:
            for fault in faults:
                made.standin.inject(broken, fault)
                said = await made.chat(stream=stream)
                assert said.status == 200, (fault, said.raw)
                expected = "admit" if fault in LEARNED else OUTCOME[on_error]
                assert said.decision == expected, fault
                if expected == "admit":
                    assert said.text == CANARY, fault
                else:
                    held_back(said, fault)
            records = await made.records()
        for row, fault in zip(records, faults, strict=True):
            verdict = next(kept for kept in row.record.verdicts if kept["check"] == broken)
            assert verdict["outcome"] == ("pass" if fault in LEARNED else "error"), fault
            assert row.outcome == "done", fault

    ways = product(("scope", "threat"), (True, False), (QUICK, STALLS))
    await every(one(*way) for way in ways)


@pytest.mark.parametrize("on_error", ON_ERROR)
async def test_a_fault_beside_a_flag(tmp_path: Path, on_error: OnError) -> None:
    """The other check flags, later: it is a refusal, whatever broke before and whatever that would have meant."""

    async def one(broken: str, stream: bool, faults: tuple[str, ...]) -> None:
        flagging = "threat" if broken == "scope" else "scope"
        changes = {"checks": f'on_error = "{on_error}"', flagging: f"slow-{flagging}"}
        async with world(tmp_path, f"{broken} {stream} {len(faults)}", faults, **changes) as made:
            for fault in faults:
                made.standin.inject(broken, fault)
                said = await made.chat(f"{HONEST} [[flag:{flagging}]]", stream=stream)
                assert said.decision == "refuse", fault
                held_back(said, fault)
            records = await made.records()
        for row, fault in zip(records, faults, strict=True):
            assert row.record.decided_by == flagging or on_error == "block", fault

    ways = product(("scope", "threat"), (True, False), (QUICK, STALLS))
    await every(one(*way) for way in ways)


def also(*names: str) -> str:
    """More models for the allow-list: one for each fault of each of these."""
    return "".join(f', "{name}+{fault}" = "{name}+{fault}"' for name in names for fault in (*QUICK, *STALLS))


async def ask(made: Served, model: str, text: str, *, stream: bool) -> Said:
    messages = [{"role": "user", "content": text}]
    return await made.post("/v1/chat/completions", {"model": model, "messages": messages, "stream": stream})


def broke(said: Said, fault: str, *, stream: bool) -> None:
    """An error in OpenAI's shape with its status; or, after the release, one event that is the last."""
    if said.status == 200:
        assert stream, fault
        errors = [event for event in said.events if event != "[DONE]" and "error" in event]
        assert errors == said.events[-1:], fault
        assert CANARY.startswith(said.text), fault
        assert b"[DONE]" not in said.raw, fault
    else:
        known = (PASSED_ON[fault],) if fault in PASSED_ON else (502, 503)
        assert said.status in known, (fault, said.status)
        assert said.json["error"].keys() == {"message", "type", "param", "code"}, fault
        assert "canary" not in said.raw.decode(), fault
        assert said.status != 429 or int(said.headers["Retry-After"]) >= 1, fault


@both_ways
@of_faults
@pytest.mark.parametrize("name", ["answer", "late"], ids=["before the decision", "after the decision"])
async def test_a_fault_of_the_upstream(tmp_path: Path, name: str, faults: tuple[str, ...], stream: bool) -> None:
    """An honest message gets the whole answer or an error that says so; never a part that reads like a whole."""
    async with world(tmp_path, name, faults, also=also(name)) as made:
        for fault in faults:
            said = await ask(made, f"{name}+{fault}", HONEST, stream=stream)
            if fault in HARMLESS_TO_ANSWERS:
                assert (said.status, said.text) == (200, SAID.get(fault, CANARY)), fault
                assert not stream or said.events[-1] == "[DONE]", fault
            else:
                broke(said, fault, stream=stream)
        records = await made.records()
    for row, fault in zip(records, faults, strict=True):
        assert row.record.decision == "admit", fault
        assert row.outcome == ("done" if fault in HARMLESS_TO_ANSWERS else "failed"), fault


@both_ways
@of_faults
async def test_a_fault_of_the_upstream_beside_a_flag(tmp_path: Path, faults: tuple[str, ...], stream: bool) -> None:
    """An attack is refused in the ordinary shape, however the upstream breaks before the verdict or after it."""
    async with world(tmp_path, "flag", faults, threat="slow-threat", also=also("answer")) as made:
        for fault in faults:
            said = await ask(made, f"answer+{fault}", f"{HONEST} [[flag:threat]]", stream=stream)
            assert said.decision == "refuse", fault
            held_back(said, fault)


async def test_a_fault_after_the_release_is_one_event(tmp_path: Path) -> None:
    """What had gone out is a prefix, the error is the last event, and nothing says that the answer was whole."""
    profile = Profile(reply=CANARY, token_s=0.02)
    async with world(tmp_path, "mid", STALLS) as made:
        made.standin.configure("answer", profile)
        for fault in MID:
            made.standin.inject("answer", fault)
            said = await made.chat(stream=True)
            assert said.status == 200 and CANARY.startswith(said.text) and said.text
            broke(said, fault, stream=True)
