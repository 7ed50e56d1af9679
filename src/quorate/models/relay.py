"""Somebody else's chat completions, passed on byte for byte: the caller's request in, the upstream's own bytes out.

Nothing is written anew: what is emitted, put together, is what the upstream sent, cut where one event ends and the
next begins. Each event is read all the same, so that a stream that breaks, or says that it has, is an error here and
never a short answer there.
"""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from quorate.engine import Timeout, clock, spend
from quorate.errors import BadReply, ModelError, StreamBroken, UsageError
from quorate.events import Usage
from quorate.models.adaptive import Pace
from quorate.models.http import Session, mapped, proxy_for, read_bounded, read_json, read_start, status_error
from quorate.models.openai import Price, Timeouts

_CHARS_PER_TOKEN = 4
MAX_EVENT_BYTES = 1 << 20
MAX_TEXT = 1 << 18
"""Characters of a reply that are kept as text; whole pieces, so it may be one piece more."""
_LONG = 1 << 19
_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")  # The middle one ends lines of either kind.

_END = re.compile(rb"\n\r?\n|\r\r")

Emit = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Relayed:
    """How a relayed reply ended.

    Attributes:
        content_type: of the upstream's reply.
        model: who answered, as the upstream names it.
        usage: tokens and money.
        text: what its first choice says, for people to read; of a very long one the beginning.
    """

    content_type: str
    model: str
    usage: Usage
    text: str = ""


