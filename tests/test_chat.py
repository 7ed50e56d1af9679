"""`/v1/chat/completions` over real sockets: held until allowed, byte-exact, refused in the same shape."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_world import answer, raw_server
from quorate.testing import StandIn
from service_world import ATTACK, HONEST, TOOL, served, until

pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both_ways
async def test_an_honest_message_is_answered_by_the_upstream(tmp_path: Path, stream: bool) -> None:
    """The upstream's text comes through, and the decision stands in a header."""
    async with served(tmp_path) as world:
        said = await world.chat(stream=stream)
        assert (said.status, said.decision) == (200, "admit")
        assert said.text.startswith("Thank you for your message")
        [record] = await world.records()
    assert (record.record.decision, record.outcome) == ("admit", "done")
    assert record.end is not None and record.end.reply == said.text


@both_ways
async def test_an_attack_is_refused_in_the_same_shape(tmp_path: Path, stream: bool) -> None:
    """A refusal is an assistant's message that ends with content_filter; nothing of the answer comes out."""
    async with served(tmp_path, answer="answer-0ms-20x5ms") as world:
        said = await world.chat(ATTACK, stream=stream)
        assert (said.status, said.decision) == (200, "refuse")
        assert "Thank you" not in said.raw.decode()
        last = said.events[-2] if stream else said.json
        assert last["choices"][0]["finish_reason"] == "content_filter"
        [record] = await world.records()
    assert (record.record.decision, record.record.decided_by) == ("refuse", "threat")
    assert record.record.reply == said.text


async def test_what_comes_out_is_what_the_upstream_sent(tmp_path: Path) -> None:
    """Every byte of the upstream's reply goes through unchanged, streamed or not, unknown fields included."""
    events = (
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant"},"x":  1}],"odd":[ ]}\n\n'
        b": a comment\r\n\r\n"
        b'event: y\ndata: {"choices":[{"index":1,"delta":{"content":"\\u00e9"},"logprobs":{"content":null}}]}\r\n\r\n'
        b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        b"data: [DONE]\n\n"
    )
    whole = b'{ "choices": [ {"index":0, "message": {"content":"hi"} } ], "odd" : 1.0 }'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(whole), whole)
    async with raw_server(head + events, plain) as upstream, served(tmp_path, upstream_url=upstream.base_url) as world:
        assert (await world.chat(stream=True)).raw == events
        assert (await world.chat()).raw == whole
        asked = upstream.asked[0]
    assert asked.json["model"] == "answer" and asked.json["messages"] == [{"role": "user", "content": HONEST}]
    assert "authorization" not in asked.headers


async def test_deltas_are_held_until_both_checks_have_passed(tmp_path: Path) -> None:
    """The upstream has said everything long before a slow check passes; not a byte comes before."""
    async with served(tmp_path, scope="scope-300ms", answer="answer") as world:
        asking = asyncio.create_task(world.chat(stream=True))
        await until(lambda: world.standin.stats()["models"].get("answer", {}).get("finished"))
        assert not asking.done()
        assert (await asking).decision == "admit"


async def test_a_line_is_kept_open_while_an_answer_is_held(tmp_path: Path) -> None:
    """With keepalive_s a comment goes out while the answer is held, and the decision stands in a field."""
    async with served(tmp_path, threat="threat-500ms", service="keepalive_s = 0.1") as world:
        said = await world.chat(ATTACK, stream=True)
    assert said.raw.startswith(b": held\n\n")
    assert said.decision == "pending"
    assert said.events[0]["quorate"] == {"decision": "refuse"}


@both_ways
@pytest.mark.parametrize(
    ("fault", "status"), [("429:7s", 429), ("500", 503), ("404", 404), ("401", 502), ("malformed", 502)]
)
async def test_an_upstream_that_fails_before_its_release(tmp_path: Path, fault: str, status: int, stream: bool) -> None:
    """It is an HTTP error in OpenAI's shape, and never an empty answer."""
    async with served(tmp_path, answer=f"answer+{fault}") as world:
        said = await world.chat(stream=stream)
        [record] = await world.records()
    assert said.status == status
    assert said.json["error"].keys() == {"message", "type", "param", "code"}
    assert (
        said.headers.get("Retry-After") == ("8" if status == 429 else "2" if fault == "500x" else None) or status == 503
    )
    assert (record.record.decision, record.outcome) == ("admit", "failed")


async def test_an_upstream_that_breaks_after_release_ends_in_an_error_event(tmp_path: Path) -> None:
    """One event with the error, no [DONE]."""
    async with served(tmp_path, answer="answer-0ms-20x5ms+cut-mid") as world:
        said = await world.chat(stream=True)
        [record] = await world.records()
    assert said.status == 200 and said.events[-1].keys() == {"error"}
    assert "[DONE]" not in said.events
    assert record.outcome == "failed"


