"""The API's own description: true of every route, and fuzzed from by schemathesis against a running service."""

import asyncio
import os
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients_world import QUIET, program
from quorate.service.app import KEYED, OPEN, ROUTES
from quorate.service.chat import ROUTE
from quorate.service.openapi import description
from quorate.service.verdicts import CHECKS as CHECKED
from quorate.service.verdicts import GUARDRAIL
from service_world import served

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth"),
)
EXAMPLES = 150 if os.environ.get("QUORATE_REQUIRE_CLIENTS") == "1" else 15
"""For each route."""


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_it_describes_every_route_and_no_other() -> None:
    """The paths are those that are served, with their methods; every shape that is named is there, and is used."""
    whole = description()
    assert set(whole["paths"]) == set(ROUTES)
    said = {(method.upper(), path) for path, route in whole["paths"].items() for method in route}
    assert said == {*KEYED, *OPEN, ("POST", ROUTE), ("GET", "/metrics")}
    named = {reference.removeprefix("#/components/schemas/") for reference in references(whole)}
    assert named == set(whole["components"]["schemas"])


async def fuzz(url: str, key: str, *words: str, folder: Path) -> tuple[int, str]:
    """Let schemathesis loose; the exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        program("bin/schemathesis"),
        *("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "20", "--warnings", "off"),
        *words,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=folder,
        env={**os.environ, **QUIET, "NO_COLOR": "1"},
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.sockets
@pytest.mark.timeout(600)
async def test_no_request_brings_the_service_down(tmp_path: Path) -> None:
    """Valid and broken requests to every route: no 5xx, and each reply is as it is described."""
    async with served(tmp_path, answer="answer-0ms") as world:
        key = await world.key("call", "details", "admin")
        words = ("--exclude-path-regex", "^/admin", "--max-examples", str(EXAMPLES))
        code, said = await fuzz(world.url, key, *words, folder=tmp_path)
        assert code == 0, said
        # Each of these waits until every worker has followed.
        words = ("--include-path-regex", "^/admin", "--max-examples", "5")
        code, said = await fuzz(world.url, key, *words, folder=tmp_path)
        assert code == 0, said
        assert (await world.chat()).status == 200
        routes = {row.record.route for row in await world.records()}
        assert {ROUTE, CHECKED, GUARDRAIL} <= routes, "no request of schemathesis got through"
