"""What a caller asks for, in OpenAI's chat completions shape: read whole, bounded, nothing in it passed on unread.

Every field is known, and is one of three things: read by us, inert (it holds no text that a model reads), or a text
that checks must read. Messages are written anew from what was understood of them, so that what is checked is what is
sent. What is not known is refused by name, never passed on.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quorate.checks import Conversation
from quorate.checks.conversation import Part
from quorate.checks.leak import marked
from quorate.errors import UsageError
from quorate.settings import ServiceTable

INERT = frozenset(
    (
        *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("seed", "stop", "user", "safety_identifier", "prompt_cache_key", "metadata", "service_tier", "store"),
        *("parallel_tool_calls", "reasoning_effort", "verbosity", "stream_options"),
    )
)
"""Fields that hold no text which a model reads: passed on as they are."""
TEXTS = ("tools", "functions", "response_format", "tool_choice", "function_call")
"""Fields whose text a model reads: checks read it too, as text of the system's."""
SEARCH = ("web_search_options",)
"""Server-side searches: they act on the world, so the answer waits for the verdict."""
HISTORY = ("previous_response_id", "conversation", "thread_id", "thread", "assistant_id")
"""History that the server holds and no check has seen."""
MAX_DEPTH = 100
"""Levels of lists and objects in a body."""
_MESSAGE = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "annotations")
)
_SYSTEM = ("system", "developer")
_ANSWERED = ("tool", "function")


class BadRequest(UsageError):
    """A request that cannot be served as it is.

    Attributes:
        param: the field at fault, or None.
        code: OpenAI's short name of the mistake, or None.
        status_hint: the HTTP status.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        self.param, self.code, self.status_hint = param, code, status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been understood.

    Attributes:
        model: the name the caller asked for.
        stream: whether the reply is streamed.
        usage: whether a stream ends with its usage.
        params: everything but the messages and the model, as it is passed on.
        messages: the messages as they are passed on.
        conversation: what checks read of it.
        acts: why answering may change something in the world, or None where it cannot.
        choices: how many answers were asked for.
        max_tokens: that an answer may have, or None.
    """

    model: str
    stream: bool
    usage: bool
    params: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    conversation: Conversation
    acts: str | None
    choices: int
    max_tokens: int | None

    @property
    def rounds(self) -> bool:
        """Whether it ends in a tool's result, so that the turn was judged before."""
        return self.messages[-1]["role"] in _ANSWERED

    def body(self, model: str, numbers: Sequence[int], *, canary: str | None = None) -> bytes:
        """The request as it is sent on: under the upstream's own name of the model, with these of the messages.

        Args:
            model: the upstream's name.
            numbers: of the messages; each is sent once.
            canary: a marker for the first message of the system's, or None.
        """
        messages = [self.messages[number] for number in dict.fromkeys(numbers)]
        first = next((at for at, message in enumerate(messages) if message["role"] in _SYSTEM), None)
        if canary is not None and first is not None and isinstance(text := messages[first]["content"], str):
            messages[first] = {**messages[first], "content": marked(text, canary)}
        try:
            return json.dumps({"model": model, **self.params, "messages": messages}, allow_nan=False).encode()
        except ValueError as error:
            raise BadRequest("a number in the body is too large: send one that JSON can carry") from error

    def prefixes(self, salt: str) -> list[tuple[str, int]]:
        """A key for each beginning of the conversation, the longest first, and how many messages it has.

        Args:
            salt: what else verdicts depend on: the key that asks, the config.
        """
        digest = hashlib.sha256(salt.encode())
        digest.update(json.dumps({name: self.params.get(name) for name in TEXTS}, sort_keys=True).encode())
        found = []
        for number, message in enumerate(self.messages, 1):
            digest.update(json.dumps(message, sort_keys=True).encode())
            found.append((digest.copy().hexdigest(), number))
        return found[::-1]


