"""`quorate serve`: the front door over HTTP, in one process or several that share a socket and a store."""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from quorate.cli.safe import safe
from quorate.engine import clock
from quorate.errors import UsageError
from quorate.service.callers import is_loopback
from quorate.service.running import Place, open_store, prepare, serve_on
from quorate.service.server import listen
from quorate.settings import ServiceTable, load_settings
from quorate.wiring import example_config

if sys.platform != "win32":
    import resource

BACKOFF_S = 1.0
"""Seconds before a worker that died is started again."""
STORE_VARIABLE = "QUORATE_STORE"
"""Tells a worker the store's URL: it may hold a password, and everybody sees the command line of a process."""
MOST_FILES = 1 << 16
"""Open files and sockets that a process asks for."""


class _OneLine(logging.Formatter):
    """Whatever is in a message, or in the error beside it, it is one line, and no terminal obeys it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return safe(super().format(record), lines=False)


async def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it; 0 after a drain."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("quorate: %(message)s"))
    handler.setLevel(logging.WARNING)  # Some libraries set their own loggers lower.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if sys.platform == "win32":
        raise UsageError("quorate serve needs POSIX signals and locks: run it on Linux or macOS, or in a container")
    # Until somebody listens for it: a reload that comes too early ends nothing. Workers are started with it blocked.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    path = (args.config if args.config is not None else example_config()).resolve()
    table = _table(args, path)
    _raise_file_limit(table)
    with ExitStack() as files:
        place = Place(path, args.worker or f"{socket.gethostname()}:{os.getpid()}", args.shared, _lines(args, files))
        if args.socket is not None:
            sock = socket.socket(fileno=args.socket)
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _orphaned)
            await serve_on(sock, place, table=table, ready=lambda _service: None)
            return 0
        sock = listen(table.host, table.port)
        async with open_store(table, path.parent) as store:
            secret = await prepare(store, path, table=table)
        _told(table, sock, secret, as_json=args.json)
        if table.workers == 1:
            await serve_on(sock, place, table=table, ready=lambda _service: _ready(table, sock, as_json=args.json))
            return 0
        return await _Workers(sock, table, args).run()


def _raise_file_limit(table: ServiceTable) -> None:
    """Take as many sockets as are allowed: the usual 1024 are used up before the queue is, and then calls fail."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    # The caller's line, two checks and the answer; and those that wait, the store and the log.
    needed = 4 * table.max_running + table.max_queued + 100
    if 0 <= soft < needed:
        logging.warning("%d open files are allowed, %d may be needed: raise the limit (ulimit -n)", soft, needed)


def _orphaned() -> None:
    """Who started this worker has ended, however: drain and end, or the next one finds the address taken."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    os.kill(os.getpid(), signal.SIGTERM)


def _table(args: argparse.Namespace, path: Path) -> ServiceTable:
    """The `[service]` table with what the command line says otherwise."""
    table = load_settings(path).service
    said = {name: value for name in ("host", "port", "workers", "store") if (value := getattr(args, name)) is not None}
    if args.socket is not None:
        said["store"] = os.environ[STORE_VARIABLE]
    elif args.config is None and args.store is None:
        said["store"] = "sqlite:///" + str(Path.cwd() / "quorate.db")  # The example's folder may not be writable.
    try:
        return ServiceTable.model_validate(table.model_dump() | said)
    except ValueError as error:
        raise UsageError(f"--host, --port, --workers, --store: {error}") from error


def _lines(args: argparse.Namespace, files: ExitStack) -> TextIO | None:
    if args.log is None:
        return None
    if str(args.log) == "-":
        return sys.stderr
    try:
        lines: TextIO = files.enter_context(args.log.open("a", encoding="ascii"))
    except OSError as error:
        raise UsageError(f"--log {args.log}: cannot be written: {error.strerror}") from error
    return lines


def _told(table: ServiceTable, sock: socket.socket, secret: str | None, *, as_json: bool) -> None:
    """Say once what is said once: the first key, and whom a service without keys lets in."""
    if secret is not None:
        print(f"quorate: the first API key, shown this once (rights call, details, admin): {secret}", file=sys.stderr)
    elif not as_json and is_loopback(table.host):
        print("quorate: without keys only this machine may ask; `quorate keys create NAME` makes one", file=sys.stderr)
    sys.stderr.flush()


def _ready(table: ServiceTable, sock: socket.socket, *, as_json: bool) -> None:
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if as_json:
        print(json.dumps({"host": host, "port": port, "base_url": f"http://{shown}:{port}/v1"}), flush=True)
    else:
        print(safe(f"quorate: serving at http://{shown}:{port}/v1", lines=False), flush=True)


class _Workers:
    """Several processes on one socket, started again when they die, ended together."""

    def __init__(self, sock: socket.socket, table: ServiceTable, args: argparse.Namespace) -> None:
        self._sock, self._table, self._args = sock, table, args
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._signals = 0
        self._reload = False

    async def run(self) -> int:
        """Run until a signal; 0 after a drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._again)
        shared = Path(tempfile.mkdtemp(prefix="quorate-"))
        try:
            names = [f"{socket.gethostname()}:{os.getpid()}-{number}" for number in range(1, self._table.workers + 1)]
            for name in names:
                await self._start(name, shared)
            _ready(self._table, self._sock, as_json=self._args.json)
            await self._watch(shared)
        finally:
            shutil.rmtree(shared, ignore_errors=True)
        return 0

    async def _watch(self, shared: Path) -> None:
        while self._children:
            for name, child in list(self._children.items()):
                if child.returncode is None:
                    continue
                del self._children[name]
                if not self._signals:
                    print(f"quorate: worker {name} ended with {child.returncode}; starting it again", file=sys.stderr)
                    await clock.sleep(BACKOFF_S)
                if not self._signals:
                    await self._start(name, shared)
            await clock.sleep(0.1)

    async def _start(self, name: str, shared: Path) -> None:
        fd = self._sock.fileno()
        options = ["--socket", str(fd), "--worker", name, "--shared", str(shared), "--workers", "1"]
        options += ["--host", self._table.host, "--port", str(self._table.port)]
        if self._args.config is not None:
            options += ["--config", str(self._args.config)]
        if self._args.log is not None:
            options += ["--log", str(self._args.log)]
        command = [sys.executable, "-m", "quorate", "serve", *options]
        # A group of its own: a Ctrl-C at the terminal reaches the workers through us, once.
        # Its standard input is a pipe of ours that nobody writes to: when it ends, so have we.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                pass_fds=(fd,),
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                env=os.environ | {STORE_VARIABLE: self._table.store},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._children[name] = child
        if self._signals:  # It came while this one was being started.
            child.send_signal(signal.SIGTERM)

    def _stop(self) -> None:
        self._signals += 1
        self._sock.close()  # Or whoever connects now would wait for workers that take nobody any more.
        self._tell(signal.SIGTERM)

    def _again(self) -> None:
        # One worker proposes, all of them follow.
        living = [child for child in self._children.values() if child.returncode is None]
        for child in living[:1]:
            child.send_signal(signal.SIGHUP)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)
