"""The service's yardstick: a bare ASGI proxy under uvicorn, as a good engineer writes it in an afternoon.

The same three calls over one aiohttp session without limit; first trip wins, the rest is cancelled. No timeouts, no
keys, no caps, nothing recorded. Kept at 80 lines at most, so that nobody makes it slower by making it better.
"""

import argparse
import asyncio
import json
import socket
from typing import Any

import aiohttp
import uvicorn

from benchmarks.baseline import Baseline
from quorate.checks import Template

SYSTEMS = {"scope": Template.load("scope-v1").text, "threat": Template.load("threat-v1").text}
HEADERS = {"Content-Type": "application/json"}
MESSAGE = {"role": "assistant", "content": "Sorry, I cannot help with this."}


def refusal(model: str, stream: bool) -> bytes:
    kind, part = ("chat.completion.chunk", "delta") if stream else ("chat.completion", "message")
    choice = {"index": 0, part: MESSAGE, "finish_reason": "content_filter"}
    body = json.dumps({"id": "chatcmpl-0", "object": kind, "created": 0, "model": model, "choices": [choice]}).encode()
    return b"data: " + body + b"\n\ndata: [DONE]\n\n" if stream else body


class Proxy:
    def __init__(self, upstream: str) -> None:
        self.upstream = upstream

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            self.guard = Baseline(self.session, self.upstream, SYSTEMS, "")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.session.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event["more_body"]
        chat = json.loads(body)
        url = f"{self.upstream}/chat/completions"
        answer = asyncio.create_task(self.session.post(url, data=body, headers=HEADERS))
        try:
            if await self.guard.checks(chat["messages"][-1]["content"]):
                stream = chat.get("stream", False)
                await start(send, 200, "text/event-stream" if stream else "application/json")
                await send({"type": "http.response.body", "body": refusal(chat["model"], stream)})
                return
            response = await answer
            await start(send, response.status, response.headers["Content-Type"])
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            if not answer.cancel():
                answer.result().close()


async def start(send: Any, status: int, kind: str) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--loop", default="asyncio", choices=("asyncio", "uvloop"))
    arguments = parser.parse_args()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(json.dumps({"host": "127.0.0.1", "port": listener.getsockname()[1]}), flush=True)
    config = uvicorn.Config(Proxy(arguments.upstream), loop=arguments.loop, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
