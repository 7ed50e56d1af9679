"""One process that serves: uvicorn on a socket that is open already, and what its signals mean."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quorate.errors import UsageError

KEEP_ALIVE_S = 75
"""Longer than the usual 60 s of a load balancer: it, not we, ends a line that both believe in."""
BACKLOG = 2048
MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
HEAD_S = 10.0
"""Seconds that they may take to arrive."""
TAKE_S = 30.0
"""Seconds in which a client must take some of what waits for it."""


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that requests come in by; several processes may share it.

    Raises:
        UsageError: the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: where it is 0, asyncio leaves Nagle's delay on, also on what such a socket accepts.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host.strip("[]"), port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    sock.set_inheritable(True)
    return sock


class _Bounded(HttpToolsProtocol):
    """A head that is too long or too slow ends its connection, and so does a reply that nobody takes.

    uvicorn itself bounds none of them. Nor does it read while a request waits behind one that runs, and then it does
    not see that the client leaves: here such a request is not taken, and the connection ends after the one that runs.
    """

    _in_head, _head, _late, _stuck, _deaf = False, 0, None, None, False

    def connection_made(self, transport: Any) -> None:
        """Start the time that the first head has."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it."""
        self._on_time()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """So much waits for the client that the reply stops: its room is not its own for ever."""
        super().pause_writing()
        self._taken()
        self._stuck = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken something."""
        self._taken()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._deaf:
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.abort)

    def on_headers_complete(self) -> None:
        """It has ended in time."""
        self._in_head = False
        self._on_time()
        if self._deaf:
            return
        runs = self.cycle
        super().on_headers_complete()
        if self.pipeline:
            self.pipeline.clear()
            self._deaf, self.cycle, runs.keep_alive = True, runs, False
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if not self._deaf:
            super().on_message_complete()

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class _Server(uvicorn.Server):
    """Leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours are set around it."""
        yield


def configured(app: ASGIApp, *, drain_s: float) -> uvicorn.Config:
    """How uvicorn serves us; `drain_s` is what running requests get, in seconds."""
    return uvicorn.Config(
        app,
        http=_Bounded,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )


async def serve(
    app: ASGIApp, sock: socket.socket, *, drain_s: float, draining: Callable[[], None], reload: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT; a second one stops at once.

    Args:
        app: who answers.
        sock: where requests come in.
        drain_s: seconds that running requests get after the first signal; then they are cancelled.
        draining: called at the first signal.
        reload: called at each SIGHUP.
    """
    server = _Server(configured(app, drain_s=drain_s))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
            for task in tuple(server.server_state.tasks):
                task.cancel("stopped at once")
        else:
            draining()
            server.should_exit = True

    handled = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    for number, handler in handled.items():
        loop.add_signal_handler(number, handler)
    try:
        await server.serve(sockets=[sock])
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
