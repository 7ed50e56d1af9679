"""What `quorate doctor` says about serving: upstream, store, port, keys, output and what no check can read."""

import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from quorate.errors import QuorateError, UsageError
from quorate.models import Message, Prompt
from quorate.models.openai import OpenAIModel
from quorate.service.callers import is_loopback
from quorate.settings import Settings, UpstreamTable, api_key
from quorate.store import Store
from quorate.wiring import App
from quorate.wiring.serving import store_url

PING = Prompt((Message("user", "Say hello."),), max_tokens=1)
Finding = tuple[str, str]
"""How bad it is ("ok", "warn" or "FAIL"), and a line."""


async def findings(app: App, settings: Settings, base: Path) -> AsyncIterator[Finding]:
    """What serving this config would meet, a line each.

    Args:
        app: of the config; open.
        settings: the config.
        base: the folder that a relative store stands in.
    """
    table = settings.service
    if settings.upstream is None:
        yield "ok", "upstream   none: the built-in answer replies, to the model's name quorate"
    else:
        async for finding in _upstream(app, settings.upstream):
            yield finding
    keys = None
    try:
        keys = await _keys(store_url(table, base))
    except QuorateError as error:
        yield "FAIL", f"store      {error}"
    else:
        yield "ok", f"store      {_shown(table.store)}: can be used, {keys} key(s)"
    yield _port(table.host, table.port)
    if keys == 0 and not is_loopback(table.host):
        yield "warn", f"keys       none, and {table.host} is not loopback: the first start makes one and prints it once"
    for finding in _reading(settings):
        yield finding


async def _upstream(app: App, table: UpstreamTable) -> AsyncIterator[Finding]:
    """Whether it answers a request of one token, under each of its names."""
    key = api_key(table)
    if table.api_key_env and not key:
        yield "FAIL", f"upstream   the environment has no {table.api_key_env}; set it to the upstream's key"
        return
    for name in dict.fromkeys(table.models.values()):
        model = OpenAIModel(name, base_url=table.base_url, session=app.session, api_key=key)
        try:
            await model.complete(PING)
        except QuorateError as error:
            yield "FAIL", f"upstream   {error}"
        else:
            yield "ok", f"upstream   {name} answers"
    if table.effects != "none":
        yield "warn", 'upstream   effects = "unknown": each answer waits for the verdict instead of running beside it'


async def _keys(url: str) -> int:
    """How many good keys there are; none where the store is still to be made.

    Raises:
        QuorateError: the store cannot be opened, or not be made.
    """
    kind, _, name = url.partition(":///")
    if kind == "sqlite" and _is_new(Path(name)):
        return 0
    async with Store.open(url) as store:
        return sum(key.revoked is None for key in await store.keys())


def _is_new(file: Path) -> bool:
    """Whether there is no such file yet: looking makes none."""
    if file.exists():
        return False
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{file.parent} cannot be written: see [service] store")
    return True


def _shown(url: str) -> str:
    """A store's URL without its user and password."""
    kind, _, rest = url.partition("//")
    return f"{kind}//{rest.rpartition('@')[2]}"


def _port(host: str, port: int) -> Finding:
    """Whether it can be listened on. Nothing is served."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host.strip("[]"), port))
            sock.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "warn", f"port       {host}:{port} is taken: is the service running already?"
            return "FAIL", f"port       cannot listen on {host}:{port}: {error.strerror or error}"
    return "ok", f"port       {host}:{port} is free"


def _reading(settings: Settings) -> Iterator[Finding]:
    """What nobody reads: the answer, and parts that are no text."""
    output = settings.output
    if output.mode == "off":
        yield "ok", "output     off: no check reads what an answer says"
    else:
        yield "ok", f"output     {output.mode}: {', '.join(output.checks)}"
    unread = {name: table.on_unread for name, table in settings.checks.items()}
    alike = len(set(unread.values())) == 1
    told = [*set(unread.values())] if alike else [f"{name} {what}" for name, what in unread.items()]
    level = "warn" if all(what == "allow" for what in unread.values()) else "ok"
    yield level, f"unread     on_unread for images, audio and files: {', '.join(told)}"
