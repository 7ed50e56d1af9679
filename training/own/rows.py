"""One labelled training text, and the reader that checks a whole file of them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

LABELS: Final = frozenset({"attack", "benign"})
ATTACK_CATEGORIES: Final = frozenset({"injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect"})
HONEST_CATEGORY: Final = "none"
FIELDS: Final = ("text", "label", "category", "family")


@dataclass(frozen=True, slots=True)
class Row:
    """One text with what it is.

    Attributes:
        text: The message as a user (or a fetched page) would bring it; never blank.
        label: ``attack`` or ``benign``.
        category: The kind of attack; ``none`` for a benign text, and only for one.
        family: A short name of the idea behind the text, for holding out whole ideas.
    """

    text: str
    label: str
    category: str
    family: str

    def __post_init__(self) -> None:
        """Refuse a row that contradicts itself.

        Raises:
            ValueError: If a field is blank or unknown, or the category does not fit the label.
        """
        if not self.text.strip():
            raise ValueError("a row needs a text")
        if self.label not in LABELS:
            raise ValueError(f"label must be one of {sorted(LABELS)}, not {self.label!r}")
        if self.label == "benign" and self.category != HONEST_CATEGORY:
            raise ValueError(f"a benign row has the category {HONEST_CATEGORY!r}, not {self.category!r}")
        if self.label == "attack" and self.category not in ATTACK_CATEGORIES:
            raise ValueError(f"an attack's category must be one of {sorted(ATTACK_CATEGORIES)}, not {self.category!r}")
        if not self.family.strip():
            raise ValueError("a row needs a family")


def attack(text: str, category: str, family: str) -> Row:
    """Give an attack row."""
    return Row(text=text, label="attack", category=category, family=family)


def honest(text: str, family: str) -> Row:
    """Give a benign row."""
    return Row(text=text, label="benign", category=HONEST_CATEGORY, family=family)


def fold(text: str) -> str:
    """Give the form in which two texts count as the same: lower case, single spaces."""
    return " ".join(text.casefold().split())


def parse(line: str) -> Row:
    """Read one JSON line.

    Raises:
        ValueError: If the line is no JSON object of exactly the four string fields, or the row is not valid.
    """
    found = json.loads(line)
    if not isinstance(found, dict) or set(found) != set(FIELDS):
        raise ValueError(f"a line must be an object with exactly the fields {', '.join(FIELDS)}")
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("every field must be a string")
    return Row(**found)


def read(path: Path) -> list[Row]:
    """Read a file of rows and check every line.

    Raises:
        ValueError: If a line is broken or its text was seen before; the message names file and line.
        OSError: If the file cannot be read.
    """
    rows: list[Row] = []
    seen: dict[str, int] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = parse(line)
            except ValueError as problem:
                raise ValueError(f"{path.name}:{number}: {problem}") from problem
            first = seen.setdefault(fold(row.text), number)
            if first != number:
                raise ValueError(f"{path.name}:{number}: the text of line {first} again")
            rows.append(row)
    return rows


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, one object a line, in the order given.

    Raises:
        OSError: If the file cannot be written.
    """
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
