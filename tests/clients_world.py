"""Other people's clients, each in a process of its own, in an environment of their own: `make clients` brings it."""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from service_world import ATTACK, HONEST, TOOL, Served

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "tests" / "clients"
PLACE = ROOT / ".venv-clients"
MISSING = "the clients are not installed: make clients"
NAMES = ', "tool" = "answer+tool", "down" = "answer+500", "broken" = "answer-0ms-20x5ms+cut-mid"'
FLAKY = ', "flaky" = "answer-0ms+429:200ms+ok"'
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "DO_NOT_TRACK": "1"}
"""No client may ask anybody but us."""


def program(name: str) -> str:
    """The path of a program among the clients; skips the test that asks where it is missing."""
    found = shutil.which(name) if name == "node" else str(PLACE / name)
    if found is None or not Path(found).exists() or not (PLACE / ".complete").exists():
        if os.environ.get("QUORATE_REQUIRE_CLIENTS") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


async def seen_by(world: Served, program: str, script: str) -> Any:
    """Run a client's script against a service, and return what it saw."""
    _, spent = await world.service.store.create_key("spent", ("call",), limits={"per_minute": 1})
    key = await world.key("call", "details")
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": HONEST}]}
    assert (await world.post("/v1/chat/completions", ask, Authorization=f"Bearer {spent}")).status == 200
    job = {
        "url": f"{world.url}/v1",
        "key": key,
        "spent_key": spent,
        "honest": HONEST,
        "attack": ATTACK,
        "tool": TOOL,
        "modules": f"{PLACE}/",
    }
    process = await asyncio.create_subprocess_exec(
        program, str(SCRIPTS / script), stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, **QUIET}
    )
    out, err = await process.communicate(json.dumps(job).encode())
    assert process.returncode == 0, err.decode()[-4000:]
    return json.loads(out.decode().splitlines()[-1])
