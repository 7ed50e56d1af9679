"""How many flags of a panel make a flag: every k of n, from labelled votes, by a promise or by costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from quorate.cli.choose import Choice, enough, percent, stated
from quorate.cli.tradeoff import Bar, Plot
from quorate.errors import RunFailed, UsageError
from quorate.stats import fixed_sequence, interval, most_hits, upper_bound

FEWEST = 30
"""Rows of each kind below which the cheapest k is chance."""
_ROUNDS = 500


@dataclass(frozen=True, slots=True)
class Tally:
    """A labelled row and how the panel voted; who neither flagged nor passed it abstained."""

    violates: bool
    flags: int
    passes: int


@dataclass(frozen=True, slots=True)
class FlagCosts:
    """What mistakes cost, in any unit. Without a person's price, an undecided row costs what a mistake would."""

    false_alarm: float
    miss: float
    human: float | None


def by_promise(rows: Sequence[Tally], n: int, *, target: float, confidence: float) -> Choice:
    """The fewest flags that are certified to flag at most a target share of honest texts.

    k is tried from n down to 1, an order chosen without any data, and the walk stops at the first that is not
    certified (fixed-sequence test), so the promise is broken for at most 1 - confidence of all samples.

    Raises:
        UsageError: there are too few honest rows to certify it.
        RunFailed: not even n of n is certified.
    """
    honest = sum(not row.violates for row in rows)
    enough(honest, "honest", target=target, confidence=confidence)
    points = [point(rows, n, k=k, confidence=confidence) for k in range(1, n + 1)]
    room = most_hits(honest, target=target, confidence=confidence)
    count = fixed_sequence(here["false_alarms"] <= room for here in reversed(points))
    if not count:
        raise RunFailed(
            f"no number of flags keeps the promise: even where all {n} flag, {points[-1]['false_alarms']} of {honest} "
            f"honest rows are flagged; nothing was written"
        )
    here = points[n - count]
    told = [
        f"With {confidence:.4g} confidence, {_flags(here['flags'], n)} flag at most "
        f"{percent(here['false_alarms_bound'])} of honest texts like these (asked for: {percent(target)})."
    ]
    for at, other in enumerate(points):
        other["certified"] = at >= n - count
    return _chosen("false-alarms", rows, points, here=here, more={"target": target}, told=told)


def by_flag_costs(
    rows: Sequence[Tally], n: int, *, costs: FlagCosts, confidence: float, violations: float | None
) -> Choice:
    """The number of flags that costs least on the rows.

    Raises:
        UsageError: there are too few rows of either kind.
    """
    violating = sum(row.violates for row in rows)
    for name, count in (("honest", len(rows) - violating), ("violating", violating)):
        if count < FEWEST:
            missing = FEWEST - count
            raise UsageError(f"costs need at least {FEWEST} {name} rows, there are {count}: {missing} missing")
    share = violating / len(rows) if violations is None else violations
    points = [point(rows, n, k=k, confidence=confidence) for k in range(1, n + 1)]
    table = _cost_table(rows, n, costs)
    bad = np.array([row.violates for row in rows])
    weights = np.where(bad, share / violating, (1 - share) / (len(rows) - violating))
    means = (table * weights[:, None]).sum(axis=0).round(12)
    for here, mean in zip(points, means.tolist(), strict=True):
        here["mean_cost"] = mean
    best = int(np.argmin(means))
    here = points[best]
    told = [f"{_flags(best + 1, n)} cost {means[best]:.4g} a message on these rows."]
    if n > 1:
        second = int(np.argsort(means, kind="stable")[1])
        low, high = _difference(table[:, second] - table[:, best], bad, share)
        really = "so it is better." if low > 0 else "which may be nothing."
        told.append(
            f"{_flags(second + 1, n)}, the next best, cost {means[second] - means[best]:.4g} more "
            f"({low:.4g} to {high:.4g}), {really}"
        )
    if costs.human is None and any(row.flags + row.passes < n for row in rows):
        told.append("Undecided rows count as mistakes; --cost-human says what a person's look costs instead.")
    listed = [costs.false_alarm, costs.miss] + ([] if costs.human is None else [costs.human])
    more = {"costs": listed, "violations": round(share, 6), "mean_cost": round(float(means[best]), 6)}
    return _chosen("costs", rows, points, here=here, more=more, told=told)


