"""What is judged: a conversation of parts, each with an origin, and the share of it that a check must read.

No check sees less than the answerer does. Every part that is not of an origin the config trusts is read by the
threat check; what no check can read is named, never skipped.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quorate.errors import UsageError
from quorate.models import Message, ToolCall

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
        number: of the message in its request that it came with, from 0; -1 where it is no message.
        judged: True where every check has passed it in an earlier request of the same turn.
    """

    origin: Origin
    text: str
    unread: str | None = None
    refused: bool = False
    message: Message | None = None
    number: int = 0
    judged: bool = False


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
            text = _whole(source)
            return cls((Part("customer", text, message=Message("user", text)),))
        if not isinstance(source, Sequence) or not source:
            raise UsageError("a conversation is a text or a non-empty list of messages")
        parts = [part for number, message in enumerate(source) for part in _parts(message, number)]
        if not any(part.origin == "customer" for part in parts):
            raise UsageError("a conversation needs at least one message with role 'user'")
        return cls(tuple(parts))

    def without_replays(self, refusals: Collection[str]) -> "Conversation":
        """Mark customer turns that were refused before: those followed by one of our own refusal texts (stripped).

        A turn is everything the customer sent since somebody else spoke. The refusals themselves are dropped: a
        client replays them as history; they are no answer to build on.
        """
        if len(self.parts) == 1:
            return self
        parts: list[Part] = []
        for part in self.parts:
            turn = len(parts)
            if part.origin == "assistant" and part.text.strip() in refusals:
                while turn and parts[turn - 1].origin == "customer":
                    turn -= 1
            if turn < len(parts):
                parts[turn:] = [replace(said, refused=True, message=None) for said in parts[turn:]]
            else:
                parts.append(part)
        return Conversation(tuple(parts))

    def after(self, number: int) -> "Conversation":
        """The same, with the messages before this one marked as judged: checks read what is new."""
        return Conversation(tuple(replace(part, judged=part.number < number) for part in self.parts))

    @property
    def question(self) -> str:
        """The customer's last text."""
        return next((part.text for part in reversed(self.parts) if part.origin == "customer"), "")

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the answerer's model is given: all but the refused turns."""
        return tuple(part.message for part in self.parts if part.message is not None and not part.refused)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of these messages in their request."""
        return tuple(part.number for part in self.parts if part.message is not None and not part.refused)

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
    if len(conversation.parts) == 1:
        return Subject(conversation.parts)
    kept = [part for part in conversation.parts if not part.refused]
    last = max((i for i, part in enumerate(kept) if part.origin == "customer"), default=-1)
    if last < 0:
        # Only refused turns: the newest of them is what stands to be judged.
        return Subject((Part("customer", conversation.question),))
    context = tuple(part for part in kept[:last] if part.origin in ("customer", "assistant"))
    return Subject(_new((kept[last],)), context)


def threat_subject(conversation: Conversation, trusted: Collection[Origin] = ()) -> Subject:
    """Every part whose origin is not trusted, with the kinds of content that nobody can read.

    What nobody could read in a turn that was refused before is not held against the next one.
    """
    parts = conversation.parts
    if len(parts) == 1 and parts[0].unread is None and not trusted:
        return Subject(parts)
    parts = _new(part for part in parts if part.origin not in trusted)
    unread = tuple(part.unread for part in standing(parts) if part.unread is not None)
    return Subject(parts, unread=unread)


def moderation_subject(conversation: Conversation, trusted: Collection[Origin] = ()) -> Subject:
    """All that the customer wrote, in every turn, unless customers are trusted.

    What tools, documents and the assistant say is left to the threat check: news, court files and reviews speak of
    hate and violence without being inappropriate, and a customer is not to blame for them. Content that nobody can
    read counts as for the threat check.
    """
    parts = _new(part for part in conversation.parts if part.origin == "customer" and part.origin not in trusted)
    unread = tuple(part.unread for part in standing(parts) if part.unread is not None)
    return Subject(parts, unread=unread)


def _new(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if not part.judged)


@dataclass(frozen=True, slots=True)
class Said:
    """What an answerer said.

    Attributes:
        texts: one for each of the answer's choices, in their order.
        calls: the finished tool calls of all choices; data, run by nobody here.
    """

    texts: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()


def output_subject(conversation: Conversation, said: Said) -> Subject:
    """What was said: a part for each choice's text and for each tool call, with the system's parts as context.

    A call's part holds its name and its arguments, and its id: all of it goes out.
    """
    texts = (text for text in said.texts if text)
    calls = ("\n".join(filter(None, (call.name, call.arguments, call.id))) for call in said.calls)
    parts = tuple(Part("assistant", text) for text in (*texts, *calls))
    context = tuple(part for part in conversation.parts if part.origin == "system" and part.text)
    return Subject(parts or (Part("assistant", ""),), context)


def standing(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts that were not refused before, or all of them where there is no other."""
    return tuple(part for part in parts if not part.refused) or parts


