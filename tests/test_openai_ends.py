"""The openai model's ends: timeouts and cancels, at any moment, seen from the server's side of the socket."""

import asyncio
import socket
import time
from typing import Any

import pytest

from model_world import (
    HASTE,
    PATIENT,
    QUESTION,
    STREAM,
    Asked,
    Ear,
    complete,
    events,
    full_listener,
    model_at,
    no_proxy_of_the_machine,
    open_files,
    other_tasks,
    raw_server,
    until,
)
from quorate.errors import ModelUnavailable, StreamBroken
from quorate.models import ToolCallDelta
from quorate.models.http import Session
from quorate.models.openai import Timeouts
from quorate.testing.standin import Profile, StandIn
from quorate.testing.standin.profiles import REPLY

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# Timeouts


@both_ways
@pytest.mark.parametrize("name", ["answer-20s", "answer+stall", "answer+slow-drip:50ms"])
async def test_first_timeout(name: str, stream: bool) -> None:
    """A server that says nothing in time, or nothing that is a token, is unavailable; it sees us leave."""
    async with StandIn() as server, Session() as session:
        model = model_at(server.base_url, session, name, timeouts=Timeouts(0.2, 20, 20))
        with pytest.raises(ModelUnavailable, match="in time"):
            await complete(model, stream=stream)
        await until(lambda: server.stats()["total"]["in_flight"] == 0)
        assert server.stats()["total"]["cut"] == 1
        assert session.in_use == 0


