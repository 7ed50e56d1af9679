"""HTTP clients beside each other: `python -m benchmarks.http_clients [--rounds N] [--json FILE] [--only NAME ...]`.

One JSON POST after another to the stand-in model server (another process, another core), with 50 to 500 calls in
flight. Clients take turns within each round, each on default settings with its connection limits lifted, over
HTTP/1.1. All get the same bytes to send, and all replies are parsed by the standard library's json, so that what
differs is the client. CPU is user and system time of this process, all threads; it runs on one core. The second table
cancels calls that the server has begun and reads its ledger. A client that is not installed is named and left out.
"""

import argparse
import asyncio
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.frontdoor import cpu_s
from quorate.testing.standin import SpawnedStandIn, spawn_standin

Post = Callable[[bytes], Awaitable[bytes]]
Open = Callable[[str], AbstractAsyncContextManager[Post]]

IN_FLIGHT = (50, 100, 200, 500)
CANCELLED = 50
MANY = 10_000  # connections, where a client cannot be told "no limit"
LONGEST_S = 4.0  # after so long a measurement stops with the calls that it has made
HEADERS = {"Content-Type": "application/json"}


@asynccontextmanager
async def use_aiohttp(url: str) -> AsyncIterator[Post]:
    aiohttp = importlib.import_module("aiohttp")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def post(body: bytes) -> bytes:
            async with client.post(url, data=body, headers=HEADERS) as response:
                return await response.read()

        yield post


def use_httpx(name: str) -> Open:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Post]:
        httpx = importlib.import_module(name)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=None) as client:

            async def post(body: bytes) -> bytes:
                return (await client.post(url, content=body, headers=HEADERS)).content

            yield post

    return opened


@asynccontextmanager
async def use_niquests(url: str) -> AsyncIterator[Post]:
    niquests = importlib.import_module("niquests")
    async with niquests.AsyncSession(pool_maxsize=MANY) as client:

        async def post(body: bytes) -> bytes:
            return (await client.post(url, data=body, headers=HEADERS)).content

        yield post


@asynccontextmanager
async def use_aiosonic(url: str) -> AsyncIterator[Post]:
    aiosonic = importlib.import_module("aiosonic")
    pools = importlib.import_module("aiosonic.pools")
    pool = pools.PoolConfig(size=MANY, max_conn_requests=None)
    connector = importlib.import_module("aiosonic.connectors").TCPConnector(pool_configs={":default": pool})
    async with aiosonic.HTTPClient(connector) as client:

        async def post(body: bytes) -> bytes:
            return await (await client.post(url, data=body, headers=HEADERS)).content()

        yield post
        await client.aclose()


@asynccontextmanager
async def use_pyreqwest(url: str) -> AsyncIterator[Post]:
    builder = importlib.import_module("pyreqwest.client").ClientBuilder()
    async with builder.http1_only().build() as client:

        async def post(body: bytes) -> bytes:
            request = client.post(url).headers(HEADERS).body_bytes(body).build()
            return bytes(await (await request.send()).bytes())

        yield post


@asynccontextmanager
async def use_pyqwest(url: str) -> AsyncIterator[Post]:
    pyqwest = importlib.import_module("pyqwest")
    async with pyqwest.HTTPTransport(pool_max_idle_per_host=MANY) as transport:
        client = pyqwest.Client(transport)

        async def post(body: bytes) -> bytes:
            return (await client.post(url, HEADERS, body)).content

        yield post


@asynccontextmanager
async def use_wreq(url: str) -> AsyncIterator[Post]:
    wreq = importlib.import_module("wreq")
    async with wreq.Client(http1_only=True, pool_max_idle_per_host=MANY, pool_max_size=MANY) as client:

        async def post(body: bytes) -> bytes:
            async with client.post(url, body=body, headers=HEADERS) as response:
                return bytes(await response.bytes())

        yield post


