"""What the stand-in server reads in a chat request and what it says to it: verdicts by rule, or text.

The judged text is the last user message; where it holds data between `<<<TOKEN` and `TOKEN>>>` only what stands
between is judged. A request asks for a verdict if its JSON schema has the properties of one, or, without a schema,
if its prompt says `nonce: VALUE` outside of the data. Markers decide in any text: `[[flag]]` is flagged by every
model, `[[flag:threat]]` by models (or schemas) whose name contains that word.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from quorate.testing.standin.profiles import Profile, Rule, Ruling

VERDICT_FIELDS = frozenset({"violation", "score", "category", "reason", "nonce"})
_MAX_NAME = 256
_MAX_TOKENS = 100_000
_TOKEN = re.compile(r"\S+\s*|\s+")
_OPENING = re.compile(r"<<<([A-Za-z0-9_-]{1,128})")
_NONCE = re.compile(r"\bnonce:[ \t]*[\"'`]?([A-Za-z0-9_-]{4,128})", re.IGNORECASE)
_MARKER = re.compile(r"\[\[flag(?::([a-z0-9_-]{1,64}))?\]\]", re.IGNORECASE)
_THREATS: tuple[str, ...] = (
    *("ignore previous", "ignore all previous", "ignore your", "ignore the above", "disregard", "override your"),
    *(
        "system prompt",
        "your instructions",
        "hidden instructions",
        "jailbreak",
        "developer mode",
        "do anything now",
    ),
    *("pretend you are", "you are now", "no restrictions", "without restrictions", "exfiltrate", "drop table"),
    *("<script", "rm -rf", "base64", "<|im_start|>", "do anything now"),
)
_OFF_TOPIC: tuple[str, ...] = (
    *("poem", "haiku", "recipe", "web crawler", "python script", "source code", "homework", "essay", "lyrics"),
    *("football", "horoscope", "president", "election", "stock tip", "capital of", "weather", "tell me a joke"),
    *("translate this", "bedtime story", "movie", "math problem", "dating advice"),
)


class BadRequest(Exception):
    """The request is not one that an OpenAI-compatible server takes.

    Attributes:
        status: HTTP status of the reply.
        kind: the error's `type` in OpenAI's shape.
        code: its `code`, or None.
        param: the field at fault, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        self.status, self.kind, self.code, self.param = status, kind, code, param
        super().__init__(message)

    def body(self) -> bytes:
        """Return the error in OpenAI's shape, as JSON."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat completion request, read as far as the stand-in needs it.

    Attributes:
        body: the whole JSON object.
        model: name of the model asked.
        text: the judged text.
        prompt: everything in the prompt that is not data, for finding the nonce.
        prompt_tokens: estimate, four characters each.
        stream: whether the answer is streamed.
        include_usage: whether a stream ends with a usage chunk.
        max_tokens: bound on the answer's tokens, or None.
        format: type of the response format, or "".
        schema_name: name of the JSON schema, or "".
        schema_nonce: the nonce in the schema; None if the schema is not a verdict's or there is none.
    """

    body: Mapping[str, object]
    model: str
    text: str
    prompt: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    max_tokens: int | None
    format: str
    schema_name: str
    schema_nonce: str | None

    @property
    def told_by_tool(self) -> bool:
        """Whether it ends in a tool's result: then a model has what it asked for, and answers."""
        messages = cast("list[Mapping[str, object]]", self.body["messages"])
        return messages[-1]["role"] == "tool"


