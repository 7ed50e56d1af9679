"""From labelled scores to a threshold with a promise about false alarms; and what every way of choosing shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from quorate.cli.tradeoff import Plot
from quorate.errors import RunFailed, UsageError
from quorate.settings import CheckTable
from quorate.stats import GRID, at_or_above, interval, loosest, rows_needed, upper_bound

LEVELS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
NEVER, ALWAYS = -1.0, 2.0
"""The places of a row without a score, outside of every bound."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A labelled row and what was said of it.

    Attributes:
        violates: its label.
        first: score of the first tier, None where it abstained without one.
        last: score of the last tier of two.
        flagged: whether the last tier of two flags by its own bound, None where it abstains or was not asked.
    """

    violates: bool
    first: float | None
    last: float | None = None
    flagged: bool | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Bounds and what speaks for them.

    Attributes:
        method: as in the config's evidence.
        bounds: settings of the check.
        evidence: settings of its evidence that this method knows.
        points: operating points, for programs.
        table: the same for people.
        plot: the trade-off.
        told: sentences for people.
    """

    method: str
    bounds: Mapping[str, float]
    evidence: Mapping[str, Any]
    points: Sequence[Mapping[str, Any]]
    table: Table
    plot: Plot
    told: Sequence[str]


def joint_score(row: Scored, table: CheckTable) -> float:
    """The one score at whose threshold a check flags a row, whatever its tiers; -1 for a row it never flags.

    With two tiers a threshold acts on both: the first flags alone from `flag_above` on (or from the threshold), and
    what it clears never reaches the second.
    """
    if len(table.models) == 1:
        return NEVER if row.first is None else row.first
    last = NEVER if row.last is None else row.last
    if row.first is None:
        return last
    cleared = row.first < table.clear_below
    if table.flag_above is not None:
        if row.first >= table.flag_above:
            return 1.0 if table.flag_alone else last
        return NEVER if cleared else last
    if table.flag_alone:
        return row.first if cleared else max(row.first, last)
    return min(row.first, last) if cleared else last


def split(rows: Sequence[Scored], table: CheckTable) -> tuple[list[float], list[float]]:
    """Ascending scores of the honest and of the violating rows."""
    ordered = sorted((joint_score(row, table), row.violates) for row in rows)
    return [score for score, bad in ordered if not bad], [score for score, bad in ordered if bad]


def by_false_alarms(rows: Sequence[Scored], table: CheckTable, *, target: float, confidence: float) -> Choice:
    """The loosest threshold that is certified to flag at most a target share of honest texts.

    Raises:
        UsageError: there are too few honest rows to certify it.
        RunFailed: not even the strictest threshold is certified.
    """
    honest, violating = split(rows, table)
    enough(len(honest), "honest", target=target, confidence=confidence)
    chosen = loosest(honest, target=target, confidence=confidence)
    if chosen is None:
        raise RunFailed(
            f"no threshold keeps the promise: even at {GRID[-1]:g}, {at_or_above(honest, GRID[-1])} of {len(honest)} "
            f"honest rows are flagged; nothing was written"
        )
    others = [loosest(honest, target=level, confidence=confidence) for level in LEVELS]
    thresholds = sorted({chosen, *(other for other in others if other is not None)}, reverse=True)
    if table.threshold is not None:
        thresholds = sorted({*thresholds, table.threshold}, reverse=True)
    points = [point(honest, violating, threshold=threshold, confidence=confidence) for threshold in thresholds]
    here = point(honest, violating, threshold=chosen, confidence=confidence)
    words = f"{chosen:g}: {here['false_alarms']} false alarms, {percent(here['caught_share'])} caught"
    plot = Plot(
        roc(honest, violating),
        [(here["false_alarms"] / len(honest), here["caught_share"], words)],
        here["false_alarms"] / len(honest),
        target,
        "false alarms, share of honest rows",
        "caught, share of violating rows",
    )
    told = [
        f"With {confidence:.4g} confidence, a threshold of {chosen:g} flags at most "
        f"{percent(here['false_alarms_bound'])} of honest texts like these (asked for: {percent(target)})."
    ]
    told += _thin(violating)
    return Choice(
        "false-alarms",
        {"threshold": chosen},
        {"honest": len(honest), "violating": len(violating), "target": target, **stated(here)},
        points,
        _points_table(points, chosen, confidence=confidence),
        plot,
        told,
    )


def enough(count: int, name: str, *, target: float, confidence: float) -> None:
    """Refuse what so few rows can never certify.

    Raises:
        UsageError: there are too few; it says how many are missing.
    """
    needed = rows_needed(target, confidence=confidence)
    if count < needed:
        raise UsageError(
            f"a promise of {percent(target)} needs at least {needed} {name} rows, there are {count}: "
            f"{needed - count} missing; nothing was written"
        )


def point(
    honest: Sequence[float], violating: Sequence[float], *, threshold: float, confidence: float
) -> dict[str, Any]:
    """What a threshold comes to on ascending scores of either kind, with its bounds."""
    alarms, caught = at_or_above(honest, threshold), at_or_above(violating, threshold)
    range_ = interval(caught, len(violating), confidence=confidence)
    return {
        "threshold": threshold,
        "false_alarms": alarms,
        "false_alarms_bound": upper_bound(alarms, len(honest), confidence=confidence),
        "caught": caught,
        "caught_share": caught / len(violating) if violating else 0.0,
        "caught_low": range_.low,
        "caught_high": range_.high,
    }


def stated(point: Mapping[str, Any]) -> dict[str, Any]:
    """The share of a point that is kept as evidence."""
    names = ("false_alarms", "false_alarms_bound", "caught", "caught_low", "caught_high")
    return {name: round(point[name], 6) for name in names}


def _points_table(points: Sequence[Mapping[str, Any]], chosen: float, *, confidence: float) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in (
        "",
        "threshold",
        "false alarms",
        f"at most ({confidence:.4g})",
        "caught",
        f"between ({confidence:.4g})",
    ):
        table.add_column(column, justify="right")
    for point in points:
        here = point["threshold"] == chosen
        table.add_row(
            "chosen" if here else "",
            f"{point['threshold']:.6g}",
            str(point["false_alarms"]),
            percent(point["false_alarms_bound"]),
            percent(point["caught_share"]),
            f"{percent(point['caught_low'])} to {percent(point['caught_high'])}",
            style="bold magenta" if here else "",
        )
    return table


def roc(honest: Sequence[float], violating: Sequence[float]) -> list[tuple[float, float]]:
    """Caught against false alarms, over every threshold of the grid."""
    points = {(at_or_above(honest, t) / len(honest), at_or_above(violating, t) / (len(violating) or 1)) for t in GRID}
    return sorted(points)


def percent(value: float) -> str:
    """A share for people."""
    return f"{100 * value:.3g} %"


def _thin(violating: Sequence[float]) -> list[str]:
    if len(violating) >= 50:
        return []
    return [f"Only {len(violating)} violating rows: how many are caught is a guess; the promise does not rest on them."]
