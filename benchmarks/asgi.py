"""ASGI frameworks and servers beside each other: `python -m benchmarks.asgi [--rounds N] [--json FILE]`.

Every server runs the same bare application, every framework runs on the same server (uvicorn, asyncio), so each figure
is of one part. The server has one CPU, the clients another; contestants take turns within each round, and what is
reported is the median over rounds and the median of each round's ratio to `uvicorn bare`. Go by CPU a request: it
counts only the server's own work, all its processes and threads. What is not installed is named and left out
(`pip install -e '.[bench-asgi]'`). Then two probes: does a server tell the application that the client has left, and
does it stop the application when the client does not read, and what does `send` do when nobody is there?
"""

import argparse
import asyncio
import importlib.metadata
import importlib.util
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from itertools import count
from typing import Any

from benchmarks.asgi_apps import APPS, CHAT, CHUNK, CHUNKS, PLAIN, SERVERS
from benchmarks.processes import Running, running, two_cpus
from benchmarks.raw_http import Window, closed_loop, percentile, pin, post

CLIENTS = (50, 200)
BASE = "uvicorn bare"
CONTESTANTS = [(server, "bare") for server in SERVERS] + [("uvicorn", app) for app in APPS if app != "bare"]
SLACK_S = 1.0


def body_of(number: int, stream: bool) -> bytes:
    text = f"{number}: where is my parcel? It should have come on Monday."
    messages = [{"role": "system", "content": "Answer briefly. " * 20}, {"role": "user", "content": text}]
    return json.dumps({"model": "gpt-4o-mini", "messages": messages, "stream": stream}).encode()


def measure(server: Running, *, stream: bool, clients: int, run_s: float) -> dict[str, float]:
    """One contestant under one load; every reply has to be whole."""
    numbers = count()

    def draw() -> tuple[str, bytes]:
        return "chat", post(CHAT, body_of(next(numbers), stream))

    window = asyncio.run(
        closed_loop(draw, host=server.host, port=server.port, pid=server.pid, clients=clients, run_s=run_s)
    )
    expected = CHUNK * CHUNKS if stream else PLAIN
    wrong = sum(reply.status != 200 or reply.body != expected for _, reply in window.replies)
    if wrong or window.cut or not window.replies:
        raise SystemExit(f"{wrong} wrong replies, {window.cut} cut, of {len(window.replies)}")
    return figures(window)


def figures(window: Window) -> dict[str, float]:
    done, took = len(window.replies), [1000 * reply.whole_s for _, reply in window.replies]
    return {
        "per_s": done / window.took_s,
        "cpu_ms": 1000 * window.cpu_s / done,
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
        "rss_mb": window.rss_mb,
        "server_busy": 100 * window.cpu_s / window.took_s,
        "client_busy": 100 * window.own_cpu_s / window.took_s,
    }


def start(server: str, app: str, cpu: int | None) -> str:
    pinned = "" if cpu is None else f" --cpu {cpu}"
    return f"{{python}} -m benchmarks.asgi_apps {server} {app} --port {{port}}{pinned}"


def ask(server: Running) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/seen", timeout=10) as reply:
        seen: dict[str, float] = json.load(reply)
        return seen


def probe(server: Running) -> dict[str, float]:
    """Milliseconds until the application hears that the client left; MB that it could send to one that never reads."""
    seconds: list[float] = []
    for _ in range(20):
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(post("/wait", b"{}"))
            time.sleep(0.05)
        left = time.monotonic()
        while not (gone := ask(server)["gone_at"]) and time.monotonic() < left + SLACK_S:
            time.sleep(0.002)
        seconds.append(gone - left if gone else float("inf"))
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall(post("/flood", b"{}"))
        time.sleep(SLACK_S)
        before = ask(server)["flooded"]
        time.sleep(SLACK_S)
        after = ask(server)["flooded"]
    time.sleep(SLACK_S / 2)
    left_after = ask(server)
    return {
        "gone_ms": 1000 * statistics.median(seconds),
        "gone_max_ms": 1000 * max(seconds),
        "unread_mb": after / 2**20,
        "stopped": before == after,
        "send_raises": left_after["raised"],
        "sent_to_nobody_mb": (left_after["flooded"] - after) / 2**20,
    }


def packages(name: str) -> set[str]:
    """A package and all that it requires, without extras, as installed."""
    found, todo = set(), [name]
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or another Python
        found.add(name)
        todo += [re.split(r"[^\w.-]", line)[0] for line in requires if "extra ==" not in line]
    return found


