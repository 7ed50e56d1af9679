"""`quorate.toml`: read, checked whole, every mistake reported at once with its key, what was found, what is allowed."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import snowballstemmer
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from quorate.errors import ConfigError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0)]
OnError = Literal["block", "allow", "escalate"]
Origin = Literal["system", "customer", "assistant", "tool", "retrieved"]
File = Annotated[Path, Field(strict=False)]
_USER = re.compile(r"(?<=//)[^/]*@")
LOCAL = "local"
QUOTE = "quote"
KINDS = ("scope", "threat", "moderation")
_KINDS = "'scope', 'threat' or 'moderation'"
RESERVED = frozenset(("answer", "deadline"))
"""What no check can be named, because decisions and timelines use it."""


class _Table(BaseModel):
    # Strict: TOML has types, so "5" is no number and 1 is no truth.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


class Company(_Table):
    """Who the checks protect: name, what it does in a sentence or two, and how a customer reaches a person."""

    name: Text
    description: Text
    contact: Text = "our support team"


class KnowledgeTable(_Table):
    """The help centre: a folder of Markdown, a file of example questions (one a line), its language."""

    folder: File
    examples: File | None = None
    language: str = "english"


class ModelTable(_Table):
    """One model behind an OpenAI-compatible address. Times in seconds, prices in US dollars per million tokens."""

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")]
    model: Text
    api_key_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    ca_file: File | None = None
    first_s: Seconds = 20.0
    idle_s: Seconds = 20.0
    total_s: Seconds = 120.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_running: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_queued: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    hedge_after_s: Seconds | None = None
    fallback: Name | None = None
    input_usd: Annotated[float, Field(ge=0)] = 0.0
    output_usd: Annotated[float, Field(ge=0)] = 0.0


class Evidence(_Table):
    """What `quorate calibrate` chose a check's bounds by. It writes this; nothing but a warning depends on it.

    Attributes:
        method: what was asked for.
        date: when, as YYYY-MM-DD.
        data: the labelled file's name.
        sha256: of that file.
        version: what judged: weights, prompts and models, as `App.versions` names them.
        confidence: of every bound here.
        honest: labelled rows that should pass.
        violating: labelled rows that should be flagged.
        target: the share that was asked for: of false alarms, or of messages that the first tier gets wrong.
        false_alarms: honest rows flagged.
        false_alarms_bound: upper bound of their share.
        caught: violating rows flagged.
        caught_low: lower bound of their share.
        caught_high: upper bound of their share.
        missed: violating rows passed.
        missed_bound: upper bound of their share.
        unsure: rows left to a person, or to the next tier.
        costs: of a false alarm, a miss, and a person's look.
        violations: share of violations in the traffic that the costs were weighed for.
        mean_cost: of a message, on the data.
    """

    method: Literal["false-alarms", "costs", "tiers"]
    date: Text
    data: Text
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    version: Text
    confidence: Share
    honest: Count
    violating: Count
    target: Share | None = None
    false_alarms: Count
    false_alarms_bound: Share
    caught: Count | None = None
    caught_low: Share | None = None
    caught_high: Share | None = None
    missed: Count | None = None
    missed_bound: Share | None = None
    unsure: Count | None = None
    costs: list[float] | None = None
    violations: Share | None = None
    mean_cost: float | None = None


class VoterTable(_Table):
    """A voter with a prompt of its own: a file, or a shipped one by name. With weights the heavier side wins."""

    model: Name
    prompt: File | None = None
    threshold: Share | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] | None = None


class CheckTable(_Table):
    """One check.

    `models` are its tiers, cheapest first: "local", the name of a model or of one of `voters`; a list within the list
    is a panel that votes, `flags` of which make a flag. `kind` says what it reads and which shipped prompt and
    classifier answer it; by default the check's own name.
    """

    kind: Literal["scope", "threat", "moderation"] | None = None
    question: Text | None = None
    models: Annotated[list[Name | Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)] = [LOCAL]
    flags: Annotated[int, Field(ge=1)] | None = None
    voters: dict[Name, VoterTable] = {}
    prompt: File | None = None
    threshold: Share | None = None
    pass_below: Share | None = None
    clear_below: Share = 0.0
    flag_above: Share | None = None
    flag_alone: bool = True
    head_start_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    timeout_s: Seconds = 8.0
    on_error: OnError = "block"
    on_abstain: Literal["next_tier", "escalate", "admit"] | None = None
    on_unread: OnError = "block"
    max_chars: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    evidence: Evidence | None = None
    tier_evidence: Evidence | None = None


class AnswerTable(_Table):
    """Who answers: "quote" quotes the help centre, any other name is a model."""

    model: Name = "quote"
    speculate: bool = True
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    sections: Annotated[int, Field(ge=1, le=50)] = 4
    unknown: Text = (
        "I don't know the answer to that, and I would rather not guess. Here is how to reach a person: {contact}"
    )


class Limits(_Table):
    """Times in seconds and sizes in bytes, for one message."""

    decide_timeout_s: Seconds = 10.0
    timeout_s: Seconds = 120.0
    held_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 1 << 20


class Trust(_Table):
    """Origins that no check needs to read, because nobody outside can write them."""

    origins: list[Origin] = []


class RefusalTable(_Table):
    """What customers are told; word it and translate it as you like. `uniform_refusal` tells everybody `default`."""

    uniform_refusal: bool = False
    default: Text = "Sorry, I can't help with this message here. I'm happy to help with questions about {company}."
    scope: Text = (
        "I can only help with questions about {company}: orders, products, your account and the like. "
        "What can I do for you there?"
    )
    threat: Text = (
        "I can't act on this message as it is written. "
        "If you have a question about {company}, please ask it in your own words."
    )
    moderation: Text = (
        "I'd like to help, but not with a message like this one. "
        "If you have a question about {company}, please put it differently."
    )
    self_harm: Text = (
        "I'm sorry that things are so hard right now. I am only a program, and you deserve a person: please call "
        "someone you trust, a crisis line or your local emergency number now. You can also reach us: {contact}"
    )
    too_long: Text = "This message is too long for me to read. Please send the part that your question is about."
    unread: Text = "I can only read text here. Please describe in words what you have attached."
    error: Text = "I could not check your message just now. Please try again in a moment, or reach a person: {contact}"
    handover: Text = "I'd like a colleague to look at this. They will answer you here; you can also reach us: {contact}"
    checks: dict[Name, Text] = {}


class Settings(_Table):
    """A whole `quorate.toml`. Paths are relative to the file."""

    version: Literal[1]
    company: Company
    knowledge: KnowledgeTable | None = None
    models: dict[Name, ModelTable] = {}
    checks: Annotated[dict[Name, CheckTable], Field(min_length=1)]
    answer: AnswerTable = AnswerTable()
    limits: Limits = Limits()
    trust: Trust = Trust()
    refusals: RefusalTable = RefusalTable()


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


def api_key(table: ModelTable) -> str | None:
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
    ca_files = {str(table["ca_file"]) for table in map(_dict, models.values()) if "ca_file" in table}
    if len(ca_files) > 1:
        found = ", ".join(sorted(ca_files))
        problems.append(f"models.*.ca_file: found {found}; all models share one session, so name one file for all")
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
