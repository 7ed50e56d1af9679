"""How soon the upstream sees that a client left: `python -m benchmarks.service_leaving [--clients N]`.

The service runs in a process of its own, the stand-in model server in this one. Each client asks for an answer of a
model of its own name and vanishes at a random moment; the time runs from there until the stand-in sees the call cut
at its socket, looked at every millisecond. How late this process is, and how long the service takes for its simplest
reply meanwhile, stands beside it: on a machine that others use too, go by the difference.
"""

import argparse
import asyncio
import json
import random
import shlex
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import Running, cpu_s, family, running, two_cpus
from benchmarks.raw_http import percentile
from quorate.testing import StandIn
from quorate.testing.standin import Fixed, Profile

AT_ONCE = 50
STAY_S = 3.0
"""The longest that a client stays, in seconds."""
CONFIG = """
version = 1
[company]
name = "Lantern Post"
description = "an online shop for lamps"
[models.scope]
base_url = "{url}"
model = "scope"
[models.threat]
base_url = "{url}"
model = "threat"
[checks.scope]
models = ["scope"]
[checks.threat]
models = ["threat"]
[answer]
model = "scope"
[upstream]
base_url = "{url}"
effects = "none"
models = {{ {models} }}
[service]
port = 0
"""


class Bench:
    """Clients that leave, and the eye on the stand-in."""

    def __init__(self, standin: StandIn, service: Running, *, seed: int) -> None:
        self.standin, self.service = standin, service
        self.dice = random.Random(seed)
        self.left: dict[str, float] = {}
        self.seen_s: list[float] = []
        self.lag_s: list[float] = []
        self.probes_s: list[float] = []

    async def watch(self) -> None:
        """Note when the call of a client that has left is in flight no more."""
        now = asyncio.get_running_loop().time
        while True:
            models = self.standin.stats()["models"]
            for name in [name for name in self.left if not models[name]["in_flight"]]:
                self.seen_s.append(now() - self.left.pop(name))
            asleep_s = now()
            await asyncio.sleep(0.001)
            self.lag_s.append(now() - asleep_s)

    async def probe(self) -> None:
        """Ask for the simplest thing there is, again and again."""
        now = asyncio.get_running_loop().time
        reader, writer = await asyncio.open_connection(self.service.host, self.service.port)
        while True:
            sent_s = now()
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"}")
            self.probes_s.append(now() - sent_s)
            await asyncio.sleep(0.02)

    async def client(self, name: str, *, stream: bool) -> None:
        """Ask, wait for a while, vanish; where the call was in flight, wait until it is seen to be cut."""
        reader, writer = await asyncio.open_connection(self.service.host, self.service.port)
        messages = [{"role": "user", "content": f"Where is my parcel? {self.dice.random()}"}]
        body = json.dumps({"model": name, "messages": messages, "stream": stream}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(self.dice.uniform(0, STAY_S)):
                while await reader.read(1 << 16):
                    pass
        counts = self.standin.stats()["models"].get(name)
        left_s = asyncio.get_running_loop().time()
        writer.transport.abort()
        if counts is None or not counts["in_flight"]:
            return
        self.left[name] = left_s
        while name in self.left:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def measure(clients: int, *, seed: int) -> None:
    names = [f"answer-of-{number}" for number in range(AT_ONCE)]
    answer = Profile(Fixed(0.05), tokens=400, token_s=0.05)
    profiles = {"scope": Profile(Fixed(0.1)), "threat": Profile(Fixed(0.15)), **dict.fromkeys(names, answer)}
    loop = asyncio.get_running_loop()
    async with StandIn(profiles) as standin:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quorate.toml"
            models = ", ".join(f'"{name}" = "{name}"' for name in names)
            await asyncio.to_thread(path.write_text, CONFIG.format(url=standin.base_url, models=models))
            command = f"{{python}} -m quorate serve --json --config {shlex.quote(str(path))}"
            with running(command, cpu=two_cpus()[0]) as service:
                bench = Bench(standin, service, seed=seed)
                beside = [asyncio.create_task(bench.watch()), asyncio.create_task(bench.probe())]
                numbers, before_s, start_s = iter(range(clients)), cpu_s(family(service.pid)), loop.time()

                async def one(name: str) -> None:
                    for number in numbers:
                        await bench.client(name, stream=number % 2 == 0)

                await asyncio.gather(*map(one, names))
                for task in beside:
                    task.cancel()
                used_s = cpu_s(family(service.pid)) - before_s
                took_s = loop.time() - start_s
                total = standin.stats()["total"]
    times = sorted(1000 * value for value in bench.seen_s)
    shown = ", ".join(f"p{share:g} {percentile(times, share / 100):.1f} ms" for share in (50, 90, 99))
    print(f"{clients} clients left, {len(times)} of them with a call in flight: cut seen after {shown}")
    for what, values in (("this process looked every", bench.lag_s), ("/healthz takes", bench.probes_s)):
        lags = sorted(1000 * value for value in values)
        print(f"{what} {percentile(lags, 0.5):.1f} ms, p99 {percentile(lags, 0.99):.1f} ms")
    print(f"the service used {1000 * used_s / clients:.1f} ms of CPU a client, {100 * used_s / took_s:.0f} % of one")
    print(f"goal: p99 <= 50 ms: {'met' if percentile(times, 0.99) <= 50 else 'MISSED'}; in flight {total['in_flight']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(measure(options.clients, seed=options.seed))


if __name__ == "__main__":
    sys.exit(main())
