"""The service's own description, as `/openapi.json` gives it out. Written by hand, so that it says what is meant."""

from typing import Any

from quorate import __version__

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_CONTENT = {
    "oneOf": [
        _TEXT,
        {"type": "null"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": _TEXT, "text": _TEXT},
            },
        },
    ]
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": _CONTENT,
        "name": _TEXT,
        "tool_call_id": _TEXT,
        "tool_calls": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type", "function"],
                "properties": {
                    "id": _TEXT,
                    "type": {"const": "function"},
                    "function": {
                        "type": "object",
                        "required": ["name", "arguments"],
                        "properties": {"name": _TEXT, "arguments": _TEXT},
                    },
                },
            },
        },
    },
    "additionalProperties": False,
}
_CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "stream": {"type": "boolean"},
        "n": {"type": "integer", "minimum": 1},
        "max_tokens": {"type": "integer", "minimum": 1},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number"},
        "tools": {"type": "array", "items": {"type": "object"}},
        "tool_choice": {},
        "response_format": {"type": "object"},
        "stream_options": {"type": "object"},
    },
}
_CHECKS = {
    "type": "object",
    "properties": {
        "input": _TEXT,
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "evaluate_all": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_MODERATION = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"oneOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]},
        "model": _TEXT,
    },
    "additionalProperties": False,
}
_GUARDRAIL = {
    "type": "object",
    "properties": {
        "texts": {"type": "array", "items": _TEXT},
        "structured_messages": {"type": "array", "items": {"type": "object"}},
        "input_type": {"enum": ["request", "response"]},
        "request_data": {"type": "object"},
    },
}


def _says(schema: Any, *, kind: str = "application/json", what: str = "The answer.") -> dict[str, Any]:
    return {"description": what, "content": {kind: {"schema": schema}}}


def _route(summary: str, body: Any = None, *, replies: Any = None, key: bool = True) -> dict[str, Any]:
    errors = {
        str(status): _says(_ERROR, what=what)
        for status, what in {
            400: "The request cannot be served as it is.",
            401: "No good API key.",
            403: "The key lacks the right.",
            404: "There is no such thing.",
            413: "Too large.",
            415: "Not JSON.",
            429: "Too much at once; see Retry-After.",
            502: "The upstream broke.",
            503: "Not to be had just now.",
            504: "Out of time.",
        }.items()
    }
    route: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": replies or _says({"type": "object"}), **errors},
        "security": [{"key": []}, {}] if key else [{}],
    }
    if body is not None:
        route["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return route


def description() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    chat = _route("Answer a conversation; held until every check has passed.", _CHAT)
    chat["responses"]["200"]["content"]["text/event-stream"] = {"schema": _TEXT}
    plain = _says(_TEXT, kind="text/plain")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quorate", "version": __version__, "description": "A guarded front door."},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/v1/chat/completions": {"post": chat},
            "/v1/models": {"get": _route("The models that may be asked for.")},
            "/v1/checks": {"post": _route("Verdicts and timeline only; takes the right `details`.", _CHECKS)},
            "/v1/moderations": {"post": _route("Is it appropriate? Takes the right `details`.", _MODERATION)},
            "/beta/litellm_basic_guardrail_api": {
                "post": _route("LiteLLM's generic guardrail; takes the right `details`.", _GUARDRAIL)
            },
            "/admin/reload": {"post": _route("Read the config again; takes the right `admin`.")},
            "/admin/mode": {
                "post": _route(
                    "Enforce, or only observe; takes the right `admin`.",
                    {
                        "type": "object",
                        "required": ["mode", "why"],
                        "properties": {"mode": {"enum": ["enforce", "observe"]}, "why": _TEXT},
                        "additionalProperties": False,
                    },
                )
            },
            "/healthz": {"get": _route("Whether the process lives.", key=False)},
            "/readyz": {"get": _route("Whether it takes requests, and on which config.", key=False)},
            "/metrics": {"get": _route("Figures for Prometheus.", replies=plain, key=False)},
            "/openapi.json": {"get": _route("This document.", key=False)},
        },
    }
