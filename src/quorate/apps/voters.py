"""Voters, judges and writers made of models and prompts, for `quorate.vote`.

What is asked about, and what other branches wrote, is untrusted: it stands in the prompt as lines of JSON between two
random boundaries, after a fixed prefix. A judge's reply must echo a nonce, and is parsed strictly: anything else is a
failed vote, which stays in the denominator.
"""

import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from quorate.checks.prompt import as_line
from quorate.errors import BadReply, UsageError
from quorate.events import Branch, Context
from quorate.merges import Draft
from quorate.models import Message, Model, Prompt

T = TypeVar("T")

MAX_TOKENS = 600
JUDGE_TOKENS = 100
_MAX_REPLY = 20_000
_SHOWN = 40
_BETTER: Final[Mapping[Any, str | None]] = {"first": "first", "second": "second", "neither": None}


def as_text(reply: str) -> str:
    """The reply itself, without blanks around it.

    Raises:
        BadReply: nothing is left.
    """
    if not reply.strip():
        raise BadReply("the reply is empty")
    return reply.strip()


def choice(*labels: str) -> Callable[[str], str]:
    """A reading of replies that takes one of these labels, in any case and with or without a full stop, and no more.

    Raises:
        UsageError: fewer than two labels are given, or two are the same.
    """
    known = {label.casefold(): label for label in labels}
    if len(known) != len(labels) or len(labels) < 2:
        raise UsageError("a choice needs two or more labels, each once")

    def read(reply: str) -> str:
        found = known.get(reply.strip().removesuffix(".").strip().casefold())
        if found is None:
            raise BadReply(f"found {reply[:_SHOWN]!r}, allowed is one of {', '.join(labels)}")
        return found

    return read


def yes_or_no(reply: str) -> bool:
    """True for "yes", False for "no".

    Raises:
        BadReply: it is neither.
    """
    return _YES_NO(reply) == "yes"


_YES_NO = choice("yes", "no")


def voter(
    model: Model, prompt: str, *, read: Callable[[str], Any] = as_text, max_tokens: int = MAX_TOKENS
) -> Callable[[Any], Awaitable[Any]]:
    """A voter that puts the question to a model under a prompt of its own.

    Args:
        model: who answers.
        prompt: what it is told to do, and how to answer; trusted, and the fixed prefix of every call.
        read: makes a vote of the reply's text, such as `yes_or_no` or `choice("a", "b")`; raises `BadReply`.
        max_tokens: of the reply.

    Returns:
        An async function of the question, which may be anything that JSON can hold. It raises `ModelError` where the
        model broke, and what `read` raises.
    """

    async def ask(question: Any) -> Any:
        asked, _ = _framed(prompt, [as_line({"question": question})], max_tokens=max_tokens)
        return read((await model.complete(asked)).text)

    return ask


def voters(
    models: Sequence[Model],
    prompts: Mapping[str, str] | Sequence[str],
    *,
    read: Callable[[str], Any] = as_text,
    max_tokens: int = MAX_TOKENS,
) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """Every model under every prompt, by name: "model", or "model, prompt" where there are several prompts.

    Raises:
        UsageError: two voters would have one name.
    """
    named = prompts if isinstance(prompts, Mapping) else {f"prompt {i}": text for i, text in enumerate(prompts, 1)}
    made: dict[str, Callable[[Any], Awaitable[Any]]] = {}
    for model in models:
        for name, text in named.items():
            label = model.name if len(named) == 1 else f"{model.name}, {name}"
            if label in made:
                raise UsageError(f"two voters are named {label!r}: ask one of them several times with times=")
            made[label] = voter(model, text, read=read, max_tokens=max_tokens)
    return made


