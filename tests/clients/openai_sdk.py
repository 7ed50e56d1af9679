"""The openai SDK, sync and async, and what it builds upon chat completions."""

from importlib.metadata import version
from typing import Any

import openai
from pydantic import BaseModel
from scenarios import ATTACK, HONEST, JOB, Client, seen_by, show, told

KEYS = {"base_url": JOB["url"], "api_key": JOB["key"], "max_retries": 0}


class Order(BaseModel):
    number: str


async def seen() -> dict[str, Any]:
    with openai.OpenAI(**KEYS) as blocking:
        async with openai.AsyncOpenAI(**KEYS) as waiting:

            def at_once(key: str | None = None, **request: Any) -> Any:
                client = blocking if key is None else blocking.with_options(api_key=key)
                return client.chat.completions.create(**request)

            def later(key: str | None = None, **request: Any) -> Any:
                client = waiting if key is None else waiting.with_options(api_key=key)
                return client.chat.completions.create(**request)

            return {
                "version": version("openai"),
                "sync": await seen_by(Client(at_once)),
                "async": await seen_by(Client(later)),
                "more": more(blocking),
            }


def more(client: openai.OpenAI) -> dict[str, Any]:
    """Headers, the decision in the body, the SDK's helpers, and a route that is not served."""
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=ATTACK)
    said: dict[str, Any] = {
        "header": raw.headers["x-quorate-decision"],
        "field": raw.parse().model_extra["quorate"],
        "models": sorted(model.id for model in client.models.list()),
        "flagged": client.moderations.create(input=JOB["honest"]).results[0].flagged,
        "retried": client.with_options(max_retries=1)
        .chat.completions.create(model="flaky", messages=HONEST)
        .choices[0]
        .finish_reason,
    }
    with client.chat.completions.stream(model="gpt-4o", messages=HONEST) as stream:
        said["stream_helper"] = stream.get_final_completion().choices[0].message.content
    asks = {
        "parsed_refusal": lambda: client.chat.completions.parse(model="gpt-4o", messages=ATTACK, response_format=Order),
        "responses": lambda: client.responses.create(model="gpt-4o", input=JOB["honest"]),
        "embeddings": lambda: client.embeddings.create(model="gpt-4o", input=JOB["honest"]),
    }
    for name, ask in asks.items():
        try:
            said[name] = repr(ask())
        except openai.OpenAIError as error:
            said[name] = told(error)["error"]
    return said


show(seen)
