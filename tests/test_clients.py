"""Real clients against a service: the openai SDK of Python and of JavaScript, LangChain, LiteLLM."""

from pathlib import Path
from typing import Any

import pytest

from clients_world import FLAKY, NAMES, program, seen_by
from quorate.testing.standin.profiles import REPLY
from service_world import served

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(240)]

CALLED = {"called": "find_order", "with": {"order": "A-1001"}}
ANSWER = {"text": REPLY, "finish": "stop"}
REFUSED = "content_filter"


def assert_served(seen: dict[str, Any]) -> None:
    """What every client must have seen, whatever its own words for it are."""
    assert seen["plain"] == ANSWER
    assert without_tokens(seen["streamed"]) == ANSWER
    assert seen["tools"] == {**CALLED, **ANSWER}
    assert without_tokens(seen["tools_streamed"]) == {**CALLED, **ANSWER}
    for name in ("refused", "refused_streamed", "refused_result"):
        assert seen[name]["finish"] == REFUSED, name
        assert seen[name]["text"] and "Thank you" not in seen[name]["text"], name


def without_tokens(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in ("tokens", "call")}


def errors(seen: dict[str, Any]) -> dict[str, tuple[str, int | None]]:
    """The client's own type for each error, and the status that it shows."""
    names = ("bad", "wrong_key", "no_model", "limited", "down", "broken")
    return {name: (seen[name]["error"], seen[name]["status"]) for name in names}


OPENAI = {
    "bad": ("BadRequestError", 400),
    "wrong_key": ("AuthenticationError", 401),
    "no_model": ("NotFoundError", 404),
    "limited": ("RateLimitError", 429),
    "down": ("InternalServerError", 503),
    "broken": ("APIError", None),
}
LITELLM = {**OPENAI, "down": ("ServiceUnavailableError", 503), "broken": ("MidStreamFallbackError", 500)}
LANGCHAIN = {
    "bad": ("OpenAIInvalidRequestError", 400),
    "wrong_key": ("OpenAIAuthenticationError", 401),
    "no_model": ("OpenAIModelNotFoundError", 404),
    "limited": ("OpenAIRateLimitError", 429),
    "down": ("OpenAIAPIError", 503),
    "broken": ("APIError", None),
}


async def test_the_openai_sdk(tmp_path: Path) -> None:
    """Sync and async: answers, streams, a whole tool round, refusals, and each error as the SDK's own type."""
    python = program("bin/python")
    async with served(tmp_path, also=NAMES + FLAKY, answer="answer-0ms") as world:
        said = await seen_by(world, python, "openai_sdk.py")
    for seen in (said["sync"], said["async"]):
        assert_served(seen)
        assert errors(seen) == OPENAI
        assert seen["streamed"]["tokens"] == 20
        assert seen["bad"]["param"] == "n" and seen["no_model"]["param"] == "model"
        assert int(seen["limited"]["retry_after"]) > 1
        assert seen["broken"]["begun"]
    more = said["more"]
    assert more.pop("stream_helper") == REPLY
    assert more == {
        "header": "refuse",
        "field": {"decision": "refuse"},
        "models": ["broken", "down", "flaky", "gpt-4o", "tool"],
        "flagged": False,
        "retried": "stop",
        "parsed_refusal": "ContentFilterFinishReasonError",
        "responses": "NotFoundError",
        "embeddings": "NotFoundError",
    }


async def test_the_openai_sdk_for_javascript(tmp_path: Path) -> None:
    """The same, and the SDK's own tool loop."""
    node = program("node")
    async with served(tmp_path, also=NAMES + FLAKY, answer="answer-0ms") as world:
        said = await seen_by(world, node, "openai_sdk.mjs")
    seen = said["sync"]
    assert_served(seen)
    assert errors(seen) == OPENAI
    assert seen["streamed"]["tokens"] == 20
    assert (seen["bad"]["param"], int(seen["limited"]["retry_after"]) > 1) == ("n", True)
    assert seen["runner"] == {"text": REPLY, "with": {"order": "A-1001"}}
    assert seen["models"] == ["broken", "down", "flaky", "gpt-4o", "tool"]
    assert seen["retried"] == ANSWER
    assert (seen["responses"]["error"], seen["responses"]["status"]) == ("NotFoundError", 404)


async def test_langchain(tmp_path: Path) -> None:
    """ChatOpenAI answers, streams, binds tools, structures, is refused, and raises the SDK's errors."""
    python = program("bin/python")
    async with served(tmp_path, also=NAMES, answer="answer-0ms") as world:
        said = await seen_by(world, python, "langchain_sdk.py")
    seen = said["sync"]
    assert_served(seen)
    assert said["async"] == {"plain": ANSWER, "streamed": ANSWER}
    assert errors(seen) == LANGCHAIN
    assert seen["structured"] == {"order": "A-1001"}


async def test_the_litellm_sdk(tmp_path: Path) -> None:
    """Sync and async: the same through LiteLLM, in its own types."""
    python = program("bin/python")
    async with served(tmp_path, also=NAMES, answer="answer-0ms") as world:
        said = await seen_by(world, python, "litellm_sdk.py")
    for seen in (said["sync"], said["async"]):
        assert_served(seen)
        assert errors(seen) == LITELLM
