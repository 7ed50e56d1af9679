"""The trade-off of a threshold, drawn in a terminal and as a picture. Only numbers and our own words are drawn."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from quorate.errors import QuorateError

WIDTH, HEIGHT = 60, 12
_SIGNS = ("•", "◆", "│", "─", "└")
_PLAIN = ("*", "#", "|", "-", "+")
_TICKS = (0.0001, 0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """A point with what is uncertain about it: `at` (x, y), the upper bound of x, the interval of y, and its name."""

    at: tuple[float, float]
    x_high: float
    y_range: tuple[float, float]
    name: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn: shares against shares.

    Attributes:
        curve: points (x, y), ascending in x; y holds until the next point. Empty where there is nothing to draw.
        chosen: points to mark, with their words.
        certified: the largest x that keeps the promise, or None where nothing was promised.
        target: the promised x, or None.
        x_label: what x is.
        y_label: what y is.
        bars: points of the curve, where it has only few.
    """

    curve: Sequence[tuple[float, float]]
    chosen: Sequence[tuple[float, float, str]]
    certified: float | None
    target: float | None
    x_label: str
    y_label: str
    bars: Sequence[Bar] = ()

    @property
    def floor(self) -> float:
        """Where the logarithmic x axis begins; smaller shares are drawn there."""
        smallest = min((x for x, _ in self.curve if x > 0), default=0.01)
        return min(10.0 ** math.floor(math.log10(smallest)), 0.001)


def draw_plot(out: Console, plot: Plot) -> None:
    """Draw with characters: green where the promise holds; plain ASCII where the stream can carry no more."""
    dot, diamond, bar, dash, corner = _SIGNS if _carries(out) else _PLAIN
    columns = [plot.floor ** (1 - at / (WIDTH - 1)) for at in range(WIDTH)]
    heights = [_row(_value(plot, x)) for x in columns]
    marks = {(_column(plot, x), _row(y)) for x, y, _ in plot.chosen}
    cells = _bars(plot, bar, dash)
    limit = None if plot.target is None else _column(plot, plot.target)
    out.print(Text(f"{plot.y_label}", style="bold"))
    for row in range(HEIGHT, -1, -1):
        line = Text(f"{row / HEIGHT:>6.0%} " if row % 3 == 0 else " " * 7).append(bar)
        for at in range(WIDTH):
            sure = plot.certified is not None and columns[at] <= max(plot.certified, plot.floor)
            if (at, row) in cells:
                style = "bold magenta" if (at, row) in marks else "bold" if cells[at, row] not in (bar, dash) else "dim"
                line.append(cells[at, row], style=style)
            elif (at, row) in marks:
                line.append(diamond, style="bold magenta")
            elif heights[at] == row:
                line.append(dot, style="green" if sure else "cyan")
            else:
                line.append(bar if at == limit else " ", style="dim")
        out.print(line)
    out.print(Text(" " * 7 + corner + dash * WIDTH))
    ticks = [" "] * (WIDTH + 8)
    for value in _TICKS:
        if value >= plot.floor:
            words = f"{value:.4g}" if value < 0.0001 else f"{100 * value:g}%"
            start = min(_column(plot, value), WIDTH - len(words))
            ticks[start : start + len(words)] = words
    out.print(Text(" " * 8 + "".join(ticks).rstrip()))
    told = f"{plot.x_label} (logarithmic); " + ("" if plot.bars else f"{diamond} chosen")
    if plot.bars:
        told += f"numbers: flags needed; {dash} to the upper bound, {bar} interval"
    if plot.target is not None:
        told += f", {bar} promised" + (", green: certified" if plot.certified is not None else "")
    out.print(Text(" " * 8 + told, style="dim"))


