"""The openai model and servers that break: each error's kind, bounds on what is read, and any bytes at all."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_world import (
    QUESTION,
    STREAM,
    Asked,
    Ear,
    complete,
    error,
    events,
    model_at,
    no_proxy_of_the_machine,
    raw_server,
    response,
    until,
    usage_of,
)
from quorate.errors import (
    BadReply,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    QuorateError,
    RateLimited,
    StreamBroken,
)
from quorate.events import Usage
from quorate.models.http import Session
from quorate.models.openai import Price, Timeouts
from quorate.testing.standin import StandIn

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# Errors


@both_ways
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, ModelRefused) for status in (201, 204, 304, 400, 401, 403, 404, 413, 422)),
        *((status, ModelUnavailable) for status in (408, 409, 425, 500, 501, 502, 503, 504, 529)),
        (429, RateLimited),
    ],
)
async def test_statuses(status: int, kind: type[ModelError], stream: bool) -> None:
    """Each status is one kind of error: worth another try, or not; the server's text is quoted, never raw."""
    said = "nope\x1b[31m\r\n" + "x" * 9999
    body = b"" if status in (204, 304) else json.dumps({"error": {"message": said}}).encode()
    head = response(body, status=f"{status} Whatever")
    async with raw_server(head) as server, Session() as session:
        with pytest.raises(kind) as caught:
            await complete(model_at(server.base_url, session), stream=stream)
        assert type(caught.value) is kind
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500
        assert session.in_use == 0
        assert await usage_of(model_at(server.base_url, session), stream=stream) == Usage(1)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("", None),
        ("86400", None),
    ],
)
@pytest.mark.parametrize("status", ["429 Slow", "503 Off", "500 Oops"])
async def test_retry_after(said: str, seconds: float | None, status: str) -> None:
    """Retry-After in seconds is passed on; what is no sensible number of seconds counts as absent."""
    async with raw_server(error("later", status, f"Retry-After: {said}")) as server, Session() as session:
        with pytest.raises(ModelUnavailable) as caught:
            await model_at(server.base_url, session).complete(QUESTION)
        assert caught.value.retry_after_s == seconds


BROKEN_PLAIN = [
    *(b"", b"{", b"null", b"[]", b'"text"', b"7", b"NaN", b"\xff\xfe{", b"[" * 100_000, b"{}", b'{"choices":[]}'),
    *(b'{"choices":{}}', b'{"choices":[7]}', b'{"choices":[{}]}', b'{"choices":[{"message":null}]}'),
    *(b'{"choices":[{"message":{"tool_calls":5}}]}', b'{"choices":[{"message":{"tool_calls":{"a":1}}}]}'),
    *(b'{"choices":[{"message":{"tool_calls":[5]}}]}', b'{"choices":[{"message":{"tool_calls":"abc"}}]}'),
    *(b'{"choices":[{"message":{"tool_calls":[{"function":7}]}}]}', b'{"choices":[{"message":{}}]} {}'),
]


@pytest.mark.parametrize("body", BROKEN_PLAIN, ids=range(len(BROKEN_PLAIN)))
async def test_a_reply_that_is_none(body: bytes) -> None:
    """What is not a chat completion is a bad reply, never an empty answer and never a foreign error."""
    async with raw_server(response(body)) as server, Session() as session:
        with pytest.raises(BadReply):
            await model_at(server.base_url, session).complete(QUESTION)


BROKEN_STREAM: list[tuple[bytes, type[ModelError]]] = [
    (events(b"data: {\n\n"), BadReply),
    (events(b"data: 7\n\n"), BadReply),
    (events(b"data: " + b"[" * 100_000 + b"\n\n"), BadReply),
    (events(b"data: \xff\xfe\n\n"), BadReply),
    (events("a", {"choices": [{"delta": {"tool_calls": 5}}]}), BadReply),
    (events("a", {"choices": [{"delta": {"tool_calls": ["x"]}}]}), BadReply),
    (events("a", b"data: {\n\n"), BadReply),
    (events("a", done=False), StreamBroken),
    (events("a", {"error": {"message": "out of memory"}}), StreamBroken),
    (events({"error": "out of memory"}), ModelUnavailable),
    (events(done=False), ModelUnavailable),
    (events(b": ping\n\n" * 50, done=False), ModelUnavailable),
    (response(b"{}"), ModelUnavailable),
]


@pytest.mark.parametrize(("said", "kind"), BROKEN_STREAM, ids=range(len(BROKEN_STREAM)))
async def test_a_stream_that_breaks(said: bytes, kind: type[ModelError]) -> None:
    """A stream without its end is an error: worth another try before its first piece, `StreamBroken` after it."""
    async with raw_server(said) as server, Session() as session:
        with pytest.raises(kind) as caught:
            await complete(model_at(server.base_url, session), stream=True)
        assert type(caught.value) is kind
        assert session.in_use == 0


