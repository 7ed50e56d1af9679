"""The service's benchmark beside other people's front doors: what is testable without them."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.raw_http import Reply
from benchmarks.service_load import right
from benchmarks.targets import PEERS, PLACE, Target, fill, peers

from quorate.checks import Template
from quorate.testing.standin.profiles import REPLY

ROOT = Path(__file__).parents[1]
UPSTREAM = "http://127.0.0.1:1/v1"
PROMPTS = {check: Template.load(f"{check}-v1").text for check in ("scope", "threat")}
SORRY = "I'm sorry, I can't respond to that."


def chat(text: str, finish: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]}).encode()


def streamed(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, Target]:
    """The peers, as if they had been brought."""
    (tmp_path / ".complete").touch()
    return {target.name: target for target in peers(tmp_path)}


def config(target: Target) -> Any:
    assert target.config is not None
    return yaml.safe_load(fill(target.config, UPSTREAM))


def test_peers_that_are_not_there_are_left_out(tmp_path: Path, installed: dict[str, Target]) -> None:
    """Without the mark that `make peers` leaves at its end there are none; with it there are those that are named."""
    assert peers(tmp_path / "elsewhere") == []
    assert tuple(installed) == PEERS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"peers: {PLACE.name}/.complete" in makefile


def test_nemo_gets_both_checks_at_once_and_the_answer_beside_them(installed: dict[str, Target]) -> None:
    """Its config is YAML; each model is the stand-in's, each rail has its check's whole prompt and our form."""
    said = config(installed["nemo-iorails"])
    models = {model["type"]: model for model in said["models"]}
    assert {name: model["model"] for name, model in models.items()} == {
        "main": "answer",
        "scope": "scope",
        "threat": "threat",
    }
    assert {model["parameters"]["base_url"] for model in models.values()} == {UPSTREAM}
    assert "violation" in json.dumps(models["scope"]["parameters"]["response_format"])
    rails = said["rails"]["input"]
    assert rails["parallel"] and rails["speculative_generation"]
    prompts = {prompt["task"]: prompt["messages"] for prompt in said["prompts"]}
    for check, text in PROMPTS.items():
        assert f"content safety check input $model={check}" in rails["flows"]
        system, user = prompts[f"content_safety_check_input $model={check}"]
        assert (system["content"], user["content"]) == (text, "{{ user_input }}")


def test_litellm_gets_both_checks_beside_the_call(installed: dict[str, Target]) -> None:
    """Its config is YAML and names a class that is there; each guardrail has its check's whole prompt."""
    said = config(installed["litellm"])
    [model] = said["model_list"]
    assert model["litellm_params"]["api_base"] == UPSTREAM
    params = {entry["guardrail_name"]: entry["litellm_params"] for entry in said["guardrails"]}
    assert {name: found["system"] for name, found in params.items()} == PROMPTS
    for name, found in params.items():
        assert (found["mode"], found["default_on"], found["model"]) == ("during_call", True, name)
        module, _, wanted = found["guardrail"].rpartition(".")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert wanted in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_each_requirement_is_pinned() -> None:
    """One version each, and no address to get it from: that is the business of whoever installs."""
    text = (ROOT / "benchmarks" / "peers" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines and [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


ANSWER, TOKENS = chat(REPLY), streamed({"choices": [{"delta": {"content": "Thank "}}]})
BLOCKED = {"error": {"type": "guardrails_violation", "code": "content_blocked"}}
ERROR = json.dumps({"error": {"message": "content_filter", "code": "400"}}).encode()


@pytest.mark.parametrize(
    ("name", "stream", "status", "refusal"),
    [
        ("quorate", False, 200, chat("No.", "content_filter")),
        ("quorate", True, 200, streamed({"choices": [{"finish_reason": "content_filter"}]})),
        ("nemo-iorails", False, 200, chat(SORRY)),
        ("nemo-iorails", True, 200, streamed(BLOCKED)),
        ("litellm", False, 400, ERROR),
        ("litellm", True, 400, ERROR),
    ],
)
def test_a_reply_is_right_in_the_services_own_words(
    name: str, stream: bool, status: int, refusal: bytes, installed: dict[str, Target]
) -> None:
    """An attack must be refused and an honest message answered, whole; anything else that a service says is wrong."""
    known = installed.get(name, Target("quorate", "")).refusal

    def judged(kind: str, status: int, body: bytes) -> bool:
        return right(kind, Reply(status, body, 0.0, 0.0), stream=stream, refusal=known)

    answer = TOKENS if stream else ANSWER
    assert judged("attack", status, refusal) and judged("honest", 200, answer)
    assert not judged("honest", status, refusal) and not judged("attack", 200, answer)
    assert not judged("attack", status, refusal[:-8]) and not judged("honest", 200, answer[:-8])
    broken = (
        streamed({"error": {"type": "server_error"}}) if stream else chat("I'm sorry, an internal error has occurred.")
    )
    assert not judged("attack", 200, broken) and not judged("honest", 200, broken)
    assert not judged("attack", 500, refusal) and not judged("honest", 429, answer)
