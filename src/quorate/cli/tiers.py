"""Bounds beyond which the first of two tiers decides alone, and what that costs in errors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from quorate.cli.choose import ALWAYS, LEVELS, NEVER, Choice, Scored, enough, percent
from quorate.cli.tradeoff import Plot
from quorate.errors import RunFailed
from quorate.stats import highest_clear, interval, loosest, upper_bound


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bounds of the first tier, and how it fares beyond them.

    Attributes:
        max_local_error: what they are certified for.
        clear_below: it passes alone below this score.
        flag_above: it flags alone from this score on.
        decided: rows that it decides alone.
        decided_honest: the honest ones of these.
        decided_violating: the violating ones of these.
        false_alarms: honest rows that it flags alone.
        missed: violating rows that it passes alone.
        asked: rows on which the last tier gave a verdict too, 0 where it was not asked.
        wrong_both: of these, rows that both tiers together decide wrongly.
        wrong_last: of these, rows that the last tier would decide wrongly alone.
    """

    max_local_error: float
    clear_below: float
    flag_above: float
    decided: int
    decided_honest: int
    decided_violating: int
    false_alarms: int
    missed: int
    asked: int
    wrong_both: int
    wrong_last: int

    @property
    def wrong(self) -> int:
        """Rows that the first tier decides wrongly."""
        return self.false_alarms + self.missed


def by_tiers(rows: Sequence[Scored], *, target: float, confidence: float) -> Choice:
    """Bounds beyond which the first tier decides alone and is wrong for at most a target share of all messages.

    Each side is certified with half of the error probability: of violating texts at most the target is cleared, of
    honest ones at most the target flagged. So the share of all messages that it decides wrongly stays under the
    target, whatever the share of violations.

    Raises:
        UsageError: there are too few rows of either kind to certify it.
        RunFailed: not even the strictest bounds are certified.
    """
    side = (1 + confidence) / 2
    honest = sum(not row.violates for row in rows)
    violating = len(rows) - honest
    enough(honest, "honest", target=target, confidence=side)
    enough(violating, "violating", target=target, confidence=side)
    found = [measure(rows, level, confidence=side) for level in sorted({*LEVELS, target})]
    pairs = [pair for pair in found if pair is not None]
    chosen = next((pair for pair in pairs if pair.max_local_error == target), None)
    if chosen is None:
        raise RunFailed("no bounds keep the promise: the first tier is surely wrong too often; nothing was written")
    part = percent(chosen.decided / len(rows))
    told = [
        f"With {confidence:.4g} confidence the first tier clears at most {percent(target)} of violating texts like "
        f"these and flags at most {percent(target)} of honest ones, so it gets at most {percent(target)} of all wrong.",
        f"It decides {part} of these rows, {percent(chosen.decided_honest / honest)} of the honest and "
        f"{percent(chosen.decided_violating / violating)} of the violating; for those no call is paid.",
    ]
    evidence = {
        "honest": honest,
        "violating": violating,
        "target": target,
        "false_alarms": chosen.false_alarms,
        "false_alarms_bound": round(upper_bound(chosen.false_alarms, honest, confidence=side), 6),
        "missed": chosen.missed,
        "missed_bound": round(upper_bound(chosen.missed, violating, confidence=side), 6),
        "unsure": len(rows) - chosen.decided,
    }
    plot = Plot(
        [(pair.max_local_error, pair.decided / len(rows)) for pair in pairs],
        [(target, chosen.decided / len(rows), f"{part} decided locally")],
        None,
        target,
        "promised share of messages that the first tier gets wrong",
        "decided by the first tier, share of all rows",
    )
    bounds = {"clear_below": chosen.clear_below, "flag_above": chosen.flag_above}
    points = [asdict(pair) | {"chosen": pair is chosen} for pair in pairs]
    table = _table(pairs, chosen, (honest, violating), confidence=confidence)
    return Choice("tiers", bounds, evidence, points, table, plot, told)


def measure(rows: Sequence[Scored], target: float, *, confidence: float) -> Pair | None:
    """The widest certified bounds for a target, and what is decided beyond them; None where none are certified.

    Args:
        rows: labelled, with the first tier's score.
        target: the share of each kind that may be decided wrongly.
        confidence: of each of the two bounds.
    """
    flag = loosest(
        sorted(NEVER if row.first is None else row.first for row in rows if not row.violates),
        target=target,
        confidence=confidence,
    )
    clear = highest_clear(
        sorted(ALWAYS if row.first is None else row.first for row in rows if row.violates),
        target=target,
        confidence=confidence,
    )
    if flag is None or clear is None:
        return None
    clear = min(clear, flag)
    # What the first tier says alone: None in between, and where it gives no score.
    alone = [None if row.first is None or clear <= row.first < flag else row.first >= flag for row in rows]
    said = list(zip(rows, alone, strict=True))
    asked = [(row, local) for row, local in said if row.flagged is not None]
    return Pair(
        target,
        clear,
        flag,
        sum(local is not None for local in alone),
        sum(local is not None and not row.violates for row, local in said),
        sum(local is not None and row.violates for row, local in said),
        sum(local is True and not row.violates for row, local in said),
        sum(local is False and row.violates for row, local in said),
        len(asked),
        sum((row.flagged if local is None else local) != row.violates for row, local in asked),
        sum(row.flagged != row.violates for row, _ in asked),
    )


def _table(pairs: Sequence[Pair], chosen: Pair, counts: tuple[int, int], *, confidence: float) -> Table:
    table = Table(box=None, pad_edge=False)
    honest, violating = counts
    columns = ["promise", "clear", "flag", "decided", "honest", "violating", "wrong", f"at {confidence:.4g}"]
    for column in columns + (["both wrong", "last alone"] if chosen.asked else []):
        table.add_column(column, justify="right")
    for pair in pairs:
        errors = interval(pair.wrong, pair.decided, confidence=confidence)
        cells = [
            percent(pair.max_local_error),
            f"{pair.clear_below:.4g}",
            f"{pair.flag_above:.4g}",
            percent(pair.decided / (honest + violating)),
            percent(pair.decided_honest / honest),
            percent(pair.decided_violating / violating),
            f"{pair.wrong}/{pair.decided}",
            f"{100 * errors.low:.2g}-{percent(errors.high)}",
        ]
        if chosen.asked:
            cells += [f"{pair.wrong_both} of {pair.asked}", f"{pair.wrong_last} of {pair.asked}"]
        table.add_row(*cells, style="bold magenta" if pair is chosen else "")
    return table
