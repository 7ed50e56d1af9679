"""Who answers an admitted message: a model grounded in the help centre, or the help centre quoted as it is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from quorate.checks import Conversation, Template
from quorate.checks.conversation import Said
from quorate.checks.prompt import as_line
from quorate.engine import size_of
from quorate.errors import BadReply, UsageError
from quorate.events import Context, Usage
from quorate.knowledge import ENOUGH, Found, Knowledge
from quorate.models import Message, Model, Prompt, ToolCall, ToolCallDelta

Effects = Literal["none", "gated", "unknown"]
"""What an answerer may do to the world before it is admitted: nothing, nothing until `committed`, anything."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer.

    Attributes:
        text: what was said.
        sources: names of the help-centre sections it stands on.
        tool_calls: calls the model asks for; data, run by nobody here.
        model: who answered.
        value: what a wrapped handler returned, None otherwise.
    """

    text: str
    sources: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    value: object = None


class Answerer(Protocol):
    """Writes the answer beside the checks."""

    effects: Effects

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        """Answer, emitting the text piece by piece. Raises `QuorateError` when it cannot."""


SaidReader = Callable[[Sequence[Any]], Said]
"""Turns what an answerer emitted into what it said, for the output checks."""


def read_deltas(deltas: Sequence[Any]) -> Said:
    """What an answerer said that emits texts and `ToolCallDelta`s.

    Raises:
        UsageError: it emitted anything else; such an answerer needs a reader of its own.
    """
    texts: list[str] = []
    calls: dict[int, list[ToolCallDelta]] = {}
    for delta in deltas:
        if isinstance(delta, str):
            texts.append(delta)
        elif isinstance(delta, ToolCallDelta):
            calls.setdefault(delta.index, []).append(delta)
        else:
            raise UsageError(f"output checks cannot read {type(delta).__name__} pieces: give the front door a reader")
    return Said(("".join(texts),), tuple(map(_joined, calls.values())))


def _joined(pieces: list[ToolCallDelta]) -> ToolCall:
    ids, names, arguments = zip(*((p.id or "", p.name or "", p.arguments) for p in pieces), strict=True)
    return ToolCall("".join(ids), "".join(names), "".join(arguments))


def read_answer(deltas: Sequence[Any], answer: Answer, *, reader: SaidReader) -> Said:
    """Everything of an answer that can get out: what was emitted, and what the finished answer holds beside it.

    Raises:
        UsageError: its value is something that no check can read.
    """
    said = reader(deltas)
    value = () if answer.value is None else (answer.value,)
    if not all(isinstance(text, str) for text in value):
        raise UsageError(f"output checks cannot read a handler's {type(answer.value).__name__}: let it return a text")
    more = tuple(str(text) for text in (answer.text, *value) if text and text not in said.texts)
    heard = {(call.name, call.arguments) for call in said.calls}
    calls = tuple(call for call in answer.tool_calls if (call.name, call.arguments) not in heard)
    return Said(said.texts + more, said.calls + calls)


class Whole:
    """The context of an answer that is held as a whole: it fails, rather than waits for ever, beyond the bound.

    Args:
        context: the branch's own.
        held_bytes: the run's bound.
    """

    def __init__(self, context: Context, held_bytes: int) -> None:
        self.name = context.name
        self._context = context
        self._bound = held_bytes
        self._said = 0

    async def emit(self, delta: Any, /) -> None:
        """Say something; see `Context`. Raises `BadReply` when the answer is longer than can be held."""
        self._said += size_of(delta)
        if self._said >= self._bound:
            raise BadReply(f"the answer is longer than the {self._bound} bytes that are held for the output checks")
        await self._context.emit(delta)

    async def committed(self) -> None:
        """Wait for the gate; see `Context`."""
        await self._context.committed()

    def spend(self, usage: Usage, /) -> None:
        """Add to the usage; see `Context`."""
        self._context.spend(usage)

    def closing(self, grace_s: float, /) -> AbstractAsyncContextManager[None]:
        """Bound a clean-up; see `Context`."""
        return self._context.closing(grace_s)


def _query(conversation: Conversation) -> str:
    """The customer's last text, and the one before it for follow-ups that name nothing themselves."""
    turns = [p.text for p in conversation.parts if p.origin == "customer" and not p.refused]
    return "\n".join(turns[-2:]) if turns and len(turns[-1].split()) < 8 else conversation.question


class QuoteAnswer:
    """Quotes the best matching section with its title, or says honestly that it does not know.

    Args:
        knowledge: the help centre.
        contact: how to reach a person; stands in the answer where nothing matches.
        unknown: what is said where nothing matches; `{contact}` is filled in.
    """

    effects: Effects = "none"

    def __init__(self, knowledge: Knowledge, *, contact: str, unknown: str) -> None:
        self._knowledge = knowledge
        self._unknown = unknown.replace("{contact}", contact)

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        """Quote; see `Answerer`."""
        found = self._knowledge.search(_query(conversation), k=3)
        best = max(found, key=lambda f: f.coverage, default=None)
        if best is None or best.coverage < ENOUGH:
            await context.emit(self._unknown)
            return Answer(self._unknown, model="quote")
        quoted = "\n".join(f"> {line}".rstrip() for line in best.section.text.splitlines())
        text = f"From our help centre, “{best.section.name}”:\n\n{quoted}"
        await context.emit(text)
        return Answer(text, (best.section.name,), model="quote")


class ModelAnswer:
    """A model that answers from the retrieved sections and cites them.

    Args:
        model: who answers.
        knowledge: the help centre, or None for a model that answers without one.
        company: name and description, for the prompt.
        contact: how to reach a person.
        max_tokens: of the answer.
        sections: how many sections are retrieved.
    """

    effects: Effects = "none"

    def __init__(
        self,
        model: Model,
        *,
        knowledge: Knowledge | None,
        company: str,
        contact: str,
        max_tokens: int = 600,
        sections: int = 4,
        template: Template | None = None,
    ) -> None:
        self._model = model
        self._knowledge = knowledge
        self._about = f"The company: {company}\nHow to reach a person: {contact}"
        self._max_tokens = max_tokens
        self._k = sections
        self._template = template or Template.load("answer-v1", package="quorate.apps")

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        """Stream the model's answer; see `Answerer`."""
        found = self._knowledge.search(_query(conversation), k=self._k) if self._knowledge else []
        messages = (Message("system", self._system(found)), *conversation.messages)
        reply = await self._model.complete(Prompt(messages, self._max_tokens), context.emit)
        if not reply.text and not reply.tool_calls:
            raise BadReply(f"{reply.model}: the answer is empty ({reply.finish_reason[:40]!r})")
        cited = tuple(f.section.name for n, f in enumerate(found, 1) if f"[{n}]" in reply.text)
        return Answer(reply.text, cited, reply.tool_calls, reply.model)

    def _system(self, found: list[Found]) -> str:
        lines = [
            as_line({"section": n, "title": f.section.name, "text": f.section.text}) for n, f in enumerate(found, 1)
        ]
        return "\n".join([self._template.text, self._about, "Help-centre sections:", *(lines or ["(none found)"])])
