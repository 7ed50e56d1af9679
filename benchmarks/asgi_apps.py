"""The service's job in every ASGI framework, and how every server is started; each imports only its own library.

The job: read a JSON body, wait for a coroutine, answer with one JSON body or with 20 raw chunks of a stream.
"""

import argparse
import asyncio
import importlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.raw_http import pin

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"
WAIT_S = 0.01
CHUNKS = 20
FLOOD_BYTES, BLOCK = 256 * 2**20, bytes(64 * 1024)
_NAMED = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o-mini"}
_TEXT = "Thank you for your message. Our help centre has an article on this; our team is glad to help you."
PLAIN = json.dumps(
    {
        **_NAMED,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    }
).encode()
_PART = {"index": 0, "delta": {"content": "message "}, "finish_reason": None}
CHUNK = f"data: {json.dumps({**_NAMED, 'object': 'chat.completion.chunk', 'choices': [_PART]})}\n\n".encode()
_JSON_HEAD = [(b"content-type", b"application/json"), (b"content-length", str(len(PLAIN)).encode())]
_EVENTS_HEAD = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
EVENTS = "text/event-stream; charset=utf-8"


async def decide(body: Any) -> bool:
    """What the service waits for; returns whether the answer is to be streamed."""
    assert body["messages"]
    await asyncio.sleep(WAIT_S)
    return bool(body["stream"])


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(CHUNKS):
        yield CHUNK
        await asyncio.sleep(0)  # a turn of the loop, so that each goes out alone as it would with a live upstream


async def read(receive: Receive) -> bytes:
    event = await receive()
    body: bytes = event.get("body", b"")
    while event.get("more_body"):
        event = await receive()
        body += event.get("body", b"")
    return body


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    """The job as a raw ASGI callable."""
    if await decide(json.loads(await read(receive))):
        await send({"type": "http.response.start", "status": 200, "headers": _EVENTS_HEAD})
        async for chunk in chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": _JSON_HEAD})
        await send({"type": "http.response.body", "body": PLAIN})


class Raw:
    """The same as an object: frameworks take a function for an endpoint of their own kind."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(scope, receive, send)


SEEN: dict[str, float] = {"flooded": 0, "raised": 0, "gone_at": 0}


async def flood(send: Send) -> None:
    """Send far more than any buffer, count what `send` took, and see whether it raises when nobody is there."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # one line for each write to a connection that is gone
    SEEN["flooded"] = SEEN["raised"] = 0
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while SEEN["flooded"] < FLOOD_BYTES:
        try:
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        except OSError:
            SEEN["raised"] = 1
            return
        SEEN["flooded"] += len(BLOCK)


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """No framework: the job, and what the probes of a server ask for."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == CHAT:
        await respond(scope, receive, send)
    elif scope["path"] == "/flood":
        await flood(send)
    elif scope["path"] == "/wait":
        SEEN["gone_at"] = 0
        while (await receive())["type"] != "http.disconnect":
            pass
        SEEN["gone_at"] = time.monotonic()  # one clock for all processes of a machine
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(SEEN).encode()})


def starlette_raw() -> App:
    routes = importlib.import_module("starlette.routing")
    app: App = importlib.import_module("starlette.applications").Starlette(
        routes=[routes.Route(CHAT, Raw(), methods=["POST"])]
    )
    return app


def starlette_high() -> App:
    responses = importlib.import_module("starlette.responses")

    async def chat(request: Any) -> Any:
        if await decide(await request.json()):
            return responses.StreamingResponse(chunks(), media_type=EVENTS)
        return responses.Response(PLAIN, media_type="application/json")

    routes = importlib.import_module("starlette.routing")
    app: App = importlib.import_module("starlette.applications").Starlette(
        routes=[routes.Route(CHAT, chat, methods=["POST"])]
    )
    return app


def fastapi_raw() -> App:
    app: Any = importlib.import_module("fastapi").FastAPI()
    app.router.routes.append(importlib.import_module("starlette.routing").Route(CHAT, Raw(), methods=["POST"]))
    made: App = app
    return made


def fastapi_high() -> App:
    app: Any = importlib.import_module("fastapi").FastAPI()
    responses = importlib.import_module("starlette.responses")

    async def chat(body: dict[str, Any]) -> Any:
        if await decide(body):
            return responses.StreamingResponse(chunks(), media_type=EVENTS)
        return responses.Response(PLAIN, media_type="application/json")

    app.post(CHAT)(chat)
    made: App = app
    return made


def litestar_raw() -> App:
    litestar = importlib.import_module("litestar")

    async def chat(scope: Any, receive: Any, send: Any) -> None:
        await respond(scope, receive, send)

    app: App = litestar.Litestar([litestar.asgi(CHAT, copy_scope=False)(chat)], openapi_config=None)
    return app


def litestar_high() -> App:
    litestar = importlib.import_module("litestar")
    stream = importlib.import_module("litestar.response").Stream

    async def chat(data: dict[str, Any]) -> Any:
        if await decide(data):
            return stream(chunks(), media_type=EVENTS)
        return litestar.Response(PLAIN, media_type="application/json")

    app: App = litestar.Litestar([litestar.post(CHAT, status_code=200)(chat)])
    return app


APPS: dict[str, tuple[str, Callable[[], App]]] = {
    "bare": ("", lambda: bare),
    "starlette-raw": ("starlette", starlette_raw),
    "starlette": ("starlette", starlette_high),
    "fastapi-raw": ("fastapi", fastapi_raw),
    "fastapi": ("fastapi", fastapi_high),
    "litestar-raw": ("litestar", litestar_raw),
    "litestar": ("litestar", litestar_high),
}
"""By name: the package, and what makes the application."""


def make() -> App:
    """The application that the environment names; granian imports it in a process of its own."""
    return APPS[os.environ["BENCH_ASGI_APP"]][1]()


def use_uvicorn(port: int, loop: str) -> None:
    uvicorn: Any = importlib.import_module("uvicorn")
    uvicorn.run(make(), port=port, loop=loop, http="httptools", log_level="warning", access_log=False)


def use_granian(port: int, loop: str) -> None:
    constants: Any = importlib.import_module("granian.constants")
    server = importlib.import_module("granian").Granian(
        f"{__name__ if __name__ != '__main__' else 'benchmarks.asgi_apps'}:make",
        port=port,
        interface=constants.Interfaces.ASGI,
        loop=constants.Loops(loop),
        websockets=False,
        factory=True,
        log_enabled=False,
    )
    server.serve()


def use_hypercorn(port: int, loop: str) -> None:
    config = importlib.import_module("hypercorn.config").Config()
    config.bind, config.accesslog, config.loglevel = [f"127.0.0.1:{port}"], None, "WARNING"
    serve: Any = importlib.import_module("hypercorn.asyncio").serve
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(make(), config))


SERVERS: dict[str, tuple[str, str, Callable[[int, str], None]]] = {
    f"{name}{'+uvloop' if loop == 'uvloop' else ''}": (name, loop, use)
    for name, use in (("uvicorn", use_uvicorn), ("granian", use_granian), ("hypercorn", use_hypercorn))
    for loop in ("asyncio", "uvloop")
    if (name, loop) != ("hypercorn", "uvloop")
}
"""By name: the package, the event loop, and what runs it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=list(SERVERS))
    parser.add_argument("app", choices=list(APPS))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpu", type=int)
    args = parser.parse_args()
    pin(args.cpu)
    os.environ["BENCH_ASGI_APP"] = args.app
    _, loop, use = SERVERS[args.server]
    use(args.port, loop)


if __name__ == "__main__":
    main()
