"""Do the intervals of `quorate evaluate` hold what they say? `python -m benchmarks.evaluate [--json FILE]`.

Each cell is 2,000 synthetic evaluations: groups (sources) of equal or unequal size share a correlation (intraclass, by
a Dirichlet-multinomial, so that it is exact on every scale), and an interval covers when it holds the true mean.
"Naive" is mean +- t s / sqrt(n) over all rows. The second table gives judges known errors and lets 200 human labels
correct them; the bias is the mean over all worlds, beside the spread of a single world.
"""

import argparse
import json
import math
import os
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.apps.evaluate.correction import corrected, difference
from quorate.apps.evaluate.statistics import difference_of, mean_of, t_quantile

LOW, HIGH = 0.935, 0.965
LIKERT = [0.0, 0.25, 0.5, 0.75, 1.0]
ASPECTS: dict[str, tuple[list[float], list[float]]] = {
    "graded 1-5": ([0.05, 0.1, 0.2, 0.35, 0.3], LIKERT),
    "graded, 70 % at the top": ([0.04, 0.03, 0.03, 0.2, 0.7], LIKERT),
    "yes or no, 50 %": ([0.5, 0.5], [0.0, 1.0]),
    "yes or no, 80 %": ([0.2, 0.8], [0.0, 1.0]),
    "paired difference": ([0.1, 0.7, 0.2], [-1.0, 0.0, 1.0]),
}
HARD = {
    "yes or no, 90 %": ([0.1, 0.9], [0.0, 1.0]),
    "yes or no, 95 %": ([0.05, 0.95], [0.0, 1.0]),
}
SIZES = {"equal": 0.0, "unequal": 0.5, "very unequal": 1.0}
"""Log-normal spread of the groups' sizes: of 20 groups over 2,000 rows the largest holds 5, 12 and 22 % on average."""
SHAPES = ((50, 20), (200, 20), (200, 50), (1000, 50), (2000, 20), (2000, 100))
CORRELATIONS = (0.0, 0.1, 0.2, 0.3)
Array = NDArray[np.float64]


def sizes_of(rng: np.random.Generator, n: int, groups: int, spread: float) -> NDArray[np.int64]:
    weights = rng.lognormal(0, spread, groups)
    sizes = 1 + np.floor(weights / weights.sum() * (n - groups)).astype(np.int64)
    sizes[rng.permutation(groups)[: n - int(sizes.sum())]] += 1
    return sizes


def world(
    rng: np.random.Generator, shares: list[float], values: list[float], sizes: NDArray[np.int64], rho: float
) -> tuple[Array, list[int]]:
    """Values of all rows and the group of each."""
    chance = np.tile(shares, (len(sizes), 1))
    if rho > 0:
        drawn = np.maximum(rng.standard_gamma(chance * (1 - rho) / rho), 1e-300)
        chance = drawn / drawn.sum(1, keepdims=True)
    counts = rng.multinomial(sizes, chance)
    rows = np.repeat(np.tile(values, len(sizes)), counts.ravel())
    return rows, np.repeat(np.arange(len(sizes)), sizes).tolist()


def cell(job: tuple[str, str, int, int, float, int]) -> dict[str, Any]:
    aspect, kind, n, groups, rho, worlds = job
    shares, values = {**ASPECTS, **HARD}[aspect]
    truth = float(np.dot(shares, values))
    rng = np.random.default_rng([ord(letter) for letter in f"{aspect}{kind}"] + [n, groups, round(rho * 100)])
    ours = naive = 0
    width = 0.0
    for _ in range(worlds):
        rows, codes = world(rng, shares, values, sizes_of(rng, n, groups, SIZES[kind]), rho)
        found = (difference_of if min(values) < 0 else mean_of)(rows, codes)
        ours += found.low <= truth <= found.high
        width += found.high - found.low
        half = t_quantile(0.975, n - 1) * float(rows.std(ddof=1)) / math.sqrt(n)
        naive += abs(float(rows.mean()) - truth) <= half
    return {
        "aspect": aspect,
        "sizes": kind,
        "rows": n,
        "groups": groups,
        "correlation": rho,
        "coverage": ours / worlds,
        "naive": naive / worlds,
        "width": width / worlds,
    }


JUDGES = {
    # sensitivity, specificity, true share of good answers
    "kind: passes 30 % of the bad": (0.95, 0.70, 0.70),
    "stern: fails 15 % of the good": (0.85, 0.95, 0.80),
    "noisy": (0.80, 0.75, 0.75),
    "harsh on a good system": (0.88, 0.90, 0.90),
}