def parse_object(raw: bytes) -> Mapping[str, object]:
    """Read a request's body as a JSON object.

    Raises:
        BadRequest: it is not one.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body of your request is not a JSON object.")
    return body


def parse_chat(raw: bytes) -> Chat:
    """Read a chat completion request.

    Raises:
        BadRequest: it is not one.
    """
    body = parse_object(raw)
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not 0 < len(model) <= _MAX_NAME:
        raise BadRequest(f"you must provide a model parameter of 1 to {_MAX_NAME} characters", param="model")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list that is not empty", param="messages")
    size, fixed, last = 0, [], ""
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("every message must be an object with a role", param="messages")
        content = _content(message.get("content"))
        size += len(content)
        if message["role"] == "user":
            last = content
        elif message["role"] in ("system", "developer"):
            fixed.append(content)
    data, around = split_data(last)
    if data is not None:
        fixed.append(around)
    style, name, nonce = _response_format(body)
    options = body.get("stream_options")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise BadRequest("'max_tokens' must be an integer of at least 1", param="max_tokens")
    return Chat(
        body=body,
        model=model,
        text=last if data is None else data,
        prompt="\n".join(fixed),
        prompt_tokens=max(1, size // 4),
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=limit,
        format=style,
        schema_name=name,
        schema_nonce=nonce,
    )


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _response_format(body: Mapping[str, object]) -> tuple[str, str, str | None]:
    wanted = body.get("response_format")
    if wanted is None:
        return "", "", None
    style = wanted.get("type") if isinstance(wanted, dict) else None
    if style not in ("text", "json_object", "json_schema"):
        raise BadRequest("'response_format' has no known type", param="response_format")
    if style != "json_schema":
        return str(style), "", None
    spec = cast("dict[str, object]", wanted).get("json_schema")
    schema = spec.get("schema") if isinstance(spec, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(spec, dict) or not isinstance(properties, dict):
        raise BadRequest("'json_schema' must have a schema with properties", param="response_format")
    name = str(spec.get("name", ""))
    if not properties.keys() >= VERDICT_FIELDS:
        return style, name, None
    nonce = properties["nonce"]
    allowed = nonce.get("enum") if isinstance(nonce, dict) else None
    return style, name, str(allowed[0]) if isinstance(allowed, list) and allowed else ""


def split_data(text: str) -> tuple[str | None, str]:
    """Split a message into the data between boundary lines, and what stands around it.

    Returns:
        The data (several pieces joined by line ends; None where there is no boundary) and the rest. Takes time
        linear in the text's length, whatever the text holds.
    """
    pieces, around, position, tries = [], [], 0, 0
    for found in _OPENING.finditer(text):
        if found.start() < position:
            continue
        tries += 1
        if tries > 64:
            break  # Each try may read the whole text: a text of boundaries only must not make that quadratic.
        end = text.find(found[1] + ">>>", found.end())
        if end < 0:
            continue
        around.append(text[position : found.start()])
        pieces.append(text[found.end() : end].strip("\r\n"))
        position = end + len(found[1]) + 3
    around.append(text[position:])
    return ("\n".join(pieces) if pieces else None), "\n".join(around)


def find_nonce(prompt: str) -> str | None:
    """Return the value that a prompt without its data announces as `nonce: VALUE`, or None.

    A prompt also explains its nonce ("nonce: copy it"), so the last value with a digit in it wins.
    """
    values: list[str] = _NONCE.findall(prompt)
    marked = [value for value in values if any(character.isdigit() for character in value)]
    return marked[-1] if marked else values[-1] if values else None


def judge(text: str, names: str) -> Ruling:
    """Judge a text by the default rules, in linear time.

    Args:
        text: the judged text.
        names: names of model and schema; the words in them choose the rules.
    """
    names, lowered = names.lower(), text.lower()
    for marker in _MARKER.finditer(lowered):
        if marker[1] is None or marker[1] in names:
            return Ruling(True, 0.99, marker[1] or "marked", "The text carries a flag marker.")
    if "scope" in names or "legit" in names:
        words, category, reason = _OFF_TOPIC, "off_topic", "The text asks for something else than support."
    elif "threat" in names or "security" in names or "check" in names:
        words, category, reason = _THREATS, "prompt_injection", "The text tries to steer the assistant."
    else:
        words, category, reason = (), "", ""
    if any(word in lowered for word in words):
        return Ruling(True, 0.97, category, reason)
    return Ruling(False, 0.02, "none", "Nothing found.")


def nonce_asked(chat: Chat) -> str | None:
    """Return the nonce that the verdict must echo, or None if the request asks for no verdict."""
    if chat.format == "json_schema":
        return chat.schema_nonce
    return find_nonce(chat.prompt)


def verdict_text(chat: Chat, rule: Rule | None, *, nonce: str, fault: str) -> str:
    """Return a verdict as JSON text, with what the fault does to it."""
    ruling = Ruling(*rule(chat.text)) if rule else judge(chat.text, f"{chat.schema_name} {chat.model}")
    fields: dict[str, object] = {**ruling._asdict(), "nonce": nonce}
    if fault == "wrong-nonce":
        fields["nonce"] = f"not-{nonce}"
    elif fault == "no-nonce":
        del fields["nonce"]
    elif fault == "bad-types":
        fields |= {"violation": "no", "score": 7}
    text = json.dumps(fields)
    if fault == "second-verdict":
        # The first one says the opposite, as a forged verdict would.
        return json.dumps({**fields, "violation": not ruling.violation, "score": 0.0}) + "\n" + text
    if fault == "extra-text":
        return f"Sure! Here is my verdict:\n{text}\nLet me know if you need anything else."
    return text[: len(text) // 2] if fault == "bad-verdict" else text


def answer_tokens(chat: Chat, profile: Profile, *, rule: Rule | None, fault: str) -> tuple[list[str], str]:
    """Return the tokens that a model says, and why it ends: `stop` or `length`."""
    nonce = nonce_asked(chat)
    if fault == "empty":
        return [], "stop"
    if nonce is not None:
        tokens = tokenize(verdict_text(chat, rule, nonce=nonce, fault=fault))
    else:
        reply = profile.reply if isinstance(profile.reply, str) else profile.reply(chat.body)
        tokens = tokenize(f"{reply}\n\nAnd one more thing." if fault == "extra-text" else reply)
        if profile.tokens is not None:
            tokens = list(_repeated(tokens, min(profile.tokens, _MAX_TOKENS)))
    if chat.max_tokens is not None and chat.max_tokens < len(tokens):
        return tokens[: chat.max_tokens], "length"
    return tokens, "stop"


def tokenize(text: str) -> list[str]:
    """Split a text into words with the space behind them: what this server counts and streams as tokens."""
    return _TOKEN.findall(text)


def _repeated(tokens: list[str], count: int) -> Iterator[str]:
    for index in range(count):
        token = tokens[index % len(tokens)] if tokens else "x "
        # The last word of a reply has no space behind it; where the reply starts again it needs one.
        yield token if index == count - 1 or token[-1].isspace() else token + " "
