"""Figures in words, shared by the page, Markdown and the terminal. Nothing here is escaped."""

from collections.abc import Mapping
from typing import Any

from quorate.apps.evaluate.statistics import MIN_LABELS

HEAD = ("aspect", "kind", "mean", "95 % interval", "corrected", "passed", "failed judgements", "rows")


def points(share: float | None, *, signed: bool = False) -> str:
    """A share in per cent, a difference in points; a dash for none."""
    if share is None:
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f} %"


def interval(table: Mapping[str, Any]) -> str:
    """A mean with its interval, and what the interval rests on."""
    if table["mean"] is None:
        return "no row was judged"
    how = {
        "wilson": f"Wilson, {table['n']} rows",
        "score": f"score interval, {table['n']} rows",
        "clustered": f"clustered, {table['n']} rows in {table['groups']} sources",
        "none": "too little for an interval: fewer than two rows or sources",
    }[table["method"]]
    return f"{points(table['mean'])} ({points(table['low'])} to {points(table['high'])}; {how})"


def aspect_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The table of all aspects, head first."""
    rows = [list(HEAD)]
    for name, table in report["aspects"].items():
        fixed = table["corrected"]
        told = f"{points(fixed['mean'])} ({points(fixed['low'])} to {points(fixed['high'])})" if fixed else "-"
        ends = "-" if table["mean"] is None else f"{points(table['low'])} to {points(table['high'])}"
        rows.append(
            [
                name,
                table["kind"],
                points(table["mean"]),
                ends,
                told,
                f"{table['passed']} of {table['n']}",
                str(table["failed"]),
                f"{table['n']}" + (f" ({table['skipped']} skipped)" if table["skipped"] else ""),
            ]
        )
    return rows


def agreement_told(table: Mapping[str, Any]) -> list[str]:
    """What is known of an aspect's judge: people, correction, order, panel. A sentence each."""
    told: list[str] = []
    human, fixed = table["human"], table["corrected"]
    if human:
        told.append(
            f"People and judge agree on {points(human['agreement'])} of {human['compared']} rows, {_kappa(human)}."
            if human["compared"]
            else "No row was graded by both people and the judge."
        )
        if human["labels"] < MIN_LABELS:
            told.append(f"{human['labels']} human labels are too few to correct the mean; {MIN_LABELS} are needed.")
    if fixed:
        how = {"rogan-gladen": "Rogan-Gladen", "difference": "difference estimator"}[fixed["method"]]
        seen = ""
        if fixed["sensitivity"] is not None:
            seen = f"; the judge passes {points(fixed['sensitivity'])} of the good and fails "
            seen += f"{points(fixed['specificity'])} of the bad"
        told.append(
            f"Corrected by {fixed['labels']} labels ({how}): {points(fixed['mean'])}, {points(fixed['low'])} to "
            f"{points(fixed['high'])}; the judge is off by {points(fixed['bias'], signed=True)} points{seen}."
        )
        also = fixed["difference"]
        if also:
            told.append(
                f"If the labelled rows are a random sample of these: {points(also['mean'])}, {points(also['low'])} to "
                f"{points(also['high'])} (difference estimator)."
            )
    if table["failed"]:
        best = points(table["mean_if_failed_were_best"])
        told.append(
            f"{table['failed']} judgements failed and count as 0; were they all best, the mean would be {best}."
        )
    if "order" in table:
        order = table["order"]
        told.append(
            f"{order['wins']} wins, {order['ties']} ties, {order['losses']} losses. The order changed the judge's mind "
            f"in {order['changed']} of {order['asked']} pairs ({order['always_first']} always the first, "
            f"{order['always_second']} always the second); these are ties."
        )
    if "panel" in table:
        for pair in table["panel"]["pairs"]:
            names = " and ".join(pair["judges"])
            told.append(f"{names} agree on {points(pair['agreement'])} of {pair['compared']} rows, {_kappa(pair)}.")
    return told


def _kappa(found: Mapping[str, Any]) -> str:
    if found["kappa"] is None:
        return "kappa undefined: only one grade was ever given"
    ends = "" if found["kappa_low"] is None else f" ({found['kappa_low']:.2f} to {found['kappa_high']:.2f})"
    return f"kappa {found['kappa']:.2f}{ends}"


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    told = []
    failed = sum(table["failed"] for table in report["aspects"].values())
    if failed:
        told.append(f"{failed} judgements failed. They stay in the denominator and count as 0.")
    if report["bad_lines"]:
        told.append(f"{len(report['bad_lines'])} lines of the input could not be read and are not in the figures.")
    if 0 < report["sources"] < 20:
        told.append(f"Only {report['sources']} sources: with fewer than 20 the intervals tend to be too narrow.")
    return told
