"""Real `quorate serve` processes, and the raw sockets of their worst clients."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 60.0


@dataclass
class Serving:
    """A service that runs in a process of its own; `told` is what it has said on stderr."""

    process: "subprocess.Popen[str]"
    host: str
    port: int
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def told(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="backslashreplace")

    @property
    def log(self) -> list[str]:
        """The lines of its log, as they are."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def workers(self) -> list[int]:
        """Its worker processes by id."""
        return [pid for pid, parent in parents().items() if parent == self.process.pid]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        return self.process.wait(seconds)


def parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    found: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z":
                    found[int(folder.name)] = int(stat[1])
    return found


def clean() -> dict[str, str]:
    """The environment without what this machine has set for the network."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return {name: value for name, value in os.environ.items() if name.upper() not in names}


def quorate(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    command = [sys.executable, "-m", "quorate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean() | (env or {}), timeout=60)


@contextmanager
def serve(path: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Serving]:
    """Run `quorate serve` while the block is open; whatever is left of it is killed after."""
    folder = path.parent
    command = [sys.executable, "-m", "quorate", "serve", "--config", str(path), "--json", "--port", "0"]
    command += ["--log", str(folder / "log"), *options]
    with (folder / "stderr").open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=clean() | (env or {}), start_new_session=True
        )
    family = {process.pid}
    try:
        told = _ready(process, folder)
        serving = Serving(process, told["host"], told["port"], folder)
        yield serving
        family |= {*serving.workers()}
    finally:
        family |= {pid for pid, parent in parents().items() if parent == process.pid}
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _ready(process: "subprocess.Popen[str]", folder: Path) -> dict[str, Any]:
    assert process.stdout is not None
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    assert line, f"it did not start: {(folder / 'stderr').read_text()[-2000:]}"
    told: dict[str, Any] = json.loads(line)
    return told


def post(body: bytes, *, path: str = "/v1/chat/completions", host: str = "localhost", head: str = "") -> bytes:
    """A whole request as bytes; `head` are more lines, each with its end."""
    lines = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{head}"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chat(text: str, *, stream: bool = False, head: str = "", **more: Any) -> bytes:
    """A whole chat request as bytes."""
    messages = [{"role": "user", "content": text}]
    return post(json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream, **more}).encode(), head=head)


async def said_to(port: int, *pieces: bytes, wait_s: float = 5.0, half_close: bool = False) -> bytes:
    """Send pieces on a connection of their own and read what comes until its end, or for so many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    came = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(wait_s):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if half_close:
                writer.write_eof()
            while chunk := await reader.read(65536):
                came += chunk
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return came