def _parts(message: Any, number: int) -> list[Part]:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise UsageError(f"{where}: a message is an object with role and content")
    role = message.get("role")
    origin = _ROLES.get(role) if isinstance(role, str) else None
    if origin is None:
        raise UsageError(f"{where}.role: found {role!r}, allowed are {', '.join(_ROLES)}")
    text, unread = _text(message.get("content"), where)
    named = message.get("name") or ""
    names = [Part(origin, _name(named, f"{where}.name"), number=number)] if named else []
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise UsageError(f"{where}.tool_calls: a list of tool calls")
    read, sent_calls = [text], []
    for index, call in enumerate(calls):
        words, sent = _tool_call(call, f"{where}.tool_calls[{index}]")
        read += words
        sent_calls.append(sent)
    call_id = message.get("tool_call_id")
    if call_id:
        call_id = _name(call_id, f"{where}.tool_call_id")
        read.append(call_id)
    message_sent = Message("tool" if role == "function" else str(role), text, tuple(sent_calls), call_id or None)
    # The text comes last: it is what a customer's last part stands for.
    return [
        *names,
        *(Part(origin, "", unread=kind, number=number) for kind in unread),
        Part(origin, "\n".join(read), message=message_sent, number=number),
    ]


def _tool_call(call: Any, where: str) -> tuple[list[str], Mapping[str, Any]]:
    """The texts of a tool call, and the call as it is sent: it reaches the answerer, so nothing unread stays in it."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise UsageError(f"{where}: a tool call is an object with a function")
    call_id = _name(call.get("id") or "", f"{where}.id")
    name = _name(function.get("name"), f"{where}.function.name")
    arguments = _name(function.get("arguments") or "", f"{where}.function.arguments")
    sent = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return [text for text in (name, arguments, call_id) if text], sent


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: found {type(value).__name__}, allowed is a text")
    return _whole(value)


def _whole(text: str) -> str:
    """The text without lone surrogates, which no wire can carry: each becomes U+FFFD, for checks and answerer alike."""
    if text.isascii():
        return text
    try:
        text.encode("utf-32-le")  # On the event loop, and a tenth of what UTF-8 takes.
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _text(content: Any, where: str) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return _whole(content or ""), []
    if not isinstance(content, Sequence):
        raise UsageError(f"{where}.content: found {type(content).__name__}, allowed is a text or a list of parts")
    texts: list[str] = []
    unread: list[str] = []
    for index, piece in enumerate(content):
        kind = piece.get("type") if isinstance(piece, Mapping) else None
        if kind in ("text", "input_text") and isinstance(piece.get("text"), str):
            texts.append(_whole(piece["text"]))
        elif isinstance(kind, str):
            unread.append(kind)
        else:
            raise UsageError(f"{where}.content[{index}]: a part is an object with a type")
    return "\n".join(texts), unread