def point(rows: Sequence[Tally], n: int, *, k: int, confidence: float) -> dict[str, Any]:
    """What k flags of n come to, with bounds. A row that abstentions leave undecided is neither flagged nor passed."""
    honest = [row for row in rows if not row.violates]
    violating = [row for row in rows if row.violates]
    alarms, caught = (sum(row.flags >= k for row in part) for part in (honest, violating))
    missed = sum(row.passes > n - k for row in violating)
    passed = sum(row.passes > n - k for row in honest)
    range_ = interval(caught, len(violating), confidence=confidence)
    return {
        "flags": k,
        "false_alarms": alarms,
        "false_alarms_share": alarms / len(honest) if honest else 0.0,
        "false_alarms_bound": upper_bound(alarms, len(honest), confidence=confidence),
        "caught": caught,
        "caught_share": caught / len(violating) if violating else 0.0,
        "caught_low": range_.low,
        "caught_high": range_.high,
        "missed": missed,
        "missed_bound": upper_bound(missed, len(violating), confidence=confidence),
        "unsure": len(rows) - alarms - caught - missed - passed,
    }


def _flags(k: int, n: int) -> str:
    return f"{k} of {n} flags"


def _cost_table(rows: Sequence[Tally], n: int, costs: FlagCosts) -> Any:
    """What each row costs under each k. Shape (rows, n)."""
    ks = np.arange(1, n + 1)
    flags = np.array([row.flags for row in rows])[:, None]
    passes = np.array([row.passes for row in rows])[:, None]
    bad = np.array([row.violates for row in rows])[:, None]
    flagged, passed = flags >= ks, passes > n - ks
    mistake = np.where(bad, costs.miss, costs.false_alarm)
    wrong = np.where(bad, passed, flagged)
    unsure = mistake if costs.human is None else costs.human
    return np.where(wrong, mistake, np.where(flagged | passed, 0.0, unsure))


def _difference(more: Any, bad: Any, share: float) -> tuple[float, float]:
    """Bootstrap interval (0.95) of a mean difference, each kind drawn by itself."""
    draw = np.random.default_rng(0)
    sums = np.zeros(_ROUNDS)
    for part, weight in ((more[bad], share), (more[~bad], 1 - share)):
        picks = draw.integers(0, len(part), (_ROUNDS, len(part)))
        sums += weight * part[picks].mean(axis=1)
    low, high = np.quantile(sums, [0.025, 0.975]).tolist()
    return low, high


def _chosen(
    method: str,
    rows: Sequence[Tally],
    points: Sequence[dict[str, Any]],
    *,
    here: dict[str, Any],
    more: Mapping[str, Any],
    told: list[str],
) -> Choice:
    honest, violating = sum(not row.violates for row in rows), sum(row.violates for row in rows)
    for other in points:
        other["chosen"] = other is here
    told.append(
        f"Of {honest} honest rows {here['false_alarms']} are flagged, of {violating} violating ones {here['caught']} "
        f"are caught; {here['unsure']} rows are undecided."
    )
    if violating < FEWEST:
        told.append(f"Only {violating} violating rows: how many are caught is a guess.")
    evidence = {
        "honest": honest,
        "violating": violating,
        **stated(here),
        "missed": here["missed"],
        "missed_bound": round(here["missed_bound"], 6),
        "unsure": here["unsure"],
        **more,
    }
    bounds = {"flags": here["flags"]}
    return Choice(method, bounds, evidence, points, _table(points), _plot(points, here, more.get("target")), told)


def _table(points: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    columns = ["", "flags", "false alarms", "at most", "caught", "between", "unsure"]
    priced = "mean_cost" in points[0]
    for column in columns + (["cost"] if priced else []):
        table.add_column(column, justify="right")
    for point in points:
        cells = [
            "chosen" if point["chosen"] else "",
            f"{point['flags']} of {len(points)}",
            str(point["false_alarms"]),
            percent(point["false_alarms_bound"]),
            percent(point["caught_share"]),
            f"{100 * point['caught_low']:.3g}-{percent(point['caught_high'])}",
            str(point["unsure"]),
        ]
        cells += [f"{point['mean_cost']:.4g}"] if priced else []
        table.add_row(*cells, style="bold magenta" if point["chosen"] else "")
    return table


def _plot(points: Sequence[Mapping[str, Any]], here: Mapping[str, Any], target: float | None) -> Plot:
    bars = [
        Bar(
            (point["false_alarms_share"], point["caught_share"]),
            point["false_alarms_bound"],
            (point["caught_low"], point["caught_high"]),
            str(point["flags"]),
        )
        for point in points
    ]
    words = f"{_flags(here['flags'], len(points))}: {here['false_alarms']} false alarms, "
    words += f"{percent(here['caught_share'])} caught"
    certified = [point["false_alarms_share"] for point in points if point.get("certified")]
    return Plot(
        sorted({bar.at for bar in bars}),
        [(here["false_alarms_share"], here["caught_share"], words)],
        max(certified, default=None),
        target,
        "false alarms, share of honest rows",
        "caught, share of violating rows",
        bars,
    )
