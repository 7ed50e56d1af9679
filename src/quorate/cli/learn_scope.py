"""`quorate learn-scope`: fit the local scope check, say how well that went, and keep it beside the config."""

import argparse
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from quorate.cli.confusion import wanted
from quorate.cli.rows import as_text, read_bytes, say
from quorate.cli.safe import safe
from quorate.errors import UsageError
from quorate.models.local import LocalScope
from quorate.models.local.learning import LEAST
from quorate.models.local.taught import keep, recall
from quorate.models.local.teaching import Report, Shares, Source, described, teach
from quorate.settings import load_settings
from quorate.stats import interval
from quorate.wiring import ScopeTexts, example_config, scope_texts

SCHEMA = "quorate.learn-scope/1"
_TOLD_BAD = 20
_ALLOWED = 'allowed are "in_scope" and "out_of_scope"'


@dataclass(frozen=True, slots=True)
class Labels:
    """What a labelled file holds.

    Attributes:
        texts: its messages, each once.
        outside: which are out of scope.
        bad: a sentence for each line that cannot be used.
        repeated: how many lines say the same as an earlier one.
        sha256: of the file; "" without one.
    """

    texts: list[str]
    outside: list[bool]
    bad: list[str]
    repeated: int = 0
    sha256: str = ""


async def run(args: argparse.Namespace) -> int:
    """Fit, keep and report; returns 0. A config or file with mistakes is exit code 2 for the whole command."""
    path = args.config if args.config is not None else example_config()
    texts = scope_texts(load_settings(path), path.parent)
    labels = read_labels(args.labelled) if args.labelled else Labels([], [], [])
    for line in labels.bad[:_TOLD_BAD]:
        say(f"{args.labelled}: {line}")
    if len(labels.bad) > _TOLD_BAD:
        say(f"{args.labelled}: and {len(labels.bad) - _TOLD_BAD} more lines that cannot be used")
    if args.labelled and not labels.texts:
        raise UsageError(f"{args.labelled}: no line has a usable text and label; {_ALLOWED}")
    start = time.perf_counter()
    source = Source(
        texts.description, texts.sections, texts.examples, labels.texts, np.array(labels.outside, dtype=bool)
    )
    scope, taught, report = teach(source)
    taken = time.perf_counter() - start
    made, figures = made_from(texts, labels, file=args.labelled), figures_of(report)
    kept = None
    if args.config is not None:  # The example company is part of the package, which no command writes into.
        keep(described(taught, made_from=made, figures=figures), texts.learned)
        kept = str(texts.learned)
        # What was written is read back as the checks will read it; a disk that lies is noticed here.
        scope = LocalScope.fit(
            description=texts.description,
            sections=texts.sections,
            examples=texts.examples,
            taught=recall(texts.learned),
        )
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "file": kept,
        "seconds": round(taken, 2),
        "low": round(taught.low, 4),
        "high": round(taught.high, 4),
        "version": scope.version,
        "made_from": made,
        "figures": figures,
    }
    if args.json:
        print(json.dumps(told))
    else:
        print(safe("\n".join(_lines(told, report))))
    return 0


def read_labels(file: str) -> Labels:
    """The messages and labels of a file, or of stdin for "-".

    Raises:
        UsageError: it cannot be read.
    """
    data = read_bytes(file)
    labels = Labels([], [], [], sha256=hashlib.sha256(data).hexdigest())
    seen: dict[str, tuple[int, bool]] = {}
    repeated = 0
    for number, line in enumerate(as_text(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            text, outside = _labelled(line)
            first, said = seen.setdefault(text, (number, outside))
            if said != outside:
                raise UsageError(f'"label": line {first} says otherwise of the same text; keep one of them')
        except UsageError as error:
            labels.bad.append(f"line {number}: {error}")
            continue
        if first != number:
            repeated += 1
            continue
        labels.texts.append(text)
        labels.outside.append(outside)
    return Labels(labels.texts, labels.outside, labels.bad, repeated, labels.sha256)


def _labelled(line: str) -> tuple[str, bool]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError('is not JSON; each line is an object with "text" and "label"') from error
    if not isinstance(row, dict):
        raise UsageError('is not an object; each line is one with "text" and "label"')
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise UsageError('"text": needs a text that is not blank')
    outside = wanted(row.get("label"), "scope")
    if outside is None:
        found = json.dumps(row.get("label"))[:60]
        raise UsageError(f'"label": found {found}, which says nothing of scope; {_ALLOWED}')
    return text, outside


def made_from(texts: ScopeTexts, labels: Labels, *, file: str | None) -> dict[str, object]:
    """What was read, as it is kept and told."""
    return {
        "sections": len(texts.sections),
        "examples": len(texts.examples),
        "labelled": file,
        "labelled_sha256": labels.sha256 or None,
        "in_scope": labels.outside.count(False),
        "out_of_scope": labels.outside.count(True),
        "repeated_lines": labels.repeated,
        "bad_lines": len(labels.bad),
    }


def figures_of(report: Report) -> dict[str, object]:
    """The figures, as they are kept and told; shares with their exact 95 % intervals (Clopper and Pearson 1934)."""
    return {
        "auc": _rounded(report.area),
        "auc_unseen_groups": _rounded(report.area_groups),
        "calibration_error": _rounded(report.calibration),
        "learned_from_labels": report.models,
        "out_of_scope_texts": report.outside_from,
        "in_scope": _shares(report.inside),
        "out_of_scope": _shares(report.outside),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _shares(counts: Shares) -> dict[str, object]:
    found: dict[str, object] = {"messages": counts.total}
    for name in ("passed", "unsure", "flagged"):
        hits = getattr(counts, name)
        around = interval(hits, counts.total)
        share = hits / counts.total if counts.total else 0.0
        found[name] = {"share": round(share, 4), "low": round(around.low, 4), "high": round(around.high, 4)}
    return found


def _lines(told: dict[str, Any], report: Report) -> list[str]:
    made, figures = told["made_from"], told["figures"]
    lines = [
        f"fitted from {made['sections']} sections, {made['examples']} examples, {made['in_scope']} messages in scope"
        f" and {made['out_of_scope']} out of it, in {told['seconds']} s"
    ]
    if made["labelled"]:
        lines[0] += f"; {made['bad_lines']} bad lines, {made['repeated_lines']} repeated"
        if not report.models:
            lines.append(
                f"too few labels for models of their own: {LEAST} of each class are needed; messages in scope were"
                " taken as examples"
            )
    origin = "labelled as such" if report.outside_from == "labelled" else "shipped ones that hardly any support is for"
    lines.append(f"cross-validated on messages held out; those out of scope are {origin}")
    for name, label in (("in_scope", "in scope"), ("out_of_scope", "out of scope")):
        shares = figures[name]
        parts = [
            f"{kind} {shares[kind]['share']:.1%} ({shares[kind]['low']:.1%} to {shares[kind]['high']:.1%})"
            for kind in ("passed", "unsure", "flagged")
        ]
        lines.append(f"  {label:13} {shares['messages']:5}  " + "  ".join(parts))
    if figures["auc"] is not None:
        more = "" if figures["auc_unseen_groups"] is None else f", with kinds unseen {figures['auc_unseen_groups']}"
        error = figures["calibration_error"]
        lines.append(f"  AUC {figures['auc']}{more}" + ("" if error is None else f"; calibration error {error}"))
    if not made["examples"] and not made["in_scope"]:
        lines.append("no message is known to be in scope: give example questions or --labelled to see how many pass")
    lines.append(f"kept in {told['file']}" if told["file"] else "the example company's: nothing was kept; use --config")
    return lines
