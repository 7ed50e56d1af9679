"""The bot behind the door: the caller's own request, sent to the upstream beside the checks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from quorate.apps.answer import Answer, Effects, read_deltas
from quorate.apps.windowed import Piece, Windowed
from quorate.checks import Check, Conversation
from quorate.checks.conversation import Said
from quorate.events import Context
from quorate.models import ToolCall, ToolCallDelta
from quorate.models.http import read_json
from quorate.models.relay import Relay, events_in, single

_META = frozenset(
    (
        *("id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "index", "role"),
        *("finish_reason", "logprobs", "type", "tool_calls", "content"),
    )
)
"""Fields of a reply that say nothing, or are read by name."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """How an answer is judged while it is released.

    Attributes:
        checks: the output checks.
        window_chars: so many new characters make a window.
        overlap_chars: so many before them are read again, and held.
        held_bytes: the most that is kept.
    """

    checks: Sequence[Check]
    window_chars: int
    overlap_chars: int
    held_bytes: int


class RelayAnswer:
    """Passes one request on and emits the upstream's bytes as they come.

    Args:
        relay: the upstream.
        body: makes the request from the numbers of the messages that the upstream may see: refused turns are not
            among them.
        stream: whether the reply is streamed.
        effects: what answering may do to the world.
        windowing: judge the answer in windows while it is released; None lets it out as it comes.

    Attributes:
        text: what the upstream said, for people to read; None until its reply has ended.
    """

    def __init__(
        self,
        relay: Relay,
        body: Callable[[Sequence[int]], bytes],
        *,
        stream: bool,
        effects: Effects,
        windowing: Windowing | None = None,
    ) -> None:
        self.effects = effects
        self.text: str | None = None
        self._relay = relay
        self._body = body
        self._stream = stream
        self._windowing = windowing

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        """Relay; see `Answerer`. What was said is in the bytes that were emitted.

        Raises:
            AnswerBlocked: an output check stopped it while it was released.
        """
        body, windowing = self._body(conversation.numbers), self._windowing
        if windowing is None:
            end = await self._relay.send(body, context.emit, stream=self._stream)
            self.text = end.text
            return Answer("", model=end.model)
        windows = Windowed(
            context.emit,
            windowing.checks,
            conversation,
            window_chars=windowing.window_chars,
            overlap_chars=windowing.overlap_chars,
            held_bytes=windowing.held_bytes,
        )

        async def judged(raw: bytes) -> None:
            for frame in single(raw) if self._stream else [raw]:
                await windows.frame(frame, list(pieces_in(frame)))

        end = await self._relay.send(body, judged, stream=self._stream)
        await windows.end()
        self.text = end.text
        return Answer("", model=end.model)


def read_relayed(deltas: Sequence[Any]) -> Said:
    """What was said in an upstream's bytes, or in what any other answerer emits; a `SaidReader`."""
    if not all(isinstance(delta, bytes) for delta in deltas):
        return read_deltas(deltas)
    texts: dict[Any, list[str]] = {}
    calls: dict[Any, list[ToolCallDelta]] = {}
    for raw in deltas:
        for choice, delta in pieces_in(raw):
            if isinstance(delta, str):
                texts.setdefault(choice, []).append(delta)
            elif delta is not None:
                calls.setdefault((choice, delta.index), []).append(delta)
    return Said(tuple(map("".join, texts.values())), tuple(map(_joined, calls.values())))


def _joined(deltas: list[ToolCallDelta]) -> ToolCall:
    ids, names = "".join(d.id or "" for d in deltas), "".join(d.name or "" for d in deltas)
    return ToolCall(ids, names, "".join(d.arguments for d in deltas))


def pieces_in(raw: bytes) -> Iterator[Piece]:
    """What an upstream's bytes say, streamed or whole: every text in them, whatever the field is called."""
    for data in [raw] if raw.lstrip()[:1] == b"{" else events_in(raw):
        with suppress(ValueError, RecursionError):  # [DONE]; anything else the relay has refused before.
            event = read_json(data)
            if isinstance(event, Mapping):
                yield from _of_event(event)


def _of_event(event: Mapping[str, Any]) -> Iterator[Piece]:
    choices = event.get("choices")
    for at, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, Mapping):
            continue
        index = choice.get("index", at)
        for name in ("delta", "message"):
            said = choice.get(name)
            if isinstance(said, Mapping):
                yield from _of_choice(index, said)
        yield from _beside((index, "choice"), {k: v for k, v in choice.items() if k not in ("delta", "message")})
        if choice.get("finish_reason") is not None:
            yield Piece(index, None)
    yield from _beside("event", {name: value for name, value in event.items() if name != "choices"})


def _of_choice(index: Any, said: Mapping[str, Any]) -> Iterator[Piece]:
    content = said.get("content")
    if isinstance(content, str):
        yield Piece(index, content)
    elif content is not None:
        yield from _beside((index, "content"), {"parts": content})
    calls = said.get("tool_calls")
    for at, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        function = function if isinstance(function, Mapping) else {}
        ids, names, arguments = call.get("id"), function.get("name"), function.get("arguments")
        number = call.get("index", at)
        yield Piece(
            index,
            ToolCallDelta(
                number if isinstance(number, int) else at,
                ids if isinstance(ids, str) else None,
                names if isinstance(names, str) else None,
                arguments if isinstance(arguments, str) else "",
            ),
        )
    yield from _beside((index, "said"), said)


def _beside(where: Any, value: Mapping[str, Any]) -> Iterator[Piece]:
    """Texts in fields that have no name here, such as a model's reasoning: each field is a text of its own."""
    todo: list[tuple[tuple[Any, ...], Any]] = [((name,), part) for name, part in value.items() if name not in _META]
    while todo:
        path, part = todo.pop()
        if isinstance(part, str):
            yield Piece((where, *path), part)
        elif isinstance(part, Mapping):
            todo += [((*path, name), inner) for name, inner in part.items()]
        elif isinstance(part, list):
            todo += [((*path, at), inner) for at, inner in enumerate(part)]
