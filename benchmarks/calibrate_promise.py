"""Is the promise of `quorate calibrate` kept? `python -m benchmarks.calibrate_promise [--data DIR] [--json FILE]`.

Each world is split 2,000 times: a threshold is calibrated on one part, and the share of false alarms above it is that
of the whole population, known exactly for simulated scores. For real scores (the shipped threat model on honest rows
of `--data`) the population is all of these rows, and calibration rows are drawn from it with replacement. Broken is a
promise whose true share lies above the target. Caught is compared with the threshold that an oracle would choose.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.checks import Conversation, LocalThreatJudge, threat_subject
from quorate.models.local import LocalThreat
from quorate.stats import GRID, loosest, rows_needed

SPLITS = 2000
REACH = 0.05
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def logistic_normal(mean: float, spread: float) -> Draw:
    return lambda draw, n: 1 / (1 + np.exp(-draw.normal(mean, spread, n)))


def steps(draw: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Scores of a language model: a few round numbers."""
    return draw.choice(
        [0.0, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 1.0], n, p=[0.5, 0.2, 0.15, 0.1, 0.02, 0.018, 0.006, 0.004, 0.002]
    )


SIMULATED: dict[str, tuple[Draw, Draw]] = {
    "logistic normal": (logistic_normal(-3, 1.5), logistic_normal(2, 2)),
    "narrow": (logistic_normal(-1, 0.4), logistic_normal(1, 0.6)),
    "heavy tail": (lambda d, n: 1 / (1 + np.exp(np.clip(3 - d.standard_t(2, n), -40, 40))), logistic_normal(2, 2)),
    "a model's round numbers": (
        steps,
        lambda d, n: d.choice([0.2, 0.8, 0.9, 0.95, 1.0], n, p=[0.1, 0.2, 0.3, 0.3, 0.1]),
    ),
}


def mark(broken: float) -> str:
    """Two standard errors are what 2,000 splits may show above a true share of exactly 5 %."""
    if broken <= REACH:
        return "reached"
    return "above, within chance" if broken <= REACH + 2 * math.sqrt(REACH * (1 - REACH) / SPLITS) else "MISSED"


def shares(population: NDArray[np.float64]) -> NDArray[np.float64]:
    """True share at or above each threshold of the grid."""
    return 1 - np.searchsorted(np.sort(population), GRID, side="left") / len(population)


def world(honest: NDArray[np.float64], violating: NDArray[np.float64], *, n: int, target: float) -> dict[str, Any]:
    draw = np.random.default_rng(n)
    alarms, caught = shares(honest), shares(violating)
    broken, none, found = 0, 0, []
    for _ in range(SPLITS):
        chosen = loosest(np.sort(draw.choice(honest, n)).tolist(), target=target)
        if chosen is None:
            none += 1
            continue
        at = GRID.index(chosen)
        broken += bool(alarms[at] > target)
        found.append(float(caught[at]))
    # The loosest threshold that keeps the target for sure, with the whole population known.
    oracle = float(caught[int(np.argmax(alarms <= target))]) if alarms[-1] <= target else math.nan
    return {
        "honest_rows": n,
        "target": target,
        "broken": broken / SPLITS,
        "no_threshold": none / SPLITS,
        "caught": float(np.mean(found)) if found else None,
        "oracle_caught": oracle,
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def scored(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    judge = LocalThreatJudge(LocalThreat.load(), 1.0)
    verdicts = [await judge.judge(threat_subject(Conversation.of(row["text"]))) for row in rows]
    return [(row["label"], verdict.score or 0.0) for row, verdict in zip(rows, verdicts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with threat/dev.jsonl and scope/dev.jsonl")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    worlds = {name: (honest(draw, 1_000_000), bad(draw, 200_000)) for name, (honest, bad) in SIMULATED.items()}
    if args.data is not None:
        threat = asyncio.run(scored(rows_of(args.data / "threat" / "dev.jsonl")))
        support = asyncio.run(scored(rows_of(args.data / "scope" / "dev.jsonl")))
        honest = [s for label, s in threat if label == "benign"] + [s for label, s in support if label == "in_scope"]
        worlds["threat model, honest rows"] = (
            np.array(honest),
            np.array([s for label, s in threat if label == "attack"]),
        )
    rows: list[dict[str, Any]] = []
    for name, (honest_scores, bad_scores) in worlds.items():
        for n, target in (
            (rows_needed(0.01), 0.01),
            (500, 0.01),
            (1000, 0.01),
            (3000, 0.01),
            (1000, 0.005),
            (1000, 0.05),
        ):
            row = {"world": name, **world(honest_scores, bad_scores, n=n, target=target)}
            rows.append(row)
            caught = "none" if row["caught"] is None else f"{row['caught']:6.1%}"
            print(
                f"{name:26} {n:5} honest rows, promise {target:5.1%}: broken {row['broken']:6.2%}  "
                f"{mark(row['broken'])}  caught {caught} "
                f"(oracle {row['oracle_caught']:.1%})  no threshold {row['no_threshold']:.1%}",
                flush=True,
            )
    print(f"worst: broken {max(row['broken'] for row in rows):.2%} of {SPLITS} splits, reach {REACH:.0%}")
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
