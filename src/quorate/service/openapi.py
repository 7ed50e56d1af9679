"""The service's own description, as `/openapi.json` gives it out. Written by hand, so that it says what is meant."""

from collections.abc import Iterable
from typing import Any

from quorate import __version__
from quorate.service.schemas import SCHEMAS, TEXT, ref

WHAT = {
    400: "The request cannot be served as it is; `param` names the field.",
    401: "No good API key.",
    403: "The key lacks the right for this; without keys, only this machine may ask.",
    404: "There is no such model, here or at the upstream.",
    408: "The body came too slowly.",
    413: "Too large.",
    415: "Not JSON, or packed.",
    422: "The upstream could not make sense of the request.",
    429: "Too much at once, of this key or of all.",
    500: "The service broke; its operator finds the request by its id.",
    502: "The upstream broke, or refused the service's own request.",
    503: "Not to be had just now: the upstream, or the store.",
    504: "Out of time.",
}
_WAIT = {"description": "Seconds after which another try makes sense.", "schema": {"type": "integer", "minimum": 1}}
_ID = {"description": "Of the request; stands in its record, in log lines and spans.", "schema": TEXT}
_DECISION = {
    "description": "`pending` where a stream's line had to be kept open before the decision was there.",
    "schema": {"enum": ["admit", "refuse", "escalate", "pending"]},
}
_CONVERSATION = {"description": "The conversation's name, for records and `quorate forget`.", "schema": TEXT}
EXAMPLES: dict[str, Any] = {
    "Chat": {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Where is my order A-1001?"}],
        "stream": False,
    },
    "Checks": {"input": "Where is my order A-1001?"},
    "Moderation": {"input": ["Where is my order A-1001?"]},
    "Guardrail": {"input_type": "request", "texts": ["Where is my order A-1001?"]},
    "Mode": {"mode": "observe", "why": "a check refuses everything"},
}
_BODY = (400, 408, 413, 415)
_KEY = (401, 403, 500)
_CALL = (404, 422, 429, 502, 503, 504)


def _says(schema: Any, what: str, *, kind: str = "application/json") -> dict[str, Any]:
    return {"description": what, "headers": {"x-request-id": _ID}, "content": {kind: {"schema": schema}}}


def _error(status: int) -> dict[str, Any]:
    said = _says(ref("Error"), WHAT[status])
    if status in (429, 503):
        said["headers"] = {**said["headers"], "retry-after": _WAIT}
    return said


def _route(
    summary: str, reply: dict[str, Any], *, body: str = "", errors: Iterable[int] = (), key: bool = True
) -> dict[str, Any]:
    """One operation.

    Args:
        summary: in a line.
        reply: of status 200.
        body: the name of its schema, "" for none.
        errors: statuses beside those that every body and every key bring.
        key: whether it takes an API key where there are keys.
    """
    statuses = sorted({*errors, *(_BODY if body else ()), *(_KEY if key else ())})
    route: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": reply, **{str(status): _error(status) for status in statuses}},
        "security": [{"key": []}, {}] if key else [],
    }
    if body:
        content = {"schema": ref(body), "example": EXAMPLES[body]}
        route["requestBody"] = {"required": True, "content": {"application/json": content}}
    return route


def _chat() -> dict[str, Any]:
    reply = _says(ref("Completion"), "An answer, or a refusal in the same shape.")
    reply["headers"] |= {"x-quorate-decision": _DECISION, "x-quorate-conversation": _CONVERSATION}
    reply["content"]["text/event-stream"] = {"schema": ref("Event")}
    route = _route("Answer a conversation; held until every check has passed.", reply, body="Chat", errors=_CALL)
    route["parameters"] = [
        {"name": "x-conversation-id", "in": "header", "description": "Names the conversation.", "schema": TEXT}
    ]
    return route


def _ready() -> dict[str, Any]:
    route = _route("Whether it takes requests, and on which config.", _says(ref("Ready"), "It does."), key=False)
    route["responses"]["503"] = _says(ref("Ready"), "It does not; `problems` says why.")
    return route


def _changing(summary: str, *, body: str = "") -> dict[str, Any]:
    route = _route(summary, _says(ref("Followed"), "Every worker follows."), body=body, errors=(400, 503))
    either = {"oneOf": [ref("Followed"), ref("Error")]}
    route["responses"]["503"] = _says(either, "Some workers do not follow yet, or the store is away.")
    return route


def description() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    figures = _route("Figures for Prometheus.", _says(TEXT, "Prometheus's text format.", kind="text/plain"))
    judged = (429, 502, 503, 504)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quorate",
            "version": __version__,
            "description": "Checks run beside the answer; nothing leaves until they pass.",
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Also taken as `x-api-key` or `api-key`."}
            },
        },
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/models": {"get": _route("The models that may be asked for.", _says(ref("Models"), "All of them."))},
            "/v1/checks": {
                "post": _route(
                    "Verdicts and timeline only; takes the right `details`.",
                    _says(ref("Decision"), "What was decided, by whom, and what it took."),
                    body="Checks",
                    errors=judged,
                )
            },
            "/v1/moderations": {
                "post": _route(
                    "Is it appropriate? Takes the right `details`.",
                    _says(ref("Moderated"), "One result for each text."),
                    body="Moderation",
                    errors=judged,
                )
            },
            "/beta/litellm_basic_guardrail_api": {
                "post": _route(
                    "LiteLLM's generic guardrail; takes the right `details`.",
                    _says(ref("Guarded"), "Whether it may go on."),
                    body="Guardrail",
                    errors=judged,
                )
            },
            "/admin/reload": {"post": _changing("Read the config again; takes the right `admin`.")},
            "/admin/mode": {"post": _changing("Enforce, or only observe; takes the right `admin`.", body="Mode")},
            "/healthz": {"get": _route("Whether the process lives.", _says(ref("Health"), "It does."), key=False)},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": figures},
            "/openapi.json": {"get": _route("This document.", _says({"type": "object"}, "It."), key=False)},
        },
    }
