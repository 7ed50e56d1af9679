"""Fits the confidence of `quorate review` on labelled functions: `python -m training.review --data DIR --out FILE`.

Regularised logistic regression over who found a cluster, of which kind, who chooses the value, and who cleared it.
A cluster counts as right when its function is labelled vulnerable with a weakness of the same family (for Bandit's
examples, which name none: when it is labelled vulnerable). Each source is held out in turn to see what holds elsewhere.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.review_data import Case, opinions_of, read_cases

from quorate.apps.review.findings import Opinion, family
from quorate.apps.review.panel import decide, features, probability

PENALTY = 1.0


class Example(NamedTuple):
    """A cluster: what its confidence depends on, whether it is right, its source, and its share of its case."""

    given: dict[str, float]
    right: int
    source: str
    weight: float


def examples(cases: Sequence[Case], given: Sequence[Sequence[Opinion]]) -> list[Example]:
    """Features, label and source of every cluster in some labelled functions."""
    out = []
    for case, opinions in zip(cases, given, strict=True):
        clusters = decide(opinions)
        # A label is of a whole case: where it says "vulnerable", that is about the places that nobody cleared. And
        # Bandit's own examples, which name no weakness, cannot say where Bandit is wrong.
        if case.vulnerable and (not case.cwe or not all(found.cleared for found in clusters)):
            clusters = [found for found in clusters if not found.cleared]
        for found in clusters:
            right = case.vulnerable and (not case.cwe or family(case.cwe) == found.family)
            if case.vulnerable and not right:
                continue  # Nobody has labelled other weaknesses of that function.
            weight = 1 / len(
                clusters
            )  # A label is a case's: a long file full of findings has no more say than a short one.
            out.append(Example(features(found.findings, found.cleared), int(right), case.source, weight))
    return out


def fit(rows: Sequence[Example], *, penalty: float = PENALTY) -> dict[str, float]:
    """Newton's method on the penalised log-likelihood; the bias is not penalised."""
    names = sorted({name for row in rows for name in row.given})
    x = np.array([[row.given.get(name, 0.0) for name in names] for row in rows])
    y = np.array([row.right for row in rows], dtype=float)
    share = np.array([row.weight for row in rows])
    ridge = np.diag([0.01 if name == "bias" else penalty for name in names])
    weights = np.zeros(len(names))
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        step = np.linalg.solve(x.T * (share * p * (1 - p)) @ x + ridge, x.T @ (share * (y - p)) - ridge @ weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True)}


def brier(rows: Sequence[Example], weights: dict[str, float]) -> float:
    """Mean squared error of the confidences."""
    errors = [(probability(row.given, by=weights) - row.right) ** 2 for row in rows]
    return float(np.average(errors, weights=[row.weight for row in rows]))


def panel_index(
    cases: Sequence[Case], opinions: Sequence[Sequence[Opinion]], *, source: str, weights: dict[str, float]
) -> float:
    """True minus false positive rate of the panel on one source, with these figures."""
    flags: dict[bool, list[bool]] = {True: [], False: []}
    for case, mine in zip(cases, opinions, strict=True):
        if case.source == source:
            found = [cluster for cluster in decide(mine, by=weights) if not cluster.dismissed]
            hit = any(not case.cwe or cluster.family == family(case.cwe) for cluster in found)
            flags[case.vulnerable].append(hit)
    return float(np.mean(flags[True]) - np.mean(flags[False]))


def main() -> None:
    """Fit, check on held-out sources and on dev, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cases = read_cases(args.data / "train.jsonl")
    opinions = opinions_of(cases)
    rows = examples(cases, opinions)
    for source in sorted({row.source for row in rows}):
        inside = [row for row in rows if row.source != source]
        outside = [row for row in rows if row.source == source]
        elsewhere = fit(inside)
        index = panel_index(cases, opinions, source=source, weights=elsewhere)
        told = f"{len(outside)} clusters, Brier {brier(outside, elsewhere):.3f}"
        print(f"held out {source}: {told}, panel's Youden index {index:.3f}")
    weights = fit(rows)
    dev_cases = read_cases(args.data / "dev.jsonl")
    dev = examples(dev_cases, opinions_of(dev_cases))
    base = sum(row.right for row in dev) / len(dev)
    print(f"train {len(rows)} clusters, Brier {brier(rows, weights):.3f}; dev {len(dev)}, {brier(dev, weights):.3f}")
    print(f"dev, always saying {base:.2f}: {base * (1 - base):.3f}")
    about = {
        "what": "logistic regression over who found, which kind, who chooses, who cleared; training/review.py",
        "sources": {"SVEN": "MIT", "Bandit examples": "Apache-2.0"},
        "clusters": len(rows),
        "penalty": PENALTY,
    }
    args.out.write_text(json.dumps({"about": about, "weights": weights}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
