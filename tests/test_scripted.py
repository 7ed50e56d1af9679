"""The scripted model: it does what its script says, on the engine's clock, and names every misuse."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

import quorate.testing
from quorate.checks.prompt import Template, render
from quorate.engine import clock, fan_out
from quorate.errors import ModelUnavailable, QuorateError, StreamBroken, UsageError
from quorate.events import Branch, Usage, branch
from quorate.merges import Collect, First
from quorate.models import Message, Prompt, Reply, ToolCall, ToolCallDelta, ask
from quorate.testing import ScriptedModel, verdict
from quorate.testing.scripted import ScriptExhausted, ScriptUnfinished

HELLO = Prompt((Message("user", "hello!!!"),))
TEMPLATE = Template("threat-v1", "Judge.", "threat-v1@0")


async def streamed(model: ScriptedModel, prompt: Prompt = HELLO) -> tuple[list[Any], list[float], Reply]:
    """What a call emits, when, and its reply."""
    pieces: list[Any] = []
    times: list[float] = []
    began = clock.now()

    async def emit(delta: str | ToolCallDelta) -> None:
        pieces.append(delta)
        times.append(clock.now() - began)

    reply = await model.complete(prompt, emit)
    return pieces, times, reply


async def test_texts_stream_piece_by_piece_at_their_times() -> None:
    """Numbers are seconds before the next piece; the reply repeats the pieces whole."""
    model = ScriptedModel("m", [[0.3, "Hel", 0.5, "lo", 1.0], "again"])
    pieces, times, reply = await streamed(model)
    assert (pieces, times, reply.text, reply.model) == (["Hel", "lo"], [0.3, 0.8], "Hello", "m")
    assert clock.now() == 1.8
    assert (await model.complete(HELLO)).text == "again"
    model.finish()


async def test_a_verdict_echoes_the_nonce_of_its_prompt() -> None:
    """`verdict` answers with exactly the five fields and the nonce that this prompt drew, or with a forged one."""
    model = ScriptedModel("judge", [verdict(True, score=0.7, category="spam", reason="why"), verdict(False)] * 2)
    for _ in range(2):
        prompt, nonce = render(TEMPLATE, ['{"text": "nonce: 0123456789abcdef"}'], company="")
        said = json.loads((await model.complete(prompt)).text)
        assert said == {"violation": True, "score": 0.7, "category": "spam", "reason": "why", "nonce": nonce}
        passed = json.loads((await model.complete(prompt)).text)
        assert (passed["violation"], passed["score"], passed["category"]) == (False, 0.01, "none")
    forged = ScriptedModel("judge", [verdict(False, nonce="f00d")])
    assert json.loads((await forged.complete(prompt)).text)["nonce"] == "f00d"


async def test_errors_come_before_or_after_texts() -> None:
    """An exception in the script is raised in its place, after the pieces before it."""
    model = ScriptedModel("m", [ModelUnavailable("down"), ["par", StreamBroken("cut")]])
    with pytest.raises(ModelUnavailable, match="down"):
        await model.complete(HELLO)
    pieces: list[Any] = []

    async def emit(delta: str | ToolCallDelta) -> None:
        pieces.append(delta)

    with pytest.raises(StreamBroken, match="cut"):
        await model.complete(HELLO, emit)
    assert pieces == ["par"]


async def test_a_whole_reply_brings_its_tool_calls_and_usage() -> None:
    """A `Reply` step is returned as it is; its tool calls are streamed as deltas."""
    call = ToolCall("c1", "refund", '{"order": 1}')
    scripted = Reply("ok", "other", "tool_calls", (call,), Usage(1, 10, 20))
    pieces, _, reply = await streamed(ScriptedModel("m", [scripted]))
    assert pieces == ["ok", ToolCallDelta(0, "c1", "refund", '{"order": 1}')]
    assert reply == scripted


async def test_a_function_answers_by_rule() -> None:
    """A function from the prompt to an entry serves any number of calls, in any order."""
    model = ScriptedModel("m", lambda prompt: [0.1, prompt.messages[-1].content.upper()])
    assert [(await model.complete(HELLO)).text for _ in range(3)] == ["HELLO!!!"] * 3
    assert len(model.prompts) == 3
    model.finish()


async def test_usage_is_reported_and_estimated_on_a_cancel() -> None:
    """A finished call's usage is exact; a cut one's is estimated from what was said; an early failure costs nothing."""
    whole = ScriptedModel("whole", ["12345678"])
    cut = ScriptedModel("cut", [["1234", 5.0, "5678"]])
    failed = ScriptedModel("failed", [ModelUnavailable("down")])
    models = [whole, cut, failed]
    branches = [Branch(model.name, ask(model, HELLO, stream=True)) for model in models]

    async def late() -> str:
        await clock.sleep(1)
        return "late"

    merge: First[Any] = First(4, accept=lambda value: value == "late")
    async with fan_out([*branches, branch("late", late)], merge) as run:
        assert (await run.decided()).value == "late"
    assert run.timeline["whole"].usage == Usage(1, 2, 2)
    assert run.timeline["cut"].usage == Usage(1, 2, 1, estimated=True, cut_calls=1)
    assert run.timeline["failed"].usage == Usage(1)
    for model in models:
        model.finish()


async def test_calls_take_their_entries_in_the_order_they_came() -> None:
    """Calls made at once each get the next entry, so a run in virtual time is the same every time."""
    model = ScriptedModel("m", [[3.0, "a"], [1.0, "b"], [2.0, "c"]])
    calls = [branch(str(i), lambda: model.complete(HELLO)) for i in range(3)]
    async with fan_out(calls, Collect[Reply](3)) as run:
        texts = {name: reply.text for name, reply in (await run.decided()).value.values.items()}
    assert texts == {"0": "a", "1": "b", "2": "c"}
    assert clock.now() == 3


async def test_misuse_is_named() -> None:
    """A script that is too short, not used up, or of unknown steps is an error that says so."""
    model = ScriptedModel("m", ["one", "two"])
    with pytest.raises(ScriptUnfinished, match="m: 2 of 2 scripted calls were never made"):
        model.finish()
    await model.complete(HELLO)
    await model.complete(HELLO)
    model.finish()
    with pytest.raises(ScriptExhausted, match="call 3 of a script of 2"):
        await model.complete(HELLO)
    with pytest.raises(ScriptExhausted):
        model.finish()  # Even where the first error was swallowed on its way.
    with pytest.raises(UsageError, match="no nonce"):
        await ScriptedModel("m", [verdict(True)]).complete(HELLO)
    assert issubclass(ScriptExhausted, QuorateError)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([b"bytes"], "a step is a text"),
        ([True], "a step is a text"),
        ([[1.0, ["nested"]]], "a step is a text"),
        ([-1.0], "0 seconds or more"),
        ([float("nan")], "0 seconds or more"),
        ([[ValueError("x"), "after"]], "ends an entry"),
        ([[Reply("x", "m"), "after"]], "ends an entry"),
        ("hello", "list of entries"),
    ],
)
def test_a_wrong_script_is_told_at_once(script: Any, said: str) -> None:
    """What no script can hold is an error when the model is made, not when it is called."""
    with pytest.raises(UsageError, match=said):
        ScriptedModel("m", script)


async def test_a_cancel_during_emit_counts_what_was_said() -> None:
    """A call that is cut while its reader keeps it waiting records its usage once."""
    model = ScriptedModel("m", [["12345678", "more"]])
    branches = [Branch("m", ask(model, HELLO, stream=True), None)]
    async with fan_out(branches, Collect[Reply](1), held_bytes=4) as run:
        await clock.sleep(1)
    assert run.timeline["m"].usage == Usage(1, 2, 2, estimated=True, cut_calls=1)


def test_names_are_lazy_and_complete() -> None:
    """Importing quorate.testing loads no server; every public name resolves, is listed by dir(), and others fail."""
    code = (
        "import sys, quorate.testing as t; "
        "assert not [m for m in sys.modules if m.startswith('quorate.testing.')], sys.modules; "
        "t.ScriptedModel, t.verdict, t.run_virtual; assert 'quorate.testing.standin' not in sys.modules; "
        "t.StandIn; assert 'quorate.testing.standin' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in quorate.testing.__all__:
        assert getattr(quorate.testing, name).__name__ == name
    assert set(quorate.testing.__all__) <= set(dir(quorate.testing))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = quorate.testing.nothing_of_the_kind


def test_virtual_time_is_what_makes_it_deterministic() -> None:
    """The same script gives the same times, run after run, in no real time."""

    async def main() -> float:
        await ScriptedModel("m", [[3600, "x"]]).complete(HELLO)
        return asyncio.get_running_loop().time()

    assert {quorate.testing.run_virtual(main()) for _ in range(3)} == {3600}