def _bars(plot: Plot, bar: str, dash: str) -> dict[tuple[int, int], str]:
    """The characters of the bars by (column, row); names, of one character, stand over lines."""
    cells: dict[tuple[int, int], str] = {}
    for one in plot.bars:
        column, row = _column(plot, one.at[0]), _row(one.at[1])
        cells |= {(at, row): dash for at in range(column, _column(plot, min(one.x_high, 1.0)) + 1)}
        cells |= {(column, at): bar for at in range(_row(one.y_range[0]), _row(one.y_range[1]) + 1)}
    names = {(_column(plot, one.at[0]), _row(one.at[1])): one.name for one in plot.bars}
    return cells | {place: name if len(name) == 1 else "+" for place, name in names.items()}


def _carries(out: Console) -> bool:
    try:
        "".join(_SIGNS).encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return not out.legacy_windows


def _value(plot: Plot, x: float) -> float:
    at = bisect_right(plot.curve, (x, math.inf))
    return plot.curve[at - 1][1] if at else 0.0


def _column(plot: Plot, x: float) -> int:
    place = 1.0 - math.log(max(x, plot.floor)) / math.log(plot.floor)
    return round(place * (WIDTH - 1))


def _row(y: float) -> int:
    return round(min(max(y, 0.0), 1.0) * HEIGHT)


def _plot_bars(axes: Any, plot: Plot) -> None:
    """Points with what is uncertain about them; those at one place share a label."""
    names: dict[tuple[float, float], list[str]] = {}
    for bar in plot.bars:
        x, y = max(bar.at[0], plot.floor), bar.at[1]
        spread = [[y - bar.y_range[0]], [bar.y_range[1] - y]]
        beyond = [[0.0], [max(bar.x_high - x, 0.0)]]
        axes.errorbar([x], [y], xerr=beyond, yerr=spread, color="#0b2f5c", lw=1, fmt="o", ms=4, capsize=3)
        names.setdefault((x, y), []).append(bar.name)
    for place, shared in names.items():
        words = ", ".join(shared)
        axes.annotate(words, place, xytext=(4, 4), textcoords="offset points", fontsize=9, color="#0b2f5c")


def save_plot(path: Path, plot: Plot, *, title: str) -> None:
    """Save the same as a picture; `path` says by its ending of which kind.

    Raises:
        QuorateError: it cannot be written.
        ImportError: matplotlib, the extra quorate[plot], is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    xs = [max(x, plot.floor) for x, _ in plot.curve]
    axes.set_xscale("log")
    axes.set_xlim(plot.floor * 0.9, 1.1)
    axes.set_ylim(-0.02, 1.04)
    if plot.certified is not None:
        axes.axvspan(plot.floor * 0.9, max(plot.certified, plot.floor), color="#2a9d4a", alpha=0.13, lw=0)
        axes.text(plot.floor, 1.01, "certified on this data", color="#1f7a39", fontsize=9, va="center")
    if plot.target is not None:
        axes.axvline(plot.target, color="#444444", ls="--", lw=1)
        axes.text(plot.target * 1.08, 0.0, f"promised: at most {100 * plot.target:g} %", fontsize=9, color="#444444")
    axes.step([*xs, 1.0], [*(y for _, y in plot.curve), plot.curve[-1][1]], where="post", color="#1f5fa8", lw=1.8)
    _plot_bars(axes, plot)
    for x, y, words in plot.chosen:
        at = max(x, plot.floor)
        axes.plot([at], [y], marker="D", ms=8, color="#b5179e", mec="white", zorder=5, clip_on=False)
        left = at > 0.05
        axes.annotate(
            words,
            (at, y),
            xytext=(0 if left else 12, -64 if left else -16 if y > 0.2 else 14),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=9,
            color="#7a0f6b",
            arrowprops={"arrowstyle": "-", "color": "#7a0f6b", "lw": 0.7} if left else None,
            bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.85},
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set_xlabel(f"{plot.x_label} (logarithmic)")
    axes.set_ylabel(plot.y_label)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", color="#dddddd", lw=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise QuorateError(f"--plot {path}: cannot be written: {error}") from error
