"""Read a `quorate.toml`: all mistakes are reported at once, with the key, what was found, what is allowed."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import snowballstemmer
from pydantic import ValidationError

from quorate.errors import ConfigError
from quorate.settings.base import KINDS, LOCAL, QUOTE, RESERVED
from quorate.settings.serving import UpstreamTable
from quorate.settings.tables import ModelTable, Settings

_USER = re.compile(r"(?<=//)[^/]*@")
_KINDS = "'scope', 'threat' or 'moderation'"


def load_settings(path: Path) -> Settings:
    """Read and check a file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has mistakes; all of them are listed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; `quorate init DIR` writes one"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"is not UTF-8 text: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"is not TOML: {error}"]) from error
    return check_settings(raw, source=path)


def check_settings(raw: dict[str, Any], *, source: Path) -> Settings:
    """Check settings that were read already; `source` is where relative paths start and what errors name.

    Raises:
        ConfigError: there are mistakes; all of them are listed.
    """
    problems: list[str] = []
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        problems = [_told(detail) for detail in error.errors()]
    problems += _unresolved(raw, source.parent)
    if problems or settings is None:
        raise ConfigError(str(source), [_line(problem) for problem in problems])
    return settings


def resolve(base: Path, path: Path) -> Path:
    """A path of the config, relative to the folder the config stands in."""
    return path if path.is_absolute() else base / path


def api_key(table: ModelTable | UpstreamTable) -> str | None:
    """The key of a model from the environment, or None where the config names none."""
    return os.environ.get(table.api_key_env) if table.api_key_env else None


