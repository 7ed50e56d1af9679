"""What labels say of checks, and the table that counts verdicts against them."""

from itertools import product
from typing import Any

import pytest

from quorate.cli.confusion import COLUMNS, Confusion, wanted

OUTCOMES = ("flag", "pass", "abstain", "error", "cancelled")


@pytest.mark.parametrize(
    ("label", "scope", "threat"),
    [
        ("threat", None, True),
        ("scope", True, None),
        ("attack", None, True),
        ("benign", None, False),
        ("in_scope", False, None),
        ("out_of_scope", True, None),
        ("off_topic", True, None),
        *((word, False, False) for word in ("ok", "admit", "pass", "honest", "clean", "none")),
        ("another", None, None),
        ("", None, None),
        ([], False, False),
        (["threat"], False, True),
        (["scope", "threat"], True, True),
        ([["scope"], 1, None], False, False),
        ({}, None, None),
        ({"scope": "flag"}, True, None),
        ({"scope": "pass", "threat": "flag"}, False, True),
        ({"scope": True, "threat": False}, True, False),
        ({"scope": None, "threat": ["flag"]}, None, False),
        (None, None, None),
        (1, None, None),
        (True, None, None),
        (2.5, None, None),
    ],
)
def test_what_a_label_says(label: Any, scope: bool | None, threat: bool | None) -> None:
    """A label speaks of the checks it names, of all of them, or of none; no form of it breaks anything."""
    assert (wanted(label, "scope"), wanted(label, "threat")) == (scope, threat)


def test_a_check_of_ones_own_is_named_by_its_id() -> None:
    """The id of any check is a label, and the words of the labelled sets speak of the shipped ones only."""
    assert wanted("tone", "tone") is True and wanted("attack", "tone") is None
    assert wanted("ok", "tone") is False


def test_each_verdict_lands_in_one_column() -> None:
    """Wanted or not, and five outcomes: every pair is counted once, under its own name."""
    table = Confusion(["threat"])
    cells = {}
    for label, outcome in product(("attack", "benign"), OUTCOMES):
        before = table.counts["threat"].copy()
        table.add(label, [{"check": "threat", "outcome": outcome}])
        [cells[label, outcome]] = table.counts["threat"] - before
    assert [cells["attack", outcome] for outcome in OUTCOMES] == ["caught", "missed", "unsure", "broke", "cut"]
    assert [cells["benign", outcome] for outcome in OUTCOMES] == ["false alarm", "passed", "unsure", "broke", "cut"]
    assert set(cells.values()) == set(COLUMNS) and table.counts["threat"].total() == 10


def test_no_label_no_table() -> None:
    """Rows without labels, or with labels that say nothing of a check, leave no line."""
    table = Confusion(["scope", "threat"])
    for label in (None, "another", {}):
        table.add(label, [{"check": "scope", "outcome": "flag"}, {"check": "threat", "outcome": "pass"}])
    assert table.lines() == []


def test_the_table_is_aligned_and_holds_the_checks_that_were_labelled() -> None:
    """A head and a line for each check that a label spoke of, all of one width."""
    table = Confusion(["scope", "threat", "a-check-with-a-long-name"])
    for outcome in ("flag", "flag", "pass"):
        table.add("attack", [{"check": "threat", "outcome": outcome}, {"check": "scope", "outcome": "pass"}])
    head, line = table.lines()
    assert head.split() == ["check", *(word for column in COLUMNS for word in column.split())]
    assert line.split() == ["threat", "2", "1", "0", "0", "0", "0", "0"]
    assert len(head) == len(line)
