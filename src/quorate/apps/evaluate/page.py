"""The report as one HTML file: nothing is loaded, nothing runs, and no text in it can act."""

from collections.abc import Mapping, Sequence
from typing import Any

from quorate.apps.evaluate.figures import agreement_told, aspect_rows, interval, notes, points
from quorate.apps.evaluate.svg import Bar, forest, histogram
from quorate.apps.evaluate.text import for_html

SHOWN = 100
"""Failing rows that a report shows; `report.json` holds all."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --page: #ffffff; --card: #f6f8fa;
  --plain: #2463b4; --fixed: #b4540a; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #333c48; --page: #12161c;
  --card: #1a2029; --plain: #7ab1f5; --fixed: #f0a35e; --bad: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.2rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .45rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } th, td { white-space: nowrap; overflow-wrap: normal; }
.scroll { overflow-x: auto; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .9rem 1.1rem; margin: .8rem 0; }
.two { display: flex; flex-wrap: wrap; gap: 1.5rem; justify-content: space-between; align-items: flex-start; }
summary { cursor: pointer; }
dl { margin: .5rem 0; } dt { color: var(--soft); font-size: .85rem; } dd { margin: 0 0 .5rem; }
svg { width: 100%; height: auto; display: block; } svg.small { width: auto; height: 100px; max-width: 100%; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg .tick { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); } .mark { stroke: var(--bad); stroke-dasharray: 3 3; }
line.plain { stroke: var(--plain); stroke-width: 3; } circle.plain { fill: var(--plain); } .bar { fill: var(--plain); }
line.fixed { stroke: var(--fixed); stroke-width: 3; } circle.fixed { fill: var(--fixed); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin: 0 .3em 0 .8em; }
"""


def _page(title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{for_html(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


def html_report(report: Mapping[str, Any]) -> str:
    """The report of an evaluation."""
    aspects: Mapping[str, Any] = report["aspects"]
    told = f"{report['rows']} rows" + (f" from {report['sources']} sources" if report["sources"] else "")
    body = [
        f"<h1>{for_html(report['suite'])}</h1>",
        f'<p class="soft">{told}. Overall {interval(report["overall"])}.</p>',
        *(f'<p class="bad">{for_html(note)}</p>' for note in notes(report)),
        "<h2>Aspects</h2>",
        forest([_bar(name, table) for name, table in aspects.items()], title="Mean of each aspect, 95 % intervals"),
        '<p class="soft"><span class="key" style="background:var(--plain)"></span>as judged'
        '<span class="key" style="background:var(--fixed)"></span>corrected by human labels; dashed: threshold</p>',
        '<div class="scroll">' + _table(aspect_rows(report)) + "</div>",
        "<h2>Each aspect</h2>",
        *(_aspect(name, table) for name, table in aspects.items()),
        f"<h2>Failures by example ({len(report['failures'])})</h2>",
        *(_failure(one) for one in report["failures"][:SHOWN]),
    ]
    if len(report["failures"]) > SHOWN:
        body.append(f'<p class="soft">{len(report["failures"]) - SHOWN} more are in report.json.</p>')
    body += [f'<p class="bad">{for_html(line)}</p>' for line in report["bad_lines"][:SHOWN]]
    return _page(str(report["suite"]), body)


def _bar(name: str, table: Mapping[str, Any]) -> Bar:
    fixed = table["corrected"]
    second = (fixed["mean"], fixed["low"], fixed["high"]) if fixed else None
    return Bar(name, table["mean"], table["low"], table["high"], points(table["mean"]), second, table["threshold"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{for_html(cell)}</th>" for cell in rows[0])
    lines = ("<tr>" + "".join(f"<td>{for_html(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _aspect(name: str, table: Mapping[str, Any]) -> str:
    counts = [(f"{score:g}", int(count)) for score, count in table["distribution"]]
    if table["failed"]:
        counts.append(("failed", table["failed"]))
    told = "".join(f"<p>{for_html(line)}</p>" for line in agreement_told(table))
    by = f"{table['kind']}, {table['version']}" + (f", by {', '.join(table['judges'])}" if table["judges"] else "")
    plot = histogram(counts, title=f"Scores of {name}")
    return (
        f'<div class="card two"><div><h3>{for_html(name)}</h3><p class="soft">{for_html(by)}</p>'
        f"<p>{interval(table)}</p>{told}</div><div>{plot}</div></div>"
    )


def _failure(one: Mapping[str, Any]) -> str:
    wrong: Mapping[str, Any] = one["aspects"]
    texts = [(key, one[key]) for key in ("input", "answer", "reference") if one[key]]
    details = [(key, for_html(str(text))) for key, text in texts]
    for name, judged in wrong.items():
        said = judged["error"] or judged["reason"]
        score = "failed" if judged["score"] is None else f"{judged['score']:g}"
        votes = "; ".join(f"{v['judge']}: {v['error'] or v['grade']}" for v in judged["votes"])
        details.append(
            (f"{name}: {score}", for_html(said) + (f' <span class="soft">({for_html(votes)})</span>' if votes else ""))
        )
    listed = "".join(f"<dt>{for_html(key)}</dt><dd>{text}</dd>" for key, text in details)
    source = f", source {for_html(one['source'], limit=80)}" if one["source"] else ""
    return (
        f'<details class="card"><summary><b>{for_html(str(one["id"]), limit=80)}</b> '
        f'<span class="soft">line {one["line"]}{source}</span> <span class="bad">{for_html(", ".join(wrong))}</span>'
        f"</summary><dl>{listed}</dl></details>"
    )


def html_comparison(found: Mapping[str, Any]) -> str:
    """The report of a comparison."""
    aspects: Mapping[str, Any] = found["aspects"]
    widest = max((abs(end) for table in aspects.values() for end in (table["low"], table["high"])), default=1.0)
    edge = next((size for size in (0.05, 0.1, 0.2, 0.5) if widest <= size), 1.0)
    bars = [
        Bar(name, table["mean"], table["low"], table["high"], points(table["mean"], signed=True), mark=0.0)
        for name, table in aspects.items()
    ]
    rows = [["aspect", "old", "new", "difference", "95 % interval", "rows better / same / worse", "verdict"]]
    for name, t in aspects.items():
        ends = f"{points(t['low'], signed=True)} to {points(t['high'], signed=True)}"
        counts = f"{t['better']} / {t['same']} / {t['worse']}"
        both = [points(t["old"]), points(t["new"]), points(t["mean"], signed=True)]
        rows.append([name, *both, ends, counts, t["verdict"]])
    body = [
        f"<h1>{for_html(found['new'])}</h1>",
        f'<p class="soft">New minus old, in points, on {found["rows"]} shared rows '
        f"({found['only_old']} only in the old, {found['only_new']} only in the new).</p>",
        *(
            f'<p class="bad">{for_html(name)}: not judged by the same judge in both</p>'
            for name in found["judged_differently"]
        ),
        forest(bars, title="Paired differences, 95 % intervals", low=-edge, high=edge),
        '<div class="scroll">' + _table(rows) + "</div>",
    ]
    return _page(f"Comparison: {found['new']}", body)