def parse(raw: bytes) -> dict[str, Any]:
    """Read a body as a JSON object, without lone surrogates, which no wire after it can carry.

    Raises:
        BadRequest: it is not one, or names a field twice.
    """
    try:
        data = json.loads(raw, object_pairs_hook=_once, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON, or is nested too deeply: send one JSON object") from error
    if not isinstance(data, dict):
        raise BadRequest("the body is JSON, but no object")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _deep(data):
        raise BadRequest(f"the body is nested too deeply: allowed are {MAX_DEPTH} levels")
    if b"\\ud" in raw or b"\\uD" in raw:
        text = json.dumps(data, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return dict(json.loads(text))
    return data


def _deep(data: Any) -> bool:
    """Whether a value is nested beyond `MAX_DEPTH`: whoever writes it again needs a level of the stack for each."""
    level = [data]
    for _ in range(MAX_DEPTH):
        inner = (value for item in level for value in (item.values() if isinstance(item, dict) else item))
        level = [value for value in inner if isinstance(value, dict | list)]
    return bool(level)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadRequest(f"the field {twice[:60]!r} stands there twice")
    return found


def _constant(name: str) -> None:
    raise BadRequest(f"{name} is no JSON: send a number")


def asked(data: Mapping[str, Any], limits: ServiceTable) -> Asked:
    """Understand a chat completions request.

    Raises:
        BadRequest: something in it is not known, too large, or not of its form; says which field.
    """
    inert = INERT.union(limits.inert)
    known = {"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens", *TEXTS, *SEARCH}
    for name in data:
        if name in HISTORY:
            raise BadRequest(
                f"{name}: history that the server holds is not served, since no check has seen it: send all messages",
                param=name,
            )
        if name not in known and name not in inert:
            raise BadRequest(
                f"{name[:60]}: is not a field that is passed on; where no model reads it, list it in [service] inert",
                param=name[:60],
                code="unsupported_parameter",
            )
    model = data.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 256:
        raise BadRequest("model: give the name of a model", param="model")
    stream = _flag(data, "stream")
    choices = _count(data, "n", limits.max_n) or 1
    tokens = [_count(data, name, limits.max_tokens) for name in ("max_tokens", "max_completion_tokens")]
    messages = _messages(data.get("messages"), limits)
    params = {name: value for name, value in data.items() if name not in ("model", "messages")}
    options = data.get("stream_options")
    usage = isinstance(options, Mapping) and options.get("include_usage") is True
    try:
        conversation = Conversation.of(messages)
    except UsageError as error:
        raise BadRequest(str(error), param="messages") from error
    parts = (*_texts(data, limits), *conversation.parts)
    given = next((count for count in tokens if count is not None), None)
    return Asked(model, stream, usage, params, messages, Conversation(parts), _acts(data), choices, given)


def _flag(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name}: found {type(value).__name__}, allowed are true and false", param=name)
    return bool(value)


def _count(data: Mapping[str, Any], name: str, most: int) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        shown = value if isinstance(value, int) else type(value).__name__
        raise BadRequest(f"{name}: found {shown}, allowed is a whole number from 1 to {most}", param=name)
    return value


def _messages(value: Any, limits: ServiceTable) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise BadRequest("messages: give a list of at least one message", param="messages")
    if len(value) > limits.max_messages:
        raise BadRequest(f"messages: found {len(value)}, allowed are {limits.max_messages}", param="messages")
    return [_message(message, f"messages[{number}]") for number, message in enumerate(value)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise BadRequest(f"{where}: a message is an object with role and content", param=where)
    for name, value in message.items():
        if name not in _MESSAGE and value is not None:  # Clients send messages back with empty fields of their own.
            raise BadRequest(f"{where}.{name[:60]}: is not a field of a message", param=f"{where}.{name[:60]}")
    sent = {name: value for name, value in message.items() if value is not None and name != "annotations"}
    if "refusal" in sent:  # What an assistant said in place of its content is its content.
        refusal = sent.pop("refusal")
        sent["content"] = sent.get("content") or refusal
    if "function_call" in sent:
        call = sent.pop("function_call")
        sent["tool_calls"] = [*(sent.get("tool_calls") or ()), {"id": "call_0", "type": "function", "function": call}]
    if isinstance(sent.get("content"), list):
        sent["content"] = [_piece(piece) for piece in sent["content"]]
    if "tool_calls" in sent:
        sent["tool_calls"] = _calls(sent["tool_calls"], f"{where}.tool_calls")
    sent.setdefault("content", "" if "tool_calls" not in sent else None)
    return sent


def _piece(piece: Any) -> Any:
    """A text part without anything beside its text; other kinds are left whole, for `on_unread` to decide on."""
    if isinstance(piece, Mapping) and piece.get("type") in ("text", "input_text", "refusal"):
        return {"type": "text", "text": piece.get("text", piece.get("refusal"))}
    return piece


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise BadRequest(f"{where}: found {type(calls).__name__}, allowed is a list of tool calls", param=where)
    sent = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise BadRequest(f"{where}[{number}]: a tool call is an object with a function", param=where)
        named = {"name": function.get("name"), "arguments": function.get("arguments") or ""}
        sent.append({"id": call.get("id") or "", "type": "function", "function": named})
    return sent


def _texts(data: Mapping[str, Any], limits: ServiceTable) -> list[Part]:
    """The texts of tools and schemas, as the system's: no check is a judge of JSON, but all of it is read."""
    for name in ("tools", "functions"):
        tools = data.get(name)
        if tools is not None and not isinstance(tools, list):
            raise BadRequest(f"{name}: found {type(tools).__name__}, allowed is a list", param=name)
        if tools is not None and len(tools) > limits.max_tools:
            raise BadRequest(f"{name}: found {len(tools)}, allowed are {limits.max_tools}", param=name)
    texts: list[str] = []
    for name in (*TEXTS, *SEARCH):
        value = data.get(name)
        if isinstance(value, Mapping | list):
            texts += strings(value)
    return [Part("system", "\n".join(texts), number=-1)] if texts else []


_WORDS = frozenset(
    (
        *("function", "object", "string", "number", "integer", "boolean", "array", "null", "json_schema", "auto"),
        *("json_object", "text", "required", "none"),
    )
)


def strings(value: Any) -> list[str]:
    """Every text in a JSON value, keys too, but for the words that schemas are made of."""
    found: list[str] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            if item not in _WORDS:
                found.append(item)
        elif isinstance(item, Mapping):
            for key, inner in reversed(list(item.items())):
                todo += [inner, key]
        elif isinstance(item, list):
            todo += reversed(item)
    return found


def _acts(data: Mapping[str, Any]) -> str | None:
    for name in SEARCH:
        if data.get(name) is not None:
            return f"{name} acts on the server's side"
    for tool in data.get("tools") or ():
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind != "function":
            return f"a tool of type {str(kind)[:40]!r} acts on the server's side"
    return None
