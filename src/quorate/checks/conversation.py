"""What is judged: a conversation of parts, each with an origin, and the share of it that a check must read.

No check sees less than the answerer does. Every part that is not of an origin the config trusts is read by the
threat check; what no check can read is named, never skipped.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from quorate.errors import UsageError
from quorate.models import Message

Origin = Literal["system", "customer", "assistant", "tool", "retrieved"]

_ROLES: Mapping[str, Origin] = {
    "system": "system",
    "developer": "system",
    "user": "customer",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a conversation.

    Attributes:
        origin: where it comes from; decides which checks read it.
        text: its text as received.
        unread: kind of content that no check can read ("image_url"), or None.
        refused: True for a customer's turn that was refused before: the answerer does not see it.
        message: the message as the answerer's model gets it, or None where that gets none.
    """

    origin: Origin
    text: str
    unread: str | None = None
    refused: bool = False
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The parts, first to last; the last customer part is the one to be answered."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, source: "str | Conversation | Sequence[Mapping[str, Any]]") -> "Conversation":
        """Make one from a text, or from messages in the chat completions shape.

        Raises:
            UsageError: a message has no known role, or its content is of no known form; nothing is guessed.
        """
        if isinstance(source, Conversation):
            return source
        if isinstance(source, str):
            return cls((Part("customer", source, message=Message("user", source)),))
        if not isinstance(source, Sequence) or not source:
            raise UsageError("a conversation is a text or a non-empty list of messages")
        parts = [part for number, message in enumerate(source) for part in _parts(message, number)]
        if not any(part.origin == "customer" for part in parts):
            raise UsageError("a conversation needs at least one message with role 'user'")
        return cls(tuple(parts))

    def without_replays(self, refusals: Collection[str]) -> "Conversation":
        """Mark customer turns that were refused before: those followed by one of our own refusal texts (stripped).

        The refusals themselves are dropped. A client replays them as history; they are no answer to build on.
        """
        if len(self.parts) == 1:
            return self
        parts: list[Part] = []
        for part in self.parts:
            previous = parts[-1] if parts else None
            replay = part.origin == "assistant" and part.text.strip() in refusals
            if replay and previous is not None and previous.origin == "customer":
                parts[-1] = Part("customer", previous.text, previous.unread, refused=True)
            else:
                parts.append(part)
        return Conversation(tuple(parts))

    @property
    def question(self) -> str:
        """The customer's last text."""
        return next((part.text for part in reversed(self.parts) if part.origin == "customer"), "")

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the answerer's model is given: all but the refused turns."""
        return tuple(part.message for part in self.parts if part.message is not None and not part.refused)

    @property
    def size(self) -> int:
        """Characters in all parts together."""
        return sum(len(part.text) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Subject:
    """The share of a conversation that one check judges.

    Attributes:
        parts: what it must read, first to last.
        context: what came before, for checks that judge the last part in the light of it.
        unread: kinds of content in it that no check can read.
    """

    parts: tuple[Part, ...]
    context: tuple[Part, ...] = ()
    unread: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        """The texts of the parts, joined by line breaks."""
        return self.parts[0].text if len(self.parts) == 1 else "\n".join(part.text for part in self.parts)


def scope_subject(conversation: Conversation) -> Subject:
    """The customer's last text, with what it follows as context; refused turns are no context."""
    kept = [part for part in conversation.parts if not part.refused]
    last = max((i for i, part in enumerate(kept) if part.origin == "customer"), default=-1)
    if last < 0:
        # Only refused turns: the newest of them is what stands to be judged.
        return Subject((Part("customer", conversation.question),))
    context = tuple(part for part in kept[:last] if part.origin in ("customer", "assistant"))
    return Subject((kept[last],), context)


def threat_subject(conversation: Conversation, trusted: Collection[Origin] = ()) -> Subject:
    """Every part whose origin is not trusted, with the kinds of content that nobody can read."""
    parts = tuple(part for part in conversation.parts if part.origin not in trusted)
    return Subject(parts, unread=tuple(part.unread for part in parts if part.unread is not None))


def _parts(message: Any, number: int) -> list[Part]:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise UsageError(f"{where}: a message is an object with role and content")
    role = message.get("role")
    origin = _ROLES.get(role) if isinstance(role, str) else None
    if origin is None:
        raise UsageError(f"{where}.role: found {role!r}, allowed are {', '.join(_ROLES)}")
    text, unread = _text(message.get("content"), where)
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or not all(isinstance(call, Mapping) for call in calls):
        raise UsageError(f"{where}.tool_calls: a list of objects")
    call_id = message.get("tool_call_id")
    sent = Message("tool" if role == "function" else str(role), text, tuple(calls), call_id if call_id else None)
    # The client's tool calls reach the answerer too, so they are read as what they are: text.
    read = "\n".join([text, *(str(call.get("function")) for call in calls)]) if calls else text
    return [
        Part(origin, read, message=sent),
        *(Part(origin, "", unread=kind) for kind in unread),
    ]


def _text(content: Any, where: str) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, Sequence):
        raise UsageError(f"{where}.content: found {type(content).__name__}, allowed is a text or a list of parts")
    texts: list[str] = []
    unread: list[str] = []
    for index, piece in enumerate(content):
        kind = piece.get("type") if isinstance(piece, Mapping) else None
        if kind in ("text", "input_text") and isinstance(piece.get("text"), str):
            texts.append(piece["text"])
        elif isinstance(kind, str):
            unread.append(kind)
        else:
            raise UsageError(f"{where}.content[{index}]: a part is an object with a type")
    return "\n".join(texts), unread
