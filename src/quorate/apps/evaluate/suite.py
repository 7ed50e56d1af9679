"""`SUITE.toml`: which aspects are judged, how and by whom. Every mistake is reported at once."""

import json
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from quorate.apps.evaluate.regex import BadPattern, Regex
from quorate.apps.evaluate.schema import Schema
from quorate.errors import ConfigError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Share = Annotated[float, Field(ge=0, le=1)]
Judged = Literal["correctness", "groundedness", "relevance", "completeness", "tone", "safety", "custom", "pairwise"]
Kind = Literal[Judged, "exact", "regex", "schema", "similarity", "check"]
Rule = Literal["median", "mean", "majority"]

JUDGED: tuple[str, ...] = Judged.__args__  # type: ignore[attr-defined]
LOCAL_CHECKS = ("threat", "moderation")
"""Checks that need no config: their classifiers come with the package."""
SCALES = {"relevance": (1, 5), "completeness": (1, 5), "tone": (1, 5)}
"""The scale of a kind where the suite names none; all others are 0 or 1."""
MAX_STEPS = 10
_LLM = ("judges", "rule", "criterion", "prompt")
_OWN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(JUDGED, (*_LLM, "scale")),
    "pairwise": _LLM,
    "exact": ("ignore_case", "ignore_space"),
    "regex": ("pattern", "whole", "wanted"),
    "schema": ("schema",),
    "similarity": ("measure",),
    "check": ("check",),
}
_COMMON = ("kind", "weight", "threshold", "on_missing")
NEEDS: dict[str, tuple[str, ...]] = {
    "correctness": ("reference",),
    "groundedness": ("sources",),
    "exact": ("reference",),
    "similarity": ("reference",),
    "pairwise": ("other",),
}
"""What a row must hold, beside its answer, for an aspect of a kind to be judged."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


class AspectTable(_Table):
    """One aspect.

    Attributes:
        kind: what is asked; LLM judges answer the kinds of `JUDGED`, code all others.
        judges: names of models; several are a panel. Empty means every judge of the run.
        rule: how a panel's grades become one: their median, mean, or what more than half of all judges say.
        scale: lowest and highest grade, whole numbers.
        criterion: what the judge should look for, in your words; added to the prompt.
        prompt: a prompt file of your own, in place of the shipped one.
        weight: in the overall mean.
        threshold: scores below it are failures by example. On the scale 0 to 1.
        on_missing: what a row without what the kind needs means: a failed judgement, or one that is not made.
        pattern: of "regex"; `whole` asks for the whole text, `wanted = false` for no match.
        schema_: of "schema": a table, or a file of JSON.
        measure: of "similarity".
        check: of "check": a check of the config, or "threat" or "moderation".
        ignore_case: of "exact".
        ignore_space: of "exact".
        whole: of "regex".
        wanted: of "regex".
    """

    kind: Kind
    judges: list[Name] = []
    rule: Rule | None = None
    scale: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    criterion: Text | None = None
    prompt: Annotated[Path, Field(strict=False)] | None = None
    weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    threshold: Share = 0.5
    on_missing: Literal["fail", "skip"] = "fail"
    pattern: Text | None = None
    whole: bool = False
    wanted: bool = True
    schema_: dict[str, Any] | Text | None = Field(default=None, alias="schema")
    measure: Literal["f1", "rouge-l", "meaning"] = "f1"
    check: Name | None = None
    ignore_case: bool = False
    ignore_space: bool = True

    @property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest grade."""
        return (self.scale[0], self.scale[1]) if self.scale else SCALES.get(self.kind, (0, 1))

    @property
    def grades(self) -> int | None:
        """How many grades the scale has; None where scores are continuous."""
        if self.kind == "similarity":
            return None
        return 3 if self.kind == "pairwise" else self.bounds[1] - self.bounds[0] + 1


