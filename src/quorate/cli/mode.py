"""`quorate mode`: the break-glass. Observe refuses nothing, enforce goes back; every worker follows within a second."""

import argparse
import json

from quorate.cli.opening import at_hand, who
from quorate.cli.safe import safe

try:
    from quorate.service.reloading import followed, propose
except ModuleNotFoundError as error:
    from quorate.errors import UsageError

    raise UsageError("this needs the service: pip install 'quorate[service]'") from error


async def run(args: argparse.Namespace) -> int:
    """Put the mode in force; 0 once every live worker follows, 1 where one does not."""
    async with at_hand(args) as store:
        version = await propose(store, args.config.resolve(), by=who(), why=args.why, mode=args.mode)
        outcome = await followed(store, version)
    if args.json:
        print(json.dumps(outcome))
    else:
        print(f"version {version}, {args.mode}: {len(outcome['workers'])} worker(s) follow")
        for worker, why in outcome["pending"].items():
            print(safe(f"not yet: {worker} {why}", lines=False))
    return 1 if outcome["pending"] else 0