def _line(problem: str) -> str:
    """One line, whatever control characters keys and values hold."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in problem)


def _told(detail: Any) -> str:
    no_keys = ("constrained-", "list[", "function-", "[key]")  # What pydantic adds to the path.
    where = ".".join(str(key) for key in detail["loc"] if not str(key).startswith(no_keys))
    found = detail.get("input")
    shown = "a table" if isinstance(found, dict) else _USER.sub("...@", repr(found)[:80])
    if detail["loc"][-1] == "api_key_env":
        shown = "something else than the name of a variable"  # It may be the key itself.
    match detail["type"]:
        case "extra_forbidden":
            allowed = ", ".join(_fields(detail["loc"])) or "nothing"
            return f"{where}: is not a setting; allowed here are {allowed}"
        case "missing":
            return f"{where}: is missing"
        case _:
            return f"{where}: found {shown}; {detail['msg']}"


def _fields(loc: tuple[Any, ...]) -> list[str]:
    """The settings that exist where an unknown one was found."""
    table: Any = Settings
    for key in loc[:-1]:
        fields = getattr(table, "model_fields", {})
        if key not in fields:
            continue
        annotation = fields[key].annotation
        inner = [a for a in (annotation, *getattr(annotation, "__args__", ())) if hasattr(a, "model_fields")]
        table = inner[-1] if inner else table
    return list(getattr(table, "model_fields", {}))


def _unresolved(raw: dict[str, Any], base: Path) -> list[str]:
    """Names and files that the config points to and that are not there."""
    models, checks = _dict(raw.get("models")), _dict(raw.get("checks"))
    allowed = ", ".join([LOCAL, *models])
    problems: list[str] = []
    for name, check in checks.items():
        table = _dict(check)
        kind = table.get("kind", name)
        if kind not in KINDS and "kind" not in table:
            problems.append(f"checks.{name}.kind: is missing; a check of your own says {_KINDS}")
        if name in RESERVED:
            problems.append(f"checks.{name}: found a reserved name; allowed is any but {', '.join(sorted(RESERVED))}")
        problems += _of_check(f"checks.{name}", table, models, allowed)
        if kind == "scope" and LOCAL in _flat(table.get("models", [LOCAL])) and "knowledge" not in raw:
            problems.append(f"checks.{name}.models: the local scope check learns from [knowledge], which is missing")
        problems += _file(f"checks.{name}.prompt", table.get("prompt"), base)
    for name, model in models.items():
        problems += _of_model(name, _dict(model), models, base)
    upstream = _dict(raw.get("upstream"))
    problems += _file("upstream.ca_file", upstream.get("ca_file"), base)
    ca_files = {str(table["ca_file"]) for table in map(_dict, [*models.values(), upstream]) if "ca_file" in table}
    if len(ca_files) > 1:
        found = ", ".join(sorted(ca_files))
        problems.append(f"models.*.ca_file: found {found}; all models share one session, so name one file for all")
    output = _dict(raw.get("output"))  # Or its mode alone.
    window, overlap = output.get("window_chars", 2000), output.get("overlap_chars", 500)
    if isinstance(window, int) and isinstance(overlap, int) and 2 * overlap > window:
        problems.append(f"output.overlap_chars: found {overlap}; allowed is at most half of window_chars ({window})")
    answer = _dict(raw.get("answer")).get("model", QUOTE)
    if answer not in [QUOTE, *models]:
        problems.append(f"answer.model: found {answer!r}; allowed are {', '.join([QUOTE, *models])}")
    if answer == QUOTE and "knowledge" not in raw:
        problems.append("answer.model: 'quote' quotes from [knowledge], which is missing")
    for name in _dict(_dict(raw.get("refusals")).get("checks")):
        if name not in checks:
            problems.append(f"refusals.checks.{name}: is no check; allowed are {', '.join(checks) or 'none'}")
    return problems + _of_knowledge(_dict(raw.get("knowledge")), base)


def _of_knowledge(table: dict[str, Any], base: Path) -> list[str]:
    problems = _file("knowledge.examples", table.get("examples"), base)
    folder, language = table.get("folder"), table.get("language", "english")
    if isinstance(folder, str) and not os.path.isdir(resolve(base, Path(folder))):  # Never raises, as Path may.
        problems.append(f"knowledge.folder: {folder!r} is not a folder")
    if isinstance(language, str) and language not in (known := snowballstemmer.algorithms()):
        problems.append(f"knowledge.language: found {language!r}; allowed are {', '.join(known)}")
    return problems


def _of_model(name: str, table: dict[str, Any], models: dict[str, Any], base: Path) -> list[str]:
    problems = _file(f"models.{name}.ca_file", table.get("ca_file"), base)
    if name in (LOCAL, QUOTE):
        problems.append(f"models.{name}: found a reserved name; allowed is any but {LOCAL}, {QUOTE}")
    fallback = table.get("fallback")
    # A fallback of a fallback would be one of its own, or a circle.
    ends = [other for other, its in models.items() if other != name and "fallback" not in _dict(its)]
    if fallback is not None and fallback not in ends:
        allowed = f"allowed are models without a fallback: {', '.join(ends) or 'there is none'}"
        problems.append(f"models.{name}.fallback: found {fallback!r}; {allowed}")
    return problems


def _of_check(where: str, table: dict[str, Any], models: dict[str, Any], allowed: str) -> list[str]:
    tiers = table.get("models", [LOCAL])
    voters = _dict(table.get("voters"))
    unknown = [name for name in _flat(tiers) if name not in (LOCAL, *models, *voters)]
    problems = [f"{where}.models: found {name!r}; allowed are {', '.join([allowed, *voters])}" for name in unknown]
    for name, voter in voters.items():
        if name in (LOCAL, *models):
            problems.append(f"{where}.voters.{name}: is a model's name; allowed is any but {allowed}")
        if isinstance(model := _dict(voter).get("model"), str) and model not in (LOCAL, *models):
            problems.append(f"{where}.voters.{name}.model: found {model!r}; allowed are {allowed}")
    if isinstance(tiers, list):
        twice = [tier for at, tier in enumerate(tiers) if tier in tiers[:at]]
        problems += [f"{where}.models: found {tier!r} twice; allowed is each tier once" for tier in twice]
    panels = [len(tier) for tier in tiers if isinstance(tier, list)] if isinstance(tiers, list) else []
    flags = table.get("flags")
    if isinstance(flags, int) and (not panels or flags > min(panels)):
        size = f"at most {min(panels)}" if panels else "none: no tier of `models` is a panel (a list in the list)"
        problems.append(f"{where}.flags: found {flags}; allowed is {size}")
    return problems


def _file(where: str, value: Any, base: Path) -> list[str]:
    if isinstance(value, str) and not os.path.isfile(resolve(base, Path(value))):
        return [f"{where}: {value!r} is not a file"]
    return []


def _flat(tiers: Any) -> list[str]:
    if not isinstance(tiers, list):
        return []
    return [name for tier in tiers for name in (tier if isinstance(tier, list) else [tier]) if isinstance(name, str)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
