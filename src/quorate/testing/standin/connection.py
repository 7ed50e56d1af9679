"""The stand-in server's HTTP/1.1: parsing, keep-alive, order, back-pressure, and who hung up when.

One request at a time is answered on a connection; pipelined ones wait their turn. Reading never pauses, because
a client that leaves is seen by reading only.
"""

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from quorate.testing.standin.replies import BadRequest

MAX_HEAD = 64 * 1024
MAX_BODY = 8 * 1024 * 1024
_MAX_PIPELINED = 256
_LINGER_S = 1.0
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One HTTP request.

    Attributes:
        method: for example POST.
        path: without its query.
        body: the whole body.
        keep_alive: whether the client wants to go on with the connection.
        chunked_ok: False for HTTP/1.0, which knows no chunks.
        error: what is wrong with it on the level of HTTP, or None.
    """

    method: str = ""
    path: str = ""
    body: bytes = b""
    keep_alive: bool = False
    chunked_ok: bool = False
    error: BadRequest | None = None


class Exchange(Protocol):
    """An answer that takes time."""

    def resume(self) -> None:
        """Everything written so far has left."""

    def lost(self, seen_as: str) -> None:
        """The client has left; `seen_as` says how that showed."""


class App(Protocol):
    """What stands behind the connections."""

    def opened(self, connection: "Connection") -> None:
        """A connection was made."""

    def closed(self, connection: "Connection") -> None:
        """A connection is gone."""

    def handle(self, connection: "Connection", request: Request) -> None:
        """Answer with `connection.respond`, or set `connection.exchange` and answer later. Never raises."""


def head(
    status: int,
    *,
    content_type: str = "application/json",
    length: int | None = None,
    close: bool = False,
    extra: str = "",
) -> bytes:
    """Return a response's head.

    Args:
        status: HTTP status.
        content_type: the body's type.
        length: the body's length; None for a body in chunks (or, with `close`, up to the end of the connection).
        close: whether the connection ends with this response.
        extra: more header lines, each with its line end.
    """
    phrase = _PHRASES.get(status, "Unknown")
    if length is not None:
        framing = f"Content-Length: {length}\r\n"
    else:
        framing = "" if close else "Transfer-Encoding: chunked\r\n"
    ending = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{framing}{ending}{extra}\r\n".encode()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, app: App) -> None:
        self.exchange: Exchange | None = None
        self.lost = False
        self.paused = False
        self.counted = self.chatted = False  # the app's own notes
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._transport: asyncio.Transport
        self._pumping = self._deaf = self._closing = False
        self._linger: asyncio.TimerHandle | None = None
        self._url = b""
        self._body: list[bytes] = []
        self._length = self._size = self._head_parsed = self._head_size = 0
        self._in_body = self._expects = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        # A limit of zero makes "paused" mean "something has not left yet": an answer is finished only when it has.
        self._transport.set_write_buffer_limits(high=0)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._app.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse, then answer what is complete."""
        if self._deaf:
            return
        if not self._in_body:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._reject(BadRequest("this server upgrades to no other protocol"))
        except httptools.HttpParserError:
            self._reject(BadRequest("this is not HTTP/1.1"))
        if not self._in_body and self._head_size > max(MAX_HEAD, len(data)):
            self._reject(BadRequest("the request's head is too large", status=431))
        self._pump()

    def eof_received(self) -> None:
        """Take the end of the client's stream for its leaving: no client of ours closes only half of it."""
        self._left("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange and the app."""
        self._left("reset" if exc else "closed")
        if self._linger:
            self._linger.cancel()
        self._app.closed(self)
        del self._parser  # It points back here: without this, every connection waits for the garbage collector.

    def pause_writing(self) -> None:
        """Something is left in the buffer."""
        self.paused = True

    def resume_writing(self) -> None:
        """The buffer is empty again."""
        self.paused = False
        if self.exchange is not None:
            self.exchange.resume()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url = b""
        self._body = []
        self._length = self._size = self._head_parsed = self._head_size = 0
        self._in_body = self._expects = False

    def on_url(self, url: bytes) -> None:
        """Add a part of the request's target."""
        self._url += url
        self._head_parsed += len(url)

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """Read the two headers that matter here."""
        self._head_parsed += len(name) + len(value or b"")
        lowered = name.lower()
        if lowered == b"content-length":
            self._length = int(value) if value and value.isdigit() and len(value) < 20 else 0
        elif lowered == b"expect":
            self._expects = bool(value) and (value or b"").lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Refuse what is too large before it is read."""
        self._in_body = True
        if self._head_parsed > MAX_HEAD:
            self._reject(BadRequest("the request's head is too large", status=431))
        elif self._length > MAX_BODY:
            self._reject_body()
        elif self._expects and not self._queue and self.exchange is None and not self._deaf:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        self._size += len(body)
        if self._size > MAX_BODY:
            self._reject_body()
        elif not self._deaf:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the request."""
        self._in_body = False
        self._head_size = 0
        if self._deaf or self._parser.should_upgrade():
            return
        if len(self._queue) >= _MAX_PIPELINED:
            self._reject(BadRequest("too many pipelined requests", status=429))
            return
        method = self._parser.get_method().decode("latin-1")
        path = self._url.partition(b"?")[0].decode("latin-1")
        keep_alive = self._parser.should_keep_alive()
        chunked_ok = self._parser.get_http_version() != "1.0"
        self._queue.append(Request(method, path, b"".join(self._body), keep_alive, chunked_ok))
        self._body = []

    # What the app calls.

    def send(self, data: bytes) -> None:
        """Write bytes of the current answer."""
        if not self.lost:
            self._transport.write(data)

    def respond(self, request: Request, status: int, *, body: bytes) -> None:
        """Write a whole JSON response at once; the connection goes on as the request wishes."""
        close = not request.keep_alive
        self.send(head(status, length=len(body), close=close) + body)
        if request.error is not None:
            self._close_gently()
        elif close:
            self.close()

    def done(self, *, close: bool) -> None:
        """The current exchange is over."""
        self.exchange = None
        if close:
            self.close()
        else:
            self._pump()

    def shut_down(self) -> None:
        """End everything because the server closes."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lost("shutdown")
        self.abort()

    def close(self) -> None:
        """Close after everything written has left."""
        self._deaf = self._closing = True
        self._queue.clear()
        if not self.lost:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, in the middle of whatever is going on."""
        self.lost = self._deaf = True
        self._queue.clear()
        self._transport.abort()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        while self._queue and self.exchange is None and not self.lost and not self._closing:
            self._app.handle(self, self._queue.popleft())
        self._pumping = False

    def _reject(self, error: BadRequest) -> None:
        """Queue an error behind what came before it, and read nothing any more."""
        if not self._deaf:
            self._deaf = True
            self._body = []
            self._queue.append(Request(error=error))

    def _reject_body(self) -> None:
        self._reject(BadRequest(f"the request's body is larger than {MAX_BODY} bytes", status=413))

    def _close_gently(self) -> None:
        """Close our half only: closing with unread input would reset the connection and lose the error."""
        self._closing = True
        if self._transport.can_write_eof() and not self.lost:
            self._transport.write_eof()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _left(self, seen_as: str) -> None:
        if self.lost:
            return
        self.lost = True
        self._queue.clear()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lost(seen_as)