def judged(job: tuple[str, float, int]) -> dict[str, Any]:
    """1,000 rows in 50 groups, 200 of them labelled at random."""
    name, rho, worlds = job
    n, groups, labels = 1000, 50, 200
    rng = np.random.default_rng([ord(letter) for letter in name] + [round(rho * 100)])
    raw, fixed, covered, methods = [], [], 0, {"rogan-gladen": 0, "difference": 0}
    people, other, other_covered = [], [], 0
    graded = name not in JUDGES
    shares, values = ASPECTS["graded 1-5"] if graded else ([1 - JUDGES[name][2], JUDGES[name][2]], [0.0, 1.0])
    truth = float(np.dot(shares, values))
    for _ in range(worlds):
        human, codes = world(rng, shares, values, sizes_of(rng, n, groups, 0.5), rho)
        if graded:
            judge = np.clip(human + 0.25 * rng.choice([-1, 0, 1], n, p=[0.05, 0.5, 0.45]), 0, 1)
        else:
            sens, spec, _ = JUDGES[name]
            judge = (rng.random(n) < np.where(human == 1, sens, 1 - spec)).astype(np.float64)
        known = set(rng.permutation(n)[:labels].tolist())
        marked = [float(h) if i in known else None for i, h in enumerate(human)]
        found, also = corrected(judge, marked, groups=codes), difference(judge, marked, groups=codes)
        assert found is not None and also is not None
        people.append(float(human[sorted(known)].mean()))
        other.append(also.mean - truth)
        other_covered += also.low <= truth <= also.high
        methods[found.method] += 1
        raw.append(float(judge.mean()) - truth)
        fixed.append(found.mean - truth)
        covered += found.low <= truth <= found.high
    return {
        "judge": name,
        "correlation": rho,
        "raw_bias": float(np.mean(raw)),
        "corrected_bias": float(np.mean(fixed)),
        "bias_error": float(np.std(fixed) / math.sqrt(worlds)),
        "spread": float(np.std(fixed)),
        "coverage": covered / worlds,
        "difference_bias": float(np.mean(other)),
        "difference_spread": float(np.std(other)),
        "difference_coverage": other_covered / worlds,
        "labels_alone_spread": float(np.std(people)),
        "methods": methods,
    }


def table(cells: list[dict[str, Any]]) -> None:
    print(
        f"{'aspect':<24} {'sizes':<13} {'rows':>5} {'groups':>6}  "
        + "  ".join(f"r={r}: ours naive" for r in CORRELATIONS)
    )
    keys = dict.fromkeys((c["aspect"], c["sizes"], c["rows"], c["groups"]) for c in cells)
    for aspect, kind, n, groups in keys:
        found = [c for c in cells if (c["aspect"], c["sizes"], c["rows"], c["groups"]) == (aspect, kind, n, groups)]
        told = "  ".join(
            f"       {100 * c['coverage']:4.1f}{' ' if LOW <= c['coverage'] <= HIGH else '*'}{100 * c['naive']:5.1f}"
            for c in found
        )
        print(f"{aspect:<24} {kind:<13} {n:>5} {groups:>6}  {told}")


def summed(cells: list[dict[str, Any]]) -> dict[str, Any]:
    coverage = [c["coverage"] for c in cells]
    return {
        "cells": len(cells),
        "inside": sum(LOW <= c <= HIGH for c in coverage),
        "lowest": min(coverage),
        "highest": max(coverage),
        "mean": float(np.mean(coverage)),
        "naive_at_0.3": [min(n := [c["naive"] for c in cells if c["correlation"] == 0.3]), float(np.mean(n)), max(n)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    jobs = [
        (aspect, kind, n, groups, rho, args.worlds)
        for aspect in (*ASPECTS, *HARD)
        for kind in SIZES
        for n, groups in SHAPES
        for rho in CORRELATIONS
    ]
    with Pool(args.workers) as pool:
        corrections = pool.map(
            judged,
            [(n, r, args.worlds) for n in (*JUDGES, "graded, a quarter of a grade too kind") for r in (0.0, 0.2)],
        )
        cells = pool.map(cell, jobs, chunksize=4)
    reach = [c for c in cells if c["aspect"] in ASPECTS]
    even = [c for c in reach if c["sizes"] != "very unequal"]
    hard = [c for c in cells if c["aspect"] in HARD]
    table(cells)
    sums = {"equal and unequal sizes": even, "all sizes": reach, "hard aspects (90 and 95 %)": hard}
    sums = {name: summed(some) for name, some in sums.items()}
    for name, told in sums.items():
        print(
            f"\n{name}: {told['inside']} of {told['cells']} cells in {LOW:.1%}-{HIGH:.1%}, "
            f"lowest {told['lowest']:.1%}, highest {told['highest']:.1%}, mean {told['mean']:.2%}; "
            + "naive at correlation 0.3: "
            + ", ".join(f"{share:.1%}" for share in told["naive_at_0.3"])
            + " (least, mean, most)"
        )
    head = f"{'judge':<38} {'r':>4} {'raw bias':>9} {'corrected':>10} {'+-':>6} {'sd':>6} {'coverage':>9}"
    print(f"\n{head}   difference: bias, sd, coverage; labels alone: sd")
    for c in corrections:
        print(
            f"{c['judge']:<38} {c['correlation']:>4} {100 * c['raw_bias']:>+9.2f} {100 * c['corrected_bias']:>+10.2f} "
            f"{100 * c['bias_error']:>6.2f} {100 * c['spread']:>6.2f} {c['coverage']:>9.1%}   "
            f"{100 * c['difference_bias']:>+.2f} {100 * c['difference_spread']:.2f} {c['difference_coverage']:.1%}; "
            f"{100 * c['labels_alone_spread']:.2f}"
        )
    if args.json:
        told_all = {"worlds": args.worlds, "summary": sums, "cells": cells, "corrections": corrections}
        args.json.write_text(json.dumps(told_all, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