CLIENTS: dict[str, Open] = {
    "aiohttp": use_aiohttp,
    "httpx": use_httpx("httpx"),
    "httpx2": use_httpx("httpx2"),
    "niquests": use_niquests,
    "aiosonic": use_aiosonic,
    "pyreqwest": use_pyreqwest,
    "pyqwest": use_pyqwest,
    "wreq": use_wreq,
}


def body_of(model: str, mark: str) -> bytes:
    text = f"{mark}: where is my parcel? It should have come on Monday."
    messages = [{"role": "system", "content": "Is this about an order? " * 40}, {"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": 160, "temperature": 0}).encode()


async def flood(post: Post, mark: str, *, calls: int, in_flight: int) -> int:
    """Make the calls, or as many as fit the time; every reply has to be a completion."""
    numbers = iter(range(calls))
    end = time.perf_counter() + LONGEST_S
    done = 0

    async def worker() -> None:
        nonlocal done
        for number in numbers:
            reply = json.loads(await post(body_of("check-20ms", f"{mark}-{number}")))
            assert reply["choices"][0]["message"]["content"]
            done += 1
            if time.perf_counter() > end:
                return

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return done


def process_cpu_s(pid: int) -> float:
    """CPU seconds of another process; 0 where the system does not tell."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


async def measure(server: SpawnedStandIn, opened: Open, in_flight: int, calls: int) -> dict[str, float]:
    """One client at one width: warm connections first, then the calls that count."""
    async with opened(f"{server.base_url}/chat/completions") as post:
        await flood(post, "warm", calls=2 * in_flight, in_flight=in_flight)
        server.reset()
        opened_before = server.stats()["connections_opened"]
        gc.collect()
        cpu, theirs, start = cpu_s(), process_cpu_s(server.pid), time.perf_counter()
        done = await flood(post, "call", calls=max(calls, 3 * in_flight), in_flight=in_flight)
        took = time.perf_counter() - start
        used, theirs = cpu_s() - cpu, process_cpu_s(server.pid) - theirs
        return {
            "per_s": done / took,
            "cpu_ms": 1000 * used / done,
            "server_busy": 100 * theirs / took,
            "new_connections": server.stats()["connections_opened"] - opened_before,
        }


async def until(server: SpawnedStandIn, key: str, count: int, *, wait_s: float = 2.0) -> float:
    """Milliseconds until the ledger shows the count; the whole wait if it never does."""
    start = time.perf_counter()
    while time.perf_counter() - start < wait_s:
        if server.stats()["total"][key] >= count:  # type: ignore[literal-required]
            break
        await asyncio.sleep(0.005)
    return 1000 * (time.perf_counter() - start)


async def cancel(server: SpawnedStandIn, opened: Open) -> dict[str, Any]:
    """Cancel calls in the middle: do they end here, are they cut there, which connections stay, does it go on.

    The server has to be a fresh one: a client before may have left connections behind.
    """
    async with opened(f"{server.base_url}/chat/completions") as post:
        tasks = [asyncio.create_task(post(body_of("check-10s", f"cancel {i}"))) for i in range(CANCELLED)]
        await until(server, "in_flight", CANCELLED)
        start = time.perf_counter()
        for task in tasks:
            task.cancel()
        _, hung = await asyncio.wait(tasks, timeout=2.0)
        here_ms = 1000 * (time.perf_counter() - start)
        cut_ms = await until(server, "cut", CANCELLED)
        stats = server.stats()
        try:
            async with asyncio.timeout(5.0):
                after = await flood(post, "after", calls=CANCELLED, in_flight=CANCELLED)
        except Exception as error:
            after = -1
            print(f"after cancelling: {type(error).__name__}: {error}", file=sys.stderr)
        opened_after = server.stats()["connections_opened"] - stats["connections_opened"]
    await asyncio.sleep(0.5)
    return {
        "cancelled": CANCELLED,
        "ended_here": CANCELLED - len(hung),
        "ended_here_ms": here_ms,
        "cut_at_server": stats["total"]["cut"],
        "cut_after_ms": cut_ms,
        "connections_left": stats["connections_open"],
        "calls_after": after,
        "opened_after": opened_after,
        "open_after_close": server.stats()["connections_open"],
    }


async def run(server: SpawnedStandIn, names: list[str], rounds: int, calls: int) -> list[dict[str, Any]]:
    """All clients at all widths, in turns; the order is reversed every other round."""
    rows: list[dict[str, Any]] = []
    for round_ in range(rounds):
        for in_flight in IN_FLIGHT:
            for name in names if round_ % 2 == 0 else names[::-1]:
                figures = await measure(server, CLIENTS[name], in_flight, calls)
                rows.append({"round": round_, "client": name, "in_flight": in_flight, **figures})
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def table(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Medians over rounds, and the median of each round's ratio to aiohttp where it took part."""
    found: list[dict[str, Any]] = []
    for in_flight in IN_FLIGHT:
        own = [row for row in rows if row["in_flight"] == in_flight]
        base = {row["round"]: row for row in own if row["client"] == "aiohttp"}
        for name in names:
            mine = [row for row in own if row["client"] == name]
            line: dict[str, Any] = {"in_flight": in_flight, "client": name}
            for key in ("per_s", "cpu_ms", "server_busy", "new_connections"):
                line[key] = round(statistics.median(row[key] for row in mine), 3)
            if base:
                for key in ("per_s", "cpu_ms"):
                    ratios = [row[key] / base[row["round"]][key] for row in mine]
                    line[f"{key}_ratio"] = round(statistics.median(ratios), 3)
                    line[f"{key}_spread"] = [round(min(ratios), 3), round(max(ratios), 3)]
            found.append(line)
    return found


