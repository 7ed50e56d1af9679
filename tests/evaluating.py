"""Shared by the tests of `evaluate`: judges by rule, suites, rows."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quorate.apps.evaluate.judging import Seat
from quorate.apps.evaluate.rows import Row
from quorate.apps.evaluate.runner import Bench, Outcome, evaluate
from quorate.apps.evaluate.suite import Suite, check_suite
from quorate.journal import Journal
from quorate.models import Prompt
from quorate.testing import ScriptedModel
from quorate.testing.scripted import Entry

KEY = re.compile(r"^GRADE ([0-9a-f]+): \S+\Z", re.MULTILINE)


def key_of(text: str) -> str:
    """The key that a judge's prompt asks for."""
    found = KEY.search(text)
    assert found is not None, text
    return found[1]


def grade(prompt: Prompt, value: object, reason: str = "Because.") -> str:
    """A judge's reply of the form asked for."""
    return f"{reason}\nGRADE {key_of(prompt.messages[-1].content)}: {value}"


def judge(rule: Callable[[str], Any], name: str = "judge", wait_s: float = 0.0) -> ScriptedModel:
    """A judge that grades by the data it is shown; an exception it returns is raised."""

    def entry(prompt: Prompt) -> Entry:
        said = rule(prompt.messages[-1].content)
        step = said if isinstance(said, Exception) else grade(prompt, said)
        return [wait_s, step] if wait_s else [step]

    return ScriptedModel(name, entry)


def seats(*models: ScriptedModel) -> dict[str, Seat]:
    return {model.name: Seat(model.name, model, f"{model.name}@1") for model in models}


def suite(aspects: Mapping[str, Any], names: tuple[str, ...] = ("judge",), **tables: Any) -> Suite:
    raw = {"version": 1, "name": "Suite", "aspects": dict(aspects), **tables}
    return check_suite(raw, source=Path("suite.toml"), models=names)


def rows(count: int, **fields: Any) -> list[Row]:
    return [
        Row(at, f"r{at}", f"question {at}", **{"answer": f"answer {at}", "reference": f"right {at}", **fields})
        for at in range(1, count + 1)
    ]


async def judged(
    suite: Suite, rows: list[Row], *models: ScriptedModel, journal: Journal | None = None, concurrency: int = 8
) -> Outcome:
    return await evaluate(suite, rows, bench=Bench(seats(*models)), journal=journal, concurrency=concurrency)
