"""A three-way cut of least cost: pass, ask a person, flag."""

from bisect import bisect_left
from collections.abc import Sequence

from rich.table import Table

from quorate.cli.choose import Choice, Scored, point, roc, split, stated
from quorate.cli.tradeoff import Plot
from quorate.errors import UsageError
from quorate.settings import CheckTable
from quorate.stats import CostReport, Costs, Cut, Sample, at_or_above, compare_cuts, cost_of, upper_bound

FEWEST = 30
"""Rows of each kind below which a bootstrap says nothing."""


def by_costs(
    rows: Sequence[Scored], table: CheckTable, *, costs: Costs, confidence: float, violations: float | None
) -> Choice:
    """The cut of least cost: the formula's on calibrated scores, or the data's own where that is surely better.

    Raises:
        UsageError: there are too few rows of either kind for the comparison.
    """
    honest, violating = split(rows, table)
    for name, scores in (("honest", honest), ("violating", violating)):
        if len(scores) < FEWEST:
            missing = FEWEST - len(scores)
            raise UsageError(f"costs need at least {FEWEST} {name} rows, there are {len(scores)}: {missing} missing")
    sample = Sample(honest, violating, len(violating) / len(rows) if violations is None else violations)
    report = compare_cuts(sample, costs=costs)
    cut = Cut(round(report.chosen.passing, 6), round(report.chosen.flag, 6))
    here = point(honest, violating, threshold=cut.flag, confidence=confidence)
    missed, passed = bisect_left(violating, cut.passing), bisect_left(honest, cut.passing)
    unsure = len(rows) - here["false_alarms"] - here["caught"] - missed - passed
    told = [
        *_told(report),
        f"Of {len(honest)} honest rows {here['false_alarms']} are flagged, of {len(violating)} violating ones "
        f"{missed} are passed; {unsure} rows are left to a person.",
    ]
    if cut.passing >= cut.flag:
        told.append("A person's look costs more than it saves at any score, so one threshold is left.")
    evidence = {
        "honest": len(honest),
        "violating": len(violating),
        **stated(here),
        "missed": missed,
        "missed_bound": round(upper_bound(missed, len(violating), confidence=confidence), 6),
        "unsure": unsure,
        "costs": [costs.false_alarm, costs.miss, costs.human],
        "violations": round(sample.share, 6),
        "mean_cost": round(cost_of(sample, cut, costs=costs), 6),
    }
    bounds = {"threshold": cut.flag, "pass_below": cut.passing}
    return Choice("costs", bounds, evidence, _points(report), _table(report), _plot(sample, cut), told)


def _own(report: CostReport) -> bool:
    return report.chosen is report.best


def _told(report: CostReport) -> list[str]:
    low, high = report.saving.low, report.saving.high
    really = "so it is better." if _own(report) else "which may be nothing."
    return [
        f"Chosen: the cut {'of the data' if _own(report) else 'by formula'}. On rows it was not chosen on, the data's "
        f"own saves {low:.4g} to {high:.4g} a message beside the formula's, {really}"
    ]


def _table(report: CostReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("cut", "pass below", "flag from", "cost a message", "on other rows (0.95)"):
        table.add_column(column, justify="left" if column == "cut" else "right")
    other = f"{report.best_interval.low:.4g} to {report.best_interval.high:.4g}"
    rows = (
        ("by formula", report.formula, report.formula_cost, "", not _own(report)),
        ("best on the data", report.best, report.best_cost, other, _own(report)),
    )
    for name, cut, cost, range_, chosen in rows:
        cells = (name, f"{cut.passing:.4g}", f"{cut.flag:.4g}", f"{cost:.4g}", range_)
        table.add_row(*cells, style="bold magenta" if chosen else "")
    return table


def _points(report: CostReport) -> list[dict[str, object]]:
    found = (
        ("formula", report.formula, report.formula_cost, None),
        ("data", report.best, report.best_cost, report.best_interval),
    )
    return [
        {
            "cut": name,
            "pass_below": cut.passing,
            "threshold": cut.flag,
            "mean_cost": cost,
            "mean_cost_low": None if other is None else other.low,
            "mean_cost_high": None if other is None else other.high,
            "chosen": (name == "data") == _own(report),
        }
        for name, cut, cost, other in found
    ]


def _plot(sample: Sample, cut: Cut) -> Plot:
    def at(threshold: float, words: str) -> tuple[float, float, str]:
        alarms = at_or_above(sample.honest, threshold) / len(sample.honest)
        return alarms, at_or_above(sample.violating, threshold) / len(sample.violating), f"{words} {threshold:.4g}"

    marks = [at(cut.flag, "flag from")]
    if cut.passing < cut.flag:
        marks.append(at(cut.passing, "a person from"))
    curve = roc(sample.honest, sample.violating)
    return Plot(curve, marks, None, None, "false alarms, share of honest rows", "caught, share of violating rows")
