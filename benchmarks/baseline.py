"""The yardstick: the same job by hand, as a good engineer writes it in an afternoon.

One aiohttp session without limit, stdlib json, first trip wins, the losers are cancelled. No timeouts, no retry, no
limiter, no nonce, nothing recorded. Kept at 60 lines at most, so that nobody makes it slower by making it better.
"""

import asyncio
import json

import aiohttp

FIELDS = {"violation": "boolean", "score": "number", "category": "string", "reason": "string", "nonce": "string"}
PROPERTIES = {name: {"type": kind} for name, kind in FIELDS.items()} | {"nonce": {"type": "string", "enum": ["n"]}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": list(FIELDS), "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}


class Baseline:
    """The front door by hand, over one open session."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, systems: dict[str, str], answer: str) -> None:
        self.session, self.url, self.systems, self.answer_model = (
            session,
            f"{base_url}/chat/completions",
            systems,
            answer,
        )

    async def post(self, model: str, system: str, text: str, **more: object) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        async with self.session.post(self.url, json={"model": model, "messages": messages, **more}) as response:
            response.raise_for_status()
            reply = await response.json()
            content: str = reply["choices"][0]["message"]["content"]
            return content

    async def check(self, model: str, text: str) -> bool:
        reply = await self.post(model, self.systems[model], text, max_tokens=160, temperature=0, response_format=FORMAT)
        return bool(json.loads(reply)["violation"])

    async def checks(self, text: str) -> bool:
        """Whether any check flags; returns at the first that does and cancels the others."""
        pending = {asyncio.create_task(self.check(model, text)) for model in self.systems}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    return True
            return False
        finally:
            for task in pending:
                task.cancel()

    async def respond(self, text: str) -> str | None:
        """The answer, written beside the checks; None where one flags."""
        answer = asyncio.create_task(self.post(self.answer_model, "Answer briefly.", text, max_tokens=600))
        try:
            return None if await self.checks(text) else await answer
        finally:
            answer.cancel()