def comparer(
    model: Model, prompt: str, *, question: Any = None
) -> Callable[[str, tuple[Draft[Any], Draft[Any]]], Branch[Any]]:
    """A judge for `Pick(compare=...)`: which of two answers is better?

    Args:
        model: who judges.
        prompt: what makes an answer better; trusted.
        question: what the answers are about, shown to the judge as data.
    """

    def compare(name: str, drafts: tuple[Draft[Any], Draft[Any]]) -> Branch[Any]:
        lines = [
            as_line({"question": question}),
            as_line({"answer": "first", "text": drafts[0].value}),
            as_line({"answer": "second", "text": drafts[1].value}),
        ]

        async def work(_context: Context, /) -> str | None:
            said = await _verdict(model, prompt, lines, field=("better", {"enum": list(_BETTER)}))
            if not isinstance(said, str) or said not in _BETTER:
                raise BadReply(f"{model.name}: better must be one of {', '.join(_BETTER)}")
            return _BETTER[said]

        return Branch(name, work)

    return compare


def scorer(model: Model, prompt: str, *, question: Any = None) -> Callable[[str, Draft[Any]], Branch[Any]]:
    """A judge for `Pick(score=...)`: how good is an answer, 0 to 1? Arguments are those of `comparer`."""

    def score(name: str, draft: Draft[Any]) -> Branch[Any]:
        lines = [as_line({"question": question}), as_line({"answer": "the one", "text": draft.value})]

        async def work(_context: Context, /) -> float:
            said = await _verdict(model, prompt, lines, field=("score", {"type": "number"}))
            if isinstance(said, bool) or not isinstance(said, int | float) or not (0 <= said <= 1):
                raise BadReply(f"{model.name}: score must be a number between 0 and 1")
            return float(said)

        return Branch(name, work)

    return score


def writer(
    model: Model, prompt: str, *, question: Any = None, max_tokens: int = MAX_TOKENS, name: str = "synthesis"
) -> Callable[[tuple[Draft[Any], ...]], Branch[str]]:
    """The last branch for `Synthesize`: one text, streamed, from the drafts.

    The drafts go in without their authors' names, so that none is believed for its name.
    """

    def write(drafts: tuple[Draft[Any], ...]) -> Branch[str]:
        lines = [as_line({"question": question})]
        lines += [as_line({"draft": i, "text": draft.value}) for i, draft in enumerate(drafts, 1)]

        async def work(context: Context, /) -> str:
            asked, _ = _framed(prompt, lines, max_tokens=max_tokens)
            return as_text((await model.complete(asked, context.emit)).text)

        return Branch(name, work)

    return write


async def _verdict(model: Model, prompt: str, lines: list[str], *, field: tuple[str, Mapping[str, Any]]) -> Any:
    name, kind = field
    asked, nonce = _framed(prompt, lines, max_tokens=JUDGE_TOKENS)
    form = {
        "type": "object",
        "properties": {name: kind, "nonce": {"type": "string", "enum": [nonce]}},
        "required": [name, "nonce"],
        "additionalProperties": False,
    }
    last = Message("user", f"{asked.messages[-1].content}\nnonce: {nonce}")
    asked = asked._replace(messages=(*asked.messages[:-1], last), schema=json.dumps(form), schema_name=name)
    reply = (await model.complete(asked)).text
    try:
        data = json.loads(reply, object_pairs_hook=_once) if len(reply) <= _MAX_REPLY else None
    except (ValueError, RecursionError) as error:
        raise BadReply(f"{model.name}: the verdict is not one JSON object") from error
    if not isinstance(data, dict) or data.keys() != {name, "nonce"} or data["nonce"] != nonce:
        raise BadReply(f"{model.name}: the verdict must have exactly {name} and the nonce it was given")
    said = data[name]
    if isinstance(said, float) and not math.isfinite(said):
        raise BadReply(f"{model.name}: {name} is not a finite number")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadReply("the verdict names a field twice")
    return found


def _framed(prompt: str, lines: list[str], *, max_tokens: int) -> tuple[Prompt, str]:
    """A prompt with lines of data between boundaries that do not occur in them; and a nonce that does not either."""
    data = "\n".join(lines)
    drawn = secrets.token_hex(16)
    while drawn[:16] in data or drawn[16:] in data:
        drawn = secrets.token_hex(16)
    boundary = f"DATA-{drawn[:16]}"
    user = f"<<<{boundary}\n{data}\n{boundary}>>>\nThe data has ended. Do with it what you were told at the start."
    return Prompt((Message("system", prompt), Message("user", user)), max_tokens), drawn[16:]
