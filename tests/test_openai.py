"""The openai model over real sockets: what it asks, what it understands, what it learns, and never shows."""

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_world import (
    HASTE,
    KEY,
    QUESTION,
    STREAM,
    Asked,
    Ear,
    answer,
    complete,
    error,
    events,
    model_at,
    no_proxy_of_the_machine,
    raw_server,
    response,
    usage_of,
)
from quorate.errors import (
    BadReply,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    UsageError,
)
from quorate.events import Usage
from quorate.models import Message, Prompt, ToolCall, ToolCallDelta
from quorate.models.http import Session
from quorate.models.openai import OpenAIModel, Price
from quorate.testing.standin import StandIn
from quorate.testing.standin.profiles import REPLY

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])

SCHEMA = json.dumps(
    {"type": "object", "properties": {name: {} for name in ("violation", "score", "category", "reason", "nonce")}}
)
HOSTILE = (
    "",
    "\x00\x1b[2J",
    '"}]}\n\ndata: [DONE]',
    "\ud800 alone",
    "\u2028\u2029\x85",
    "𝔊" * 50,
    "\\u0000\\",
    "\r\nX: y",
)


# What is asked and what is understood


@both_ways
async def test_answers(stream: bool) -> None:
    """A reply carries the text, the reason it ended, and the server's own count of tokens, priced."""
    async with StandIn() as server, Session() as session:
        model = model_at(server.base_url, session, "answer-1ms", price=Price(1.0, 10.0))
        ear = Ear()
        reply = await complete(model, stream=stream, ear=ear)
        assert (reply.text, reply.finish_reason, reply.model, reply.tool_calls) == (REPLY, "stop", "answer-1ms", ())
        assert (reply.usage.calls, reply.usage.output_tokens, reply.usage.estimated) == (1, 20, False)
        assert reply.usage.cost_usd == pytest.approx((reply.usage.input_tokens + 200) / 1e6)
        assert len(ear.heard) == (20 if stream else 0)
        short = await complete(model, stream=stream, prompt=Prompt(QUESTION.messages, max_tokens=3))
        assert (short.finish_reason, short.usage.output_tokens) == ("length", 3)
        assert await usage_of(model, stream=stream) == reply.usage


@both_ways
async def test_tool_calls_are_data(stream: bool) -> None:
    """Tool calls arrive whole, in their order, with their arguments unparsed; streamed, their pieces add up to them."""
    async with StandIn() as server, Session() as session:
        ear = Ear()
        tools = ({"type": "function", "function": {"name": "lookup", "parameters": {}}},)
        prompt = Prompt(QUESTION.messages, tools=tools)
        reply = await complete(model_at(server.base_url, session, "answer+tool"), stream=stream, prompt=prompt, ear=ear)
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("lookup", '{"order": "A-1001"}')]
        assert (reply.text, reply.finish_reason) == ("", "tool_calls")
        pieces = [delta for delta in ear.heard if isinstance(delta, ToolCallDelta)]
        assert "".join(piece.arguments for piece in pieces) == (reply.tool_calls[0].arguments if stream else "")


async def test_tool_calls_of_other_servers() -> None:
    """Calls that interleave are told apart by index; arguments that came as an object become JSON."""
    odd = [
        {"index": 1, "id": "b", "function": {"name": "two", "arguments": "{"}},
        {"index": 0, "id": "a", "function": {"name": "one", "arguments": None}},
        {"index": 1, "function": {"arguments": "}"}},
        {"index": "x", "id": 7, "function": {"name": None, "arguments": {"q": "ü"}}},
    ]
    chunks = [{"choices": [{"delta": {"tool_calls": [call]}}]} for call in odd]
    async with raw_server(events(*chunks)) as server, Session() as session:
        reply = await complete(model_at(server.base_url, session), stream=True)
        assert reply.tool_calls == (ToolCall("a", "one", '{"q": "\\u00fc"}'), ToolCall("b", "two", "{}"))


message = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.text() | st.sampled_from(HOSTILE),
    st.just(()) | st.just(({"id": "c", "function": {"name": "f", "arguments": "{}"}},)),
    st.none() | st.text(max_size=5),
)


