"""When does a moderation vote pay, without a language model? `python -m benchmarks.moderate --data DIR [--json FILE]`.

DIR holds `moderation/dev.jsonl`, rows of `{"text", "label"}` with "violation" or "ok". No voter needs a key: the local
moderation classifier, its three parts by themselves, the local threat classifier, and a list of words. Each gets the
threshold that flags at most 5 % of the honest rows of one half of the data; every figure is of the other half, and both
halves take both parts (the counts are added). Beside each k of n stands the classifier alone, its threshold moved until
it flags just as many honest rows: a vote pays where it catches more than that. Since that threshold is placed on the
rows it is judged on, the classifier is flattered a little.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from quorate import Moderator, Verdict
from quorate.apps.moderate import local_evaluator
from quorate.apps.panel import Votes, effective
from quorate.checks import Check, LocalModerationJudge, LocalThreatJudge
from quorate.models.local import LocalThreat
from quorate.stats import interval, upper_bound

ALARMS = 0.05
WORDS = (
    *("idiot", "stupid", "moron", "ugly", "hate", "disgusting", "kill", "murder", "die", "suicide", "hurt", "attack"),
    *("bomb", "gun", "weapon", "explosive", "poison", "steal", "fraud", "fake", "forged", "hack", "malware", "virus"),
    *(
        "password",
        "drug",
        "cocaine",
        "porn",
        "sex",
        "naked",
        "nude",
        "rape",
        "racist",
        "nazi",
        "terrorist",
        "blackmail",
    ),
)
PANELS = {
    "classifier, words, threat": ("classifier", "words", "threat"),
    "n-grams, reader, words": ("n-grams", "reader", "words"),
    "classifier three times": ("classifier", "classifier", "classifier"),
    "n-grams, network, reader": ("n-grams", "network", "reader"),
    "all six": ("classifier", "n-grams", "network", "reader", "words", "threat"),
}
Scores = dict[str, Any]


def voters() -> dict[str, Any]:
    """Everybody who votes, by name; each gives a score."""
    judge = local_evaluator()
    made: dict[str, Any] = {"classifier": judge}
    for place, name in enumerate(("n-grams", "network", "reader")):
        part = copy(judge.classifier)
        part._shares = [float(place == own) for own in range(3)]  # type: ignore[attr-defined]
        made[name] = LocalModerationJudge(part)
    made["threat"] = Check("threat", "?", LocalThreatJudge(LocalThreat.load()), kind="moderation")
    made["words"] = listed()
    return made


def listed() -> Callable[[str], Awaitable[Verdict]]:
    """A voter that counts words of a list: the more of them stand in a text, the higher its score."""
    known = frozenset(WORDS)

    async def words(text: str) -> Verdict:
        found = sum(word.strip(".,!?\"'") in known for word in text.lower().split())
        return Verdict("flag" if found else "pass", 1 - 0.5**found, "other", "", "words", "words@1")

    return words


async def scored(rows: Sequence[dict[str, Any]]) -> Scores:
    """Every voter's score of every row. Each array has shape (rows,)."""
    moderator = Moderator(voters())
    found: dict[str, list[float]] = {name: [] for name in moderator.checks}
    for row in rows:
        for vote in (await moderator.moderate(row["text"], evaluate_all=True)).votes:
            found[vote.voter].append(-1.0 if vote.score is None else vote.score)
    return {name: np.array(scores) for name, scores in found.items()}


def loosest(honest: Any, share: float) -> float:
    """The lowest threshold that flags at most this share of honest scores."""
    ordered = np.sort(honest)[::-1]
    room = int(share * len(ordered))
    return float(np.nextafter(ordered[room], 2.0))


def measured(scores: Scores, bad: Any, half: Any) -> dict[str, Any]:
    """Counts over both halves: each panel's k of n, and the classifier alone at as many false alarms."""
    flags = {name: np.zeros(len(bad), dtype=bool) for name in scores}
    for name, values in scores.items():
        for part in (half, ~half):
            flags[name][part] = values[part] >= loosest(values[~part & ~bad], ALARMS)
    report: dict[str, Any] = {"voters": {name: counted(votes, bad) for name, votes in flags.items()}, "panels": {}}
    for title, names in PANELS.items():
        votes = np.stack([flags[name] for name in names])
        rows = []
        for k in range(1, len(names) + 1):
            here = counted(votes.sum(axis=0) >= k, bad)
            alone = matched(scores["classifier"], bad, here["false_alarms"])
            rows.append({"k": k, **here, "classifier_alone": int(alone.sum()), "gain": gained(votes, k, alone, bad)})
        table = Votes(tuple(f"{name} {i}" for i, name in enumerate(names)), votes.T.astype(float), bad, bad | True)
        worth = effective(table)
        report["panels"][title] = {"n_eff": worth.n_eff, "rho": worth.rho, "k": rows}
    return report


def counted(flagged: Any, bad: Any) -> dict[str, int]:
    """False alarms and caught."""
    return {"false_alarms": int((flagged & ~bad).sum()), "caught": int((flagged & bad).sum())}


def matched(values: Any, bad: Any, alarms: int) -> Any:
    """Which violating rows one voter flags at the threshold where it has exactly so many false alarms."""
    ordered = np.sort(values[~bad])[::-1]
    threshold = np.nextafter(ordered[alarms], 2.0) if alarms < len(ordered) else -2.0
    return (values >= threshold) & bad


def gained(votes: Any, k: int, alone: Any, bad: Any) -> list[float]:
    """Caught by the vote less caught by the one voter, a share of violations: mean and paired bootstrap interval."""
    more = ((votes.sum(axis=0) >= k).astype(float) - alone)[bad]
    draw = np.random.default_rng(0)
    means = more[draw.integers(0, len(more), (2000, len(more)))].mean(axis=1)
    return [float(more.mean()), *np.quantile(means, [0.025, 0.975]).tolist()]


def told(report: dict[str, Any]) -> None:
    """The report for people."""
    honest, violating = report["honest"], report["violating"]
    print(f"{honest} honest rows, {violating} violating ones; at most {ALARMS:.0%} false alarms on the other half\n")
    for name, row in report["voters"].items():
        bound, caught = upper_bound(row["false_alarms"], honest), interval(row["caught"], violating)
        print(f"{name:12} false alarms {row['false_alarms'] / honest:6.1%} (at most {bound:.1%}), ", end="")
        print(f"caught {row['caught'] / violating:6.1%} ({caught.low:.1%} to {caught.high:.1%})")
    for title, panel in report["panels"].items():
        print(f"\n{title}: n_eff {panel['n_eff']:.2f}, error correlation {panel['rho']:.2f}")
        for row in panel["k"]:
            mean, low, high = (100 * value for value in row["gain"])
            print(f"  {row['k']} flags: false alarms {row['false_alarms'] / honest:6.1%}, ", end="")
            print(f"caught {row['caught'] / violating:6.1%}, classifier alone ", end="")
            print(f"{row['classifier_alone'] / violating:6.1%}: {mean:+.1f} points ({low:+.1f} to {high:+.1f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    lines = (args.data / "moderation" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    bad = np.array([row["label"] == "violation" for row in rows])
    half = np.random.default_rng(0).permutation(len(rows)) % 2 == 0
    report = {
        "honest": int((~bad).sum()),
        "violating": int(bad.sum()),
        **measured(asyncio.run(scored(rows)), bad, half),
    }
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    told(report)


if __name__ == "__main__":
    main()
