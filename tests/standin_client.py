"""A client of the stand-in server for its own tests, and a server to ask."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from quorate.testing.standin import StandIn

FIELDS = {"violation": "boolean", "score": "number", "category": "string", "reason": "string"}
CHAT = "/v1/chat/completions"


def verdict_format(name="threat", nonce="n-42"):
    properties = {field: {"type": kind} for field, kind in FIELDS.items()}
    properties["nonce"] = {"type": "string", "enum": [nonce]}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


class Client:
    def __init__(self, session: aiohttp.ClientSession, server: StandIn) -> None:
        self.session, self.server = session, server
        self.root = server.base_url.removesuffix("/v1")

    def ask(self, model, text="Where is my order?", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.session.post(self.root + CHAT, json=body, allow_redirects=False)

    async def plain(self, model, text="Where is my order?", **fields):
        async with self.ask(model, text, **fields) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def text(self, model, text="Where is my order?", **fields):
        return (await self.plain(model, text, **fields))["choices"][0]["message"]["content"]

    async def verdict(self, model, text, **fields):
        return json.loads(await self.text(model, text, **{"response_format": verdict_format(), **fields}))

    async def stream(self, model, text="Where is my order?", **fields):
        """Return the events and how the stream ended: done, or the error's name."""
        events: list[dict[str, Any]] = []
        ending = "end"
        try:
            async with self.ask(model, text, stream=True, **fields) as response:
                assert response.status == 200, await response.text()
                assert response.content_type == "text/event-stream"
                async for line in response.content:
                    if line == b"data: [DONE]\n":
                        ending = "done"  # Read on: leaving before the last chunk would be a cut.
                    elif line.strip():
                        events.append(json.loads(line.removeprefix(b"data: ")))
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            return events, type(error).__name__
        return events, ending


def run(test: Callable[[Client], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def main() -> None:
        async with serving(**settings) as client:
            await test(client)
            counts = client.server.stats()["total"]
            assert counts["started"] == sum(counts[key] for key in ("finished", "cut", "failed", "in_flight"))
            assert counts["tokens_after_cut"] == 0
        assert client.server.stats()["connections_open"] == 0
        assert client.server.stats()["total"]["in_flight"] == 0

    asyncio.run(main())


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=10, sock_read=settings.pop("sock_read", None))
    connector = aiohttp.TCPConnector(limit=0)
    async with StandIn(**settings) as server, aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield Client(session, server)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for may be in another process
            await asyncio.sleep(0.002)


def said(events):
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
