"""Routes for those who run the service: health, figures, reload and the break-glass."""

import json
from typing import Any

from quorate.errors import ConfigError, StoreError
from quorate.service.callers import Caller
from quorate.service.exchange import Exchange
from quorate.service.openapi import description
from quorate.service.reloading import followed, propose
from quorate.service.replies import created
from quorate.service.state import Service
from quorate.service.wire import BadRequest, parse
from quorate.store.records import Mode

SMALL = 1 << 16


async def models(service: Service, _exchange: Exchange, *, caller: Caller) -> bytes:
    """The models that may be asked for, in OpenAI's shape."""
    caller.need("call")
    rows = [
        {"id": name, "object": "model", "created": created(), "owned_by": "quorate"}
        for name in service.configs.live.names
    ]
    return json.dumps({"object": "list", "data": rows}).encode()


async def reload(service: Service, exchange: Exchange, *, caller: Caller) -> tuple[int, bytes]:
    """Read the config's file again; answers once every worker follows it, or names those that do not."""
    caller.need("admin")
    return await _changed(service, by=caller.id or "this machine", why=exchange.header(b"x-reason")[:200], mode=None)


async def mode(service: Service, exchange: Exchange, *, caller: Caller) -> tuple[int, bytes]:
    """The break-glass: observe everything and enforce nothing, or enforce again."""
    caller.need("admin")
    data = parse(await exchange.json(SMALL))
    wanted, why = data.get("mode"), data.get("why")
    chosen: Mode | None = "observe" if wanted == "observe" else "enforce" if wanted == "enforce" else None
    if chosen is None or data.keys() - {"mode", "why"}:
        raise BadRequest("mode: allowed are enforce and observe; beside it stands why", param="mode")
    if not isinstance(why, str) or not why.strip():
        raise BadRequest("why: say in a few words what for; it is recorded", param="why")
    return await _changed(service, by=caller.id or "this machine", why=why[:200], mode=chosen)


async def _changed(service: Service, *, by: str, why: str, mode: Mode | None) -> tuple[int, bytes]:
    try:
        version = await propose(service.store, service.path, by=by, why=why, mode=mode)
    except ConfigError as error:
        service.metrics.reloaded("rejected")
        said = {"error": {"message": str(error), "type": "invalid_config", "param": None, "code": "config_rejected"}}
        return 400, json.dumps(said | {"problems": error.problems}).encode()
    outcome = await followed(service.store, version)
    return (503 if outcome["pending"] else 200), json.dumps(outcome).encode()


async def health(_service: Service, _exchange: Exchange) -> tuple[int, bytes]:
    """The process lives and its loop turns."""
    return 200, b'{"status": "ok"}'


async def ready(service: Service, _exchange: Exchange) -> tuple[int, bytes]:
    """Whether requests should come here: not while draining, without a store, or behind the config in force."""
    live = service.configs.live
    problems: list[str] = []
    if service.draining:
        problems.append("draining")
    if not service.follower.ready:
        problems.append("behind the config in force")
    try:
        await service.store.ping()
    except StoreError:
        problems.append("the store is away")
    said: dict[str, Any] = {
        "ready": not problems,
        "problems": problems,
        "config": {"version": live.version, "digest": live.digest, "mode": live.app.settings.mode},
        "limits": service.limits_hold,
    }
    return (503 if problems else 200), json.dumps(said).encode()


async def openapi(_service: Service, _exchange: Exchange) -> tuple[int, bytes]:
    """The service's own description."""
    return 200, json.dumps(description()).encode()
