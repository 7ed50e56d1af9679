"""`quorate forget`: delete all that is stored of a conversation."""

import argparse
import json

from quorate.cli.opening import at_hand, who
from quorate.store import digest_of


async def run(args: argparse.Namespace) -> int:
    """Delete its records, ends, turns and texts, and note the act by the id's hash; 0 also where there was nothing."""
    async with at_hand(args) as store:
        count = await store.forget(args.conversation)
        detail = {"conversation": f"sha256:{digest_of(args.conversation)}", "records": count}
        await store.note("conversation forgotten", by=who(), detail=detail)
    print(json.dumps({"forgotten": count}) if args.json else f"forgotten: {count} record(s)")
    return 0
