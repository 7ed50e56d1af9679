"""LangChain's ChatOpenAI: the same scenarios in its own words."""

from collections.abc import Callable
from functools import reduce
from importlib.metadata import version
from operator import add
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from scenarios import JOB, RESULT, show, told

HONEST, ATTACK = HumanMessage(JOB["honest"]), HumanMessage(JOB["attack"])


class find_order(BaseModel):
    """Find an order by its number."""

    order: str = Field(description="the order's number")


def chat(model: str = "gpt-4o", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": model, "base_url": JOB["url"], "api_key": JOB["key"], "max_retries": 0, **more})


def spoken(message: Any) -> dict[str, Any]:
    return {"text": message.text, "finish": message.response_metadata["finish_reason"]}


def whole_stream(model: Any, asked: Any) -> Any:
    return reduce(add, list(model.stream(asked)))


def tool_round(ask: Callable[[Any, Any], Any]) -> dict[str, Any]:
    model = chat("tool").bind_tools([find_order])
    first = ask(model, [HONEST])
    [call] = first.tool_calls
    answered = ask(model, [HONEST, first, ToolMessage(RESULT, tool_call_id=call["id"])])
    return {"called": call["name"], "with": call["args"], **spoken(answered)}


def refused_result() -> dict[str, Any]:
    call = {"id": "c1", "name": "find_order", "args": {}}
    messages = [HONEST, AIMessage("", tool_calls=[call]), ToolMessage(JOB["attack"], tool_call_id="c1")]
    return spoken(chat("tool").bind_tools([find_order]).invoke(messages))


def broken() -> dict[str, Any]:
    begun = False
    try:
        for _ in chat("broken").stream([HONEST]):
            begun = True
    except Exception as error:
        return told(error) | {"begun": begun}
    return {"error": None}


def structured() -> Any:
    return chat("tool").with_structured_output(find_order, method="function_calling").invoke([HONEST]).model_dump()


SCENARIOS: dict[str, Callable[[], Any]] = {
    "plain": lambda: spoken(chat().invoke([HONEST])),
    "streamed": lambda: spoken(whole_stream(chat(stream_usage=True), [HONEST])),
    "tools": lambda: tool_round(lambda model, messages: model.invoke(messages)),
    "tools_streamed": lambda: tool_round(whole_stream),
    "refused": lambda: spoken(chat().invoke([ATTACK])),
    "refused_streamed": lambda: spoken(whole_stream(chat(), [ATTACK])),
    "refused_result": refused_result,
    "bad": lambda: spoken(chat(n=99).invoke([HONEST])),
    "wrong_key": lambda: spoken(chat(api_key="qk_wrong").invoke([HONEST])),
    "no_model": lambda: spoken(chat("gpt-5").invoke([HONEST])),
    "limited": lambda: spoken(chat(api_key=JOB["spent_key"]).invoke([HONEST])),
    "down": lambda: spoken(chat("down").invoke([HONEST])),
    "broken": broken,
    "structured": structured,
}


async def later() -> dict[str, Any]:
    """The async ways of the same class."""
    pieces = [piece async for piece in chat().astream([HONEST])]
    return {"plain": spoken(await chat().ainvoke([HONEST])), "streamed": spoken(reduce(add, pieces))}


async def seen() -> dict[str, Any]:
    saw: dict[str, Any] = {}
    for name, scenario in SCENARIOS.items():
        try:
            saw[name] = scenario()
        except Exception as error:
            saw[name] = told(error)
            if not saw[name]["status"]:
                saw[name]["message"] = str(error)
    return {"version": version("langchain-openai"), "openai": version("openai"), "sync": saw, "async": await later()}


show(seen)