class AnswersTable(_Table):
    """The models under test: who writes the `answer`, and the `other` one, of rows that have none."""

    model: Name | None = None
    other: Name | None = None
    prompt: Annotated[Path, Field(strict=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 600


class Suite(_Table):
    """A whole suite. Paths are relative to the file."""

    version: Literal[1]
    name: Text = "evaluation"
    answers: AnswersTable = AnswersTable()
    aspects: Annotated[dict[Name, AspectTable], Field(min_length=1)]


def load_suite(path: Path, *, models: Collection[str] = (), checks: Collection[str] = ()) -> Suite:
    """Read and check a suite.

    Args:
        path: the file.
        models: names that judges and models under test may have.
        checks: names of the config's checks.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has mistakes; all of them are listed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"is not UTF-8 text: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"is not TOML: {error}"]) from error
    return check_suite(raw, source=path, models=models, checks=checks)


def check_suite(
    raw: dict[str, Any], *, source: Path, models: Collection[str] = (), checks: Collection[str] = ()
) -> Suite:
    """Check a suite that was read already; `source` is where relative paths start and what errors name.

    Raises:
        ConfigError: there are mistakes; all of them are listed.
    """
    problems: list[str] = []
    suite: Suite | None = None
    try:
        suite = Suite.model_validate(raw)
    except ValidationError as error:
        problems = [_told(detail) for detail in error.errors()]
    aspects = _dict(raw.get("aspects"))
    for name, table in aspects.items():
        problems += _of_aspect(f"aspects.{name}", _dict(table), source.parent, models=models, checks=checks)
    answers = _dict(raw.get("answers"))
    for key in ("model", "other"):
        if isinstance(answers.get(key), str) and answers[key] not in models:
            problems.append(f"answers.{key}: found {answers[key]!r}; {_allowed(models)}")
    problems += _file("answers.prompt", answers.get("prompt"), source.parent)
    if problems or suite is None:
        raise ConfigError(str(source), [_line(problem) for problem in problems])
    inlined = {name: _with_schema(table, source.parent) for name, table in suite.aspects.items()}
    return suite.model_copy(update={"aspects": inlined})


def _with_schema(table: AspectTable, base: Path) -> AspectTable:
    """The table with its schema read, so that what it says is part of the suite."""
    if not isinstance(table.schema_, str):
        return table
    read = json.loads((base / table.schema_).read_text(encoding="utf-8-sig"))
    return table.model_copy(update={"schema_": read})


def _of_aspect(
    where: str, table: dict[str, Any], base: Path, *, models: Collection[str], checks: Collection[str]
) -> list[str]:
    kind = table.get("kind")
    if kind not in _OWN:
        return []  # Said already.
    problems = [
        f"{where}.{key}: is no setting of kind {kind!r}; allowed here are {', '.join((*_COMMON, *_OWN[kind]))}"
        for key in table
        if key in AspectTable.model_fields | {"schema": None} and key not in (*_COMMON, *_OWN[kind])
    ]
    if kind in JUDGED:
        problems += _of_judged(where, table, base, models=models)
    match kind:
        case "regex":
            problems += _of_pattern(where, table.get("pattern"))
        case "schema":
            problems += _of_schema(f"{where}.schema", table.get("schema"), base)
        case "check" if table.get("check") not in (*LOCAL_CHECKS, *checks):
            allowed = ", ".join(dict.fromkeys((*LOCAL_CHECKS, *checks)))
            problems.append(f"{where}.check: found {table.get('check')!r}; allowed are {allowed}")
    return problems


def _of_judged(where: str, table: dict[str, Any], base: Path, *, models: Collection[str]) -> list[str]:
    problems: list[str] = []
    judges = table.get("judges", [])
    if not models:
        problems.append(f"{where}: kind {table['kind']!r} needs a judge; give --base-url and --model, or --config")
    elif isinstance(judges, list):
        wrong = [name for name in judges if isinstance(name, str) and name not in models]
        problems += [f"{where}.judges: found {name!r}; {_allowed(models)}" for name in wrong]
        twice = [name for at, name in enumerate(judges) if name in judges[:at]]
        problems += [f"{where}.judges: found {name!r} twice; allowed is each once" for name in twice]
    scale = table.get("scale")
    whole = isinstance(scale, list) and len(scale) == 2 and all(type(grade) is int for grade in scale)
    if whole and isinstance(scale, list) and not 1 <= scale[1] - scale[0] <= MAX_STEPS:
        allowed = f"lowest and highest grade, 1 to {MAX_STEPS} apart"
        problems.append(f"{where}.scale: found {scale!r}; allowed is {allowed}")
    if table["kind"] == "custom" and "criterion" not in table and "prompt" not in table:
        problems.append(f"{where}.criterion: is missing; a judge of your own must be told what to look for")
    return problems + _file(f"{where}.prompt", table.get("prompt"), base)


def _of_pattern(where: str, pattern: Any) -> list[str]:
    if pattern is None:
        return [f"{where}.pattern: is missing"]
    try:
        Regex(pattern if isinstance(pattern, str) else "")
    except BadPattern as error:
        return [f"{where}.pattern: found {pattern[:80]!r}; {error}"]
    return []


def _of_schema(where: str, schema: Any, base: Path) -> list[str]:
    if schema is None:
        return [f"{where}: is missing"]
    if isinstance(schema, str):
        try:
            schema = json.loads((base / schema).read_text(encoding="utf-8-sig"))
        except OSError as error:
            return [f"{where}: {schema!r} cannot be read: {error.strerror}"]
        except (ValueError, RecursionError):
            return [f"{where}: {schema!r} is not JSON"]
    try:
        Schema(schema)
    except ValueError as error:
        return [f"{where}: {error}"]
    return []


def _file(where: str, value: Any, base: Path) -> list[str]:
    if isinstance(value, str) and not os.path.isfile(base / value):
        return [f"{where}: {value!r} is not a file"]
    return []


def _allowed(models: Collection[str]) -> str:
    return f"allowed are {', '.join(models) or 'none: give --base-url and --model, or --config'}"


def _told(detail: Mapping[str, Any]) -> str:
    no_keys = ("constrained-", "list[", "function-", "[key]", "dict[")
    where = ".".join(str(key) for key in detail["loc"] if not str(key).startswith(no_keys))
    found = detail.get("input")
    shown = "a table" if isinstance(found, dict) else repr(found)[:80]
    match detail["type"]:
        case "extra_forbidden":
            table: type[BaseModel] = Suite
            if detail["loc"][0] in ("aspects", "answers") and len(detail["loc"]) > 1:
                table = AspectTable if detail["loc"][0] == "aspects" else AnswersTable
            allowed = ", ".join(name.rstrip("_") for name in table.model_fields)
            return f"{where}: is not a setting; allowed here are {allowed}"
        case "missing":
            return f"{where}: is missing"
        case _:
            return f"{where}: found {shown}; {detail['msg']}"


def _line(problem: str) -> str:
    """One line, whatever control characters keys and values hold."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in problem)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
