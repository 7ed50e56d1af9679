"""Servers in processes of their own, and what they use: CPU and memory, read from the system (Linux)."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_STOP_S = 10.0


def family(pid: int) -> list[int]:
    """A process and all that descend from it: servers with workers count whole."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, own in parents.items() if own == parent]
    return found


def cpu_s(pids: list[int]) -> float:
    """User and system CPU seconds of living processes, all threads, exact to the nanosecond."""
    # The clock of another process is made of its id, as clock_getcpuclockid(3) does: /proc counts in steps of 10 ms.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory_mb(pids: list[int], field: str = "VmRSS") -> float:
    """Resident memory in MB; VmHWM for its peak."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def two_cpus() -> tuple[int | None, int | None]:
    """The server's CPU and the load's; none to pin to where there is only one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return (cores[0], cores[-1]) if len(cores) > 1 else (None, None)


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Processes and threads that start within the block run on this CPU."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    host: str
    port: int
    pid: int


@contextmanager
def running(command: str, *, cpu: int | None = None, start_s: float = 30.0) -> Iterator[Running]:
    """Run a server while the block is open.

    A command with `{port}` in it gets a free one and is ready when it can be connected to; one without prints a line
    of JSON with host and port when it is. `{python}` is this interpreter.
    """
    port = free_port() if "{port}" in command else 0
    words = [word.format(python=sys.executable, port=port) for word in shlex.split(command)]
    with pinned(cpu), subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            yield _connected(process, port, start_s) if port else _told(process, start_s)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _told(process: subprocess.Popen[bytes], start_s: float) -> Running:
    assert process.stdout is not None
    timer = threading.Timer(start_s, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    if not line:
        raise SystemExit(f"{process.args!r} told no port within {start_s:g} s; exit code {process.wait()}")
    told = json.loads(line)
    _drain(process)
    return Running(told["host"], told["port"], process.pid)


def _connected(process: subprocess.Popen[bytes], port: int, start_s: float) -> Running:
    _drain(process)
    end = time.monotonic() + start_s
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return Running("127.0.0.1", port, process.pid)
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} was not to be reached within {start_s:g} s; exit code {process.poll()}")


def _drain(process: subprocess.Popen[bytes]) -> None:
    """Read on what the server prints, or it stops when the pipe is full."""
    assert process.stdout is not None
    threading.Thread(target=process.stdout.read, daemon=True).start()
