"""The real LiteLLM proxy with Quorate as its guardrail, by the config that the guide gives out."""

import asyncio
import os
import re
import secrets
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clients_world import QUIET, ROOT, program
from quorate.service.server import listen
from quorate.testing.standin.profiles import REPLY
from service_world import ATTACK, HONEST, TOOL, Said, Served, served

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(300)]

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CHAT = "/v1/chat/completions"
MASTER = "sk-" + secrets.token_urlsafe(32)
"""The proxy's own key: it does not start with a weak one."""


def guide() -> str:
    """The config in the guide."""
    text = (ROOT / "docs" / "guides" / "from-litellm.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return block


@asynccontextmanager
async def proxy(world: Served, folder: Path, **changes: str) -> AsyncIterator[str]:
    """Run the proxy in front of a stand-in, guarded by a service; yields its address."""
    command = program("bin/litellm")
    text = guide()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "litellm.yaml").write_text(text, encoding="utf-8")
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    key = await world.key("details")
    env = {
        **os.environ,
        **QUIET,
        "UPSTREAM_URL": world.standin.base_url,
        "OPENAI_API_KEY": "none",
        "LITELLM_MASTER_KEY": MASTER,
        "QUORATE_URL": world.url,
        "QUORATE_KEY": key,
    }
    words = [command, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*words, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            await up(world.client, url, process, folder / "litellm.log")
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def up(client: aiohttp.ClientSession, url: str, process: Process, log: Path) -> None:
    """Wait until the proxy takes requests."""
    while True:
        assert process.returncode is None, said(log)
        try:
            async with client.get(f"{url}/health/liveliness") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)


def said(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]


async def ask(world: Served, url: str, content: Any = HONEST, **more: Any) -> Said:
    """Ask the proxy."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}
    headers = {"Authorization": f"Bearer {MASTER}"}
    async with world.client.post(url + CHAT, json=body, headers=headers) as response:
        return Said(response.status, dict(response.headers), await response.read())


def poisoned() -> dict[str, Any]:
    """A tool whose description attacks."""
    return {**TOOL, "function": {**TOOL["function"], "description": ATTACK}}


async def test_the_guides_config_guards_the_proxy(tmp_path: Path) -> None:
    """Beside the call: an honest request is answered, streamed or not; an attack in a text, a tool or a tool's result,
    and an image that nobody can read, are blocked with the refusal's text; each is recorded under its key."""
    async with served(tmp_path) as world, proxy(world, tmp_path) as url:
        assert (await ask(world, url)).text == REPLY
        streamed = await ask(world, url, stream=True)
        assert (streamed.status, streamed.text) == (200, REPLY)
        assert (await ask(world, url, tools=[TOOL])).text == REPLY
        call = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": "{}"}}
        history = [
            {"role": "user", "content": HONEST},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": ATTACK},
        ]
        refused = {
            "text": await ask(world, url, ATTACK),
            "streamed": await ask(world, url, ATTACK, stream=True),
            "pieces": await ask(world, url, [{"type": "text", "text": HONEST}, {"type": "text", "text": ATTACK}]),
            "tool": await ask(world, url, tools=[poisoned()]),
            "result": await ask(world, url, messages=history),
            "image": await ask(world, url, [{"type": "text", "text": HONEST}, IMAGE]),
        }
        for name, said in refused.items():
            assert said.status == 400, (name, said.raw)
            assert REPLY.encode() not in said.raw, name
        records = await world.records()
    assert [row.record.decision for row in records] == ["admit"] * 3 + ["refuse"] * len(refused)
    assert all(row.record.key and row.record.route.endswith("litellm_basic_guardrail_api") for row in records)
    replies = [row.record.reply for row in records[3:]]
    for said, reply in zip(refused.values(), replies, strict=True):
        assert reply and reply in said.json["error"]["message"]


async def test_before_the_call_nothing_is_asked_and_without_us_nothing_goes_through(tmp_path: Path) -> None:
    """With pre_call a refused request never reaches the model; a guardrail that is away refuses everything."""
    async with served(tmp_path) as world, proxy(world, tmp_path, during_call="pre_call") as url:
        assert (await ask(world, url)).text == REPLY
        assert (await ask(world, url, ATTACK)).status == 400
        assert world.standin.stats()["models"]["gpt-4o"]["started"] == 1
        for key in await world.service.store.keys():
            await world.service.store.revoke(key.id)
        world.service.callers.refresh(await world.service.store.keys())
        assert (await ask(world, url)).status >= 400
        assert world.standin.stats()["models"]["gpt-4o"]["started"] == 1
