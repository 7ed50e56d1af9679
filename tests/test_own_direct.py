"""The project's own training texts: the reader refuses broken lines, the generator repeats itself and nobody else."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training.own.direct import rows, written
from training.own.rows import FIELDS, Row, attack, fold, honest, parse, read, write

GOOD = {"text": "hello", "label": "benign", "category": "none", "family": "talk"}


def test_written_rows_are_many_balanced_and_unlike_each_other() -> None:
    found = written()
    labels = Counter(row.label for row in found)
    assert len(found) >= 1200
    assert 0.4 <= labels["attack"] / len(found) <= 0.6
    assert len({fold(row.text) for row in found}) == len(found)


@pytest.mark.parametrize("seed", [0, 7])
def test_generated_rows_repeat_by_seed_and_never_a_written_one(seed: int) -> None:
    found = rows(seed)
    labels = Counter(row.label for row in found)
    texts = {fold(row.text) for row in found}
    assert len(found) >= 3000
    assert len(texts) == len(found)
    assert not texts & {fold(row.text) for row in written()}
    assert 0.4 <= labels["attack"] / len(found) <= 0.6
    assert not any("‹" in row.text or "›" in row.text for row in found)
    assert found == rows(seed)


def test_another_seed_gives_other_rows() -> None:
    assert rows(1) != rows(2)


@pytest.mark.parametrize(
    "change",
    [
        {"text": " \n"},
        {"label": "maybe"},
        {"category": "injection"},
        {"label": "attack"},
        {"label": "attack", "category": "spam"},
        {"family": ""},
        {"text": 3},
        {"extra": "x"},
    ],
)
def test_a_contradicting_line_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        parse(json.dumps(GOOD | change))


@pytest.mark.parametrize("line", ["", "[]", "null", "{", '{"text": "a"}'])
def test_a_line_that_is_no_row_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        parse(line)


def test_a_text_given_twice_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD | {'text': ' HELLO '})}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"twice\.jsonl:2: the text of line 1"):
        read(path)


@settings(max_examples=50)
@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["injection", "jailbreak", "none"]))
def test_a_row_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, text: str, category: str) -> None:
    row: Row = honest(text, "any") if category == "none" else attack(text, category, "any")
    path = tmp_path_factory.mktemp("rows") / "one.jsonl"
    write(path, [row])
    assert read(path) == [row]
    assert set(json.loads(path.read_text(encoding="utf-8"))) == set(FIELDS)
