"""One request and its one reply, straight over ASGI: the hot route builds no request or response object."""

import asyncio
import itertools
import secrets
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive, Scope, Send

from quorate.engine import clock
from quorate.service.replies import Trouble
from quorate.service.wire import BadRequest

BODY_S = 30.0
"""Seconds that a whole body may take to arrive."""
Headers = Iterable[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_PROCESS = secrets.token_hex(8)
_requests = itertools.count(1)
FIXED = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Exchange:
    """A request while it is answered.

    Attributes:
        id: of the request, unlike any other's; goes out as `x-request-id`.
        begun_s: when it came, on the engine's clock.
        started: whether the reply's status is out.
        status: of the reply; of a stream that broke the error's.
        sent: bytes of the reply's body that went out.
        headers: of the request, by lower-case name; of a repeated one the last.
    """

    __slots__ = (
        "_over",
        "_receive",
        "_send",
        "begun_s",
        "headers",
        "id",
        "method",
        "path",
        "sent",
        "started",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = f"{_PROCESS}{next(_requests):08x}"
        self.begun_s = clock.now()
        self.started = self._over = False
        self.sent = self.status = 0
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str:
        """A header's value, "" where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    async def json(self, limit: int) -> bytes:
        """Read the whole body of a request that says it is JSON, which no form of a web page can say unasked.

        Raises:
            BadRequest: it says something else, or as for `body`.
        """
        kind = self.header(b"content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise BadRequest(f"content-type: found {kind[:60]!r}, allowed is application/json", status=415)
        packed = self.header(b"content-encoding")
        if packed and packed != "identity":
            raise BadRequest(f"content-encoding: found {packed[:60]!r}, allowed is none", status=415)
        return await self.body(limit)

    async def body(self, limit: int) -> bytes:
        """Read the whole body.

        Raises:
            BadRequest: it is longer than `limit` bytes, came too slowly, or broke off.
        """
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > limit:
            raise BadRequest(f"the body has {int(length)} bytes, allowed are {limit}", status=413)
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            with clock.timeout(BODY_S):
                while more and size <= limit:
                    message = await self._next()
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise BadRequest(f"the body did not come within {BODY_S:.0f} s", status=408) from error
        if size > limit:
            raise BadRequest(f"the body is longer than the allowed {limit} bytes", status=413)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the client left before its request was complete", status=499)
        return message

    async def gone(self) -> None:
        """Wait until the client has left before it had its reply. Call it only once the body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._over:  # It has all that it came for: whoever still works for it is not disturbed.
            await asyncio.get_running_loop().create_future()

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.started = True
        self.status = status
        known = [*headers, *FIXED, (b"x-request-id", self.id.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": known})

    async def write(self, body: bytes) -> None:
        """Send a piece of the body; waits while the client does not read."""
        self.sent += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """Send the body's last piece."""
        self.sent += len(body)
        self._over = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def reply(self, status: int, body: bytes, *, headers: Headers = (JSON,)) -> None:
        """Send a whole reply."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.end(body)

    async def fail(self, trouble: Trouble) -> None:
        """Say what went wrong: as a reply, or in a stream that has begun as its last event."""
        if self._over:
            return
        self.status = trouble.status
        if self.started:
            await self.end(trouble.event)
        else:
            await self.reply(trouble.status, trouble.body, headers=[JSON, *trouble.headers])