async def test_a_check_that_blocks_wins_over_an_upstream_that_broke_first(tmp_path: Path) -> None:
    """The refusal is a refusal, never a 5xx."""
    async with served(tmp_path, threat="threat-100ms", answer="answer+500") as world:
        said = await world.chat(ATTACK)
    assert (said.status, said.decision) == (200, "refuse")


async def test_a_caller_who_leaves_cancels_everything(tmp_path: Path) -> None:
    """Its upstream call and its checks are cut at the server, and it is recorded as abandoned."""
    async with served(tmp_path, scope="scope-5s", answer="answer-5s") as world:
        asking = asyncio.create_task(world.chat(stream=True))
        await until(lambda: world.standin.stats()["total"]["started"] >= 3)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: world.standin.stats()["total"]["cut"] >= 2)
        await until(lambda: world.service.configs.live.users == 0)
        records = await world.records()
    assert (records[0].record.decision, records[0].outcome) == ("undecided", "abandoned")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "x"}, "previous_response_id"),
    ({"nonsense": 1}, "nonsense"),
    ({"n": 99}, "n"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"stream": "yes"}, "stream"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "user", "content": "x", "cache_control": {}}]}, "messages[0].cache_control"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
    ({"model": "gpt-5"}, "model"),
    ({"model": 5}, "model"),
    ({"tools": "all"}, "tools"),
    ({"tools": [TOOL] * 200}, "tools"),
]


async def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path) -> None:
    """A 4xx in OpenAI's shape that names the field; nothing reaches a model."""
    async with served(tmp_path) as world:
        for change, param in BAD:
            said = await world.post(
                "/v1/chat/completions",
                {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], **change},
            )
            assert said.status in (400, 404), change
            assert said.json["error"]["param"] == param
        assert world.standin.stats()["total"]["started"] == 0


RAW: list[bytes] = [
    b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": NaN}', b'{"model":"a","model":"b"}',
    b"[" * 100_000, b'{"a":' * 50_000,
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
]  # fmt: skip


async def test_bodies_that_are_no_request(tmp_path: Path) -> None:
    """Each gets a 400, and the service goes on."""
    async with served(tmp_path) as world:
        for raw in RAW:
            said = await world.post("/v1/chat/completions", raw)
            assert said.status == 400, raw[:40]
        assert (await world.post("/v1/chat/completions", b"x" * (3 << 20))).status == 413
        assert (await world.post("/v1/chat/completions", b"{}", **{"Content-Type": "text/plain"})).status == 415
        assert (await world.chat()).status == 200


async def test_routes_that_are_not_guarded_are_not_served(tmp_path: Path) -> None:
    """A 404 in OpenAI's shape, never a pass-through."""
    async with served(tmp_path) as world:
        for route in ("/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/files", "/", "/v1/chat/completions/x"):
            said = await world.post(route, {})
            assert said.status == 404 and said.json["error"]["code"] == "unknown_url"
        assert (await world.get("/v1/chat/completions")).status == 405
        assert world.standin.stats()["total"]["started"] == 0