def show(lines: list[dict[str, Any]], cancels: dict[str, dict[str, Any]]) -> None:
    for line in lines:
        ratios = ""
        if "per_s_ratio" in line:
            ratios = f"  to aiohttp: x{line['per_s_ratio']:.2f} calls/s, x{line['cpu_ms_ratio']:.2f} CPU"
        print(
            f"{line['in_flight']:4} in flight  {line['client']:10} {line['per_s']:7.0f}/s  CPU {line['cpu_ms']:6.3f} ms"
            f"  server busy {line['server_busy']:3.0f} %  new connections {line['new_connections']:4.0f}{ratios}"
        )
    print(f"\n{CANCELLED} calls cancelled in the middle:")
    for name, seen in cancels.items():
        print(
            f"  {name:10} ended here {seen['ended_here']:3} in {seen['ended_here_ms']:6.1f} ms  cut at the server "
            f"{seen['cut_at_server']:3} within {seen['cut_after_ms']:6.0f} ms  connections left "
            f"{seen['connections_left']:3}  next calls done {seen['calls_after']:3}, opened {seen['opened_after']:3}"
            f"  open after close {seen['open_after_close']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="of one client at one width (default 1000)")
    parser.add_argument("--only", nargs="*", choices=list(CLIENTS), default=list(CLIENTS), metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    names = [name for name in args.only if importlib.util.find_spec(name)]
    versions = {name: importlib.metadata.version(name) for name in names}
    print("  ".join(f"{name} {version}" for name, version in versions.items()))
    if absent := [name for name in args.only if name not in names]:
        print(f"not installed: {', '.join(absent)}")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    other = cores[-1] if len(cores) > 1 else None
    if other is not None:
        os.sched_setaffinity(0, {cores[0]})
    with spawn_standin(cpu=other, seed=0) as server:
        rows = asyncio.run(run(server, names, args.rounds, args.calls))
    cancels: dict[str, dict[str, Any]] = {}
    for name in names:
        with spawn_standin(cpu=other, seed=0) as server:
            cancels[name] = asyncio.run(cancel(server, CLIENTS[name]))
    lines = table(rows, names)
    show(lines, cancels)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"versions": versions, "lines": lines, "cancelled": cancels, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
