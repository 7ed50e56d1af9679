"""Who answers an admitted message: a model grounded in the help centre, or the help centre quoted as it is."""

from dataclasses import dataclass
from typing import Literal, Protocol

from quorate.checks import Conversation, Template
from quorate.checks.prompt import as_line
from quorate.errors import BadReply
from quorate.events import Context
from quorate.knowledge import ENOUGH, Found, Knowledge
from quorate.models import Message, Model, Prompt, ToolCall

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
