"""From a row to a judge's prompt, and from its reply to a grade, with nothing forged on either way.

The graded texts stand as lines of JSON between random boundaries, as `quorate.checks.prompt` has it. The reply is
free text that ends with `GRADE <key>: <grade>`, where the key is drawn at random for each prompt: a grade that
the graded text states, or that the judge quotes from it, does not carry it. The last such line counts, and must hold a
grade of the scale; anything else is a failed judgement, never a grade.
"""

import re
import secrets
from dataclasses import dataclass

from quorate.apps.evaluate.rows import Row
from quorate.checks.prompt import Template, as_line
from quorate.errors import BadReply
from quorate.models import Message, Model, Prompt, Reply

MAX_TOKENS = 600
MAX_REPLY = 20_000
MAX_REASON = 300
TEMPERATURE = 0.0
FORMAT = 1
"""Of the prompt around the template; part of every journal key."""
_AROUND = " \t*_`>#."
_STATED = re.compile(r"(?i)(grade[^:\"\n]{0,60}):")
CHOICES = ("FIRST", "SECOND", "TIE")


@dataclass(frozen=True, slots=True)
class Grade:
    """What a judge said: the grade as it stands in its reply, and why, in its own words (untrusted text)."""

    value: str
    reason: str


def template_of(kind: str, prompt: str | None = None) -> Template:
    """The shipped prompt of a kind, or a file of one's own.

    Raises:
        ConfigError: it cannot be read.
    """
    return Template.load(prompt or f"judge-{kind}-v1", package="quorate.apps")


def data_lines(row: Row, *, answers: tuple[tuple[str, str], ...]) -> list[str]:
    """What is graded, a line of JSON each: sources, reference, question, then the answers by name."""
    named = [("source", source) for source in row.sources]
    if row.reference is not None:
        named.append(("reference", row.reference))
    named += [("question", row.input), *answers]
    return [neutral(as_line({"data": name, "text": text})) for name, text in named]


def neutral(line: str) -> str:
    """A line of JSON that says the same, without anything that looks like a boundary or states a grade."""
    line = line.replace("<<<", "\\u003c\\u003c\\u003c").replace(">>>", "\\u003e\\u003e\\u003e")
    return _STATED.sub(r"\1\\u003a", line)


def render(
    template: Template, lines: list[str], *, criterion: str | None, grades: tuple[str, ...]
) -> tuple[Prompt, str]:
    """Make the prompt; returns it and the key that the grade must carry."""
    data = "\n".join(lines)
    drawn = secrets.token_hex(12)
    while drawn[:12] in data or drawn[12:] in data:
        drawn = secrets.token_hex(12)
    boundary, key = f"DATA-{drawn[:12]}", drawn[12:]
    told = f"{template.text}\nThe grades are: {', '.join(grades)}."
    if criterion is not None:
        told += f"\nThe criterion: {criterion}"
    user = (
        f"<<<{boundary}\n{data}\n{boundary}>>>\n"
        f"The data has ended. Grade it as you were told at the start. The form of the last line, for the grade "
        f"{grades[-1]}:\nGRADE {key}: {grades[-1]}"
    )
    return Prompt((Message("system", told), Message("user", user)), MAX_TOKENS, TEMPERATURE), key


def parse(reply: Reply, key: str, *, grades: tuple[str, ...]) -> Grade:
    """Read the grade from a judge's reply: the last line of the form counts, whatever stands before it.

    Raises:
        BadReply: there is no such line, its grade is not on the scale, or the reply was cut.
    """
    text = reply.text
    if len(text) > MAX_REPLY:
        raise BadReply(f"{reply.model}: the reply is longer than {MAX_REPLY} characters")
    if reply.finish_reason == "length":
        raise BadReply(f"{reply.model}: the reply was cut before its end")
    lines = text.splitlines()
    for at in range(len(lines) - 1, -1, -1):
        head, _, value = lines[at].strip(_AROUND).partition(":")
        if head.split() != ["GRADE", key]:
            continue
        value = value.strip(_AROUND)
        if value not in grades:
            raise BadReply(f"{reply.model}: the last grade is not one of {', '.join(grades)}")
        reason = " ".join(" ".join(lines[:at]).replace(key, "KEY").split())
        return Grade(value, reason[:MAX_REASON])
    raise BadReply(f"{reply.model}: no line holds a grade in the form asked for")


async def asked(
    model: Model, template: Template, *, lines: list[str], criterion: str | None, grades: tuple[str, ...]
) -> tuple[Grade, Reply]:
    """Ask a judge once.

    Raises:
        QuorateError: the model failed, or said no grade.
    """
    prompt, key = render(template, lines, criterion=criterion, grades=grades)
    reply = await model.complete(prompt)
    return parse(reply, key, grades=grades), reply


def candidate_prompt(template: Template, row: Row, *, max_tokens: int) -> Prompt:
    """What a model under test is asked: the row's input, with its sources as data."""
    lines = [as_line({"source": at, "text": text}) for at, text in enumerate(row.sources, 1)]
    system = "\n".join([template.text, *(["Sources:", *lines] if lines else [])])
    return Prompt((Message("system", system), Message("user", row.input)), max_tokens, TEMPERATURE)
