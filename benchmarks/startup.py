"""How long Quorate takes to start: `python -m benchmarks.startup [--rounds N] [--json FILE]`.

Whole processes, in turns: the bare interpreter, `import quorate`, `quorate --help`, and `quorate ask` on the example
company, which needs neither key nor network. Each figure is compared with the bare interpreter of its own round, and
what is reported is the median over rounds. One run of each comes first and is not counted: it writes the bytecode.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

MESSAGE = "Where is my parcel?"
COMMANDS: dict[str, list[str]] = {
    "python -c pass": ["-c", "pass"],
    "import quorate": ["-c", "import quorate"],
    "quorate --help": ["-m", "quorate", "--help"],
    "quorate ask": ["-m", "quorate", "ask", MESSAGE],
}
GOALS_S = {"import quorate": 0.25, "quorate --help": 0.3}
BARE = "python -c pass"


def run_s(arguments: list[str]) -> float:
    """Seconds of one process, start to exit."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return took


def table(rounds: list[dict[str, float]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in COMMANDS:
        took = [r[name] for r in rounds]
        median, goal = statistics.median(took), GOALS_S.get(name)
        rows.append(
            {
                "command": name,
                "ms": round(1000 * median, 1),
                "spread_ms": [round(1000 * min(took), 1), round(1000 * max(took), 1)],
                "ratio": round(statistics.median(r[name] / r[BARE] for r in rounds), 2),
                "more_ms": round(1000 * statistics.median(r[name] - r[BARE] for r in rounds), 1),
                "goal_ms": None if goal is None else 1000 * goal,
                "reached": None if goal is None else median <= goal,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rounds: list[dict[str, float]] = []
    for round_ in range(-1, args.rounds):
        names = list(COMMANDS) if round_ % 2 == 0 else list(COMMANDS)[::-1]
        took = {name: run_s(COMMANDS[name]) for name in names}
        if round_ >= 0:
            rounds.append(took)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = table(rounds)
    for row in rows:
        goal = ""
        if row["goal_ms"] is not None:
            goal = f"  goal {row['goal_ms']:.0f} ms {'reached' if row['reached'] else 'MISSED'}"
        low, high = row["spread_ms"]
        print(
            f"{row['command']:16} {row['ms']:7.1f} ms ({low}..{high})  x{row['ratio']:.2f}  "
            f"+{row['more_ms']:.1f} ms over the bare interpreter{goal}"
        )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"python": sys.version.split()[0], "rows": rows, "rounds": rounds}, file, indent=1)


if __name__ == "__main__":
    main()
