"""Labels against verdicts: one confusion table row for each check."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_NOBODY = frozenset(("ok", "admit", "pass", "honest", "clean", "none"))
_SPEAKS_OF: Mapping[str, tuple[str, bool]] = {
    "attack": ("threat", True),
    "benign": ("threat", False),
    "out_of_scope": ("scope", True),
    "off_topic": ("scope", True),
    "in_scope": ("scope", False),
}
COLUMNS = ("caught", "missed", "false alarm", "passed", "unsure", "broke", "cut")


def wanted(label: Any, check: str) -> bool | None:
    """Whether a label says that a check should flag; None where it says nothing of that check.

    A label is the id of the check that should flag ("threat": the others may or may not), a word for none of them
    ("ok"), one of the words of the labelled sets ("attack", "benign", "in_scope", "out_of_scope"), a list of check
    ids, or an object with "flag" or "pass" by check id.
    """
    if isinstance(label, Mapping):
        said = label.get(check)
        return None if said is None else said in ("flag", True)
    if isinstance(label, list):
        return check in label
    if not isinstance(label, str):
        return None
    if label in _NOBODY:
        return False
    about, flagged = _SPEAKS_OF.get(label, (label, True))
    return flagged if about == check else None


def violates(label: Any, check: str, *, kind: str) -> bool | None:
    """What a label says where one check is meant: should it flag? None where it says nothing of that check.

    Besides all that `wanted` knows, by the check's id and by its kind, these words need no check's name: true and
    "violation", false.
    """
    if isinstance(label, bool):
        return label
    if label in ("violation", "true", "false"):
        return bool(label != "false")
    said = wanted(label, check)
    return wanted(label, kind) if said is None else said


class Confusion:
    """Counts, for each check, how its verdicts meet the labels."""

    def __init__(self, checks: Sequence[str]) -> None:
        self.counts: dict[str, Counter[str]] = {check: Counter() for check in checks}

    def add(self, label: Any, verdicts: Sequence[Mapping[str, Any]]) -> None:
        """Count one message's verdicts."""
        for verdict in verdicts:
            want = wanted(label, verdict["check"])
            if want is not None:
                self.counts[verdict["check"]][_cell(want, verdict["outcome"])] += 1

    def lines(self) -> list[str]:
        """The table, one line a check; empty where no row was labelled."""
        used = {check: counts for check, counts in self.counts.items() if counts}
        if not used:
            return []
        width = max(len("check"), *(len(check) for check in used))
        head = f"{'check':{width}}  " + "  ".join(f"{column:>11}" for column in COLUMNS)
        rows = [
            f"{check:{width}}  " + "  ".join(f"{counts[column]:>11}" for column in COLUMNS)
            for check, counts in used.items()
        ]
        return [head, *rows]


def _cell(want: bool, outcome: str) -> str:
    match outcome:
        case "flag":
            return "caught" if want else "false alarm"
        case "pass":
            return "missed" if want else "passed"
        case "abstain":
            return "unsure"
        case "error":
            return "broke"
        case _:
            return "cut"
