"""Routes that judge and answer nothing: `/v1/checks`, LiteLLM's guardrail, `/v1/moderations`."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from quorate.apps.frontdoor import Decision
from quorate.apps.moderate import Moderator
from quorate.apps.report import as_json
from quorate.apps.windowed import AnswerBlocked, Piece, Windowed
from quorate.checks import Conversation
from quorate.checks.conversation import Part
from quorate.engine import leaving
from quorate.errors import UsageError
from quorate.models.local.moderation import HARMS
from quorate.service.callers import Caller
from quorate.service.exchange import Exchange
from quorate.service.live import Live
from quorate.service.state import Service
from quorate.service.wire import BadRequest, parse, strings
from quorate.store import End, Record

CHECKS = "/v1/checks"
GUARDRAIL = "/beta/litellm_basic_guardrail_api"
MODERATIONS = "/v1/moderations"
MOST_INPUTS = 64
_INPUTS = ("input", "messages", "evaluate_all")


async def checks(service: Service, exchange: Exchange, *, caller: Caller) -> bytes:
    """Verdicts and timeline on a text or a conversation; the fields are those of `quorate ask --json`."""
    caller.need("details")
    with service.configs.use() as live:
        data = parse(await exchange.json(live.limits.max_body))
        for name in data:
            if name not in _INPUTS:
                raise BadRequest(f"{name[:60]}: allowed are {', '.join(_INPUTS)}", param=name[:60])
        every = data.get("evaluate_all", False)
        if not isinstance(every, bool):
            raise BadRequest("evaluate_all: allowed are true and false", param="evaluate_all")
        conversation = _conversation(data)
        async with leaving(exchange.gone), service.room(caller, live):
            decision = await live.app.door.decide(conversation, evaluate_all=every)
        await _record(service, exchange, live, caller=caller, decision=decision, messages=_messages(conversation))
    return json.dumps(as_json(decision)).encode()


def _conversation(data: Mapping[str, Any]) -> Conversation:
    text, messages = data.get("input"), data.get("messages")
    if (text is None) == (messages is None):
        raise BadRequest("give either input, a text, or messages", param="input")
    if text is not None and not isinstance(text, str):
        raise BadRequest(f"input: found {type(text).__name__}, allowed is a text", param="input")
    source: Any = messages if text is None else text
    try:
        return Conversation.of(source)
    except UsageError as error:
        raise BadRequest(str(error), param="messages") from error


async def guardrail(service: Service, exchange: Exchange, *, caller: Caller) -> bytes:
    """LiteLLM's generic guardrail: may this request, or this response, go on?"""
    caller.need("details")
    with service.configs.use() as live:
        data = parse(await exchange.json(live.limits.max_body))
        kind = data.get("input_type", "request")
        if kind == "response":
            return await _response(service, exchange, live, caller=caller, data=data)
        if kind != "request":
            raise BadRequest("input_type: allowed are request and response", param="input_type")
        conversation = _guarded(data)
        async with leaving(exchange.gone), service.room(caller, live):
            decision = await live.app.door.decide(conversation)
        await _record(service, exchange, live, caller=caller, decision=decision, messages=_messages(conversation))
    if decision.decision == "admit":
        return json.dumps({"action": "NONE"}).encode()
    return json.dumps({"action": "BLOCKED", "blocked_reason": decision.reply}).encode()


def _guarded(data: Mapping[str, Any]) -> Conversation:
    """What LiteLLM sends of a request: its messages where it knows them, its texts otherwise, and its tools."""
    messages, texts = data.get("structured_messages") or [], data.get("texts") or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("texts: allowed is a list of texts", param="texts")
    if not isinstance(messages, list):
        raise BadRequest("structured_messages: allowed is a list of messages", param="structured_messages")
    if not messages and not texts:
        raise BadRequest("give structured_messages or texts", param="texts")
    try:
        known = Conversation.of(messages).parts if messages else ()
    except UsageError as error:
        raise BadRequest(str(error), param="structured_messages") from error
    # LiteLLM takes texts out of messages; whatever it has beside them is read too, before what is to be answered.
    read = {line for part in known for line in part.text.split("\n")}
    rest = [{"role": "user", "content": text} for text in texts if not read.issuperset(text.split("\n"))]
    parts = [*(Conversation.of(rest).parts if rest else ()), *known]
    if data.get("images"):
        parts.insert(0, Part("customer", "", unread="image_url"))
    words = strings(data.get("tools") or [])
    if words:
        parts.insert(0, Part("system", "\n".join(words), number=-1))
    return Conversation(tuple(parts))


