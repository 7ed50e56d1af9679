"""Small plots as inline SVG: no script, no font, no address; colours come from the page, for light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass

from quorate.apps.evaluate.text import for_html

_ROW, _LEFT, _WIDTH, _RIGHT, _TOP = 34, 190, 420, 130, 12


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a forest plot.

    Attributes:
        name: shown at its left.
        mean: the dot.
        low: the line's beginning.
        high: its end.
        told: shown at its right.
        second: (mean, low, high) of the corrected estimate below it, or None.
        mark: a threshold, or None.
    """

    name: str
    mean: float | None
    low: float
    high: float
    told: str
    second: tuple[float, float, float] | None = None
    mark: float | None = None


def forest(bars: Sequence[Bar], *, title: str, low: float = 0.0, high: float = 1.0) -> str:
    """Means with their intervals, one line each, on an axis from `low` to `high`."""
    height = _TOP + _ROW * len(bars) + 28

    def x(value: float) -> str:
        return f"{_LEFT + _WIDTH * (min(high, max(low, value)) - low) / (high - low):.1f}"

    bottom = _TOP + _ROW * len(bars)
    out = [
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" aria-label="{for_html(title)}">',
        *(
            f'<line class="grid" x1="{x(at)}" y1="{_TOP}" x2="{x(at)}" y2="{bottom}"/>'
            f'<text class="tick" x="{x(at)}" y="{bottom + 18}" text-anchor="middle">{at:g}</text>'
            for at in (low + (high - low) * step / 4 for step in range(5))
        ),
    ]
    for number, bar in enumerate(bars):
        y = _TOP + _ROW * number + _ROW // 2
        out.append(f'<text class="name" x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{for_html(bar.name)}</text>')
        if bar.mark is not None:
            out.append(f'<line class="mark" x1="{x(bar.mark)}" y1="{y - 11}" x2="{x(bar.mark)}" y2="{y + 11}"/>')
        if bar.mean is not None:
            up = y - 5 if bar.second else y
            out += _whisker("plain", x(bar.low), x(bar.high), dot=x(bar.mean), y=up)
        if bar.second is not None:
            mean, first, last = bar.second
            out += _whisker("fixed", x(first), x(last), dot=x(mean), y=y + 6)
        out.append(f'<text class="told" x="{_LEFT + _WIDTH + 12}" y="{y + 4}">{for_html(bar.told)}</text>')
    return "\n".join([*out, "</svg>"])


def _whisker(kind: str, low: str, high: str, *, dot: str, y: int) -> list[str]:
    return [
        f'<line class="{kind}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>',
        f'<circle class="{kind}" cx="{dot}" cy="{y}" r="4.5"/>',
    ]


def histogram(counts: Sequence[tuple[str, int]], *, title: str) -> str:
    """Bars side by side, each with its count above and its name below."""
    wide, tall, gap = 34, 64, 8
    most = max((count for _, count in counts), default=0) or 1
    width = max(1, len(counts)) * (wide + gap) + gap
    out = [f'<svg class="small" viewBox="0 0 {width} {tall + 36}" role="img" aria-label="{for_html(title)}">']
    for number, (name, count) in enumerate(counts):
        left, height = gap + number * (wide + gap), tall * count / most
        middle = f"{left + wide / 2:.0f}"
        out.append(
            f'<rect class="bar" x="{left}" y="{16 + tall - height:.1f}" width="{wide}" height="{height:.1f}" rx="2"/>'
            f'<text class="tick" x="{middle}" y="{12 + tall - height:.1f}" text-anchor="middle">{count}</text>'
            f'<text class="tick" x="{middle}" y="{tall + 32}" text-anchor="middle">{for_html(name)}</text>'
        )
    return "\n".join([*out, "</svg>"])
