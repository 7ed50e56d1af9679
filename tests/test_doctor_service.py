"""What the doctor says about serving a config, and what it leaves alone."""

import asyncio
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.settings import check_settings
from quorate.store import Store
from quorate.testing.standin import StandIn
from test_cli import Ran, beside, run

CONFIG = """
version = 1
{output}
[company]
name = "Lantern Post"
description = "an online shop for lamps"
[checks.threat]
models = ["local"]
on_abstain = "admit"
{check}
[models.any]
base_url = "{url}"
model = "any"
[answer]
model = "any"
[upstream]
base_url = "{url}"
models = {{ "gpt-4o" = "{model}", "same" = "{model}" }}
{upstream}
[service]
port = {port}
{service}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with beside(StandIn()) as running:
        yield running


def doctor(folder: Path, server: StandIn, **changes: str) -> Ran:
    """Its word on a config with some changes."""
    places = {"output": "", "check": "", "model": "answer", "upstream": "", "port": "0", "service": ""}
    path = folder / "quorate.toml"
    path.write_text(CONFIG.format(**{**places, "url": server.base_url, **changes}), encoding="utf-8")
    return run("doctor", "--config", path)


def test_a_good_service_is_told_part_by_part(server: StandIn, tmp_path: Path) -> None:
    """Upstream, store, port, output and unread parts each have their line; nothing is made by looking."""
    ran = doctor(tmp_path, server, upstream='effects = "none"', output='output = "hold"')
    assert (ran.code, ran.err) == (0, "") and "warn" not in ran.out and "FAIL" not in ran.out
    assert ran.out.count("ok    upstream   answer answers") == 1  # Two names of one model are one question.
    assert "ok    store      sqlite:///quorate.db: can be used, 0 key(s)\n" in ran.out
    assert "ok    port       127.0.0.1:0 is free" in ran.out
    assert "ok    output     hold: leak, links" in ran.out
    assert "ok    unread     on_unread for images, audio and files: block" in ran.out
    assert [file.name for file in tmp_path.iterdir()] == ["quorate.toml"]


def test_what_serves_but_not_as_hoped_is_a_warning(server: StandIn, tmp_path: Path) -> None:
    """Answers that wait, an open address without keys, a taken port, images let through: each is said, exit 0."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        more = {"port": str(taken.getsockname()[1]), "service": 'host = "0.0.0.0"', "check": 'on_unread = "allow"'}
        ran = doctor(tmp_path, server, **more)
    assert ran.code == 0 and "FAIL" not in ran.out
    assert "is taken: is the service running already?" in ran.out
    assert "warn  keys       none, and 0.0.0.0 is not loopback" in ran.out
    assert 'warn  upstream   effects = "unknown"' in ran.out and "warn  unread " in ran.out
    assert "ok    output     off: no check reads" in ran.out


def test_keys_that_are_there_are_counted(server: StandIn, tmp_path: Path) -> None:
    """A store that exists is opened; with a good key nothing is said of open addresses, a revoked one is none."""
    url = f"sqlite:///{tmp_path}/quorate.db"

    async def make(revoke: bool) -> None:
        async with Store.open(url) as store:
            key, _ = await store.create_key("first")
            if revoke:
                await store.revoke(key.id)

    asyncio.run(make(revoke=True))
    assert "warn  keys " in doctor(tmp_path, server, service='host = "0.0.0.0"').out
    asyncio.run(make(revoke=False))
    ran = doctor(tmp_path, server, service='host = "0.0.0.0"')
    assert ran.code == 0 and "can be used, 1 key(s)" in ran.out and "warn  keys " not in ran.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "answer+401"}, "FAIL  upstream "),
        ({"upstream": 'api_key_env = "NO_SUCH_KEY"'}, "FAIL  upstream   the environment has no NO_SUCH_KEY"),
        ({"service": 'store = "sqlite:////no/such/folder/quorate.db"'}, "FAIL  store "),
        ({"service": 'store = "postgresql://me:hidden@127.0.0.1:1/none"'}, "FAIL  store "),
        ({"service": 'host = "192.0.2.1"'}, "FAIL  port       cannot listen on 192.0.2.1:0"),
    ],
)
def test_what_would_not_serve_is_a_failure(server: StandIn, tmp_path: Path, changes: dict[str, str], said: str) -> None:
    """A refusing or keyless upstream, a store or an address that cannot be had: FAIL with the reason, exit 1."""
    ran = doctor(tmp_path, server, **changes)
    assert ran.code == 1 and said in ran.out and ran.out.count("FAIL") == 1
    assert "hidden" not in ran.out + ran.err and "Traceback" not in ran.err


def test_the_starters_commented_lines_are_good(tmp_path: Path) -> None:
    """With the service's comment signs taken away the starter is a config as valid as with them."""
    assert run("init", tmp_path).code == 0
    path = tmp_path / "quorate.toml"
    head, tail = path.read_text(encoding="utf-8").split("# --- `quorate serve`")
    lines = [line.removeprefix("# ") for line in tail.splitlines() if line.startswith("# [") or " = " in line]
    settings = check_settings(tomllib.loads(head + "\n".join(lines)), source=path)
    assert settings.upstream is not None and settings.upstream.effects == "none"
    assert settings.output.mode == "hold" and settings.service.keys.per_minute == 600
    assert settings.service.model_fields_set >= {"host", "port", "store", "audit", "text", "retention_days"}
