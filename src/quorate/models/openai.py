"""Any server that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, Ollama, llama.cpp, gateways.

Cancelling a call closes its connection, streamed or not, so that the server can stop. What a server does not
know (JSON schema, stream options, a parameter's old name) is learned from its first complaint and left out from
then on.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from quorate.engine import Timeout, clock, spend
from quorate.errors import BadReply, ModelError, ModelRefused, ModelUnavailable, StreamBroken, UsageError
from quorate.events import Usage
from quorate.models import Emit, Message, Prompt, Reply, ToolCall, ToolCallDelta
from quorate.models.adaptive import Pace
from quorate.models.http import Session, mapped, proxy_for, read_bounded, read_json, read_start, status_error
from quorate.models.sse import EventStream

_CHARS_PER_TOKEN = 4
"""Rule of thumb for English text, used only where the server gave no count."""

_QUIRKS = ("json_schema", "response_format", "stream_options", "max_tokens", "temperature")
_MOST_TOKENS = 1 << 40


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds a call may take: until its first token, between two pieces, and altogether."""

    first_s: float = 20.0
    idle_s: float = 20.0
    total_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input_usd: float = 0.0
    output_usd: float = 0.0


class OpenAIModel:
    """One model behind one base URL.

    Args:
        model: the model's name as the server knows it.
        base_url: up to and including the version, such as `http://localhost:8000/v1`; a query is kept.
        session: shared by all models; must be open when a call is made.
        api_key: sent as a bearer token; never shown.
        timeouts: for each call.
        price: for the usage's cost.
        pace: told what each call came to; shared by the models of one upstream, and their limiter.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        session: Session,
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        price: Price | None = None,
        pace: Pace | None = None,
    ) -> None:
        base = URL(base_url)
        if base.scheme not in ("http", "https") or not base.host:
            raise UsageError(f"base_url must be an http(s) address with a host, got one of scheme {base.scheme!r}")
        if base.user is not None or base.password is not None:
            raise UsageError("base_url must not carry a user or a password: give the key as api_key")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("api_key has characters that cannot stand in a header, such as a line end")
        self._url = base.joinpath("chat", "completions").with_query(base.query)
        self._where = f"{model} at {base.host}"
        self._model = model
        self._session = session
        self._key = api_key
        self._headers = CIMultiDict({"Authorization": f"Bearer {api_key}"}) if api_key else None
        self._proxy = proxy_for(self._url)
        self._timeouts = timeouts or Timeouts()
        self._price = price or Price()
        self._pace = pace
        self._lacks: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"OpenAIModel({self._where!r})"

    @property
    def name(self) -> str:
        """The model's name as the server knows it."""
        return self._model

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Call the server; see `quorate.models.Model`.

        Raises:
            ModelUnavailable: no connection, a timeout, a 5xx; `RateLimited` for a 429.
            ModelRefused: another status than 200, a redirect among them.
            BadReply: the reply is not a chat completion.
            StreamBroken: the stream ended, or broke, after its first piece.
        """
        reading = _Reading(self._where, emit, self._hidden)
        times, known = self._timeouts, self._lacks
        start_s = clock.now()
        body = aiohttp.BytesPayload(self._body(prompt, stream=emit is not None), content_type="application/json")
        try:
            with clock.timeout(min(times.first_s, times.total_s)) as patience:
                async with self._session.client.post(
                    self._url, data=body, headers=self._headers, proxy=self._proxy, allow_redirects=False
                ) as response:
                    reading.begun = True
                    if self._pace is not None:
                        self._pace.saw(response.status, response.headers, latency_s=clock.now() - start_s)
                    if response.status != 200:
                        reading.usage = (0, 0)
                        raise await self._refusal(response)
                    if emit is None:
                        reading.whole(await read_bounded(response))
                    else:
                        await self._stream(response, reading, patience=patience, start_s=start_s)
        except asyncio.CancelledError:
            reading.cut = True
            raise
        except ModelRefused as error:
            if not self._learn(error, known):
                raise
            reading.again = True
        except (aiohttp.ClientError, OSError, ModelUnavailable) as error:
            if self._pace is not None and not reading.begun:
                self._pace.saw(None, {}, latency_s=clock.now() - start_s)
            ours = mapped(self._where, error)
            raise (StreamBroken(str(ours)) if reading.spoke else ours) from None
        finally:
            usage = self._usage(reading, prompt)
            spend(usage)
        return await self.complete(prompt, emit) if reading.again else reading.reply(self._model, usage)

    def _learn(self, error: ModelRefused, known: frozenset[str]) -> bool:
        """Note what the server says it does not know; False where the call, made with `known`, left it out already."""
        if error.status not in (400, 404, 422, 501):
            return False
        said = str(error).removeprefix(self._where)
        for quirk in _QUIRKS:
            if quirk in said and quirk not in known:
                self._lacks |= {quirk}
                return True
        return False

    def _body(self, prompt: Prompt, *, stream: bool) -> bytes:
        """The request. Put together from text, since most of it is the same in every call."""
        fields = [f'{{"model":{_text(self._model)}']
        if prompt.max_tokens is not None:
            name = "max_completion_tokens" if "max_tokens" in self._lacks else "max_tokens"
            fields.append(f'"{name}":{prompt.max_tokens}')
        if prompt.temperature is not None and "temperature" not in self._lacks:
            fields.append(f'"temperature":{prompt.temperature}')
        if prompt.tools:
            fields.append(f'"tools":{json.dumps(list(prompt.tools))}')
        if prompt.schema is not None and "response_format" not in self._lacks:
            fields.append(f'"response_format":{self._format(prompt.schema_name, prompt.schema)}')
        if stream:
            options = "" if "stream_options" in self._lacks else ',"stream_options":{"include_usage":true}'
            fields.append(f'"stream":true{options}')
        messages = [_system(m.content) if m.role == "system" else _message(m) for m in prompt.messages]
        fields.append(f'"messages":[{",".join(messages)}]}}')
        return ",".join(fields).encode()

    def _format(self, name: str, schema: str) -> str:
        if "json_schema" in self._lacks:
            return '{"type":"json_object"}'
        return f'{{"type":"json_schema","json_schema":{{"name":{_text(name)},"strict":true,"schema":{schema}}}}}'

    async def _stream(
        self, response: aiohttp.ClientResponse, reading: "_Reading", *, patience: Timeout, start_s: float
    ) -> None:
        times, events = self._timeouts, EventStream()
        end_s = start_s + times.total_s
        while chunk := await response.content.readany():
            found = events.feed(chunk)
            for data in found:
                if data == "[DONE]":
                    reading.done = True
                    return
                patience.reschedule(end_s)  # The reader's pace is not the server's fault.
                await reading.piece(data)
            if found:  # Comments and half events, as gateways send them to keep a connection, are no token.
                limit_s = clock.now() + times.idle_s if reading.spoke else start_s + times.first_s
                patience.reschedule(min(end_s, limit_s))

    async def _refusal(self, response: aiohttp.ClientResponse) -> ModelError:
        text = (await read_start(response, 1 << 16)).decode(errors="replace")
        # Where it is not OpenAI's error shape, the text as it came is all there is.
        with suppress(ValueError, KeyError, TypeError):
            text = str(json.loads(text)["error"]["message"])
        return status_error(self._where, response, message=self._hidden(text))

    def _hidden(self, text: str) -> str:
        """The server's text without the key, which some of them repeat."""
        return text.replace(self._key, "[key]") if self._key else text

    def _usage(self, reading: "_Reading", prompt: Prompt) -> Usage:
        counts = reading.usage
        if counts is not None:
            read, written = counts
        else:
            read = sum(len(message.content) for message in prompt.messages) // _CHARS_PER_TOKEN
            # A server that is not streaming may well finish what it was asked for: count the whole allowance.
            written = reading.pieces if reading.emit is not None else (prompt.max_tokens or 0)
        cost = (read * self._price.input_usd + written * self._price.output_usd) / 1e6
        return Usage(1, read, written, cost, estimated=counts is None, cut_calls=int(reading.cut))


