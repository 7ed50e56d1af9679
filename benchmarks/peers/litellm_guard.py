"""A guardrail of the LiteLLM proxy: asks one check's model beside the call, as the bare proxy does."""

from functools import cached_property
from typing import Any

import aiohttp
from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail

from benchmarks.baseline import Baseline


class Guard(CustomGuardrail):
    """One check. LiteLLM hands over what its config says, and much of its own beside it."""

    def __init__(self, *, api_base: str, model: str, system: str, **more: Any) -> None:
        super().__init__(**{name: more[name] for name in ("guardrail_name", "event_hook", "default_on")})
        self.api_base, self.model, self.system = api_base, model, system

    @cached_property
    def baseline(self) -> Baseline:
        """Made at the first request, since a session belongs to the running loop."""
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return Baseline(session, self.api_base, {self.model: self.system}, "")

    async def async_moderation_hook(self, data: dict[str, Any], user_api_key_dict: Any, call_type: Any) -> None:
        if await self.baseline.check(self.model, data["messages"][-1]["content"]):
            raise HTTPException(400, detail={"error": "content_filter"})