def weigh(rounds: int) -> dict[str, dict[str, float]]:
    """What a library adds: packages beside those that Quorate has, and milliseconds and MB of its import."""
    ours = packages("quorate")
    imports = {
        "starlette": "starlette.applications, starlette.routing, starlette.responses",
        "hypercorn": "hypercorn.asyncio, hypercorn.config",
    }
    script = (
        "import asyncio, json, os, time; from benchmarks.processes import memory_mb\n"
        "m = memory_mb([os.getpid()]); t = time.process_time()\n"
        "import {}\nprint(1000 * (time.process_time() - t), memory_mb([os.getpid()]) - m)"
    )
    found: dict[str, dict[str, float]] = {}
    for name in ("starlette", "fastapi", "litestar", "uvicorn", "uvloop", "granian", "hypercorn"):
        if not importlib.util.find_spec(name):
            continue
        command = [sys.executable, "-c", script.format(imports.get(name, name))]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(rounds + 1)]
        took = [tuple(map(float, out.split())) for out in runs[1:]]
        own = packages(name)
        found[name] = {
            "packages": len(own),
            "new_packages": len(own - ours),
            "import_cpu_ms": statistics.median(ms for ms, _ in took),
            "import_mb": statistics.median(mb for _, mb in took),
        }
    return found


def run(contestants: list[tuple[str, str]], *, rounds: int, run_s: float, cpu: int | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for round_ in range(rounds):
        for server, app in contestants if round_ % 2 == 0 else contestants[::-1]:
            with running(start(server, app, cpu)) as process:
                for stream in (False, True):
                    for clients in CLIENTS:
                        found = measure(process, stream=stream, clients=clients, run_s=run_s)
                        job = f"{'stream' if stream else 'plain'} {clients}"
                        rows.append({"round": round_, "who": f"{server} {app}", "job": job, **found})
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over rounds, and medians of each round's ratio to the base."""
    found: list[dict[str, Any]] = []
    for job in dict.fromkeys(row["job"] for row in rows):
        own = [row for row in rows if row["job"] == job]
        base = {row["round"]: row for row in own if row["who"] == BASE}
        for who in dict.fromkeys(row["who"] for row in own):
            mine = [row for row in own if row["who"] == who]
            line: dict[str, Any] = {"job": job, "who": who}
            for key in ("per_s", "cpu_ms", "p50_ms", "p99_ms", "rss_mb", "server_busy", "client_busy"):
                line[key] = statistics.median(row[key] for row in mine)
            for key in ("per_s", "cpu_ms"):
                ratios = [row[key] / base[row["round"]][key] for row in mine]
                line[f"{key}_ratio"], line[f"{key}_spread"] = statistics.median(ratios), [min(ratios), max(ratios)]
            found.append(line)
    return found


def show(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        low, high = line["cpu_ms_spread"]
        print(
            f"{line['job']:11} {line['who']:24} CPU {line['cpu_ms']:6.3f} ms x{line['cpu_ms_ratio']:.2f} "
            f"({low:.2f}..{high:.2f})  {line['per_s']:6.0f}/s x{line['per_s_ratio']:.2f}  p50 {line['p50_ms']:6.1f} ms "
            f"p99 {line['p99_ms']:6.1f} ms  {line['rss_mb']:4.0f} MB  server busy {line['server_busy']:3.0f} %, "
            f"client {line['client_busy']:3.0f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--only", nargs="*", metavar="WORD", default=[], help="contestants with one of these words")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    cpu, other = two_cpus()
    pin(other)
    os.environ["NO_PROXY"] = "127.0.0.1"
    words = {word for contestant in CONTESTANTS for name in contestant for word in re.split(r"[+-]", name)}
    absent = sorted(word for word in words - {"bare", "raw"} if not importlib.util.find_spec(word))
    if absent:
        print(f"not installed: {', '.join(absent)}")
    chosen = [
        (server, app)
        for server, app in CONTESTANTS
        if not set(absent) & set(re.split(r"[+-]", server) + app.split("-"))
        and (not args.only or f"{server} {app}" == BASE or any(word in f"{server} {app}" for word in args.only))
    ]
    weights = weigh(args.rounds)
    for name, weight in weights.items():
        print(f"{name} {importlib.metadata.version(name)}: " + ", ".join(f"{k} {v:.1f}" for k, v in weight.items()))
    probes: dict[str, dict[str, float]] = {}
    for server, app in chosen:
        if app == "bare":
            with running(start(server, app, cpu)) as process:
                probes[server] = probe(process)
            print(f"{server:16} " + ", ".join(f"{key} {value:.1f}" for key, value in probes[server].items()))
    rows = run(chosen, rounds=args.rounds, run_s=args.seconds, cpu=cpu)
    lines = table(rows)
    show(lines)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"weights": weights, "probes": probes, "lines": lines, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
