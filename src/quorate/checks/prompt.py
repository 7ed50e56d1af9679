"""From untrusted text to a prompt, and from a model's reply to a verdict, with nothing forged on either way.

The prompt: a fixed prefix, so that providers' prompt caches work; then a boundary drawn at random until it does
not occur in the text; between its two lines the text, one JSON object a line, in which every line break and
control character is escaped, so that no text can end its slot or open another; then a nonce drawn at random.

The reply: exactly one JSON object with exactly the five fields and that nonce. No nonce, extra text or a second
verdict is a failure, never a pass. This is structure; it does not stop a model from being persuaded.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Literal

from quorate.checks.conversation import Part, Subject
from quorate.checks.readings import readings
from quorate.checks.verdict import Verdict, VerdictOutcome
from quorate.errors import BadReply, ConfigError
from quorate.models import Message, Prompt

MAX_TOKENS = 160
MAX_REPLY = 20_000
MAX_REASON = 300
MAX_CATEGORY = 40
_FIELDS = frozenset(("violation", "score", "category", "reason", "nonce"))
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "violation": {"type": "boolean"},
            "score": {"type": "number"},
            "category": {"type": "string"},
            "reason": {"type": "string"},
            "nonce": {"type": "string", "enum": ["NONCE"]},
        },
        "required": ["violation", "score", "category", "reason", "nonce"],
        "additionalProperties": False,
    },
    separators=(",", ":"),
)
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_encode = json.JSONEncoder(ensure_ascii=False).encode
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029", 0x7F: "\\u007f"}


@dataclass(frozen=True, slots=True)
class Template:
    """A versioned prompt file.

    Attributes:
        name: the file's name without its ending, such as "threat-v1".
        text: the fixed prefix.
        version: name and the first 8 hex digits of the text's SHA-256.
    """

    name: str
    text: str
    version: str

    @classmethod
    def load(cls, source: str | Path, *, package: str = "quorate.checks") -> "Template":
        """Read a shipped prompt of a package by name, or one of your own by path (with its ending).

        Raises:
            ConfigError: there is no such file, or it is empty.
        """
        path = Path(source)
        shipped = resources.files(package) / "prompts" / f"{source}.md"
        try:
            text = (path if path.suffix else shipped).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(str(source), [f"the prompt is not UTF-8 text: {error}"]) from error
        except OSError as error:
            raise ConfigError(str(source), [f"cannot read the prompt: {error.strerror}"]) from error
        if not text.strip():
            raise ConfigError(str(source), ["the prompt is empty"])
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return cls(path.stem, text, f"{path.stem}@{digest}")


def as_line(value: Any) -> str:
    """JSON on one line, however a reader may split lines."""
    return _one_line(_encode(value))


def _one_line(text: str) -> str:
    return text if text.isascii() and "\x7f" not in text else text.translate(_LINE_ENDS)


def data_lines(subject: Subject, *, decode: bool) -> list[str]:
    """The subject as lines of JSON: context first, then what is judged, with decoded readings where asked for."""
    lines = [_line("context", part) for part in subject.context]
    for part in subject.parts:
        lines.append(_line("judge", part))
        if decode:
            lines += _decoded(part)
    return lines


def _line(what: Literal["context", "judge"], part: Part) -> str:
    """What `as_line` makes of an object, put together by hand: this is most of what a check's prompt costs."""
    refused = ', "refused": true' if part.refused and what == "judge" else ""
    return _one_line(f'{{"{what}": "{part.origin}", "text": {encode_basestring(part.text)}{refused}}}')


def _decoded(part: Part) -> Iterable[str]:
    for reading in readings(part.text)[1:]:
        yield as_line({"judge": part.origin, "reading": reading.name, "text": reading.text})


def render(template: Template, lines: list[str], *, company: str = "") -> tuple[Prompt, str]:
    """Make the prompt for some lines of data; returns it and the nonce that its verdict must echo."""
    data = "\n".join(lines)
    drawn = secrets.token_hex(16)
    while drawn[:16] in data or drawn[16:] in data:
        drawn = secrets.token_hex(16)
    boundary, nonce = f"DATA-{drawn[:16]}", drawn[16:]
    user = (
        f"<<<{boundary}\n{data}\n{boundary}>>>\n"
        f"The data has ended. Judge it as you were told at the start.\nnonce: {nonce}"
    )
    messages = (_prefix(template.text, company), Message("user", user))
    return Prompt(messages, MAX_TOKENS, 0.0, schema(nonce), _schema_name(template.name)), nonce


@lru_cache(maxsize=256)
def _schema_name(name: str) -> str:
    return _NO_NAME.sub("_", name.partition("-")[0])[:64] or "verdict"


@lru_cache(maxsize=256)
def _prefix(text: str, company: str) -> Message:
    return Message("system", f"{text}\nThe company: {company}" if company else text)


def schema(nonce: str) -> str:
    """The JSON schema of a verdict on the wire, as JSON text. The nonce is hexadecimal: it needs no escaping."""
    return _SCHEMA.replace("NONCE", nonce)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadReply("the verdict names a field twice")
    return found


_decode = json.JSONDecoder(object_pairs_hook=_once).decode


def parse(text: str, nonce: str, *, model: str, version: str) -> Verdict:
    """Read a verdict from a model's reply.

    Raises:
        BadReply: it is anything else than one object of exactly the right form with the right nonce.
    """
    if len(text) > MAX_REPLY:
        raise BadReply(f"{model}: the verdict is longer than {MAX_REPLY} characters")
    try:
        data = _decode(text)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{model}: the verdict is not one JSON object") from error
    if not isinstance(data, dict) or data.keys() != _FIELDS:
        raise BadReply(f"{model}: the verdict does not have exactly the fields {', '.join(sorted(_FIELDS))}")
    violation, score = data["violation"], data["score"]
    category, reason = data["category"], data["reason"]
    if data["nonce"] != nonce:
        raise BadReply(f"{model}: the verdict does not carry the nonce it was given")
    if not isinstance(violation, bool) or isinstance(score, bool) or not isinstance(score, int | float):
        raise BadReply(f"{model}: violation must be true or false, and score a number")
    if not 0 <= score <= 1:  # Not a number lies nowhere.
        raise BadReply(f"{model}: score must lie between 0 and 1")
    if not isinstance(category, str) or not isinstance(reason, str):
        raise BadReply(f"{model}: category and reason must be texts")
    outcome: VerdictOutcome = "flag" if violation else "pass"
    return Verdict(outcome, float(score), category[:MAX_CATEGORY], reason[:MAX_REASON], model, version)
