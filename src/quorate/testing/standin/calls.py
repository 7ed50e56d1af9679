"""One chat completion of the stand-in server: what is sent, when, and how it ends.

An answer is a script: pieces of bytes with a time between them, and a finale. Every fault is a change to the
script, so that one player serves all of them and sees a client's leaving at any point.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Literal

from quorate.testing.standin.connection import Connection, Request, head
from quorate.testing.standin.ledger import Counts, Cut, Ledger
from quorate.testing.standin.profiles import Fault, Profile
from quorate.testing.standin.replies import BadRequest, Chat, answer_tokens, nonce_asked, tokenize

Piece = tuple[bytes, int]
"""Bytes to send and the number of tokens that they stand for."""

_CREATED = 1_700_000_000  # Answers must be the same bytes every time.
_BLOCK = 64 * 1024
_MAX_BATCH = 256 * 1024
_EVENTS = "text/event-stream; charset=utf-8"
_DRIP_S = 0.02
_VERDICT_FAULTS = ("wrong-nonce", "no-nonce", "second-verdict", "bad-verdict", "bad-types")


@dataclass(slots=True)
class Script:
    """How one answer is sent.

    Attributes:
        first_s: seconds from the request to the first piece.
        gap_s: seconds between pieces.
        pieces: the pieces.
        finale: what happens after the last one.
        fault: kind of the fault that shaped it, or "".
        close: whether the connection ends with the answer.
        thinking: for an answer that is not streamed: tokens that grow unseen, and seconds to each.
    """

    first_s: float
    gap_s: float
    pieces: Iterator[Piece]
    finale: Literal["end", "abort", "stall"] = "end"
    fault: str = ""
    close: bool = False
    thinking: tuple[int, float, float] = (0, 0.0, 0.0)


@dataclass(slots=True)
class Writer:
    """Everything that shapes the bytes of one answer.

    Attributes:
        request: the HTTP request.
        chat: the chat request in it.
        profile: the model's behaviour.
        fault: what goes wrong.
        number: the call's number, part of its id.
        redirect: where the `redirect` fault points.
        tokens: what the model says.
        reason: why it stops.
        tools: the tool calls it makes instead, in OpenAI's shape.
    """

    request: Request
    chat: Chat
    profile: Profile
    fault: Fault
    number: int
    redirect: str
    tokens: list[str]
    reason: str
    tools: list[dict[str, object]]

    @property
    def close(self) -> bool:
        """Whether the connection ends with this answer."""
        return not self.request.keep_alive or (self.chat.stream and not self.request.chunked_ok)

    def script(self, first_s: float) -> Script:
        """Return the script of this answer, whose first byte comes after `first_s`."""
        kind, chat = self.fault.kind, self.chat
        applied = kind if self._applies() else ""
        if applied == "stall":
            if self.fault.seconds is None:
                return Script(first_s, 0.0, iter(()), finale="stall", fault=applied)
            first_s = max(first_s, self.fault.seconds)
        elif applied == "cut":
            return Script(first_s, 0.0, iter(()), finale="abort", fault=applied)
        elif applied:
            special = self._special()
            if special is not None:
                return Script(first_s, 0.0, special, fault=applied, close=self.close)
        count, gap = len(self.tokens), self.profile.token_s
        total, thinking = first_s, (0, 0.0, 0.0)
        if not chat.stream:
            extra = max(0, count - 1) * gap if self.profile.total_s is None else self.profile.total_s - first_s
            total, thinking, gap = max(0.0, first_s + extra), (count, first_s, gap), 0.0
        pieces = self._streamed() if chat.stream else iter([(self._plain(), count)])
        script = Script(total, gap, pieces, fault=applied, close=self.close, thinking=thinking)
        if applied in ("cut-mid", "stall-mid"):
            script.pieces = self._half()
            script.finale = "abort" if applied == "cut-mid" else "stall"
        elif applied == "slow-drip":
            script.pieces = self._dripped(pieces)
            script.gap_s = _DRIP_S if self.fault.seconds is None else self.fault.seconds
        return script

    def _applies(self) -> bool:
        """Whether the fault bites on this request at all."""
        kind, style = self.fault.kind, self.chat.format
        if kind == "no-schema":
            return style == "json_schema"
        if kind == "no-format":
            return style in ("json_schema", "json_object")
        if kind in _VERDICT_FAULTS:
            return nonce_asked(self.chat) is not None
        return kind != "ok"

    def _special(self) -> Iterator[Piece] | None:
        """Return the pieces of a fault that answers something else altogether, or None."""
        kind = self.fault.kind
        if self.fault.status:
            return iter([(self._error(), 0)])
        if kind in ("no-schema", "no-format"):
            message = f"'response_format' of type '{self.chat.format}' is not supported with this model"
            return iter([(self._refused(BadRequest(message, param="response_format")), 0)])
        if kind == "redirect":
            extra = f"Location: {self.redirect}\r\n"
            return iter([(head(307, length=0, close=self.close, extra=extra), 0)])
        if kind == "empty-body":
            return iter([(head(200, length=0, close=self.close), 0)])
        if kind == "malformed":
            broken = b'{"id": "chatcmpl-standin", "choices": [{"index": 0, '
            if not self.chat.stream:
                return iter([(head(200, length=len(broken), close=self.close) + broken, 0)])
            data = self._frame(b"data: " + broken + b"\n\n" + b"data: [DONE]\n\n") + self._end()
            return iter([(self._stream_head() + data, 0)])
        return self._huge() if kind == "huge" else None

    def _error(self) -> bytes:
        status, seconds = self.fault.status, self.fault.seconds
        kind, code = {
            401: ("invalid_request_error", "invalid_api_key"),
            404: ("invalid_request_error", "model_not_found"),
            429: ("requests", "rate_limit_exceeded"),
        }.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
        error = BadRequest(f"injected fault: {status}", status=status, kind=kind, code=code)
        extra = ""
        if status in (429, 503):
            wait = 1.0 if seconds is None else seconds
            # The standard's header knows whole seconds only; OpenAI sends the other one beside it.
            extra = f"Retry-After: {int(-(-wait // 1))}\r\nretry-after-ms: {wait * 1000:.0f}\r\n"
        return self._refused(error, extra)

    def _refused(self, error: BadRequest, extra: str = "") -> bytes:
        body = error.body()
        return head(error.status, length=len(body), close=self.close, extra=extra) + body

    def _huge(self) -> Iterator[Piece]:
        size = max(_BLOCK, self.profile.huge_bytes)
        yield (self._stream_head() if self.chat.stream else head(200, length=size, close=self.close)), 0
        opening = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "'
        opening = b"data: " + opening.replace(b"message", b"delta") if self.chat.stream else opening
        first = opening.ljust(_BLOCK, b"x")
        for block in (first, *repeat(b"x" * _BLOCK, size // _BLOCK - 1), b"x" * (size % _BLOCK)):
            if block:
                yield (self._frame(block) if self.chat.stream else block), 0
        if self.chat.stream:
            yield self._end(), 0

    def _usage(self) -> dict[str, int]:
        prompt, said = self.chat.prompt_tokens, len(self.tokens)
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}

    def _plain(self) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": "".join(self.tokens)}
        if self.tools:
            message |= {"content": None, "tool_calls": self.tools}
        body = json.dumps(
            {
                "id": f"chatcmpl-standin-{self.number}",
                "object": "chat.completion",
                "created": _CREATED,
                "model": self.chat.model,
                "choices": [{"index": 0, "message": message, "finish_reason": self.reason}],
                "usage": self._usage(),
            }
        ).encode()
        return head(200, length=len(body), close=self.close) + body

    def _event(self, delta: object, reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return self._chunk({"choices": choices, **({"usage": None} if self.chat.include_usage else {})})

    def _chunk(self, fields: dict[str, object]) -> bytes:
        chunk = {
            "id": f"chatcmpl-standin-{self.number}",
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": self.chat.model,
            **fields,
        }
        return self._frame(f"data: {json.dumps(chunk)}\n\n".encode())

    def _streamed(self) -> Iterator[Piece]:
        """One piece for each token; the last one brings the end with it."""
        opening = self._stream_head() + self._event({"role": "assistant", "content": None if self.tools else ""})
        ending = self._event({}, self.reason)
        if self.chat.include_usage:
            ending += self._chunk({"choices": [], "usage": self._usage()})
        ending += self._frame(b"data: [DONE]\n\n") + self._end()
        deltas = list(self._tool_deltas()) if self.tools else [{"content": token} for token in self.tokens]
        if not deltas:
            yield opening + ending, 0
        last = len(deltas) - 1
        for index, delta in enumerate(deltas):
            event = self._event(delta)
            yield (opening if index == 0 else b"") + event + (ending if index == last else b""), 1

    def _tool_deltas(self) -> Iterator[dict[str, object]]:
        """The tool calls as OpenAI streams them: one delta for each token of their arguments."""
        for index, tool in enumerate(self.tools):
            function = tool["function"]
            assert isinstance(function, dict)
            for place, token in enumerate(tokenize(function["arguments"]) or [""]):
                part: dict[str, object] = {"index": index, "function": {"arguments": token}}
                if place == 0:
                    named = {"name": function["name"], "arguments": token}
                    part |= {"id": tool["id"], "type": "function", "function": named}
                yield {"tool_calls": [part]}

    def _half(self) -> Iterator[Piece]:
        if not self.chat.stream:
            whole = self._plain()
            yield whole[: (len(whole) + whole.index(b"\r\n\r\n")) // 2], len(self.tokens) // 2
            return
        opening = self._stream_head() + self._event({"role": "assistant", "content": ""})
        said = self.tokens[: len(self.tokens) // 2]
        if not said:
            yield opening, 0
        for index, token in enumerate(said):
            yield (opening if index == 0 else b"") + self._event({"content": token}), 1

    def _dripped(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        # Byte by byte on the wire: chunk frames are bytes like any others to a parser that knows its trade.
        for data, tokens in pieces:
            for index in range(len(data)):
                yield data[index : index + 1], tokens if index == len(data) - 1 else 0

    def _stream_head(self) -> bytes:
        return head(200, content_type=_EVENTS, close=self.close, extra="Cache-Control: no-cache\r\n")

    def _frame(self, data: bytes) -> bytes:
        return data if self.close else b"%x\r\n%b\r\n" % (len(data), data)

    def _end(self) -> bytes:
        return b"" if self.close else b"0\r\n\r\n"


def tool_calls(profile: Profile, chat: Chat, *, number: int) -> list[dict[str, object]]:
    """Return the profile's tool calls in OpenAI's shape; one without a name takes the first tool offered."""
    offered, first = chat.body.get("tools"), "issue_refund"
    if isinstance(offered, list) and offered and isinstance(offered[0], dict):
        function = offered[0].get("function")
        first = str(function.get("name", first)) if isinstance(function, dict) else first
    return [
        {
            "id": f"call_{number}_{index}",
            "type": "function",
            "function": {"name": tool.name or first, "arguments": tool.arguments},
        }
        for index, tool in enumerate(profile.tool_calls)
    ]


class Call:
    """Plays one script on one connection and books how it ended."""

    __slots__ = (
        *("_cleanup", "_connection", "_due", "_ledger", "_loop", "_model", "_over", "_own", "_played"),
        *("_said", "_script", "_started", "_streamed", "_timer"),
    )

    def __init__(
        self, connection: Connection, ledger: Ledger, *, chat: Chat, script: Script, cleanup: Callable[[], None]
    ) -> None:
        self._connection, self._ledger, self._script, self._cleanup = connection, ledger, script, cleanup
        self._model, self._streamed = chat.model, chat.stream
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._said, self._played, self._over = 0, False, False
        self._own: Counts = ledger.start(chat.model)
        self._started = self._loop.time()
        self._due = self._started + script.first_s
        if script.fault:
            ledger.faults[script.fault] += 1

    def begin(self) -> None:
        """Start playing; an answer without latency is sent at once."""
        if self._script.first_s > 0:
            self._timer = self._loop.call_at(self._due, self._play)
        else:
            self._play()

    def resume(self) -> None:
        """Go on after the client has taken what was sent."""
        if self._played:
            self._finish()
        elif self._timer is None:
            # Not before its time: a slow client is behind, the model is not.
            self._timer = self._loop.call_at(self._due, self._play)

    def lost(self, seen_as: str) -> None:
        """End because the client left, or because the server closes (`shutdown`)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over:
            return
        self._over = True
        self._cleanup()
        after_s = self._loop.time() - self._started
        if not self._said:
            self._say(self._thought(after_s))
        if seen_as == "shutdown":
            self._ledger.end(self._own, failed=True)
            return
        cut = Cut(
            model=self._model,
            streamed=self._streamed,
            seen_as=seen_as,
            after_s=round(after_s, 6),
            tokens=self._said,
        )
        self._ledger.cut(self._own, cut)

    def _thought(self, after_s: float) -> int:
        """Tokens that an answer that is not streamed had grown to, unseen."""
        count, first_s, gap = self._script.thinking
        return min(count, int((after_s - first_s) / gap) + 1) if gap > 0 and after_s >= first_s else 0

    def _say(self, tokens: int) -> None:
        if tokens:
            self._said += tokens
            self._ledger.tokens(self._own, tokens, after_cut=self._connection.lost and not self._over)

    def _play(self) -> None:
        self._timer = None
        script, now = self._script, self._loop.time()
        batch, size = [], 0
        for data, tokens in script.pieces:
            batch.append(data)
            size += len(data)
            self._say(tokens)
            self._due += script.gap_s
            if size >= _MAX_BATCH or (script.gap_s > 0 and self._due > now):
                break
        else:
            self._played = True
        self._connection.send(b"".join(batch))
        if self._played:
            if script.finale == "stall":
                self._played = False
                self._script.pieces = iter(())
            elif script.finale == "abort" or not self._connection.paused:
                self._finish()
        elif not self._connection.paused:
            self._timer = self._loop.call_at(self._due, self._play)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._cleanup()
        self._ledger.end(self._own, failed=bool(self._script.fault))
        if self._script.finale == "abort":
            self._connection.abort()
        else:
            self._connection.done(close=self._script.close)


def write(request: Request, chat: Chat, *, profile: Profile, fault: Fault, number: int, redirect: str) -> Writer:
    """Make up what a model answers.

    Raises:
        Exception: whatever a profile's own rule or reply raises.
    """
    said: Sequence[str]
    said, reason = answer_tokens(chat, profile, rule=profile.verdict, fault=fault.kind)
    tools: list[dict[str, object]] = []
    if profile.tool_calls and nonce_asked(chat) is None and not chat.told_by_tool:
        tools, reason = tool_calls(profile, chat, number=number), "tool_calls"
        said = [token for tool in profile.tool_calls for token in tokenize(tool.arguments) or [""]]
    return Writer(request, chat, profile, fault, number, redirect, list(said), reason, tools)
