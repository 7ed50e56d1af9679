"""The stand-in server itself: routes, behaviours, connections. See `quorate.testing.standin` for how to use it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from quorate.testing.standin.calls import Call, write
from quorate.testing.standin.connection import Connection, Request
from quorate.testing.standin.ledger import Dice, Ledger, Stats
from quorate.testing.standin.profiles import Profile, Rule, parse_fault, parse_model, with_faults
from quorate.testing.standin.replies import BadRequest, parse_chat, parse_object

_CHAT = "/v1/chat/completions"
_MAX_PROFILES = 10_000
_CLOSE_S = 5.0
_EXAMPLES = ("check-50ms", "answer-300ms", "answer-50ms-20x10ms", "check-heavy-50ms", "check-50ms+429")


class StandIn:
    """The stand-in server, running in the current event loop while its `async with` block is open.

    Args:
        profiles: behaviour of models by name; other names are read by the grammar. `NAME+fault` adds a fault to a
            configured model too.
        rules: verdict rules by model name, or by its base ("check" for "check-50ms+500").
        seed: of every draw; draws also depend on model and text, so the same message gets the same latency.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.

    Leaving the block, also by cancellation, closes every connection; calls in flight are booked as failed.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile] | None = None,
        *,
        rules: Mapping[str, Rule] | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host, self.port = host, port
        self._profiles = dict(profiles or {})
        self._rules = dict(rules or {})
        self._resolved: dict[str, Profile] = {}
        self._ledger, self._dice = Ledger(), Dice(seed)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._all_closed: asyncio.Future[None] | None = None
        self._number = 0
        self._routes: dict[str, tuple[str, Callable[[Request], tuple[int, object]]]] = {
            "/v1/models": ("GET", self._get_models),
            "/stats": ("GET", self._get_stats),
            "/stats/reset": ("POST", self._post_reset),
            "/healthz": ("GET", self._get_health),
            "/faults": ("POST", self._post_faults),
            "/profiles": ("POST", self._post_profiles),
        }

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, `/v1` included."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: the address is not to be had.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.shut_down()
        if self._connections:
            # Sockets are closed in the loop's next turn; without waiting for it they would look leaked.
            self._all_closed = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(_CLOSE_S):
                await self._all_closed
        await self._server.wait_closed()

    def stats(self) -> Stats:
        """Return a copy of the ledger."""
        return self._ledger.stats()

    def reset(self) -> None:
        """Start the ledger, the faults' turns and the queues of injected faults again from zero."""
        self._ledger.reset()
        self._dice.reset()

    def inject(self, model: str, *faults: str) -> None:
        """Let the next calls of a model fail, one for each fault; "ok" lets one pass.

        Raises:
            ValueError: there is no such fault.
        """
        self._dice.inject(model, [parse_fault(fault) for fault in faults])

    def configure(self, model: str, profile: Profile) -> None:
        """Give a model a behaviour; calls that have started keep theirs."""
        if len(self._profiles) >= _MAX_PROFILES and model not in self._profiles:
            raise ValueError(f"{_MAX_PROFILES} models are configured already")
        self._profiles[model] = profile
        self._resolved.clear()

    # What connections call.

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        self._connections.add(connection)
        self._count(connection, True)
        self._ledger.connections_opened += 1

    def closed(self, connection: Connection) -> None:
        """Count it no more."""
        self._count(connection, False)
        self._connections.discard(connection)
        if self._all_closed is not None and not self._connections and not self._all_closed.done():
            self._all_closed.set_result(None)

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer one request."""
        try:
            if request.error is not None:
                raise request.error
            if request.path == _CHAT:
                if request.method != "POST":
                    raise BadRequest(f"{_CHAT} takes POST only", status=405)
                self._chat(connection, request)
                return
            if request.path.startswith("/redirected/"):
                self._ledger.redirects_followed += 1
            route = self._routes.get(request.path)
            if route is None:
                raise BadRequest(f"Unknown request URL: {request.method} {request.path[:200]}", status=404)
            method, answer = route
            if request.method != method:
                raise BadRequest(f"{request.path} takes {method} only", status=405)
            self._leave_out(connection)
            status, body = answer(request)
            connection.respond(request, status, body=json.dumps(body).encode())
        except BadRequest as error:
            self._ledger.rejected += 1
            connection.respond(request, error.status, body=error.body())

    def _chat(self, connection: Connection, request: Request) -> None:
        if not connection.counted:
            self._count(connection, True)
            self._ledger.connections_opened += 1
        connection.chatted = True
        chat = parse_chat(request.body)
        profile = self._resolve(chat.model)
        self._number += 1
        first_s, fault, key = self._dice.roll(chat.model, chat.text, profile=profile)
        redirect = f"http://localhost:{self.port}/redirected{_CHAT}"
        try:
            writer = write(request, chat, profile=profile, fault=fault, number=self._number, redirect=redirect)
            script = writer.script(first_s)
        except Exception as error:
            self._dice.release(key)
            # A rule or reply of the user's own broke: say so to the client instead of leaving it waiting.
            raise BadRequest(
                f"the model's own rule or reply raised {error!r}", status=500, kind="server_error"
            ) from error
        call = Call(connection, self._ledger, chat=chat, script=script, cleanup=lambda: self._dice.release(key))
        connection.exchange = call
        call.begin()

    def _resolve(self, model: str) -> Profile:
        profile = self._resolved.get(model)
        if profile is not None:
            return profile
        name, *suffixes = model.split("+")
        try:
            if model in self._profiles:
                base, profile = name, self._profiles[model]
            elif name in self._profiles:
                base, profile = name, with_faults(self._profiles[name], suffixes)
            else:
                base, profile = parse_model(model)
        except ValueError as error:
            message = f"The model `{model}` does not exist: {error}"
            raise BadRequest(message, status=404, code="model_not_found", param="model") from None
        rule = self._rules.get(model) or self._rules.get(name) or self._rules.get(base)
        if rule is not None:
            profile = replace(profile, verdict=rule)
        if len(self._resolved) >= _MAX_PROFILES:
            self._resolved.clear()
        self._resolved[model] = profile
        return profile

    def _count(self, connection: Connection, counted: bool) -> None:
        if connection.counted != counted:
            connection.counted = counted
            self._ledger.connections_open += 1 if counted else -1

    def _leave_out(self, connection: Connection) -> None:
        """Take a connection that only asks for the books out of the books."""
        if connection.counted and not connection.chatted:
            self._count(connection, False)
            self._ledger.connections_opened -= 1

    def _get_models(self, request: Request) -> tuple[int, object]:
        names = [*self._profiles, *(name for name in _EXAMPLES if name not in self._profiles)]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "quorate"} for name in names]
        return 200, {"object": "list", "data": data}

    def _get_stats(self, request: Request) -> tuple[int, object]:
        return 200, self.stats()

    def _get_health(self, request: Request) -> tuple[int, object]:
        return 200, {"status": "ok"}

    def _post_reset(self, request: Request) -> tuple[int, object]:
        self.reset()
        return 200, {"status": "ok"}

    def _post_faults(self, request: Request) -> tuple[int, object]:
        body = parse_object(request.body)
        model, faults = body.get("model"), body.get("faults")
        if not isinstance(model, str) or not isinstance(faults, list) or len(faults) > _MAX_PROFILES:
            raise BadRequest('write {"model": "check-50ms", "faults": ["500"]}')
        try:
            self.inject(model, *map(str, faults))
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return 200, {"status": "ok"}

    def _post_profiles(self, request: Request) -> tuple[int, object]:
        body = parse_object(request.body)
        model, like = body.get("model"), body.get("like")
        if not isinstance(model, str) or not isinstance(like, str) or len(like) > 256:
            raise BadRequest('write {"model": "gpt-4o", "like": "answer-300ms"}')
        try:
            self.configure(model, parse_model(like)[1])
        except ValueError as error:
            raise BadRequest(str(error)) from None
        return 200, {"status": "ok"}
