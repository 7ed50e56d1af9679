"""`quorate keys`: make, list and revoke the service's API keys."""

import argparse
import json
from datetime import datetime
from typing import Any

from quorate.cli.opening import Store, at_hand, who
from quorate.cli.safe import safe
from quorate.errors import UsageError
from quorate.store import Key


async def run(args: argparse.Namespace) -> int:
    """Do one act; a key's secret is printed when it is made, and never again."""
    async with at_hand(args) as store:
        if args.act == "create":
            await _create(store, args)
        elif args.act == "revoke":
            await _revoke(store, args)
        else:
            _list(await store.keys(), args)
    return 0


async def _create(store: Store, args: argparse.Namespace) -> None:
    limits = dict(args.limit or ())
    if args.rate is not None:
        limits["per_minute"] = float(args.rate)
    key, secret = await store.create_key(args.name, tuple(args.right or ("call",)), limits=limits)
    await store.note("key created", by=who(), detail={"key": key.id, "name": key.name, "rights": key.rights})
    if args.json:
        print(json.dumps({**_as_json(key), "secret": secret}))
        return
    print(secret)
    print(f"Keep it now: it is not shown again. To revoke it: quorate keys revoke {key.id}")


async def _revoke(store: Store, args: argparse.Namespace) -> None:
    if not await store.revoke(args.id):
        raise UsageError(f"no key {args.id!r} that is still good: quorate keys list shows their ids")
    await store.note("key revoked", by=who(), detail={"key": args.id})
    print(json.dumps({"id": args.id, "revoked": True}) if args.json else safe(f"revoked {args.id}", lines=False))


def _list(keys: list[Key], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"keys": [_as_json(key) for key in keys]}))
        return
    if not keys:
        print("no keys yet: quorate keys create NAME makes one")
    for key in keys:
        state = "good" if key.revoked is None else f"revoked {key.revoked:%Y-%m-%d %H:%M}"
        limits = " ".join(f"{name}={value:g}" for name, value in key.limits.items())
        line = f"{key.id}  {key.created:%Y-%m-%d %H:%M}  {state}  {','.join(key.rights)}  {limits or '-'}  {key.name}"
        print(safe(line, lines=False))


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "rights": list(key.rights),
        "limits": dict(key.limits),
        "created": _moment(key.created),
        "revoked": None if key.revoked is None else _moment(key.revoked),
    }


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
