"""How well do the reviewers, and the panel of them, tell vulnerable code from safe code?

    python -m benchmarks.review --data DIR [--json FILE]

DIR holds JSONL files with {"id", "code", "label": "vulnerable" | "safe", "cwe", "source"}; every file is measured by
itself. Nothing here needs a key or a network. Two questions are asked of each reviewer and of the panel:

- matched: does it report a weakness of the family that the label names (of any, where the label names none)?
- any: does it report anything of medium severity or graver?

The Youden index is the true positive rate minus the false positive rate. Intervals are 95 % percentile bootstraps
over groups (a function before and after its fix is one group), the panel's gain over the best single reviewer paired
on the same groups. The best single reviewer is the one with the highest index on this very file, which flatters it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.review_data import REVIEWERS, Case, bandit_as_it_is, opinions_of, read_cases
from quorate.apps.review.analysers import ANALYSERS
from quorate.apps.review.findings import SEVERITIES, Opinion, family
from quorate.apps.review.panel import Cluster, decide

ROUNDS = 2000
PANEL = "panel"
RAW = "bandit raw"


def reported(opinions: Sequence[Opinion]) -> list[Cluster]:
    return [cluster for cluster in decide(opinions) if not cluster.dismissed]


def matched(case: Case, found: Sequence[Cluster]) -> bool:
    return any(not case.cwe or cluster.family == family(case.cwe) for cluster in found)


def anything(_case: Case, found: Sequence[Cluster]) -> bool:
    return any(SEVERITIES.index(cluster.severity) >= 1 for cluster in found)


def flags_of(
    cases: Sequence[Case], opinions: Sequence[Sequence[Opinion]], asked: Callable[[Case, Sequence[Cluster]], bool]
) -> dict[str, np.ndarray]:
    """For each reviewer and the panel, which cases it flags. A single reviewer's findings are nobody's to dismiss."""
    out = {}
    for at, name in enumerate(REVIEWERS):
        alone = [decide([Opinion(mine[at].findings)]) for mine in opinions]
        out[name] = np.array([asked(case, found) for case, found in zip(cases, alone, strict=True)])
    whole = [reported(mine) for mine in opinions]
    out[PANEL] = np.array([asked(case, found) for case, found in zip(cases, whole, strict=True)])
    return out


def youden(flags: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    good = (weights * ~truth).sum()
    bad = (weights * truth).sum()
    if not good or not bad:
        return float("nan")
    return float((weights * (flags & truth)).sum() / bad - (weights * (flags & ~truth)).sum() / good)


def draws(cases: Sequence[Case], seed: int = 0) -> np.ndarray:
    """How often each case is drawn in each round, whole groups at a time. Shape (ROUNDS, cases)."""
    names = sorted({case.group for case in cases})
    index = np.array([names.index(case.group) for case in cases])
    random = np.random.default_rng(seed)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=ROUNDS)
    return times[:, index]


def interval(values: Sequence[float]) -> list[float]:
    kept = [value for value in values if value == value]
    return [round(float(v), 3) for v in np.quantile(kept, [0.025, 0.975])] if kept else []


def measure(cases: Sequence[Case], flags: dict[str, np.ndarray]) -> dict[str, Any]:
    truth = np.array([case.vulnerable for case in cases])
    rounds = draws(cases)
    ones = np.ones(len(cases))
    table: dict[str, Any] = {}
    sampled: dict[str, list[float]] = {}
    for name, flagged in flags.items():
        sampled[name] = [youden(flagged, truth, weights) for weights in rounds]
        table[name] = {
            "tpr": round(float(flagged[truth].mean()), 3) if truth.any() else None,
            "fpr": round(float(flagged[~truth].mean()), 3) if (~truth).any() else None,
            "youden": round(youden(flagged, truth, ones), 3),
            "interval": interval(sampled[name]),
        }
    gains = {}
    for label, names in (("best single reviewer", REVIEWERS), ("best analyser from PyPI", ANALYSERS)):
        best = max(names, key=lambda name: table[name]["youden"])
        gain = [a - b for a, b in zip(sampled[PANEL], sampled[best], strict=True)]
        point = round(table[PANEL]["youden"] - table[best]["youden"], 3)
        gains[label] = {"name": best, "gain": point, "interval": interval(gain)}
    return {"cases": len(cases), "vulnerable": int(truth.sum()), "reviewers": table, "panel_gain": gains}


def shown(title: str, found: dict[str, Any]) -> None:
    print(f"\n{title}: {found['vulnerable']} vulnerable, {found['cases'] - found['vulnerable']} safe")
    print(f"  {'':10} {'TPR':>6} {'FPR':>6} {'Youden':>7}  95 % interval")
    for name, row in found["reviewers"].items():
        tpr, fpr = (f"{row[key]:6.3f}" if row[key] is not None else "     -" for key in ("tpr", "fpr"))
        print(f"  {name:10} {tpr} {fpr} {row['youden']:7.3f}  {row['interval']}")
    for label, row in found["panel_gain"].items():
        print(f"  panel over the {label} ({row['name']}): {row['gain']:+.3f} {row['interval']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of JSONL files, or one file")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    files = sorted(args.data.glob("*.jsonl")) if args.data.is_dir() else [args.data]
    out: dict[str, Any] = {}
    for file in files:
        cases = read_cases(file)
        opinions = opinions_of(cases)
        alone = bandit_as_it_is(cases)
        skipped = sum(bool(opinion.unread) for opinion in alone)
        print(f"\n{file.name}: Bandit by itself, on this Python, cannot read {skipped} of {len(cases)}")
        unread = sum(bool(opinion.unread) for mine in opinions for opinion in mine)
        by: dict[str, Any] = {"not fully read": unread, "bandit raw cannot read": skipped}
        for name, asked in (("matched", matched), ("any", anything)):
            flags = flags_of(cases, opinions, asked)
            raw = [asked(case, decide([Opinion(mine.findings)])) for case, mine in zip(cases, alone, strict=True)]
            flags = {RAW: np.array(raw), **flags}
            by[name] = measure(cases, flags)
            shown(f"{file.name}, {name}", by[name])
            if name == "matched":
                for key in sorted({(case.source, case.cwe) for case in cases}):
                    rows = [n for n, case in enumerate(cases) if (case.source, case.cwe) == key]
                    part = {reviewer: flagged[rows] for reviewer, flagged in flags.items()}
                    label = f"{key[0]} CWE-{key[1]}"
                    by[label] = measure([cases[n] for n in rows], part)
                    shown(f"{file.name}, {label}, matched", by[label])
        out[file.name] = by
    if args.json:
        args.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
