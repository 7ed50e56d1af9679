"""What a caller gets, in OpenAI's shapes: refusals and built-in answers as ordinary completions, errors as errors."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from quorate.errors import (
    DeadlineExceeded,
    LimitExceeded,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    QuorateError,
    RateLimited,
    StoreError,
)
from quorate.models import ToolCallDelta

DONE = b"data: [DONE]\n\n"
KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
"""OpenAI's `type` of an error by its HTTP status; "api_error" for any other."""
PASSED = (400, 404, 413, 422)
"""Statuses of an upstream that speak of the caller's own request."""


def created() -> int:
    """Seconds since 1970, as completions carry them."""
    return int(datetime.now(UTC).timestamp())


@dataclass(slots=True)
class Completion:
    """One completion of our own making: a refusal, a hand-over, or the built-in answer.

    Attributes:
        model: the name the caller asked for.
        choices: how many answers the caller asked for: all of them are the same.
        decision: stands in the field `quorate` of the object, or of a stream's first chunk; None leaves it out.
        id: of the completion.
        created: when, in seconds since 1970.
    """

    model: str
    choices: int = 1
    decision: str | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=created)

    def whole(
        self, text: str, *, reason: str, calls: Sequence[Mapping[str, Any]] = (), usage: tuple[int, int] = (0, 0)
    ) -> bytes:
        """The reply as one object; `usage` is tokens read and written."""
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if calls:
            message["tool_calls"] = list(calls)
        rows = [
            {"index": at, "message": message, "finish_reason": reason, "logprobs": None} for at in range(self.choices)
        ]
        return json.dumps(self._object("chat.completion", rows) | {"usage": _usage(usage)}).encode()

    def chunk(self, delta: str | ToolCallDelta, *, first: bool) -> bytes:
        """A piece of a streamed reply as an event; the first one says whose it is."""
        role: dict[str, Any] = {"role": "assistant"} if first else {}
        if isinstance(delta, str):
            return self._event({**role, "content": delta}, None, mark=first)
        function = {"arguments": delta.arguments} | ({"name": delta.name} if delta.name is not None else {})
        call: dict[str, Any] = {"index": delta.index, "function": function}
        if delta.id is not None:
            call |= {"id": delta.id, "type": "function"}
        return self._event({**role, "tool_calls": [call]}, None, mark=first)

    def end(self, reason: str, *, usage: tuple[int, int] | None) -> bytes:
        """The events that end a streamed reply; with `usage` they say what it has cost."""
        ending = self._event({}, reason, mark=False)
        if usage is not None:
            whole = self._object("chat.completion.chunk", []) | {"usage": _usage(usage)}
            ending += _data(whole)
        return ending + DONE

    def streamed(self, text: str, *, reason: str, usage: bool) -> bytes:
        """A whole reply as a stream's events."""
        return self.chunk(text, first=True) + self.end(reason, usage=(0, 0) if usage else None)

    def _event(self, delta: Mapping[str, Any], reason: str | None, *, mark: bool) -> bytes:
        rows = [{"index": at, "delta": delta, "finish_reason": reason, "logprobs": None} for at in range(self.choices)]
        whole = self._object("chat.completion.chunk", rows)
        if not mark:
            whole.pop("quorate", None)
        return _data(whole)

    def _object(self, kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        whole: dict[str, Any] = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        whole["choices"] = rows
        if self.decision is not None:
            whole["quorate"] = {"decision": self.decision}
        return whole


def _usage(counts: tuple[int, int]) -> dict[str, int]:
    read, written = counts
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _data(whole: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


def _plainly(error: QuorateError) -> str:
    if isinstance(error, RateLimited):
        return "the upstream takes no more requests for the moment"
    if isinstance(error, ModelRefused):
        return "the upstream refused the service's own request"
    if isinstance(error, ModelUnavailable):
        return "the upstream cannot be reached or does not answer: try again later"
    if isinstance(error, ModelError):
        return "the upstream's answer broke off or is none"
    if isinstance(error, StoreError):
        return "the service cannot write its decision down: try again later"
    if isinstance(error, DeadlineExceeded):
        return "the request took too long: try again later"
    return "the service broke: its operator can find this request by its x-request-id"


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error as the caller is told it.

    Attributes:
        status: HTTP status.
        message: what is wrong and what to do; says nothing of what is behind the door.
        kind: OpenAI's `type`.
        code: OpenAI's `code`, or None.
        param: the field at fault, or None.
        retry_after_s: when another try makes sense, or None.
    """

    status: int
    message: str
    kind: str
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: QuorateError) -> "Trouble":
        """What a caller is told of an error of ours, or of an upstream's."""
        status, message = error.status_hint, str(error)
        after_s: float | None = None
        if isinstance(error, ModelRefused):
            # Others speak of us: a wrong key or address of ours is nothing that the caller could mend.
            status = error.status if error.status in PASSED else 502
        if status >= 500 or isinstance(error, RateLimited):
            # Its own words name hosts and databases, and quote what no check has read.
            message = _plainly(error)
        if isinstance(error, LimitExceeded | ModelUnavailable):
            after_s = error.retry_after_s
        if status in (429, 503) and after_s is None:
            after_s = 1.0
        code, param = getattr(error, "code", None), getattr(error, "param", None)
        if status == 429:
            code = code or "rate_limit_exceeded"
        return cls(status, message, KINDS.get(status, "api_error"), code, param, after_s)

    @property
    def body(self) -> bytes:
        """The error as JSON, in OpenAI's shape."""
        inner = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": inner}).encode()

    @property
    def event(self) -> bytes:
        """The error as the last event of a stream that had begun."""
        return b"data: " + self.body + b"\n\n"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What goes with it: when to try again."""
        if self.retry_after_s is None:
            return []
        return [(b"retry-after", str(max(1, round(self.retry_after_s + 0.5))).encode())]