async def test_streams_of_other_servers() -> None:
    """Empty choices, nulls, unknown fields, comments, CRLF, a null error and a missing end mark do no harm."""
    odd = [
        *(b": OPENROUTER PROCESSING\n\n", {"choices": []}, {"choices": None}, {"object": "ping"}),
        {"error": None, "choices": [{"delta": {"role": "assistant", "content": None}}]},
        *({"choices": [{"delta": None}]}, {"choices": [{"index": 0}]}, {"choices": [{"delta": {"content": 7}}]}),
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        b"event: message\r\nid: 7\r\ndata: " + b'{"choices":[{"delta":{"content":"a"}}]}\r\n\r\n',
        {"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": "x"}},
        {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
    ]
    async with raw_server(events(*odd, done=False)) as server, Session() as session:
        reply = await complete(model_at(server.base_url, session), stream=True)
        assert (reply.text, reply.usage) == ("ab", Usage(1, 4, 2))


@pytest.mark.parametrize("count", ["1e999", "1" + "0" * 400, "1" + "0" * 5000, '"7"', "null", "[]", "7.5"])
async def test_counts_that_are_none(count: str) -> None:
    """A count of tokens that is none, or beyond all reason, is replaced by our own estimate."""
    usage = '{"prompt_tokens":%s,"completion_tokens":1}' % count  # noqa: UP031 - braces
    body = f'{{"usage":{usage},"choices":[{{"message":{{"content":"hi"}}}}]}}'.encode()
    async with raw_server(response(body)) as server, Session() as session:
        model = model_at(server.base_url, session, price=Price(1.0, 1.0))
        if len(count) > 4300:
            with pytest.raises(BadReply):
                await model.complete(QUESTION)
            return
        assert (await model.complete(QUESTION)).usage.estimated


async def test_negative_counts_save_nothing() -> None:
    """A negative count is none spent, not a refund."""
    body = b'{"usage":{"prompt_tokens":-5,"completion_tokens":-5},"choices":[{"message":{"content":"hi"}}]}'
    async with raw_server(response(body)) as server, Session() as session:
        assert (await model_at(server.base_url, session).complete(QUESTION)).usage == Usage(1)


# Bounds


@both_ways
async def test_a_huge_reply_is_cut(stream: bool) -> None:
    """A reply, or one event of a stream, beyond its bound is a bad reply, and the server sees us leave."""
    async with StandIn() as server, Session() as session:
        with pytest.raises(BadReply, match="longer"):
            await complete(model_at(server.base_url, session, "answer+huge"), stream=stream)
        await until(lambda: server.stats()["total"]["in_flight"] == 0)
        assert server.stats()["total"]["cut"] == 1


@pytest.mark.parametrize(
    "lead", [b"data: ", b": comment ", b"data:\n", b"x"], ids=["data", "comment", "empty", "field"]
)
async def test_an_endless_event_is_cut(lead: bytes) -> None:
    """No endless line, comment or row of empty data lines makes us keep what was read."""
    sent = 0

    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM + lead)
        while True:
            writer.write(lead * 10_000 if lead.endswith(b"\n") else b"x" * 60_000)
            sent += 60_000
            await writer.drain()

    async with raw_server(endless) as server, Session() as session:
        with pytest.raises(BadReply, match="longer"):
            await complete(model_at(server.base_url, session), stream=True)
    assert sent < 32 << 20


async def test_an_endless_error_is_read_only_so_far() -> None:
    """An error page of any length still gives the error of its status."""

    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\n\r\n<html>")
        while True:
            writer.write(b"x" * 60_000)
            await writer.drain()

    async with raw_server(endless) as server, Session() as session:
        with pytest.raises(ModelUnavailable, match="HTTP 500 '<html>"):
            await model_at(server.base_url, session).complete(QUESTION)
        assert session.in_use == 0


# Anything at all


@given(
    bites=st.lists(
        st.binary(max_size=40)
        | st.sampled_from([b"data: ", b"\n\n", b"\r", b'{"choices":[{"delta":{"content":"a"}}]}', b"data: [DONE]\n\n"]),
        max_size=12,
    ),
    stream=st.booleans(),
    framed=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_bytes_of_a_server_surprise(bites: list[bytes], stream: bool, framed: bool) -> None:
    """Whatever bytes a server sends, a call ends with a reply or with an error of ours, and frees its connection."""

    async def test() -> None:
        async def mumble(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if framed:
                writer.write(STREAM)
            for bite in bites:
                writer.write(bite)
                await writer.drain()
            writer.close()

        async with raw_server(mumble) as server, Session() as session:
            model = model_at(server.base_url, session, timeouts=Timeouts(0.5, 0.5, 0.5))
            ear = Ear()
            try:
                await complete(model, stream=stream, ear=ear)
            except QuorateError as failure:
                assert str(failure).isprintable()
            assert session.in_use == 0

    asyncio.run(test())
