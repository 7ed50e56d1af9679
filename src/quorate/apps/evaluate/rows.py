"""The rows that are judged: JSON Lines, read whole, every bad line named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from quorate.apps.evaluate.suite import AspectTable

_TEXTS = ("input", "answer", "other", "reference")


@dataclass(frozen=True, slots=True)
class Row:
    """One example.

    Attributes:
        number: its line, from 1.
        id: its name, unique in the file.
        input: what was asked.
        answer: what is judged; None where a model under test writes it.
        other: the answer of a second system, for pairwise aspects.
        reference: the right answer.
        sources: what the answer may stand on.
        source: where the example comes from; rows with one source are one cluster. None where no row names one.
        human: people's grades by aspect, on that aspect's scale.
    """

    number: int
    id: str | int
    input: str
    answer: str | None = None
    other: str | None = None
    reference: str | None = None
    sources: tuple[str, ...] = ()
    source: str | None = None
    human: Mapping[str, float] = field(default_factory=dict)

    def having(self, **texts: str) -> "Row":
        """The row with answers that a model wrote."""
        return replace(self, **texts)  # type: ignore[arg-type]


def read_rows(text: str, aspects: Mapping[str, AspectTable]) -> tuple[list[Row], list[str]]:
    """The good lines, and one sentence for each bad one. Lines end at line feeds only, as JSON Lines has it."""
    rows: list[Row] = []
    bad: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line), number, aspects)
        except RecursionError:
            bad.append(f"line {number}: is nested too deep")
            continue
        except ValueError as error:
            why = "is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
            bad.append(f"line {number}: {why}")
            continue
        first = seen.setdefault(json.dumps(row.id), number)
        if first != number:
            bad.append(f"line {number}: id {json.dumps(row.id)} stands in line {first} already")
            continue
        rows.append(row)
    return rows, bad


def _row(data: Any, number: int, aspects: Mapping[str, AspectTable]) -> Row:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str | int) or isinstance(data["id"], bool):
        raise ValueError('needs an object with an "id" that is a text or a whole number')
    texts: dict[str, str] = {}
    for name in _TEXTS:
        value = data.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f'"{name}" must be a text')
        if value is not None:
            texts[name] = _whole(value)
    sources = data.get("sources", [])
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise ValueError('"sources" must be a text or a list of texts')
    source = data.get("source")
    if source is not None and (not isinstance(source, str | int) or isinstance(source, bool)):
        raise ValueError('"source" must be a text or a whole number')
    return Row(
        number,
        _whole(data["id"]) if isinstance(data["id"], str) else data["id"],
        texts.get("input", ""),
        texts.get("answer"),
        texts.get("other"),
        texts.get("reference"),
        tuple(_whole(source) for source in sources),
        None if source is None else _whole(str(source)),
        _human(data.get("human", {}), aspects),
    )


def _whole(text: str) -> str:
    """Half of a surrogate pair, as JSON can hold one, has no place in a request or a file."""
    return text.encode("utf-8", "replace").decode()


def _human(grades: Any, aspects: Mapping[str, AspectTable]) -> dict[str, float]:
    if not isinstance(grades, dict):
        raise ValueError('"human" must be an object of grades by aspect')
    found: dict[str, float] = {}
    for name, grade in grades.items():
        if name not in aspects or grade is None:
            continue  # Labels may be of more aspects than the suite has.
        low, high = aspects[name].bounds
        value = float(grade) if isinstance(grade, int | float) else None
        steps = None if aspects[name].grades is None else 2 if aspects[name].kind == "pairwise" else high - low
        if value is None or not low <= value <= high or (steps and ((value - low) * steps / (high - low)) % 1):
            raise ValueError(f'"human": the grade of {name} must lie on its scale, {low} to {high}')
        found[name] = value
    return found
