"""Snapshots: what is written reads back, what is no snapshot says so, and several add up."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.telemetry import names
from quorate.telemetry.snapshot import BUCKETS, Snapshot, merged, parse

CELLS = len(BUCKETS) + 2
TEXTS = st.text(st.characters(codec="utf-8"), max_size=10)


def one(rejected: float = 0, breaker: float = 0, version: float = 0, held: int = 0) -> Snapshot:
    return Snapshot(
        {names.REJECTED.name: {("rate",): rejected}},
        {names.HELD.name: {(): [float(held)] * CELLS}},
        {names.BREAKER.name: {("a",): breaker}, names.CONFIG_VERSION.name: {(): version}},
    )


@given(st.dictionaries(st.tuples(TEXTS), st.integers(0, 2**53)), st.booleans())
def test_a_snapshot_reads_back(rejected: dict[tuple[str, ...], float], ended: bool) -> None:
    """Labels and values survive the file, and so does a goodbye; the file is ASCII."""
    text = Snapshot({names.REJECTED.name: rejected}).dump(ended=ended)
    back, said = parse(text)
    assert text.isascii() and said is ended and back.counters[names.REJECTED.name] == rejected


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '{"counters": {}}', '{"counters": 1, "histograms": {}, "gauges": {}, "ended": false}']
    + [json.dumps({"counters": {"quorate_rejected_total": rows}, "histograms": {}, "gauges": {}, "ended": False})
       for rows in ([1], [[1, 2]], [[["rate"], "x"]], [[["rate"], None]], [[["rate"]]], 7)],
)  # fmt: skip
def test_what_is_no_snapshot_says_so(text: str) -> None:
    """A torn or foreign file is a ValueError and nothing else."""
    with pytest.raises(ValueError):
        parse(text)


def test_other_versions_are_left_out() -> None:
    """Metrics that are not known, labels of another number and other buckets do not break the sum."""
    raw: dict[str, Any] = {
        "counters": {"gone_total": [[["x"], 1]], names.REJECTED.name: [[["a", "b"], 1], [["rate"], 2]]},
        "histograms": {names.HELD.name: [[[], [1.0, 2.0]]]},
        "gauges": {},
        "ended": False,
    }
    back, _ = parse(json.dumps(raw))
    assert back.counters[names.REJECTED.name] == {("rate",): 2.0} and back.histograms[names.HELD.name] == {}


def test_counters_of_all_add_up_and_gauges_of_the_living_merge() -> None:
    """The dead count too; a gauge is the sum, the most or the least of those that live, as its name says."""
    dead, a, b = one(1, 1, 9, 1), one(2, 0.5, 3, 2), one(4, 0, 2, 3)
    total = merged([dead, a, b], [a, b])
    assert total.counters[names.REJECTED.name] == {("rate",): 7}
    assert total.histograms[names.HELD.name] == {(): [6.0] * CELLS}
    assert total.gauges == {names.BREAKER.name: {("a",): 0.5}, names.CONFIG_VERSION.name: {(): 2.0}}