async def moderations(service: Service, exchange: Exchange, *, caller: Caller) -> bytes:
    """Is it appropriate? In the shape of OpenAI's moderations, by the config's moderation check or our own."""
    caller.need("details")  # Scores and categories tell what to change until a check passes.
    with service.configs.use() as live:
        data = parse(await exchange.json(live.limits.max_body))
        texts = data.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise BadRequest("input: allowed is a text or a list of texts", param="input")
        if len(texts) > MOST_INPUTS:
            raise BadRequest(f"input: found {len(texts)} texts, allowed are {MOST_INPUTS}", param="input")
        judge = _moderator(live)
        async with leaving(exchange.gone), service.room(caller, live):
            results = [_result(await judge.moderate(text, evaluate_all=True)) for text in texts]
    said = {"id": f"modr-{secrets.token_hex(12)}", "model": "quorate", "results": results}
    return json.dumps(said).encode()


def _moderator(live: Live) -> Moderator:
    door = live.app.door
    check = next((check for check in door.checks.values() if check.kind == "moderation"), None)
    return Moderator.of(check, trusted=door.policy.trusted) if check is not None else Moderator()


def _result(outcome: Any) -> dict[str, Any]:
    """One text's result; where the vote is undecided it is flagged, since undecided never reads as a pass."""
    scores = dict.fromkeys(HARMS, 0.0)
    flagged = outcome.flagged is not False
    for name, score in outcome.categories.items():
        scores[name] = score if score is not None else 1.0
    if not any(scores.values()) and outcome.score is not None and flagged:
        scores["other"] = outcome.score
    categories = {name: flagged and name in outcome.categories for name in scores}
    return {"flagged": flagged, "categories": categories, "category_scores": scores, "quorate": {"why": outcome.why}}


def _messages(conversation: Conversation) -> list[Mapping[str, Any]]:
    roles = {"customer": "user", "system": "system", "assistant": "assistant", "tool": "tool"}
    return [{"role": roles.get(part.origin, "user"), "content": part.text} for part in conversation.parts]


async def _record(
    service: Service, exchange: Exchange, live: Live, *, caller: Caller, decision: Decision, messages: Any
) -> None:
    """Write a decision down that is told to somebody."""
    row = as_json(decision)
    await service.store.decided(
        Record(
            id=exchange.id,
            conversation=exchange.header(b"x-conversation-id")[:200] or exchange.id,
            key=caller.id,
            at=datetime.now(UTC),
            route=exchange.path,
            decision=decision.decision,
            decided_by=decision.decided_by,
            why=decision.why,
            verdicts=row["verdicts"],
            timeline=row["timeline"],
            usage=row["usage"],
            config=live.digest,
            config_version=live.version,
            versions=live.app.versions,
            elapsed_ms=decision.elapsed_ms,
            messages=messages,
            reply=decision.reply,
        )
    )
    service.store.ended(End(id=exchange.id, outcome="done", elapsed_ms=decision.elapsed_ms))


async def _response(
    service: Service, exchange: Exchange, live: Live, *, caller: Caller, data: Mapping[str, Any]
) -> bytes:
    """What a model said elsewhere, read by the config's output checks."""
    output = live.app.output
    if not output:
        raise BadRequest('there are no output checks: write output = "hold" into the config', param="input_type")
    texts = data.get("texts")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("texts: allowed is a list of texts", param="texts")
    asked = data.get("structured_messages") or "(not told)"
    try:
        conversation = Conversation.of(asked)
    except UsageError as error:
        raise BadRequest(str(error), param="structured_messages") from error
    pieces = [Piece(at, text) for at, text in enumerate(texts)]
    pieces += [Piece("calls", text) for text in strings(data.get("tool_calls") or [])]
    size = live.limits.max_body
    windows = Windowed(_nowhere, output, conversation, window_chars=size, overlap_chars=0, held_bytes=size)
    async with leaving(exchange.gone), service.room(caller, live):
        try:
            await windows.frame(b"", pieces)
            await windows.end()
        except AnswerBlocked as blocked:
            observed = all(check.mode == "observe" for check in output)
            kind = "output would be blocked" if observed else "output blocked"
            await service.store.note(kind, by=blocked.check, detail={"request": exchange.id})
            if observed:
                return json.dumps({"action": "NONE"}).encode()
            reason = live.app.door.policy.refusals.default
            return json.dumps({"action": "BLOCKED", "blocked_reason": reason}).encode()
    return json.dumps({"action": "NONE"}).encode()


async def _nowhere(_frame: bytes) -> None:
    """What was said elsewhere goes out elsewhere."""