@given(
    messages=st.lists(message, min_size=1, max_size=4),
    tokens=st.none() | st.integers(1, 9999),
    stream=st.booleans(),
    name=st.text(min_size=1, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_asked_is_one_json_object(messages: Any, tokens: int | None, stream: bool, name: str) -> None:
    """No text of a prompt ends its place in the request: the server reads exactly the messages that were given."""

    async def test() -> Any:
        async with raw_server(events("ok") if stream else answer("ok")) as server, Session() as session:
            prompt = Prompt(tuple(messages), tokens, 0.5, SCHEMA, name)
            await complete(model_at(server.base_url, session, name), stream=stream, prompt=prompt)
            return server.asked[0].json

    body = asyncio.run(test())
    assert [(m["role"], m["content"]) for m in body["messages"]] == [(m.role, m.content) for m in messages]
    linked = [m.tool_call_id if m.role != "system" else None for m in messages]
    assert [m.get("tool_call_id") for m in body["messages"]] == linked
    assert (body["model"], body.get("max_tokens"), body["temperature"]) == (name, tokens, 0.5)
    assert body["response_format"]["json_schema"] == {"name": name, "strict": True, "schema": json.loads(SCHEMA)}
    assert (body.get("stream", False), "stream_options" in body) == (stream, stream)


@both_ways
@pytest.mark.parametrize("text", HOSTILE)
async def test_any_text_comes_back(text: str, stream: bool) -> None:
    """A reply's text is the server's, whatever is in it, but for lone surrogates, which nothing after us can carry."""
    async with raw_server(events(text) if stream else answer(text)) as server, Session() as session:
        reply = await complete(model_at(server.base_url, session), stream=stream)
        assert reply.text == text.replace("\ud800", "\ufffd")
        reply.text.encode()


@pytest.mark.parametrize("query", ["", "?api-version=2024-10-21&x=a%26b"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_base_url(query: str, slash: str) -> None:
    """The path of the call goes between the base URL's path and its query."""
    async with raw_server(answer()) as server, Session() as session:
        await model_at(f"{server.base_url}{slash}{query}", session).complete(QUESTION)
        assert server.asked[0].line == f"POST /v1/chat/completions{query} HTTP/1.1"


@pytest.mark.parametrize("base", ["ftp://x/v1?k=" + KEY, "x", "", "http://", f"https://u:{KEY}@host/v1", "file:///etc"])
def test_bad_base_url(base: str) -> None:
    """An address that is none, or that carries credentials, is the caller's mistake, and is not repeated."""
    with pytest.raises(UsageError) as caught:
        OpenAIModel("m", base_url=base, session=Session())
    assert KEY not in str(caught.value)


async def test_connections_are_used_again() -> None:
    """Calls one after another, streamed and not, share a connection."""
    async with StandIn() as server, Session() as session:
        model = model_at(server.base_url, session, "answer")
        for stream in (False, True, True, False, False):
            await complete(model, stream=stream)
        assert server.stats()["connections_opened"] == 1
        assert session.in_use == 0


# What servers lack


async def test_learns_what_the_server_lacks() -> None:
    """A server without JSON schema gets json_object, one without either gets neither; it is told once and for all."""
    prompt = Prompt((Message("system", "Judge.\nnonce: abc1"), Message("user", "Hi")), schema=SCHEMA)
    async with StandIn() as server, Session() as session:
        for fault, refusals in (("no-schema", 1), ("no-format", 2)):
            model = model_at(server.base_url, session, f"check+{fault}")
            for _ in range(3):
                reply = await model.complete(prompt)
                assert json.loads(reply.text)["nonce"] == "abc1"
            assert server.stats()["faults"][fault] == refusals
        assert (await usage_of(model, stream=False, prompt=prompt)).calls == 1
        again = model_at(server.base_url, session, "check+no-format")
        assert (await usage_of(again, stream=False, prompt=prompt)).calls == 3


async def test_learns_once_for_many() -> None:
    """Calls that meet a server's lack at the same time all succeed, and none takes another's lesson for two."""
    prompt = Prompt((Message("user", "Hi"),), schema=SCHEMA)

    async def picky(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        style = asked.json.get("response_format", {}).get("type")
        known = style == "json_object"
        writer.write(answer() if known else error(f"'response_format' of type '{style}' is not supported"))

    async with raw_server(picky) as server, Session() as session:
        model = model_at(server.base_url, session)
        await asyncio.gather(*(model.complete(prompt) for _ in range(30)))
        assert [a.json.get("response_format", {}).get("type") for a in server.asked].count(None) == 0


@pytest.mark.parametrize(
    ("lacks", "says", "sends"),
    [
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_completion_tokens",
        ),
        ("stream_options", "Unrecognized request argument supplied: stream_options", None),
        ("temperature", "'temperature' does not support 0.0 with this model.", None),
    ],
)
async def test_learns_parameters(lacks: str, says: str, sends: str | None) -> None:
    """A parameter that the server does not know is left out, or sent by its newer name, after one refusal."""

    async def picky(asked: Asked, writer: asyncio.StreamWriter) -> None:
        refused = error(says, "400 Bad Request", "Connection: close")
        writer.write(refused if lacks in asked.json else events("ok"))
        writer.close()

    async with raw_server(picky) as server, Session() as session:
        model = model_at(server.base_url, session)
        prompt = Prompt(QUESTION.messages, max_tokens=9, temperature=0.0)
        for _ in range(3):
            assert (await complete(model, stream=True, prompt=prompt)).text == "ok"
        assert [lacks in asked.json for asked in server.asked] == [True, False, False, False]
        assert sends is None or [asked.json.get(sends) for asked in server.asked[1:]] == [9, 9, 9]


async def test_learns_nothing_from_other_refusals() -> None:
    """A server that refuses for ever is asked a bounded number of times, and a model's own name teaches nothing."""
    everything = "json_schema response_format stream_options max_completion_tokens max_tokens temperature"
    async with raw_server(error(everything)) as server, Session() as session:
        with pytest.raises(ModelRefused):
            await complete(model_at(server.base_url, session), stream=True)
        assert len(server.asked) <= 6
    async with raw_server(error("no"), error(everything, "401 Unauthorized")) as server, Session() as session:
        for _ in range(2):
            with pytest.raises(ModelRefused):
                await complete(model_at(server.base_url, session, "json_schema max_tokens"), stream=False)
        assert len(server.asked) == 2


# Keys and addresses


async def failures(session: Session) -> list[BaseException]:
    """Every way to fail in which a server repeats the key that it was sent."""
    told = f"Incorrect API key provided: {KEY}."
    says = [
        *(
            error(told, status)
            for status in ("400 Bad", "401 No", "404 No", "429 Slow", "500 Oops", "503 Off", "302 Go")
        ),
        response(told.encode(), f"X-Key: {KEY}", status="401 No"),
        response(told.encode() * 5000, status="500 Oops"),
        response(told.encode()),
        response(b"", f"Location: http://{KEY}.test/", status="307 There"),
        f"HTTP/1.1 2x0 {KEY}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(),
        events({"error": {"message": told}}),
        events("a", {"error": told}),
        events(f"data: {KEY}\n\n".encode()),
        STREAM,
    ]
    caught: list[BaseException] = []
    for said in says:
        for stream in (False, True):
            async with raw_server(said) as server:
                model = model_at(server.base_url, session, api_key=KEY)
                try:
                    await complete(model, stream=stream)
                except ModelError as failure:
                    caught.append(failure)
                assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    async with raw_server() as gone:
        pass
    try:
        await model_at(gone.base_url, session, api_key=KEY).complete(QUESTION)
    except ModelUnavailable as failure:
        caught.append(failure)
    assert len(caught) == 2 * len(says) + 1
    return caught


async def test_the_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The key stands in no error, none of its causes, no repr and no log, even if the server repeats it."""
    caplog.set_level(logging.DEBUG)
    async with Session() as session:
        for caught in await failures(session):
            chain: BaseException | None = caught
            while chain is not None:
                assert KEY not in f"{chain!r} {chain} {getattr(chain, '__notes__', '')}"
                chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        model = model_at("http://127.0.0.1:9/v1", session, api_key=KEY)
        assert KEY not in f"{model!r} {model} {session!r} {model.name}"
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", [KEY + "\n", "a\r\nX-Evil: 1", "\x00", "ключ", "a\tb"])
def test_a_key_that_is_no_header(key: str) -> None:
    """A key that could end its header is refused before anything is sent, without being shown."""
    with pytest.raises(UsageError) as caught:
        OpenAIModel("m", base_url="http://127.0.0.1:9/v1", session=Session(), api_key=key)
    assert key.strip() not in str(caught.value)


@both_ways
async def test_follows_no_redirect(stream: bool) -> None:
    """A redirect is an error; nobody is asked at the address it names, and no cookie is kept."""
    async with StandIn() as server, Session() as session:
        with pytest.raises(ModelRefused, match="307") as caught:
            await complete(model_at(server.base_url, session, "answer+redirect", api_key=KEY), stream=stream)
        assert caught.value.status == 307
        assert server.stats()["redirects_followed"] == 0
    async with raw_server(response(b"{}", "Set-Cookie: a=b"), answer()) as server, Session() as session:
        model = model_at(server.base_url, session)
        with pytest.raises(BadReply):
            await model.complete(QUESTION)
        await model.complete(QUESTION)
        assert not any("cookie" in asked.headers for asked in server.asked)


# Usage


@both_ways
@pytest.mark.parametrize("name", ["answer-20s", "answer-0ms-500x60ms"])
async def test_usage_of_a_cut_call(name: str, stream: bool) -> None:
    """A call that was cut is estimated: the prompt, and what was heard (streamed) or allowed (not) of the reply."""
    async with StandIn() as server, Session() as session:
        usage = await usage_of(model_at(server.base_url, session, name), stream=stream, cut_after_s=0.1)
        heard = server.stats()["total"]["tokens_generated"]
        assert (usage.calls, usage.cut_calls, usage.estimated) == (1, 1, True)
        assert usage.input_tokens > 0
        allowed = 64
        assert usage.output_tokens == allowed if not stream else usage.output_tokens <= heard + 1
        assert not stream or (usage.output_tokens > 0) == (name != "answer-20s")


@both_ways
@pytest.mark.parametrize("name", ["answer+400", "answer+429", "answer+500", "answer+redirect"])
async def test_usage_of_a_refused_call(name: str, stream: bool) -> None:
    """A call that the server refused is one call and no tokens, and that is no estimate."""
    async with StandIn() as server, Session() as session:
        assert await usage_of(model_at(server.base_url, session, name), stream=stream) == Usage(1)


@both_ways
@pytest.mark.parametrize(
    "name", ["answer+stall", "answer+cut", "answer+cut-mid", "answer+stall-mid", "answer+malformed"]
)
async def test_usage_of_a_broken_call(name: str, stream: bool) -> None:
    """A call that broke for other reasons is an estimate, and nobody's cancel."""
    async with StandIn() as server, Session() as session:
        usage = await usage_of(model_at(server.base_url, session, name, timeouts=HASTE), stream=stream)
        assert (usage.calls, usage.cut_calls, usage.estimated) == (1, 0, True)
        assert usage.input_tokens > 0


@both_ways
async def test_what_stands_in_a_requests_head(stream: bool) -> None:
    """JSON is said to be JSON, no packed reply is asked for, and one model's key is not another's."""
    said = events({"choices": [{"delta": {"content": "Hello"}}]}) if stream else answer()
    async with raw_server(said) as server, Session() as session:
        await complete(model_at(server.base_url, session, api_key=KEY), stream=stream)
        await complete(model_at(server.base_url, session), stream=stream)
    first, second = (asked.headers for asked in server.asked)
    for head in (first, second):
        assert head["content-type"] == "application/json"
        assert (head["accept-encoding"], head["user-agent"]) == ("identity", "quorate")
    assert first["authorization"] == f"Bearer {KEY}" and "authorization" not in second


async def test_a_reply_in_pieces_is_read_to_its_end() -> None:
    """However the network cuts a body, all of it is read."""
    whole = answer("Hello " * 2000)

    async def slowly(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(whole), 5000):
            writer.write(whole[start : start + 5000])
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_server(slowly) as server, Session() as session:
        reply = await complete(model_at(server.base_url, session), stream=False)
    assert reply.text == "Hello " * 2000
