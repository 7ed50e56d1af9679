"""The ASGI app: which route is answered by whom. A page for people would be one more route here."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from quorate.engine import in_thread, observers
from quorate.errors import ClientGone, QuorateError
from quorate.service import admin, verdicts
from quorate.service.callers import Caller
from quorate.service.chat import ROUTE, chat
from quorate.service.exchange import Exchange
from quorate.service.replies import Trouble
from quorate.service.state import Service
from quorate.telemetry import request_id
from quorate.telemetry.metrics import CONTENT_TYPE

log = logging.getLogger("quorate.service")

Body = bytes | tuple[int, bytes]


class Asked(Protocol):
    """Answers a caller's request; raises `QuorateError` for what is then told as an error."""

    def __call__(self, service: Service, exchange: Exchange, /, *, caller: Caller) -> Awaitable[Body]:
        """Answer."""


Open = Callable[[Service, Exchange], Awaitable[Body]]

KEYED: dict[tuple[str, str], Asked] = {
    ("GET", "/v1/models"): admin.models,
    ("POST", verdicts.CHECKS): verdicts.checks,
    ("POST", verdicts.GUARDRAIL): verdicts.guardrail,
    ("POST", verdicts.MODERATIONS): verdicts.moderations,
    ("POST", "/admin/reload"): admin.reload,
    ("POST", "/admin/mode"): admin.mode,
}
OPEN: dict[tuple[str, str], Open] = {
    ("GET", "/healthz"): admin.health,
    ("GET", "/readyz"): admin.ready,
    ("GET", "/openapi.json"): admin.openapi,
}
ROUTES = (ROUTE, "/metrics", *(path for _, path in (*KEYED, *OPEN)))


class _Endpoint:
    """An ASGI app of one route: hands a fresh exchange to a handler."""

    def __init__(self, service: Service, handle: Callable[[Service, Exchange], Awaitable[None]]) -> None:
        self._service = service
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        observers.set(self._service.observers)
        exchange = Exchange(scope, receive, send)
        request_id.set(exchange.id)
        try:
            await self._handle(self._service, exchange)
        except Exception as error:
            log.error("request %s broke: %r", exchange.id, error)
            await exchange.fail(Trouble(500, f"the service broke; it knows this as {exchange.id}", "api_error"))
        finally:
            self._service.responded(exchange)


def _keyed(ask: Asked) -> Callable[[Service, Exchange], Awaitable[None]]:
    async def handle(service: Service, exchange: Exchange) -> None:
        try:
            said = await ask(service, exchange, caller=service.callers.of(exchange))
        except ClientGone:
            return
        except QuorateError as error:
            await exchange.fail(Trouble.of(error))
        else:
            await _say(exchange, said)

    return handle


def _open(ask: Open) -> Callable[[Service, Exchange], Awaitable[None]]:
    async def handle(service: Service, exchange: Exchange) -> None:
        await _say(exchange, await ask(service, exchange))

    return handle


async def _say(exchange: Exchange, said: Body) -> None:
    status, body = said if isinstance(said, tuple) else (200, said)
    await exchange.reply(status, body)


async def _metrics(service: Service, exchange: Exchange) -> None:
    """Figures for Prometheus; where there are keys they take the right `details`, since they tell checks apart."""
    try:
        caller = service.callers.of(exchange)
        if service.callers.keyed:
            caller.need("details")
    except QuorateError as error:
        await exchange.fail(Trouble.of(error))
        return
    text = await in_thread(lambda _stop: service.metrics.exposition())
    await exchange.reply(200, text, headers=((b"content-type", CONTENT_TYPE.encode()),))


async def _unknown(_request: Request, error: Exception) -> Response:
    """No pass-through: a route that is not guarded is not served."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = "this method is not served here" if status == 405 else "this route is not served: see /openapi.json"
    trouble = Trouble(status, what, "invalid_request_error", "unknown_url")
    headers = error.headers if isinstance(error, HTTPException) else None
    return Response(trouble.body, status, headers, "application/json")


def asgi(service: Service) -> ASGIApp:
    """The whole app over one service's state."""

    def route(path: str, method: str, *, handle: Callable[[Service, Exchange], Awaitable[None]]) -> Route:
        return Route(path, _Endpoint(service, handle), methods=[method])

    hot = _Endpoint(service, chat)
    routes = [
        Route(ROUTE, hot, methods=["POST"]),
        route("/metrics", "GET", handle=_metrics),
        *(route(path, method, handle=_keyed(ask)) for (method, path), ask in KEYED.items()),
        *(route(path, method, handle=_open(ask)) for (method, path), ask in OPEN.items()),
    ]
    others = Starlette(routes=routes, exception_handlers={404: _unknown, 405: _unknown})
    others.router.redirect_slashes = False  # Where to would be what the caller's Host header says.

    async def _entrance(scope: Scope, receive: Receive, send: Send) -> None:
        # Middleware and router are for those who have the time.
        app = hot if scope["type"] == "http" and scope["path"] == ROUTE and scope["method"] == "POST" else others
        await app(scope, receive, send)

    return _entrance
