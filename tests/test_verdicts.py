"""`/v1/checks`, the guardrail of LiteLLM's shape, and `/v1/moderations`, over real sockets."""

from pathlib import Path
from typing import Any

import pytest

from service_world import ATTACK, HONEST, served

pytestmark = pytest.mark.sockets


async def test_checks_tells_verdicts_and_answers_nothing(tmp_path: Path) -> None:
    """The fields are those of `ask --json`; the upstream is not asked; the decision is recorded with its end."""
    async with served(tmp_path) as world:
        await world.key("call", "details")
        said = await world.post("/v1/checks", {"input": ATTACK, "evaluate_all": True})
        assert said.status == 200
        assert (said.json["decision"], said.json["decided_by"]) == ("refuse", "threat")
        assert {row["check"]: row["outcome"] for row in said.json["verdicts"]} == {"scope": "pass", "threat": "flag"}
        assert "answer" not in world.standin.stats()["models"]
        messages = [{"role": "user", "content": HONEST}]
        assert (await world.post("/v1/checks", {"messages": messages})).json["decision"] == "admit"
        records = await world.records()
    assert [(row.record.route, row.outcome) for row in records] == [("/v1/checks", "done")] * 2


BAD: list[dict[str, Any]] = [
    {},
    {"input": 5},
    {"input": "x", "messages": []},
    {"input": "x", "verbose": True},
    {"messages": [{"role": "wizard"}]},
    {"input": "x", "evaluate_all": "yes"},
]


async def test_what_checks_cannot_read(tmp_path: Path) -> None:
    """A 400 that names the field, and no model is asked."""
    async with served(tmp_path) as world:
        await world.key("details")
        for body in BAD:
            said = await world.post("/v1/checks", body)
            assert said.status == 400 and said.json["error"]["param"], body
        assert world.standin.stats()["total"]["started"] == 0


async def test_the_guardrail_blocks_what_the_door_refuses(tmp_path: Path) -> None:
    """In LiteLLM's shape: texts, messages, tools and images of a request."""
    tool = {"type": "function", "function": {"name": "f", "description": "[[flag]]"}}
    asked: list[tuple[dict[str, Any], str]] = [
        ({"texts": [HONEST]}, "NONE"),
        ({"texts": [HONEST, ATTACK]}, "BLOCKED"),
        ({"structured_messages": [{"role": "user", "content": HONEST, "extra": 1}]}, "NONE"),
        ({"structured_messages": [{"role": "user", "content": ATTACK}], "texts": [HONEST]}, "BLOCKED"),
        ({"structured_messages": [{"role": "user", "content": HONEST}], "texts": [HONEST, ATTACK]}, "BLOCKED"),
        ({"texts": [HONEST], "tools": [tool]}, "BLOCKED"),
        ({"texts": [HONEST], "images": ["data:image/png;base64,AAAA"]}, "BLOCKED"),
    ]
    async with served(tmp_path) as world:
        secret = await world.key("call", "details")
        world.headers = {"x-api-key": secret}
        for body, action in asked:
            whole = {"input_type": "request", "request_data": {}, **body}
            said = await world.post("/beta/litellm_basic_guardrail_api", whole)
            assert (said.status, said.json["action"]) == (200, action), body
            assert ("blocked_reason" in said.json) == (action == "BLOCKED")


async def test_the_guardrail_reads_responses_by_the_output_checks(tmp_path: Path) -> None:
    """A response with a foreign link is blocked; without output checks it is a mistake that names the way out."""
    body = {"input_type": "response", "texts": ["See https://evil.example/x"], "request_data": {}}
    async with served(tmp_path, more='[output]\nmode = "hold"') as world:
        await world.key("details")
        said = await world.post("/beta/litellm_basic_guardrail_api", body)
        assert said.json["action"] == "BLOCKED"
        honest = {**body, "texts": ["It is on its way."]}
        assert (await world.post("/beta/litellm_basic_guardrail_api", honest)).json == {"action": "NONE"}
    async with served(tmp_path) as world:
        await world.key("details")
        said = await world.post("/beta/litellm_basic_guardrail_api", body)
        assert said.status == 400 and "output" in said.json["error"]["message"]


async def test_moderations_in_openais_shape(tmp_path: Path) -> None:
    """One result for each input; the local classifier judges where the config has no moderation check."""
    async with served(tmp_path) as world:
        await world.key("details")
        texts = ["Thank you, the lamp is lovely.", "I hate you, you stupid worthless idiot, go and die."]
        said = await world.post("/v1/moderations", {"input": texts})
        assert [row["flagged"] for row in said.json["results"]] == [False, True]
        for row in said.json["results"]:
            assert row["categories"].keys() == row["category_scores"].keys()
            assert any(row["categories"].values()) == row["flagged"]
        assert (await world.post("/v1/moderations", {"input": "fine"})).json["results"][0]["flagged"] is False
        for bad in ({}, {"input": []}, {"input": [5]}, {"input": ["x"] * 100}):
            assert (await world.post("/v1/moderations", bad)).status == 400


async def test_models_are_the_allow_list(tmp_path: Path) -> None:
    """What callers may ask for, by the caller's names."""
    async with served(tmp_path) as world:
        said = await world.get("/v1/models")
    assert [row["id"] for row in said.json["data"]] == ["gpt-4o"]