class Relay:
    """One upstream behind one base URL.

    Args:
        base_url: up to and including the version; a query is kept.
        session: shared by all models; must be open when a call is made.
        pace: room at the upstream; None for no bound.
        api_key: sent as a bearer token; never shown. The caller's own is never passed on.
        timeouts: for each call.
        price: for the usage's cost.
    """

    def __init__(
        self,
        *,
        base_url: str,
        session: Session,
        pace: Pace | None = None,
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        price: Price | None = None,
    ) -> None:
        base = URL(base_url)
        if base.scheme not in ("http", "https") or not base.host:
            raise UsageError(f"base_url must be an http(s) address with a host, got one of scheme {base.scheme!r}")
        self._url = base.joinpath("chat", "completions").with_query(base.query)
        self.where = f"the upstream at {base.host}"
        self._session = session
        self._pace = pace
        self._key = api_key
        self._headers = CIMultiDict({"Authorization": f"Bearer {api_key}"}) if api_key else None
        self._proxy = proxy_for(self._url)
        self._timeouts = timeouts or Timeouts()
        self._price = price or Price()

    def __repr__(self) -> str:
        return f"Relay({self.where!r})"

    async def send(self, body: bytes, emit: Emit, *, stream: bool) -> Relayed:
        """Ask, and emit the reply's bytes: events as they come where it is streamed, all of it at once otherwise.

        Cancelling it closes the connection. Records its usage with `quorate.engine.spend`, estimated where the
        upstream gave no count.

        Raises:
            ModelUnavailable: no connection, a timeout, a 5xx; `RateLimited` for a 429.
            ModelRefused: another status than 200, a redirect among them.
            BadReply: the reply, or its first event, is not a chat completion.
            StreamBroken: the stream ended, or broke, after its first event.
            LimitExceeded: there is no room to run or to wait.
        """
        if self._pace is not None and not self._pace.take():
            await self._pace.turn()
        reading, start_s = _Reading(self.where, emit, len(body), stream=stream), clock.now()
        try:
            return await self._ask(body, reading, stream=stream)
        except asyncio.CancelledError:
            reading.cut = True
            raise
        except (aiohttp.ClientError, OSError, ModelError) as error:
            ours = error if isinstance(error, ModelError) else mapped(self.where, error)
            raise (StreamBroken(str(ours)) if reading.spoke else ours) from None
        finally:
            spend(reading.used(self._price))
            if self._pace is not None:
                if not reading.begun and not reading.cut:
                    self._pace.saw(None, {}, latency_s=clock.now() - start_s)
                self._pace.leave()

    async def _ask(self, body: bytes, reading: "_Reading", *, stream: bool) -> Relayed:
        times, start_s = self._timeouts, clock.now()
        payload = _payload(body)
        with clock.timeout(min(times.first_s if stream else times.total_s, times.total_s)) as patience:
            async with self._session.client.post(
                self._url, data=payload, headers=self._headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                reading.begun = True
                if self._pace is not None:
                    self._pace.saw(response.status, response.headers, latency_s=clock.now() - start_s)
                if response.status != 200:
                    reading.counts = (0, 0)
                    raise await self._refusal(response)
                if stream:
                    await self._stream(response, reading, patience=patience, start_s=start_s)
                else:
                    await reading.whole(await read_bounded(response))
                kind = response.headers.get("Content-Type", "application/json")
        return Relayed(kind, reading.model, reading.used(self._price), "".join(reading.texts))

    async def _stream(
        self, response: aiohttp.ClientResponse, reading: "_Reading", *, patience: Timeout, start_s: float
    ) -> None:
        times, frames = self._timeouts, Frames()
        end_s = start_s + times.total_s
        while chunk := await response.content.readany():
            whole = frames.feed(chunk)
            if not whole:
                continue
            patience.reschedule(end_s)  # The reader's pace is not the upstream's fault.
            said = await reading.events(whole)
            if reading.done:
                return
            if said:  # Comments, as gateways send them to keep a connection, are no token.
                limit_s = clock.now() + times.idle_s if reading.spoke else start_s + times.first_s
                patience.reschedule(min(end_s, limit_s))
        raise StreamBroken(f"{self.where}: the stream ended before its end")

    async def _refusal(self, response: aiohttp.ClientResponse) -> ModelError:
        text = (await read_start(response, 1 << 16)).decode(errors="replace")
        # Where it is not OpenAI's error shape, the text as it came is all there is.
        with suppress(ValueError, KeyError, TypeError):
            text = str(json.loads(text)["error"]["message"])
        hidden = text.replace(self._key, "[key]") if self._key else text
        return status_error(self.where, response, message=hidden)


def _payload(body: bytes) -> aiohttp.Payload:
    """A long one is written in pieces, so that the loop turns meanwhile."""
    if len(body) > _LONG:
        return aiohttp.BytesIOPayload(io.BytesIO(body), content_type="application/json")
    return aiohttp.BytesPayload(body, content_type="application/json")


class Frames:
    """Server-sent events, whole and unchanged: bytes in, bytes out up to the end of the last finished event."""

    def __init__(self, *, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._rest = bytearray()
        self._max = max_bytes

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes; return the finished events among all that came so far, as they came.

        Raises:
            BadReply: one event grew beyond the bound.
        """
        if not self._rest and len(chunk) <= self._max and chunk.endswith(b"\n\n"):
            return chunk  # Servers mostly send whole events.
        seen = max(0, len(self._rest) - 2)  # An end may have begun there.
        self._rest += chunk
        end = max(at + len(mark) if (at := self._rest.rfind(mark, seen)) >= 0 else 0 for mark in _ENDS)
        if len(self._rest) - end > self._max:
            raise BadReply(f"one event of the stream is longer than {self._max} bytes")
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        return whole


def single(whole: bytes) -> Iterator[bytes]:
    """Finished events one by one, each as it came; put together they are the same bytes."""
    start = 0
    for mark in _END.finditer(whole):
        yield whole[start : mark.end()]
        start = mark.end()
    if start < len(whole):
        yield whole[start:]


def events_in(whole: bytes) -> list[bytes]:
    """The `data` of each event in finished events; comments and other fields have none."""
    found: list[bytes] = []
    lines: list[bytes] = []
    for line in whole.splitlines():
        if not line:
            if lines:
                found.append(b"\n".join(lines))
                lines = []
        elif line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
    return found


def text_in(raw: bytes, *, stream: bool) -> str:
    """What the first choice of a relayed reply says, as far as it came, for people to read."""
    texts: list[str] = []
    for data in events_in(raw) if stream else [raw]:
        with suppress(ValueError, RecursionError):  # [DONE] among them.
            texts += _said(read_json(data), stream=stream)
    return "".join(texts)


def _said(data: Any, *, stream: bool) -> list[str]:
    """What the first choice of a reply, or of an event of one, says."""
    choices = data.get("choices") if isinstance(data, dict) else None
    texts: list[str] = []
    for choice in choices if isinstance(choices, list) else ():
        said = choice.get("delta" if stream else "message") if isinstance(choice, dict) else None
        if isinstance(said, dict) and choice.get("index", 0) == 0 and isinstance(text := said.get("content"), str):
            texts.append(text)
    return texts


class _Reading:
    """A reply while it is passed on. What is read of it decides only where it ends and what it cost."""

    def __init__(self, where: str, emit: Emit, asked: int, *, stream: bool) -> None:
        self._where = where
        self._emit = emit
        self._asked = asked
        self._stream = stream
        self.cut = False
        self.begun = False
        self.done = False
        self.spoke = False
        self.model = ""
        self.pieces = 0
        self.texts: list[str] = []
        self._said = 0
        self.counts: tuple[int, int] | None = None

    async def whole(self, body: bytes) -> None:
        """Pass on a reply that is not streamed."""
        data = self._parse(body)
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices:
            raise BadReply(f"{self._where}: the reply has no choice")
        self._note(data)
        self.spoke = self.done = True
        await self._emit(body)

    async def events(self, whole: bytes) -> bool:
        """Pass finished events on; tells whether there was more in them than comments."""
        found = events_in(whole)
        for data in found:
            if data == b"[DONE]":
                self.done = True
                continue
            event = self._parse(data)
            if event.get("error") is not None:
                said = str(event["error"])[:200]
                raise BadReply(f"{self._where}: it says {said!r}")
            self._note(event)
            self.pieces += 1
        self.spoke = self.spoke or bool(found)
        await self._emit(whole)
        return bool(found)

    def used(self, price: Price) -> Usage:
        """What the call has cost so far."""
        read, written = self.counts if self.counts is not None else (self._asked // _CHARS_PER_TOKEN, self.pieces)
        cost = (read * price.input_usd + written * price.output_usd) / 1e6
        return Usage(1, read, written, cost, estimated=self.counts is None, cut_calls=int(self.cut))

    def _note(self, data: dict[str, Any]) -> None:
        if not self.model and isinstance(name := data.get("model"), str):
            self.model = name[:200]
        if self._said < MAX_TEXT:
            texts = _said(data, stream=self._stream)
            self.texts += texts
            self._said += sum(map(len, texts))
        usage = data.get("usage")
        if isinstance(usage, dict):
            read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
            if isinstance(read, int) and isinstance(written, int) and 0 <= read < 1 << 40 and 0 <= written < 1 << 40:
                self.counts = (read, written)

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            found = read_json(data)
        except (ValueError, RecursionError) as error:
            raise BadReply(f"{self._where}: not JSON") from error
        if not isinstance(found, dict):
            raise BadReply(f"{self._where}: not a JSON object")
        return found
