"""Two evaluations of the same rows: paired differences, aspect by aspect."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quorate.apps.evaluate.statistics import difference_of
from quorate.apps.evaluate.summary import SCHEMA, estimate_as_json, groups_of, rounded
from quorate.errors import UsageError

COMPARISON = "quorate.comparison/1"
REPORT, SCORES = "report.json", "scores.jsonl"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Folder:
    """What `quorate evaluate` left in a folder."""

    path: Path
    report: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]


def read_folder(path: Path) -> Folder:
    """Read a folder that `quorate evaluate` wrote.

    Raises:
        UsageError: it is none.
    """
    try:
        report = json.loads((path / REPORT).read_text(encoding="utf-8"))
        lines = (path / SCORES).read_text(encoding="utf-8").splitlines()
        rows = {json.dumps(row["id"]): row for row in map(json.loads, lines)}
        good = report["schema"] == SCHEMA and isinstance(report["suite"], str) and all(map(_row_good, rows.values()))
        good = good and all(isinstance(table, dict) for table in report["aspects"].values())
    except OSError as error:
        raise UsageError(f"{path}: is no folder of an evaluation: {error.strerror} ({error.filename})") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: {REPORT} or {SCORES} is not what `quorate evaluate` writes") from error
    if not good:
        raise UsageError(f"{path}: {REPORT} is not of the schema {SCHEMA}")
    return Folder(path, report, rows)


def _row_good(row: Mapping[str, Any]) -> bool:
    plain = all(score is None or isinstance(score, int | float | str) for score in row["scores"].values())
    return plain and (row["source"] is None or isinstance(row["source"], str))


def compare(old: Folder, new: Folder) -> dict[str, Any]:
    """New minus old, on the rows and aspects that both have; what only one has is counted."""
    shared = [key for key in new.rows if key in old.rows]
    names = [name for name in new.report["aspects"] if name in old.report["aspects"]]
    return {
        "schema": COMPARISON,
        "old": str(old.report["suite"]),
        "new": str(new.report["suite"]),
        "rows": len(shared),
        "only_old": len(old.rows) - len(shared),
        "only_new": len(new.rows) - len(shared),
        "aspects_not_compared": sorted(old.report["aspects"].keys() ^ new.report["aspects"].keys()),
        "judged_differently": [name for name in names if _judge(old, name) != _judge(new, name)],
        "aspects": {name: _aspect(name, shared, old=old, new=new) for name in names},
    }


def _judge(folder: Folder, name: str) -> list[Any]:
    table = folder.report["aspects"][name]
    return [table.get("kind"), table.get("version"), table.get("judges"), table.get("scale")]


def _aspect(name: str, shared: Sequence[str], *, old: Folder, new: Folder) -> dict[str, Any]:
    pairs, skipped = [], 0
    for key in shared:
        before, after = old.rows[key]["scores"].get(name, "skipped"), new.rows[key]["scores"].get(name, "skipped")
        if isinstance(before, str) or isinstance(after, str):
            skipped += 1
            continue
        pairs.append((key, float(before or 0.0), float(after or 0.0)))  # A failed judgement counts as nothing.
    differences = [after - before for _, before, after in pairs]
    groups = groups_of([new.rows[key]["source"] for key, _, _ in pairs], [key for key, _, _ in pairs])
    estimate = difference_of(differences, groups)
    verdict = "better" if estimate.low > 0 else "worse" if estimate.high < 0 else "not shown to differ"
    count = len(pairs) or 1
    worse = sorted((after - before, at) for at, (_, before, after) in enumerate(pairs) if after < before)
    return {
        "old": rounded(sum(before for _, before, _ in pairs) / count),
        "new": rounded(sum(after for _, _, after in pairs) / count),
        **estimate_as_json(estimate),
        "verdict": verdict,
        "better": sum(d > 0 for d in differences),
        "worse": sum(d < 0 for d in differences),
        "same": sum(d == 0 for d in differences),
        "skipped": skipped,
        "worse_rows": [new.rows[pairs[at][0]]["id"] for _, at in worse[:_SHOWN]],
    }