_text = json.JSONEncoder().encode


def _sound(text: str) -> str:
    """The text without lone surrogates, which JSON can carry and no wire after it: each becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _message(message: Message) -> str:
    if not message.tool_calls and message.tool_call_id is None:
        return f'{{"role":{_text(message.role)},"content":{_text(message.content)}}}'
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        out["tool_calls"] = list(message.tool_calls)
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return _text(out)


@lru_cache(maxsize=64)
def _system(content: str) -> str:
    """A check's fixed prefix is the same in every call, and by far the longest part of it."""
    return _message(Message("system", content))


class _Reading:
    """A reply while it is being read. Everything in it comes from outside and is checked before use."""

    def __init__(self, where: str, emit: Emit | None, hidden: Callable[[str], str]) -> None:
        self.emit = emit
        self._hidden = hidden
        self.begun = False
        self.done = False
        self.cut = False
        self.again = False
        self.pieces = 0
        self.usage: tuple[int, int] | None = None
        self._where = where
        self._text: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._finish: str | None = None

    @property
    def spoke(self) -> bool:
        return self.pieces > 0

    def whole(self, body: bytes) -> None:
        data = self._parse(body)
        choice = self._choice(data)
        if choice is None:
            raise BadReply(f"{self._where}: the reply has no choice")
        message = choice.get("message")
        if not isinstance(message, dict):
            raise BadReply(f"{self._where}: the reply has no message")
        content = message.get("content")
        if isinstance(content, str):
            self._text.append(_sound(content))
        for index, call in enumerate(self._calls_in(message)):
            self._tool(call, index)
        self.done = True

    async def piece(self, data: str) -> None:
        chunk = self._parse(data)
        if chunk.get("error"):
            broken = f"{self._where}: the server broke off: {self._hidden(str(chunk['error']))[:200]!r}"
            raise StreamBroken(broken) if self.spoke else ModelUnavailable(broken)
        choice = self._choice(chunk)
        delta = choice.get("delta") if choice is not None else None
        if not isinstance(delta, dict) or self.emit is None:
            return
        content = delta.get("content")
        if isinstance(content, str) and content:
            content = _sound(content)
            self.pieces += 1
            self._text.append(content)
            await self.emit(content)
        for call in self._calls_in(delta):
            self.pieces += 1
            await self.emit(self._tool(call, 0))

    def reply(self, model: str, usage: Usage) -> Reply:
        if not self.done and self._finish is None:
            ended = f"{self._where}: the stream ended before its end"
            raise StreamBroken(ended) if self.spoke else ModelUnavailable(ended)
        calls = tuple(ToolCall(*self._calls[index]) for index in sorted(self._calls))
        return Reply("".join(self._text), model, self._finish or "stop", calls, usage)

    def _parse(self, text: str | bytes) -> dict[str, Any]:
        try:
            data = read_json(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise BadReply(f"{self._where}: the reply is not a JSON object")
        usage = data.get("usage")
        if isinstance(usage, dict):
            read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
            if isinstance(read, int) and isinstance(written, int) and max(read, written) <= _MOST_TOKENS:
                self.usage = (max(read, 0), max(written, 0))
        return data

    def _choice(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return None
        finish = choices[0].get("finish_reason")
        if isinstance(finish, str):
            self._finish = finish
        return choices[0]

    def _calls_in(self, message: Mapping[str, Any]) -> list[Any]:
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadReply(f"{self._where}: tool_calls is not a list")
        return calls

    def _tool(self, call: Any, position: int) -> ToolCallDelta:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise BadReply(f"{self._where}: a tool call without a function")
        index, arguments = call.get("index", position), function.get("arguments") or ""
        delta = ToolCallDelta(
            index if isinstance(index, int) else position,
            call.get("id") if isinstance(call.get("id"), str) else None,
            function.get("name") if isinstance(function.get("name"), str) else None,
            _sound(arguments if isinstance(arguments, str) else _text(arguments)),
        )
        whole = self._calls.setdefault(delta.index, ["", "", ""])
        whole[0] = delta.id or whole[0]
        whole[1] = delta.name or whole[1]
        whole[2] += delta.arguments
        return delta
