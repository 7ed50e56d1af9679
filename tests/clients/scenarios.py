"""What a Python client is made to do. It prints what it saw as one line of JSON; the job comes by standard input."""

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

JOB: dict[str, Any] = json.load(sys.stdin)
HONEST = [{"role": "user", "content": JOB["honest"]}]
ATTACK = [{"role": "user", "content": JOB["attack"]}]
RESULT = "It left our house on Monday."


class Client:
    """One way to ask.

    Args:
        create: makes a chat completion, whole or streamed, at once or when awaited. Takes `key` for another API key.
    """

    def __init__(self, create: Callable[..., Any]) -> None:
        self._create = create

    async def whole(self, **request: Any) -> Any:
        made = self._create(**request)
        return await made if inspect.isawaitable(made) else made

    async def streamed(self, **request: Any) -> AsyncIterator[Any]:
        made = self._create(stream=True, **request)
        if inspect.isawaitable(made):
            async for chunk in await made:
                yield chunk
        else:
            for chunk in made:
                yield chunk

    async def gathered(self, **request: Any) -> dict[str, Any]:
        """A stream put together: text, tool call, why it ended, and the usage where it was told."""
        said: dict[str, Any] = {"text": "", "finish": None}
        call = {"id": "", "name": "", "arguments": ""}
        async for chunk in self.streamed(**request):
            for choice in chunk.choices:
                said["text"] += choice.delta.content or ""
                said["finish"] = choice.finish_reason or said["finish"]
                for piece in choice.delta.tool_calls or ():
                    call["id"] += piece.id or ""
                    call["name"] += piece.function.name or ""
                    call["arguments"] += piece.function.arguments or ""
            if getattr(chunk, "usage", None) is not None:
                said["tokens"] = chunk.usage.completion_tokens
        return said | ({"call": call} if call["name"] else {})


def spoken(completion: Any) -> dict[str, Any]:
    choice = completion.choices[0]
    return {"text": choice.message.content or "", "finish": choice.finish_reason}


def told(error: Exception) -> dict[str, Any]:
    """An error as the client shows it: its type, the status, the field at fault, when to come again."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "param": getattr(error, "param", None),
        "retry_after": headers.get("retry-after"),
    }


async def plain(client: Client) -> Any:
    return spoken(await client.whole(model="gpt-4o", messages=HONEST))


async def streamed(client: Client) -> Any:
    return await client.gathered(model="gpt-4o", messages=HONEST, stream_options={"include_usage": True})


async def tools(client: Client) -> Any:
    """The model's own message goes back as the client gave it out, with whatever it has added to it."""
    first = await client.whole(model="tool", messages=HONEST, tools=[JOB["tool"]])
    message = first.choices[0].message
    call = message.tool_calls[0]
    round_ = [*HONEST, message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    second = spoken(await client.whole(model="tool", messages=round_, tools=[JOB["tool"]]))
    return {"called": call.function.name, "with": json.loads(call.function.arguments), **second}


async def tools_streamed(client: Client) -> Any:
    first = await client.gathered(model="tool", messages=HONEST, tools=[JOB["tool"]])
    call = first["call"]
    function = {"name": call["name"], "arguments": call["arguments"]}
    message = {"role": "assistant", "tool_calls": [{"id": call["id"], "type": "function", "function": function}]}
    round_ = [*HONEST, message, {"role": "tool", "tool_call_id": call["id"], "content": RESULT}]
    second = await client.gathered(model="tool", messages=round_, tools=[JOB["tool"]])
    return {"called": call["name"], "with": json.loads(call["arguments"]), **second}


async def refused(client: Client) -> Any:
    return spoken(await client.whole(model="gpt-4o", messages=ATTACK))


async def refused_streamed(client: Client) -> Any:
    return await client.gathered(model="gpt-4o", messages=ATTACK)


async def refused_result(client: Client) -> Any:
    """An attack that comes in by a tool's result."""
    call = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": JOB["attack"]}
    messages = [*HONEST, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    return spoken(await client.whole(model="tool", messages=messages, tools=[JOB["tool"]]))


async def bad(client: Client) -> Any:
    return spoken(await client.whole(model="gpt-4o", messages=HONEST, n=99))


async def wrong_key(client: Client) -> Any:
    return spoken(await client.whole(model="gpt-4o", messages=HONEST, key="qk_wrong"))


async def no_model(client: Client) -> Any:
    return spoken(await client.whole(model="gpt-5", messages=HONEST))


async def limited(client: Client) -> Any:
    """A key whose requests of this minute are used up."""
    return spoken(await client.whole(model="gpt-4o", messages=HONEST, key=JOB["spent_key"]))


async def down(client: Client) -> Any:
    return spoken(await client.whole(model="down", messages=HONEST))


async def broken(client: Client) -> Any:
    """The upstream breaks after its answer has begun to go out."""
    seen = 0
    try:
        async for chunk in client.streamed(model="broken", messages=HONEST):
            seen += len(chunk.choices)
    except Exception as error:
        return told(error) | {"begun": seen > 0}
    return {"error": None}


SCENARIOS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    scenario.__name__: scenario
    for scenario in (
        *(plain, streamed, tools, tools_streamed, refused, refused_streamed, refused_result),
        *(bad, wrong_key, no_model, limited, down, broken),
    )
}


async def seen_by(client: Client) -> dict[str, Any]:
    """Let a client do everything."""
    seen = {}
    for name, scenario in SCENARIOS.items():
        try:
            seen[name] = await scenario(client)
        except Exception as error:
            seen[name] = told(error)
            if not seen[name]["status"]:
                seen[name]["message"] = str(error)
    return seen


def show(seen: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Run, and print."""
    sys.stdout.write(json.dumps(asyncio.run(seen())) + "\n")  # type: ignore[arg-type]