async def test_comments_are_no_token() -> None:
    """Comments and empty events, which gateways send to keep a connection, put off no timeout."""

    async def pings(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        while True:
            writer.write(b": ping\n\n" + b'data: {"choices":[]}\n\n')
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(pings) as server, Session() as session:
        with pytest.raises(ModelUnavailable, match="in time"):
            await complete(model_at(server.base_url, session, timeouts=Timeouts(0.3, 20, 20)), stream=True)

    async def then_pings(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(events("a", done=False))
        while True:
            writer.write(b": ping\n\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(then_pings) as server, Session() as session:
        with pytest.raises(StreamBroken, match="in time"):
            await complete(model_at(server.base_url, session, timeouts=Timeouts(20, 0.3, 20)), stream=True)


async def test_idle_timeout() -> None:
    """A stream that falls silent after its first piece is broken; what was heard is a prefix of it."""
    async with StandIn() as server, Session() as session:
        ear = Ear()
        model = model_at(server.base_url, session, "answer+stall-mid", timeouts=Timeouts(20, 0.2, 20))
        with pytest.raises(StreamBroken, match="in time"):
            await complete(model, stream=True, ear=ear)
        assert ear.text
        assert REPLY.startswith(ear.text)
        await until(lambda: server.stats()["total"]["cut"] == 1)


@both_ways
async def test_total_timeout(stream: bool) -> None:
    """A reply that goes on and on ends with its total time."""
    async with StandIn() as server, Session() as session:
        model = model_at(server.base_url, session, "answer-0ms-9999x80ms", timeouts=Timeouts(20, 20, 0.3))
        with pytest.raises(StreamBroken if stream else ModelUnavailable, match="in time"):
            await complete(model, stream=stream)
        await until(lambda: server.stats()["total"]["cut"] == 1)


async def test_a_slow_reader_is_not_an_idle_server() -> None:
    """A reader that takes longer than the server's timeouts for each piece still gets every piece."""
    async with StandIn() as server, Session() as session:
        model = model_at(server.base_url, session, "answer-0ms-5x1ms", timeouts=Timeouts(0.2, 0.2, 20))
        ear = Ear(pace_s=0.25)
        assert (await complete(model, stream=True, ear=ear)).finish_reason == "stop"
        assert len(ear.heard) == 5


async def test_profiles_that_think_long_are_not_cut_short() -> None:
    """A reply that is not streamed may take as long as its first timeout allows, tokens unseen."""
    async with StandIn({"slow": Profile(total_s=0.3)}) as server, Session() as session:
        model = model_at(server.base_url, session, "slow", timeouts=Timeouts(20, 0.05, 20))
        assert (await model.complete(QUESTION)).text == REPLY


# Cancelling


@both_ways
@pytest.mark.parametrize("name", ["answer-20s", "answer-0ms-9999x60ms", "answer+stall", "answer+slow-drip"])
async def test_a_cancel_closes_the_connection(name: str, stream: bool) -> None:
    """A cancelled call is cut at the server, whatever it was doing, and leaves no task, connection or file behind."""
    async with StandIn() as server:
        before = open_files(), other_tasks()
        async with Session() as session:
            model = model_at(server.base_url, session, name)
            calls = [asyncio.create_task(complete(model, stream=stream)) for _ in range(5)]
            await until(lambda: server.stats()["total"]["in_flight"] == 5)
            await asyncio.sleep(0.03)
            for call in calls:
                call.cancel()
            assert all(
                isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*calls, return_exceptions=True)
            )
            assert session.in_use == 0
            assert other_tasks() == before[1]
            await until(lambda: server.stats()["total"]["in_flight"] == 0)
            counts = server.stats()["total"]
            assert (counts["cut"], counts["cut_streamed"], counts["finished"]) == (5, 5 if stream else 0, 0)
        await until(lambda: server.stats()["connections_open"] == 0)
        assert (open_files(), other_tasks()) == before


async def test_a_cancel_in_the_middle_of_emit() -> None:
    """A call whose reader never comes back is cut too."""

    class Stuck(Ear):
        async def __call__(self, delta: str | ToolCallDelta) -> None:
            await asyncio.Event().wait()

    async with StandIn() as server, Session() as session:
        call = asyncio.create_task(model_at(server.base_url, session, "a-0ms-99x60ms").complete(QUESTION, Stuck()))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: server.stats()["total"]["cut"] == 1)
        assert session.in_use == 0


@both_ways
@pytest.mark.parametrize("cancel", [True, False], ids=["cancel", "timeout"])
async def test_the_middle_of_connecting(stream: bool, cancel: bool) -> None:
    """A call that is still connecting ends at once when cancelled or out of time, and leaves nothing behind."""
    with full_listener() as port:
        before = open_files(), other_tasks()
        async with Session() as session:
            model = model_at(f"http://127.0.0.1:{port}/v1", session, timeouts=PATIENT if cancel else HASTE)
            calls = [asyncio.create_task(complete(model, stream=stream)) for _ in range(5)]
            await asyncio.sleep(0.05)
            assert open_files() > before[0]
            for call in calls:
                if cancel:
                    call.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError if cancel else ModelUnavailable}
            assert (open_files(), other_tasks(), session.in_use) == (*before, 0)


@both_ways
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_that_accepts_and_says_nothing(scheme: str, stream: bool) -> None:
    """Also in the middle of a TLS handshake, or before any answer, a cancel closes the connection at the server."""
    async with raw_server(None) as server:
        before = other_tasks()
        async with Session() as session:
            model = model_at(f"{scheme}://127.0.0.1:{server.port}/v1", session)
            call = asyncio.create_task(complete(model, stream=stream))
            await until(lambda: server.accepted == 1)
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await until(lambda: server.left == 1)
            assert session.in_use == 0
        await until(lambda: other_tasks() <= before)  # The server of this test has a task for each client.


async def test_a_cancel_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call cancelled while the system looks up a name ends at once; closing the session leaves no task."""
    look_up = socket.getaddrinfo

    def slowly(*arguments: Any, **settings: Any) -> Any:
        time.sleep(0.2)
        return look_up(*arguments, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    before = other_tasks()
    async with Session() as session:
        call = asyncio.create_task(model_at("http://localhost:9/v1", session).complete(QUESTION))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert session.in_use == 0
    assert other_tasks() == before
