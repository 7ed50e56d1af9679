"""A stand-in for a model server: OpenAI's HTTP interface over real sockets, with latency, faults and a ledger.

In the running loop::

    async with StandIn(profiles={"answer": Profile(Fixed(0.3), token_s=0.01)}) as server:
        ...  # ask server.base_url for "answer", or for a name that says it all: "threat-50ms+500"
        assert server.stats()["total"]["cut"] == 1

In a process of its own, for benchmarks: `spawn_standin()`, or `python -m quorate.testing.standin --port 0`, which
prints one line of JSON with the port. The grammar of model names and the list of faults are in
`quorate.testing.standin.profiles`. Routes:

- `POST /v1/chat/completions`, `GET /v1/models`: as OpenAI's.
- `GET /stats` (see `Stats`), `POST /stats/reset` (also forgets queued faults), `GET /healthz`.
- `POST /faults` `{"model": "check-50ms", "faults": ["500", "429:2s"]}`: for the model's next calls, once each.
- `POST /profiles` `{"model": "gpt-4o", "like": "answer-300ms"}`: gives a model the behaviour that a name means.

It listens on the loopback interface unless told otherwise: it knows no keys, and anyone who reaches it may use it.
Time on an event loop has steps of about a millisecond; a latency is never shorter than asked. A client that closes
its sending half counts as gone.
"""

import argparse
import asyncio
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn, cast

from quorate.testing.standin.ledger import Counts, Cut, Stats
from quorate.testing.standin.profiles import Fixed, HeavyTail, Lognormal, Profile, Rule, Ruling, ToolCall
from quorate.testing.standin.server import StandIn

if sys.platform != "win32":
    import resource

__all__ = [
    "Counts",
    "Cut",
    "Fixed",
    "HeavyTail",
    "Lognormal",
    "Profile",
    "Rule",
    "Ruling",
    "SpawnedStandIn",
    "StandIn",
    "Stats",
    "ToolCall",
    "main",
    "run_standin",
    "spawn_standin",
]

_STOP_S = 5.0


def run_standin(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ready: Callable[[StandIn], None],
    profiles: Mapping[str, Profile] | None = None,
    seed: int = 0,
    uvloop: bool = False,
    until_stdin_closes: bool = False,
) -> None:
    """Run a stand-in server until SIGINT or SIGTERM; blocks.

    Args:
        host: address to listen on.
        port: port; 0 takes a free one.
        ready: called once with the server when it listens.
        profiles: as for `StandIn`.
        seed: as for `StandIn`.
        uvloop: use uvloop if it is installed.
        until_stdin_closes: end also when standard input does, that is, when the parent process is gone.

    Raises:
        OSError: the address is not to be had.
    """

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
                loop.add_signal_handler(number, stop.set)
        if until_stdin_closes:
            threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
        async with StandIn(profiles, seed=seed, host=host, port=port) as server:
            ready(server)
            await stop.wait()

    _raise_file_limit()
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if uvloop:
        with suppress(ImportError):
            factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, suppress(KeyboardInterrupt):
        runner.run(main())


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # os.read and not sys.stdin: a daemon thread that holds the latter's lock breaks the interpreter's exit.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    with suppress(RuntimeError):  # the loop has closed meanwhile
        loop.call_soon_threadsafe(stop.set)


def _raise_file_limit() -> None:
    """Take as many file descriptors as allowed: the usual soft limit of 1024 is less than a load test opens."""
    if sys.platform == "win32":
        return
    with suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class SpawnedStandIn:
    """A stand-in server in another process; its methods block.

    Attributes:
        host: its address.
        port: its port.
        pid: its process id.
    """

    host: str
    port: int
    pid: int

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, `/v1` included."""
        return f"http://{self.host}:{self.port}/v1"

    def stats(self) -> Stats:
        """Return the server's ledger."""
        return cast(Stats, self._ask("GET", "/stats"))

    def reset(self) -> None:
        """Start its ledger, turns and queues of faults again from zero."""
        self._ask("POST", "/stats/reset")

    def inject(self, model: str, *faults: str) -> None:
        """Let the next calls of a model fail, one for each fault.

        Raises:
            ValueError: there is no such fault.
        """
        self._ask("POST", "/faults", body={"model": model, "faults": list(faults)})

    def configure(self, model: str, like: str) -> None:
        """Give a model the behaviour that the name `like` means.

        Raises:
            ValueError: `like` cannot be read.
        """
        self._ask("POST", "/profiles", body={"model": model, "like": like})

    def _ask(self, method: str, path: str, *, body: object = None) -> object:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"]["message"])
        return answer


@contextmanager
def spawn_standin(
    *, cpu: int | None = None, seed: int = 0, uvloop: bool = False, start_s: float = 10.0
) -> Iterator[SpawnedStandIn]:
    """Run a stand-in server in a process of its own while the block is open.

    The process ends with the block, and by itself if this process dies, however it dies.

    Args:
        cpu: the CPU to pin it to, where the system can.
        seed: as for `StandIn`.
        uvloop: use uvloop if it is installed.
        start_s: seconds it has to start.

    Raises:
        RuntimeError: it did not start; its own message is on standard error.
    """
    command = [sys.executable, "-m", "quorate.testing.standin", "--port", "0", "--seed", str(seed)]
    command += ["--until-stdin-closes", *(["--uvloop"] if uvloop else [])]
    command += [] if cpu is None else ["--cpu", str(cpu)]
    pipe = subprocess.PIPE
    # A session of its own: a Ctrl-C is for the caller, who may still want the ledger.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        try:
            yield _read_ready(process, start_s)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _read_ready(process: subprocess.Popen[str], start_s: float) -> SpawnedStandIn:
    assert process.stdout is not None
    timer = threading.Timer(start_s, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if not line:
        raise RuntimeError(f"the stand-in server did not start within {start_s} s; exit code {process.wait()}")
    told = json.loads(line)
    return SpawnedStandIn(told["host"], told["port"], process.pid)


class _Parser(argparse.ArgumentParser):
    """Complains without repeating control characters to the terminal."""

    def error(self, message: str) -> NoReturn:
        super().error("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server from the command line.

    Returns:
        The exit code: 0, or 1 if the address is not to be had.
    """
    parser = _Parser(
        prog="quorate stand-in",
        description="An OpenAI-compatible stand-in server with latency, faults and a ledger.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: %(default)s)")
    parser.add_argument("--cpu", type=int, help="CPU to run on, where the system can pin a process")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop if it is installed")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    if options.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.cpu})

    def ready(server: StandIn) -> None:
        line = {"host": server.host, "port": server.port, "base_url": server.base_url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    try:
        run_standin(
            options.host,
            options.port,
            ready=ready,
            seed=options.seed,
            uvloop=options.uvloop,
            until_stdin_closes=options.until_stdin_closes,
        )
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error}\n")
        return 1
    return 0
