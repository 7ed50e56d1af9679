"""One process that serves: uvicorn on a socket that is open already, and what its signals mean."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from quorate.errors import UsageError

KEEP_ALIVE_S = 75
"""Longer than the usual 60 s of a load balancer: it, not we, ends a line that both believe in."""
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that requests come in by; several processes may share it.

    Raises:
        UsageError: the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host.strip("[]"), port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    sock.set_inheritable(True)
    return sock


class _Server(uvicorn.Server):
    """Leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with nullcontext():
            yield


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
    config = uvicorn.Config(
        app,
        http="httptools",
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
    server = _Server(config)
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