def rounds(count: int) -> Iterator[list[dict[str, Any]]]:
    """The messages of a turn as its tools are called, longer each time."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": HONEST}]
    yield list(messages)
    for number in range(count):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "find_order", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"Order {number} is on its way."})
        yield list(messages)


async def test_tool_rounds_cost_one_scope_check(tmp_path: Path) -> None:
    """Ten rounds: scope is asked once, threat reads each new result, all in one conversation."""
    async with served(tmp_path) as world:
        for messages in rounds(10):
            said = await world.chat(messages, tools=[TOOL])
            assert said.decision == "admit"
        stats = world.standin.stats()["models"]
        records = await world.records()
    assert (stats["scope"]["started"], stats["threat"]["started"]) == (1, 11)
    assert len({row.record.conversation for row in records}) == 1


async def test_an_injected_tool_result_is_blocked(tmp_path: Path) -> None:
    """A result that carries an attack is read, although the turn had passed."""
    async with served(tmp_path) as world:
        *_, messages = rounds(1)
        assert (await world.chat(messages[:1], tools=[TOOL])).decision == "admit"
        messages[-1]["content"] = ATTACK
        said = await world.chat(messages, tools=[TOOL])
    assert said.decision == "refuse"


async def test_a_turn_of_another_key_is_not_taken_over(tmp_path: Path) -> None:
    """What one key was allowed tells nothing to another: scope is asked again."""
    async with served(tmp_path) as world:
        first, second = rounds(1)
        await world.key("call")
        await world.chat(first, tools=[TOOL])
        await world.key("call")
        await world.chat(second, tools=[TOOL])
        assert world.standin.stats()["models"]["scope"]["started"] == 2


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "web_search"}]},
        {"web_search_options": {}},
    ],
    ids=["tool", "search"],
)
async def test_what_acts_on_the_world_waits_for_the_verdict(tmp_path: Path, more: dict[str, Any]) -> None:
    """With a server-side tool the upstream is not asked before the checks have passed."""
    async with served(tmp_path) as world:
        assert (await world.chat(ATTACK, **more)).decision == "refuse"
        assert "answer" not in world.standin.stats()["models"]
        assert (await world.chat(HONEST, **more)).decision == "admit"
        records = await world.records()
    assert [row.record.speculated for row in records] == [False, False]


async def test_an_upstream_that_is_not_declared_harmless_waits(tmp_path: Path) -> None:
    """Without effects = "none" nothing overlaps."""
    async with served(tmp_path) as world:
        await world.reload(**{'effects = "none"': ""})
        await world.chat(ATTACK)
        assert "answer" not in world.standin.stats()["models"]


async def test_hidden_texts_are_read(tmp_path: Path) -> None:
    """Tool descriptions, schemas, names and tool results reach the threat check; images follow on_unread."""
    marked = "[[flag]]"
    tool = {"type": "function", "function": {"name": "f", "description": marked, "parameters": {}}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": marked}}}
    user = {"role": "user", "content": HONEST}
    requests: list[dict[str, Any]] = [
        {"tools": [tool]},
        {"response_format": schema},
        {"messages": [{**user, "name": marked}]},
        {"messages": [user, {"role": "tool", "tool_call_id": "1", "content": marked}]},
        {"messages": [{"role": "system", "content": marked}, user]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ]
    async with served(tmp_path) as world:
        for request in requests:
            said = await world.post("/v1/chat/completions", {"model": "gpt-4o", "messages": [user], **request})
            assert said.decision == "refuse", request


HI = answer("hi")


async def test_replayed_refusals_are_not_sent_on(tmp_path: Path) -> None:
    """After a refusal an honest question is admitted, and the upstream never sees the refused turn."""
    async with raw_server(HI) as upstream, served(tmp_path, upstream_url=upstream.base_url) as world:
        told = (await world.chat(ATTACK)).text
        turns = {"user": ATTACK, "assistant": told}
        messages = [{"role": role, "content": text} for role, text in turns.items()]
        said = await world.chat([*messages, {"role": "user", "content": HONEST}])
    assert said.decision == "admit"
    assert upstream.asked[-1].json["messages"] == [{"role": "user", "content": HONEST}]


async def test_a_message_may_come_back_with_empty_fields(tmp_path: Path) -> None:
    """What a client gave out of an answer may be sent back whole: fields without a value are no mistake."""
    async with raw_server(HI) as upstream, served(tmp_path, upstream_url=upstream.base_url) as world:
        reply = {"role": "assistant", "content": "Hi.", "audio": None, "refusal": None, "reasoning_content": None}
        user = {"role": "user", "content": HONEST}
        assert (await world.chat([user, reply, user])).status == 200
    assert upstream.asked[0].json["messages"][1] == {"role": "assistant", "content": "Hi."}


async def test_json_is_sent_on_as_it_was_read(tmp_path: Path) -> None:
    """A lone surrogate is replaced for checks and upstream alike; inert fields pass."""
    raw = b'{"model":"gpt-4o","temperature":0.5,"user":"u1","messages":[{"role":"user","content":"It is \\ud800?"}]}'
    async with raw_server(HI) as upstream, served(tmp_path, upstream_url=upstream.base_url) as world:
        said = await world.post("/v1/chat/completions", raw)
        assert said.status == 200
    sent = upstream.asked[0].json
    assert sent["messages"][0]["content"] == "It is \ufffd?"
    assert (sent["temperature"], sent["user"]) == (0.5, "u1")


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After many requests of every kind no task runs, no call is open and no config is in use."""
    async with served(tmp_path, standin=StandIn(), answer="answer-5ms-10x1ms") as world:
        before = len(asyncio.all_tasks())
        texts = [HONEST, ATTACK] * 20
        await asyncio.gather(*(world.chat(text, stream=number % 3 == 0) for number, text in enumerate(texts)))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        live = world.service.configs.live
        assert live.users == 0 and live.app.session.in_use == 0
        assert len(await world.records()) == 40
        assert json.loads((await world.get("/readyz")).raw)["ready"] is True
