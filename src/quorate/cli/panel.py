"""`quorate panel`: how good each voter is, which mistakes they share, and whether the panel is worth its price."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from quorate.apps.panel import Choice, Effective, Measured, Pair, Quality, Votes, choose, effective, pairs, qualities
from quorate.apps.panel import read_votes as read
from quorate.apps.panel.choosing import LEAST_ROWS
from quorate.cli.render import console
from quorate.cli.rows import as_text, read_bytes
from quorate.cli.safe import safe
from quorate.stats import Interval

SCHEMA = "quorate.panel/1"
_MOST_PAIRS = 28
_FEW_LABELS = 100
_ALIKE = 0.5


async def run(args: argparse.Namespace) -> int:
    """Measure and report; returns 0. A file with mistakes is exit code 2, and nothing of it is measured."""
    votes = read(as_text(read_bytes(args.file)).split("\n"), source=args.file)
    quality, shared = qualities(votes), pairs(votes)
    worth = effective(votes)
    choice = choose(votes, least_gain=args.least_gain) if int(votes.known.sum()) >= LEAST_ROWS else None
    words = advice(votes, worth, choice=choice, shared=shared)
    if args.json:
        print(json.dumps(as_json(votes, quality, shared=shared, worth=worth, choice=choice, words=words)))
        return 0
    out = console()
    labelled, yes = int(votes.known.sum()), int(votes.labelled().labels.sum())
    out.print(f"{len(votes.labels)} items, {labelled} labelled, {yes} of them true; {len(votes.voters)} voters")
    if labelled:
        out.print(_voters(quality))
    if shared:
        out.print(_pairs(shared))
    if choice is not None:
        out.print(_methods(choice))
    for number, line in enumerate(words):
        out.print(Text(safe(line, lines=False), style="default" if number else "bold"))
    return 0


def advice(votes: Votes, worth: Effective, *, choice: Choice | None, shared: Sequence[Pair] = ()) -> list[str]:
    """What to do, in plain words, most important first."""
    labelled = int(votes.known.sum())
    if choice is None:
        least = f"{labelled} labelled items; {LEAST_ROWS} are the least, some hundreds say something."
        return [f"Use the majority: nothing better can be told from {least}"]
    n, gain = len(votes.voters), choice.gain
    told = f"{100 * gain.gain:+.1f} points of right answers [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    single = choice.single.method.name
    least_gain = f"{100 * choice.least_gain:g} points" if choice.least_gain else "zero"
    if choice.panel is None:
        words = [f"There is one voter, {single}, and nothing to put together."]
    elif choice.use_panel:
        words = [f"Use the panel by {choice.panel.method.name}: against {single} alone it gains {told}."]
    else:
        words = [
            f"Use {single} alone. The panel asks {n} voters for each item; what it gains over {single} is {told}, "
            f"not shown to be above {least_gain}."
        ]
    if n > 1 and worth.pairs:
        low, high = worth.n_eff_interval.low, worth.n_eff_interval.high
        words.append(
            f"The {n} voters are worth {worth.n_eff:.1f} independent ones [{low:.1f}, {high:.1f}]: "
            f"their errors correlate by {worth.rho:.2f} on average."
        )
    elif n > 1:
        words.append("No two voters have errors that could be compared, so nothing is known of shared mistakes.")
    alike = max(shared, key=lambda pair: pair.error_correlation or 0.0, default=None)
    if alike is not None and (alike.error_correlation or 0.0) >= _ALIKE:
        told = f"{alike.first} and {alike.second} share most of their mistakes ({alike.error_correlation:.2f})"
        words.append(f"{told}: measure the panel without one of them.")
    if labelled < _FEW_LABELS:
        words.append(f"{labelled} labels are few: expect the intervals to be wide, and the advice to change with more.")
    return words


def _share(value: float, within: Interval) -> str:
    return f"{100 * value:.1f} % [{100 * within.low:.1f}, {100 * within.high:.1f}]"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _name(name: str) -> Text:
    return Text(safe(name, lines=False))


def _voters(quality: list[Quality]) -> Table:
    table = _table("Each voter, with 95 % intervals", "voter", "errors", "false alarms", "misses", "no vote")
    for row in quality:
        table.add_row(
            _name(row.voter),
            _share(row.error, row.error_interval),
            _share(row.false_alarms, row.false_alarms_interval),
            _share(row.misses, row.misses_interval),
            f"{100 * row.silent:.1f} %",
        )
    return table


def _pairs(shared: list[Pair]) -> Table:
    most = sorted(shared, key=lambda pair: -(pair.error_correlation or 0.0))[:_MOST_PAIRS]
    title = "Every two voters" if len(most) == len(shared) else f"The {len(most)} of {len(shared)} pairs most alike"
    table = _table(title, "first", "second", "error correlation", "agreement", "kappa", "share of yes")
    for pair in most:
        table.add_row(
            _name(pair.first),
            _name(pair.second),
            _number(pair.error_correlation),
            _number(pair.agreement),
            _number(pair.kappa),
            _number(pair.prevalence),
        )
    return table


def _methods(choice: Choice) -> Table:
    title = "Rules against the best voter, cross-validated, with 95 % intervals"
    table = _table(title, "rule", "errors", "undecided", "gain in points", "calls an item")
    for row in (*choice.methods, *choice.singles):
        gain = f"{100 * row.gain.gain:+.1f} [{100 * row.gain.low:+.1f}, {100 * row.gain.high:+.1f}]"
        if row is choice.single:
            gain = "best voter"
        name = row.method.name if row.method.voters > 1 else f"{row.method.name} alone"
        style = "bold" if row is choice.chosen else "default"
        table.add_row(
            _name(name),
            _share(row.error, row.error_interval),
            f"{100 * row.undecided:.1f} %",
            gain,
            str(row.method.voters),
            style=style,
        )
    return table


def as_json(
    votes: Votes,
    quality: list[Quality],
    *,
    shared: list[Pair],
    worth: Effective,
    choice: Choice | None,
    words: list[str],
) -> dict[str, Any]:
    """All of it as one object. Fields are only ever added."""
    return {
        "schema": SCHEMA,
        "items": len(votes.labels),
        "labelled": int(votes.known.sum()),
        "labelled_true": int(votes.labelled().labels.sum()),
        "voters": [_quality(row) for row in quality],
        "pairs": [
            {
                "voters": [pair.first, pair.second],
                "error_correlation": _rounded(pair.error_correlation),
                "agreement": _rounded(pair.agreement),
                "kappa": _rounded(pair.kappa),
                "prevalence": _rounded(pair.prevalence),
                "items": pair.both,
            }
            for pair in shared
        ],
        "n_eff": {
            "voters": worth.n,
            "value": _rounded(worth.n_eff),
            "interval": _ends(worth.n_eff_interval),
            "error_correlation": _rounded(worth.rho),
            "error_correlation_interval": _ends(worth.rho_interval),
            "pairs": worth.pairs,
        },
        "choice": None if choice is None else _choice(choice),
        "advice": words,
    }


def _quality(row: Quality) -> dict[str, Any]:
    return {
        "voter": row.voter,
        "error": _rounded(row.error),
        "error_interval": _ends(row.error_interval),
        "false_alarms": _rounded(row.false_alarms),
        "false_alarms_interval": _ends(row.false_alarms_interval),
        "misses": _rounded(row.misses),
        "misses_interval": _ends(row.misses_interval),
        "no_vote": _rounded(row.silent),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "use": "panel" if choice.use_panel else "voter",
        "name": choice.chosen.method.name,
        "best_rule": None if choice.panel is None else choice.panel.method.name,
        "best_voter": choice.single.method.name,
        "gain": _rounded(choice.gain.gain),
        "gain_interval": [_rounded(choice.gain.low), _rounded(choice.gain.high)],
        "least_gain": choice.least_gain,
        "rules": [_measured(row) for row in choice.methods],
        "voters": [_measured(row) for row in choice.singles],
    }


def _measured(row: Measured) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": row.method.name,
        "error": _rounded(row.error),
        "error_interval": _ends(row.error_interval),
        "undecided": _rounded(row.undecided),
        "gain": _rounded(row.gain.gain),
        "gain_interval": [_rounded(row.gain.low), _rounded(row.gain.high)],
        "calls": row.method.voters,
    }
    if row.method.weights is not None:
        told["weights"] = {name: _rounded(weight) for name, weight in row.method.weights.items()}
    if row.method.combination is not None:
        combination = row.method.combination
        told["combination"] = {
            "intercept": _rounded(combination.intercept),
            "weights": {name: _rounded(weight) for name, weight in combination.weights.items()},
            "centres": {name: _rounded(centre) for name, centre in combination.centres.items()},
            "cut": combination.cut,
        }
    return told


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _ends(within: Interval) -> list[float | None]:
    return [_rounded(within.low), _rounded(within.high)]
