"""Figures of the voting rules: `python -m benchmarks.votes [--only NAME ...] [--scale 1.0] [--json FILE]`.

No model and no network: votes are drawn, time is virtual. `exact` compares every exact rule with a full vote that is
counted by a few plain lines of its own; the worlds of the other figures are described where they are made.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.vote_worlds import chosen_world, combiner_worlds, effective_panels
from quorate.engine import clock, fan_out
from quorate.events import Answered, Branch, Cancelled, Event, Failed
from quorate.merges import (
    UNDECIDED,
    Adaptive,
    Agree,
    Collect,
    Combination,
    Electorate,
    Majority,
    Mean,
    Median,
    Merge,
    Quorum,
    Stacked,
    Trimmed,
    Weighted,
)
from quorate.models import Message, Prompt
from quorate.patterns import poll
from quorate.testing import ScriptedModel, run_virtual

CAP = 40
WORDS = 60
Vote = Any
Full = Callable[[Sequence[Vote]], Any]


# --- exact rules ----------------------------------------------------------------------------------


def tenths(value: float) -> Fraction:
    return Fraction(round(value * 10), 10)


def full_quorum(k: int) -> Full:
    def full(votes: Sequence[Vote]) -> Any:
        yes, missing = votes.count(True), votes.count(None)
        return True if yes >= k else UNDECIDED if yes + missing >= k else False

    return full


def full_majority(votes: Sequence[Vote]) -> Any:
    return next((side for side in set(votes) - {None} if 2 * votes.count(side) > len(votes)), UNDECIDED)


def full_weighted(weights: Sequence[float]) -> Full:
    def full(votes: Sequence[Vote]) -> Any:
        sums = {side: sum(tenths(w) for w, v in zip(weights, votes, strict=True) if v == side) for side in "abc"}
        missing = sum(tenths(w) for w, v in zip(weights, votes, strict=True) if v is None)
        (_, second), (top, first) = sorted(((s, n) for s, n in sums.items()), key=lambda item: item[1])[-2:]
        return top if first > second + missing else UNDECIDED

    return full


def full_scores(statistic: Callable[[list[Fraction]], Fraction], at: float) -> Full:
    def full(votes: Sequence[Vote]) -> Any:
        low = statistic(sorted(tenths(0.0 if v is None else v) for v in votes))
        high = statistic(sorted(tenths(1.0 if v is None else v) for v in votes))
        return True if low >= tenths(at) else False if high < tenths(at) else UNDECIDED

    return full


def full_stacked(intercept: float, weights: Sequence[float]) -> Full:
    def full(votes: Sequence[Vote]) -> Any:
        odds = tenths(intercept) + sum(
            tenths(w) * (Fraction(1, 2) if v is None else tenths(v)) for w, v in zip(weights, votes, strict=True)
        )
        return UNDECIDED if odds == 0 or set(votes) == {None} else odds > 0

    return full


def middle(scores: list[Fraction]) -> Fraction:
    return (scores[(len(scores) - 1) // 2] + scores[len(scores) // 2]) / 2


def trimmed(scores: list[Fraction]) -> Fraction:
    cut = len(scores) // 5
    return sum(scores[cut : len(scores) - cut], Fraction(0)) / (len(scores) - 2 * cut)


def drawn_rule(draw: np.random.Generator) -> tuple[str, int, Callable[[], Merge[Any]], Full, list[Vote]]:
    """A rule, its number of voters, how it is made, its full vote, and one vote for each voter (None is missing)."""
    n, kind = int(draw.integers(1, 12)), int(draw.integers(8))
    lean, missing = draw.random(), draw.choice([0.0, 0.05, 0.3])
    gone = draw.random(n) < missing
    sides = [None if g else "abc"[int(draw.random() > lean) * int(draw.integers(1, 3))] for g in gone]
    flags = [None if g else bool(draw.random() < lean) for g in gone]
    scores = [None if g else round(float(draw.beta(4 * lean + 0.1, 4 * (1 - lean) + 0.1)), 1) for g in gone]
    at = round(float(draw.random()), 1)
    weights = [round(float(w), 1) for w in draw.gamma(2.0, 1.0, n)]
    weights[0] = max(weights[0], 0.1)
    k = int(draw.integers(1, n + 1))
    match kind:
        case 0:
            return "Quorum", n, lambda: Quorum(k, n), full_quorum(k), flags
        case 1:
            return "Majority", n, lambda: Majority(n), full_majority, sides
        case 2:
            named = {f"b{i}": w for i, w in enumerate(weights)}
            return "Weighted", n, lambda: Weighted(named), full_weighted(weights), sides
        case 3:
            return "Mean", n, lambda: Mean(n, at=at), full_scores(lambda s: sum(s, Fraction(0)) / n, at), scores
        case 4:
            return "Median", n, lambda: Median(n, at=at), full_scores(middle, at), scores
        case 5:
            return "Trimmed", n, lambda: Trimmed(n, 0.2, at=at), full_scores(trimmed, at), scores
        case 6:
            signed = [w * int(draw.choice([-1, 1, 1, 1])) for w in weights]
            intercept = round(-sum(signed) / 2 + float(draw.normal()), 1)
            rule = Combination(intercept, {f"b{i}": w for i, w in enumerate(signed)})
            return "Stacked", n, lambda: Stacked(rule), full_stacked(intercept, signed), scores
        case _:
            seats = [f"b{i}" for i in range(n)]

            def full(votes: Sequence[Vote]) -> Any:
                return full_majority(votes) if sum(v is not None for v in votes) >= k else UNDECIDED

            return "Agree, least", n, lambda: Electorate(Agree(n), seats, least=k), full, sides


def ends(votes: Sequence[Vote], draw: np.random.Generator) -> list[Event]:
    def end(i: int, vote: Vote) -> Event:
        if vote is not None:
            return Answered(f"b{i}", 0.0, vote)
        missing = (Answered(f"b{i}", 0.0, None), Failed(f"b{i}", 0.0, ValueError()), Cancelled(f"b{i}", 0.0, "x"))
        return missing[int(draw.integers(3))]

    return [end(int(i), votes[i]) for i in draw.permutation(len(votes))]


def exact(panels: int) -> dict[str, Any]:
    """Every rule on random panels: outcome early against outcome of all."""
    draw = np.random.default_rng(5)
    rules: dict[str, dict[str, int]] = {}
    for _ in range(panels):
        name, n, make, full, votes = drawn_rule(draw)
        merge, waited, decision = make(), 0, None
        merge.start()
        for event in ends(votes, draw):
            waited += 1
            decision = merge.feed(event).decision
            if decision is not None:
                break
        row = rules.setdefault(name, {"panels": 0, "different": 0, "votes": 0, "not_waited_for": 0})
        row["panels"] += 1
        row["votes"] += n
        row["not_waited_for"] += n - waited
        row["different"] += decision is None or decision.value != full(votes)
    different = sum(row["different"] for row in rules.values())
    return {"panels": panels, "different": different, "rules": rules, "reached": different == 0}


def savings(runs: int) -> dict[str, Any]:
    """Majority of 5, each yes at p = 0.95, of models that write 60 words at their own pace.

    All at once: votes not waited for are cancelled. In waves: an exact `Adaptive` (risk 0) starts 3, and more only
    where they can still matter, so calls are never started.
    """
    rows = {}
    for name in ("all at once", "in waves"):
        rows[name] = run_virtual(_savings(np.random.default_rng(7), runs, waves=name == "in waves"))
    return {"runs": runs, "rows": rows, "reached": rows["all at once"]["not_waited_for"] >= 0.36}


async def _savings(draw: np.random.Generator, runs: int, *, waves: bool) -> dict[str, float]:
    waited = begun = written = 0
    taken_s: list[float] = []

    def voter(said: str, pace_s: float) -> Callable[[], Any]:
        def entry(_prompt: Prompt) -> list[str | float]:
            nonlocal begun
            begun += 1
            return [word for _ in range(WORDS - 1) for word in (pace_s, "word")] + [pace_s, said]

        async def emit(_piece: Any) -> None:
            nonlocal written
            written += 1

        async def call() -> bool:
            reply = await ScriptedModel("m", entry).complete(Prompt((Message("user", "?"),)), emit)
            return reply.text.endswith("yes")

        return call

    for _ in range(runs):
        said = ["yes" if draw.random() < 0.95 else "no" for _ in range(5)]
        five = {f"v{i}": voter(word, float(draw.lognormal(-4, 0.5))) for i, word in enumerate(said)}
        rule: Any = Adaptive(cap=5, risk=0) if waves else Majority
        start_s = clock.now()
        async with poll(None, five, rule=rule, timeout_s=None) as run:
            assert (await run.decided()).value == (said.count("yes") > 2)
        taken_s.append(clock.now() - start_s)
        waited += sum(span.ended == "answered" for span in run.timeline)
    return {
        "not_waited_for": 1 - waited / (5 * runs),
        "never_started": 1 - begun / (5 * runs),
        "tokens_cut": (begun * WORDS - written) / (5 * WORDS * runs),
        "tokens_not_written": 1 - written / (5 * WORDS * runs),
        "mean_s": sum(taken_s) / runs,
    }


# --- adaptive -------------------------------------------------------------------------------------


def adaptive(_count: int) -> dict[str, Any]:
    """As it ships, against all 40 votes; the share of yes of each question is drawn from Beta(s, s).

    Exact expectations and no simulation: the rule is fed every count that it can reach, weighted by its probability.
    """
    rows = {mix: _expected(s) for mix, s in (("easy, s = 0.2", 0.2), ("mid, s = 0.5", 0.5), ("flat, s = 1", 1.0))}
    good = all(row["fewer"] >= 3.5 and row["agreement"] >= 0.99 for row in list(rows.values())[:2])
    return {"cap": CAP, "rows": rows, "reached": good}


def _expected(s: float) -> dict[str, float]:
    async def nothing(_context: Any, /) -> bool:
        return True

    merge: Adaptive[bool] = Adaptive(lambda i: Branch(str(i), nothing), cap=CAP)
    first = len(merge.start().start)
    open_ = {(0, 0): (1.0, merge, first)}
    votes = agreement = 0.0
    while open_:
        following: dict[tuple[int, int], tuple[float, Adaptive[bool], int]] = {}
        for (yes, no), (weight, rule, started) in open_.items():
            for vote in (True, False):
                counts = (yes + vote, no + (not vote))
                chance = weight * ((yes if vote else no) + s) / (yes + no + 2 * s)
                copied = copy.deepcopy(rule)
                step = copied.feed(Answered(str(yes + no), 0.0, vote))
                if step.decision is not None:
                    votes += chance * started
                    agreement += chance * _same(counts, step.decision.value, s)
                    continue
                before = following.get(counts, (0.0, copied, 0))[0]
                following[counts] = (before + chance, copied, started + len(step.start))
        open_ = following
    return {"fewer": CAP / votes, "agreement": agreement, "votes": votes}


def _same(counts: tuple[int, int], value: Any, s: float) -> float:
    """The probability that all votes, these among them, come to this value."""
    yes, no = counts
    left, total = CAP - yes - no, 0.0
    for k in range(left + 1):
        final = yes + k
        outcome = UNDECIDED if 2 * final == CAP else 2 * final > CAP
        log = math.lgamma
        beta = log(yes + s + k) + log(no + s + left - k) - log(CAP + 2 * s)
        prior = log(yes + s) + log(no + s) - log(yes + no + 2 * s)
        total += (outcome == value) * math.comb(left, k) * math.exp(beta - prior)
    return total


# --- quorum in time -------------------------------------------------------------------------------


def slow_calls(draw: np.random.Generator) -> float:
    """Lognormal around 0.6 s; one call in twenty hangs on for a Pareto time (alpha 1.2) from 3 s on."""
    if draw.random() < 0.05:
        return 3.0 * float(1 + draw.pareto(1.2))
    return 0.6 * float(draw.lognormal(0, 0.35))


def heavy_lognormal(draw: np.random.Generator) -> float:
    return 0.5 * float(draw.lognormal(0, 1.2))


def stragglers(draw: np.random.Generator) -> float:
    """Lognormal around 0.6 s, sigma 0.45; 3 in 100 take a Pareto time (alpha 1.6) from 2 s on."""
    if draw.random() < 0.03:
        return 2.0 * float(1 + draw.pareto(1.6))
    return 0.6 * float(draw.lognormal(0, 0.45))


def power_law(draw: np.random.Generator) -> float:
    return 0.3 * float(1 + draw.pareto(1.5))


LAWS = {
    "3 % stragglers": stragglers,
    "5 % of calls hang": slow_calls,
    "Pareto, alpha 1.5": power_law,
    "lognormal, sigma 1.2": heavy_lognormal,
}


def quorum(runs: int) -> dict[str, Any]:
    """3 of 5, each yes at p = 0.95: time until the decision, against waiting for all of the same calls.

    `agreed` is the same ratio where all vote alike and the third answer always decides: the least that any rule with
    the outcome of the full vote can take.
    """
    rows = {}
    for name, law in LAWS.items():
        draw = np.random.default_rng(13)
        early, late, third = [], [], []
        for _ in range(runs):
            times = [law(draw) for _ in range(5)]
            third.append(sorted(times)[2])
            votes = (draw.random(5) < 0.95).tolist()
            early.append(run_virtual(_timed(times, votes, Quorum(3, 5))))
            late.append(run_virtual(_timed(times, votes, Collect(5))))
        p99 = [float(np.quantile(values, 0.99)) for values in (early, late)]
        p50 = [float(np.quantile(values, 0.5)) for values in (early, late)]
        rows[name] = {"p99_s": p99[0], "p99_all_s": p99[1], "ratio": p99[0] / p99[1], "p50_ratio": p50[0] / p50[1]}
        rows[name]["agreed"] = float(np.quantile(third, 0.99)) / p99[1]
        rows[name]["reached"] = rows[name]["ratio"] <= 0.15
    return {"runs": runs, "rows": rows, "reached": all(row["reached"] for row in rows.values())}


async def _timed(times: Sequence[float], votes: Sequence[bool], merge: Merge[Any]) -> float:
    def branch(i: int) -> Branch[bool]:
        async def work(_context: Any, /) -> bool:
            await clock.sleep(times[i])
            return votes[i]

        return Branch(f"v{i}", work, None)

    async with fan_out([branch(i) for i in range(5)], merge, timeout_s=None) as run:
        await run.decided()
        return clock.now()


# --- panels ---------------------------------------------------------------------------------------


def n_eff_figure(panels: int) -> dict[str, Any]:
    """Panels of 3, 5 and 9, correlation 0 to 0.6, by number of labels: how far the estimate is from the truth."""
    rows = effective_panels(panels)
    good = all(row["within"] >= 0.95 for row in rows if row["labels"] == max(r["labels"] for r in rows))
    return {"panels": panels, "rows": rows, "reached": good}


def combiner(worlds: int) -> dict[str, Any]:
    """The chosen combiner against the voter that is best on the same labels, on 20,000 other items."""
    rows = [chosen_world(world) for world in combiner_worlds(worlds)]
    differences = np.array([row["difference"] for row in rows])
    kept = float((differences >= -0.005).mean())
    used = np.array([row["use_panel"] for row in rows])
    # Where no rule of the panel is even a quarter point better than that voter, a panel can only lose.
    tight = np.array([row["room"] < 0.0025 for row in rows])
    noise = NormalDist().inv_cdf(0.975) * math.sqrt(kept * (1 - kept) / worlds)
    return {
        "worlds": worlds,
        "never_over_half_a_point_worse": kept,
        "plus_minus": noise,
        "worst_points": 100 * float(differences.min()),
        "mean_points": 100 * float(differences.mean()),
        "panel_used": float(used.mean()),
        "mean_points_where_used": 100 * float(differences[used].mean()) if used.any() else 0.0,
        "best_possible_missed_points": 100 * float(np.mean([row["missed"] for row in rows])),
        "worlds_without_room": int(tight.sum()),
        "kept_without_room": float((differences[tight] >= -0.005).mean()) if tight.any() else 1.0,
        "panel_used_without_room": float(used[tight].mean()) if tight.any() else 0.0,
        "reached": kept >= 0.95,
    }


SECTIONS: dict[str, tuple[Callable[[int], dict[str, Any]], int]] = {
    "exact": (exact, 100_000),
    "savings": (savings, 2_000),
    "adaptive": (adaptive, 1),
    "quorum": (quorum, 4_000),
    "n_eff": (n_eff_figure, 200),
    "combiner": (combiner, 1_000),
}


def lines(name: str, found: dict[str, Any]) -> list[str]:
    out = [f"{name}: {'reached' if found['reached'] else 'MISSED'}"]
    for key, value in found.items():
        if key in ("reached", "rows", "rules"):
            continue
        out.append(f"  {key.replace('_', ' ')}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}")
    rows = found.get("rows", found.get("rules", {}))
    for label, row in rows.items() if isinstance(rows, dict) else enumerate(rows):
        told = "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items())
        out.append(f"  {label}: {told}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of panels, runs and worlds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    found = {}
    for name in args.only:
        measure, count = SECTIONS[name]
        start = time.perf_counter()
        found[name] = measure(max(20, round(count * args.scale)))
        found[name]["seconds"] = round(time.perf_counter() - start, 1)
        print("\n".join(lines(name, found[name])), flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
