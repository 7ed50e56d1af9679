"""Load for any OpenAI-compatible service: `python -m benchmarks.service_load URL --pid PID [--stream] [...]`.

A process of its own: several hundred clients in a closed loop send honest messages and attacks (which carry the
stand-in model server's marker), no two alike. It prints one line of JSON: requests a second, what the service's
processes used in the same window, and milliseconds to the first byte of content, to the last, and to a refusal. A
reply is wrong if an attack was answered, an honest message got no answer, or a stream ended without its [DONE].
"""

import argparse
import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from benchmarks.raw_http import Draw, Reply, Window, closed_loop, percentile, pin, post
from quorate.testing.standin.profiles import REPLY

MARK = " [[flag:threat]]"
ANSWERED = REPLY.split()[0].encode()
"""What stands in every answer of the upstream, streamed or not, and in no refusal."""
Refusal = tuple[int, str]
"""Its status, and what stands in its body (a regular expression): services refuse in different words."""
OURS: Refusal = (200, "content_filter")
SHARES = {"p50": 0.5, "p99": 0.99}


def messages(
    path: str, model: str, *, stream: bool = False, attacks: float = 0.0, key: str = "", seed: int = 0
) -> Draw:
    """Requests to send, each once; which are attacks depends on the seed only."""
    dice, numbers, run = random.Random(seed), count(), time.time_ns()

    def draw() -> tuple[str, bytes]:
        attack = dice.random() < attacks
        text = f"{run}-{next(numbers)}: where is my parcel? It should have come on Monday.{MARK if attack else ''}"
        chat = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 600, "stream": stream}
        return "attack" if attack else "honest", post(path, json.dumps(chat).encode(), key=key)

    return draw


def right(kind: str, reply: Reply, *, stream: bool, refusal: Refusal = OURS) -> bool:
    """Whether a reply is what this kind of message must get, whole."""
    end = b"data: [DONE]" if stream and reply.status == 200 else b"}"
    refused, answered = re.search(refusal[1].encode(), reply.body) is not None, ANSWERED in reply.body
    as_asked = (refusal[0], True, False) if kind == "attack" else (200, False, True)
    return reply.body.rstrip().endswith(end) and (reply.status, refused, answered) == as_asked


def spread(seconds: Iterable[float]) -> dict[str, float]:
    milliseconds = sorted(1000 * value for value in seconds)
    return {name: percentile(milliseconds, share) for name, share in SHARES.items()}


def summary(window: Window, *, stream: bool, refusal: Refusal = OURS) -> dict[str, Any]:
    """What the window shows, flat but for statuses and percentiles."""
    good = [(kind, reply) for kind, reply in window.replies if reply.status in (200, refusal[0])]
    honest = [reply for kind, reply in good if kind == "honest"]
    attacks = [reply for kind, reply in good if kind == "attack"]
    return {
        "requests": len(window.replies),
        "statuses": dict(Counter(str(reply.status) for _, reply in window.replies)),
        "wrong": sum(not right(kind, reply, stream=stream, refusal=refusal) for kind, reply in good),
        "cut": window.cut,
        "per_s": len(good) / window.took_s,
        "cpu_ms": 1000 * window.cpu_s / max(1, len(good)),
        "rss_mb": window.rss_mb,
        "server_busy": 100 * window.cpu_s / window.took_s,
        "load_busy": 100 * window.own_cpu_s / window.took_s,
        "whole_ms": spread(reply.whole_s for reply in honest),
        "first_ms": spread(reply.first_s for reply in honest),
        "refused_ms": spread(reply.whole_s for reply in attacks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="base URL, /v1 included")
    parser.add_argument("--pid", type=int, required=True, help="of the service; its children count too")
    parser.add_argument("--model", default="answer")
    parser.add_argument("--key", default="")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--attacks", type=float, default=0.2, help="share of attacks (default 0.2)")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--refusal", nargs=2, metavar=("STATUS", "PATTERN"), default=OURS)
    parser.add_argument("--warm-s", type=float, default=1.0)
    parser.add_argument("--think-s", type=float, default=0.0, help="a client's mean time between two requests")
    parser.add_argument("--run-s", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", type=int, help="CPU to pin this process to")
    args = parser.parse_args()
    pin(args.cpu)
    address = urlsplit(args.url)
    if address.scheme != "http" or not address.hostname or not address.port:
        parser.error("URL: write http://HOST:PORT/v1")
    path = f"{address.path.rstrip('/')}/chat/completions"
    draw = messages(path, args.model, stream=args.stream, attacks=args.attacks, key=args.key, seed=args.seed)
    window = asyncio.run(
        closed_loop(
            draw,
            host=address.hostname,
            port=address.port,
            pid=args.pid,
            clients=args.clients,
            warm_s=args.warm_s,
            think_s=args.think_s,
            run_s=args.run_s,
        )
    )
    refusal = (int(args.refusal[0]), args.refusal[1])
    print(json.dumps(summary(window, stream=args.stream, refusal=refusal)))


if __name__ == "__main__":
    main()
