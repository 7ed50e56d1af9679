"""Reviewers that ask a model, each with its own prompt. What they say is untrusted: it is checked, or dropped.

The code goes into the prompt as data between random boundaries, as checks' texts do (`checks/prompt.py`), and the
reply must be one JSON object of exactly the asked form with the nonce of its prompt. A finding must quote code that
stands in the section under review, byte for byte, or it is dropped and counted.
"""

import json
from collections import Counter
from typing import Any, Final

from quorate.apps.review.findings import SEVERITIES, Finding, Opinion, Severity, Unread
from quorate.apps.review.source import Source, Unit
from quorate.checks import Template
from quorate.checks.prompt import as_line, render
from quorate.errors import BadReply, QuorateError
from quorate.models import Model, Prompt

LENSES: Final = {
    "injection": ("sql", "command", "code", "xss", "ldap", "xpath", "xml", "log", "header"),
    "access": ("auth", "trust", "redirect", "cookie", "permissions"),
    "crypto": ("secrets", "crypto", "random", "tls"),
    "deserialisation": ("deserialisation",),
    "files": ("path", "temporary"),
    "ssrf": ("ssrf",),
    "concurrency": ("race", "regex"),
}
"""The reviewers by name, and the kinds of mistakes that each looks for."""

MAX_TOKENS: Final = 1200
MAX_FINDINGS: Final = 20
MAX_REPLY: Final = 40_000
_FIELDS: Final = frozenset(("cwe", "severity", "confidence", "snippet", "message"))
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "cwe": {"type": "integer"},
                    "severity": {"type": "string", "enum": list(SEVERITIES)},
                    "confidence": {"type": "number"},
                    "snippet": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": sorted(_FIELDS),
                "additionalProperties": False,
            },
        },
        "nonce": {"type": "string"},
    },
    "required": ["findings", "nonce"],
    "additionalProperties": False,
}


def template_of(lens: str) -> Template:
    """The prompt of a reviewer."""
    return Template.load(f"review-{lens}-v1", package="quorate.apps")


def prompt_for(template: Template, source: Source, *, unit: Unit) -> tuple[Prompt, str]:
    """The prompt for one section, and the nonce that its reply must carry."""
    lines = [as_line({"file": source.path, "section": unit.name, "context": unit.context})]
    lines += [as_line({"line": unit.first + at, "code": text}) for at, text in enumerate(unit.code.split("\n"))]
    prompt, nonce = render(template, lines)
    schema = json.loads(json.dumps(_SCHEMA))
    schema["properties"]["nonce"]["enum"] = [nonce]
    return prompt._replace(
        schema=json.dumps(schema, separators=(",", ":")), schema_name="review", max_tokens=MAX_TOKENS
    ), nonce


async def ask_reviewer(model: Model, lens: str, *, source: Source, unit: Unit) -> Opinion:
    """Let one reviewer read one section.

    Returns:
        Its opinion; a reply that is not of the right form, or a model that broke, leaves the section unread.
    """
    reviewer = f"llm:{lens}"
    prompt, nonce = prompt_for(template_of(lens), source, unit=unit)
    try:
        reply = await model.complete(prompt)
        items = read_reply(reply.text, nonce)
    except QuorateError as error:
        why = f"{type(error).__name__}: {str(error)[:200]}"
        return Opinion(unread=(Unread(source.path, reviewer, why, f"{unit.first}-{unit.last}"),))
    findings: list[Finding] = []
    dropped: Counter[str] = Counter()
    for item in items:
        found, why = accept(item, reviewer, source=source, unit=unit)
        if found is None:
            dropped[why] += 1
        else:
            findings.append(found)
    return Opinion(tuple(findings), (), (), tuple(sorted(dropped.items())))


def read_reply(text: str, nonce: str) -> list[dict[str, Any]]:
    """The findings of a reply.

    Raises:
        BadReply: it is anything else than one object of exactly the right form with the right nonce.
    """
    if len(text) > MAX_REPLY:
        raise BadReply(f"the review is longer than {MAX_REPLY} characters")
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadReply("the review is not one JSON object") from error
    if not isinstance(data, dict) or data.keys() != {"findings", "nonce"}:
        raise BadReply("the review does not have exactly the fields findings, nonce")
    if data["nonce"] != nonce:
        raise BadReply("the review does not carry the nonce it was given")
    items = data["findings"]
    if not isinstance(items, list) or len(items) > MAX_FINDINGS:
        raise BadReply(f"findings must be a list of at most {MAX_FINDINGS}")
    for item in items:
        if not isinstance(item, dict) or item.keys() != _FIELDS:
            raise BadReply(f"a finding does not have exactly the fields {', '.join(sorted(_FIELDS))}")
        numbers = (item["cwe"], item["confidence"])
        if any(isinstance(n, bool) for n in numbers) or not isinstance(item["cwe"], int):
            raise BadReply("cwe must be a whole number")
        if not isinstance(item["confidence"], int | float) or not 0 <= item["confidence"] <= 1:
            raise BadReply("confidence must lie between 0 and 1")
        if (
            item["severity"] not in SEVERITIES
            or not isinstance(item["snippet"], str)
            or not isinstance(item["message"], str)
        ):
            raise BadReply("severity, snippet and message must be texts, severity one of " + ", ".join(SEVERITIES))
    return items


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadReply("the review names a field twice")
    return found


def accept(item: dict[str, Any], reviewer: str, *, source: Source, unit: Unit) -> tuple[Finding | None, str]:
    """A finding of a reply, or None and why it is dropped."""
    snippet: str = item["snippet"].replace("\r\n", "\n").strip("\n")
    if len(snippet.strip()) < 4:
        return None, "quotes too little code to be found again"
    at = unit.code.find(snippet)
    if at < 0:
        return None, "quotes code that does not stand in the section"
    if not 0 < item["cwe"] < 10_000:
        return None, "names no CWE"
    first = unit.first + unit.code.count("\n", 0, at)
    last = first + snippet.count("\n")
    severity: Severity = item["severity"]
    message = item["message"].strip()[:400] or "no message"
    return Finding(
        reviewer, f"cwe-{item['cwe']}", item["cwe"], source.path, first, last, message, severity, snippet[:300]
    ), ""
