"""The shapes of what goes in and comes out, as JSON schemas: the components of `/openapi.json`."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}


def ref(name: str) -> Schema:
    """A reference to one of the shapes."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(items: Schema, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **more}


def shape(required: Schema, optional: Schema | None = None, *, closed: bool = False, **more: Any) -> Schema:
    """An object with these fields; `closed` allows no others."""
    whole: Schema = {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}
    return whole | ({"additionalProperties": False} if closed else {}) | more


_CALL = shape(
    {"function": shape({"name": TEXT}, {"arguments": TEXT})},
    {"id": TEXT, "type": {"const": "function"}},
)
_PIECE = shape({"type": TEXT}, {"text": TEXT})
_CONTENT: Schema = {"oneOf": [TEXT, {"type": "null"}, many(_PIECE, minItems=1)]}
_SAID = {
    "content": _CONTENT,
    "name": TEXT_OR_NULL,
    "refusal": TEXT_OR_NULL,
    "tool_call_id": TEXT_OR_NULL,
    "tool_calls": {"oneOf": [{"type": "null"}, many(_CALL)]},
}
_USAGE = shape({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
_DECISION: Schema = {
    "enum": ["admit", "refuse", "escalate"],
    "description": "Escalated: handed over to a person; the reply says so.",
}
_SPENT = shape(
    {
        "calls": COUNT,
        "cancelled_calls": COUNT,
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "wasted_tokens": COUNT,
        "cost_usd": NUMBER,
        "wasted_usd": NUMBER,
        "estimated": FLAG,
    },
    description="Wasted: spent on what did not count.",
)
_VERDICT = shape(
    {
        "check": TEXT,
        "outcome": {"enum": ["pass", "flag", "abstain", "error", "cancelled"]},
        "score": {"type": ["number", "null"], "description": "Probability of a violation."},
        "category": TEXT_OR_NULL,
        "reason": {**TEXT_OR_NULL, "description": "In a judge's words: untrusted text."},
        "model": TEXT_OR_NULL,
        "version": TEXT_OR_NULL,
        "elapsed_ms": NUMBER,
    },
    {"mode": {"const": "observe"}, "would": {**TEXT, "description": "What an observed check would have done."}},
)
_SPAN = shape(
    {
        "branch": TEXT,
        "started_ms": NUMBER_OR_NULL,
        "first_ms": NUMBER_OR_NULL,
        "ended_ms": NUMBER_OR_NULL,
        "ended": TEXT_OR_NULL,
        "why": TEXT_OR_NULL,
        "usage": _SPENT,
    }
)
_TOOL = shape({"type": TEXT}, {"function": shape({"name": TEXT}, {"description": TEXT, "parameters": {}})})

SCHEMAS: dict[str, Schema] = {
    "Error": shape(
        {"error": shape({"message": TEXT, "type": TEXT, "param": TEXT_OR_NULL, "code": TEXT_OR_NULL})},
        {"problems": many(TEXT, description="Of a config that was not taken: each mistake.")},
        description="Every error, in OpenAI's shape; `param` names the field at fault.",
    ),
    "Message": shape(
        {"role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]}},
        _SAID,
        description="Other fields are refused by name, unless they are null.",
    ),
    "Chat": shape(
        {
            "model": {"type": "string", "minLength": 1, "maxLength": 256},
            "messages": many(ref("Message"), minItems=1, description="At least one of them is a user's."),
        },
        {
            "stream": FLAG,
            "stream_options": shape({}, {"include_usage": FLAG}),
            "n": {"type": "integer", "minimum": 1},
            "max_tokens": {"type": "integer", "minimum": 1},
            "max_completion_tokens": {"type": "integer", "minimum": 1},
            "temperature": NUMBER,
            "tools": many(_TOOL),
            "tool_choice": {"oneOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}]},
            "response_format": shape({"type": TEXT}),
            "metadata": shape({}, {"conversation_id": TEXT}),
        },
        description="OpenAI's; fields that hold no text for a model are passed on, others refused by name.",
    ),
    "Completion": shape(
        {
            "choices": many(
                shape(
                    {"index": COUNT, "message": shape({}, _SAID)},
                    {"finish_reason": {**TEXT_OR_NULL, "description": "`content_filter`: refused or handed over."}},
                )
            )
        },
        {
            "id": TEXT,
            "object": TEXT,
            "created": COUNT,
            "model": TEXT,
            "usage": _USAGE,
            "quorate": shape({"decision": _DECISION}),
        },
        description="The upstream's own bytes where it was admitted; `quorate` stands in replies of our own.",
    ),
    "Event": shape(
        {"data": {**TEXT, "description": "A chunk as JSON, an error as JSON, or [DONE]."}},
        description="Each event, in OpenAI's form. Comments (`: held`) keep the line open while the answer is held; "
        "the first event of a refusal carries `quorate.decision`; an upstream that breaks after release ends the "
        "stream in one event `{error}`, without [DONE].",
    ),
    "Models": shape(
        {
            "object": {"const": "list"},
            "data": many(shape({"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT})),
        }
    ),
    "Checks": shape(
        {},
        {
            "input": {"type": "string", "description": "A customer's text: this, or messages."},
            "messages": many(ref("Message"), minItems=1),
            "evaluate_all": {"type": "boolean", "description": "Let every check run to its end."},
        },
        closed=True,
    ),
    "Decision": shape(
        {
            "schema": {"const": "quorate.decision/1"},
            "decision": _DECISION,
            "decided_by": TEXT_OR_NULL,
            "reply": {**TEXT_OR_NULL, "description": "What the customer is told where it is not admitted."},
            "verdicts": many(_VERDICT),
            "timeline": many(_SPAN),
            "usage": _SPENT,
            "elapsed_ms": NUMBER,
        }
    ),
    "Moderation": shape({"input": {"oneOf": [TEXT, many(TEXT, minItems=1, maxItems=64)]}}, {"model": TEXT_OR_NULL}),
    "Moderated": shape(
        {
            "id": TEXT,
            "model": TEXT,
            "results": many(
                shape(
                    {
                        "flagged": FLAG,
                        "categories": {"type": "object", "additionalProperties": FLAG},
                        "category_scores": {"type": "object", "additionalProperties": NUMBER},
                    }
                )
            ),
        }
    ),
    "Guardrail": shape(
        {},
        {
            "input_type": {"enum": ["request", "response"]},
            "texts": {"oneOf": [{"type": "null"}, many(TEXT)]},
            "structured_messages": {"oneOf": [{"type": "null"}, many({"type": "object"})]},
            "images": {"oneOf": [{"type": "null"}, many(TEXT)]},
            "tools": {"oneOf": [{"type": "null"}, many({"type": "object"})]},
        },
        description="As LiteLLM's generic guardrail sends it; other fields of its are not looked at.",
    ),
    "Guarded": shape(
        {"action": {"enum": ["NONE", "BLOCKED"]}},
        {"blocked_reason": {**TEXT_OR_NULL, "description": "The refusal, for the customer."}},
    ),
    "Mode": shape({"mode": {"enum": ["enforce", "observe"]}, "why": {"type": "string", "pattern": r"\S"}}, closed=True),
    "Followed": shape(
        {
            "version": COUNT,
            "workers": many(TEXT),
            "pending": {"type": "object", "additionalProperties": TEXT_OR_NULL},
        },
        description="Which workers follow the version, and which do not, with their error.",
    ),
    "Health": shape({"status": {"const": "ok"}}),
    "Ready": shape(
        {
            "ready": FLAG,
            "problems": many(TEXT),
            "config": shape({"version": COUNT, "digest": TEXT, "mode": {"enum": ["enforce", "observe"]}}),
            "limits": TEXT,
        }
    ),
}
