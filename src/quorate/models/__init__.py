"""Who answers: the `Model` protocol and what goes in and out of it.

A model is one async method, so models nest: retry, limit, fallback and hedge are models around a model, and a
policy is a line of composition. Text is pushed through `emit` rather than pulled from a generator, because a
generator that is left early cannot be cancelled cleanly.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from quorate.events import NO_USAGE, Context, Usage


class Message(NamedTuple):
    """One message of a prompt, in the roles of the chat completions API."""

    role: str
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None


class Prompt(NamedTuple):
    """What a model is asked.

    Attributes:
        messages: the conversation, first to last.
        max_tokens: the most tokens it may write; None leaves it to the server.
        temperature: None leaves it to the server.
        schema: JSON schema, as JSON text, that the whole reply must follow; None for free text.
        schema_name: a short name for the schema, as servers ask for one.
        tools: function tools in the chat completions shape.
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    schema: str | None = None
    schema_name: str = "verdict"
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call as it streams; data to us, never run by Quorate."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A finished tool call of a reply; `arguments` is the model's text, unparsed."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered."""

    text: str
    model: str
    finish_reason: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = NO_USAGE


Emit = Callable[[str | ToolCallDelta], Awaitable[None]]


class Model(Protocol):
    """Anything that answers a prompt."""

    @property
    def name(self) -> str:
        """Who answers, as it stands in verdicts and timelines."""

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Answer the prompt.

        With `emit` the text is streamed through it piece by piece and the reply repeats it whole; without, it
        comes in one go. Records its usage with `quorate.engine.spend`, also (estimated) when it is cancelled.

        Raises:
            ModelError: it, or the way to it, broke.
            LimitExceeded: there is no room to run or to wait.
        """


def ask(model: Model, prompt: Prompt, *, stream: bool = False) -> Callable[[Context], Awaitable[Reply]]:
    """Make the callable of a branch out of a model and a prompt."""

    async def work(context: Context) -> Reply:
        return await model.complete(prompt, context.emit if stream else None)

    return work
