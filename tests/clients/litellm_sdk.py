"""The LiteLLM SDK, sync and async, with Quorate as an OpenAI-compatible address."""

from importlib.metadata import version
from typing import Any

import litellm
from scenarios import JOB, Client, seen_by, show

litellm.suppress_debug_info = True


def at_once(model: str, key: str | None = None, **request: Any) -> Any:
    return litellm.completion(
        model=f"openai/{model}", api_base=JOB["url"], api_key=key or JOB["key"], max_retries=0, **request
    )


def later(model: str, key: str | None = None, **request: Any) -> Any:
    return litellm.acompletion(
        model=f"openai/{model}", api_base=JOB["url"], api_key=key or JOB["key"], max_retries=0, **request
    )


async def seen() -> dict[str, Any]:
    return {
        "version": version("litellm"),
        "openai": version("openai"),
        "sync": await seen_by(Client(at_once)),
        "async": await seen_by(Client(later)),
    }


show(seen)
