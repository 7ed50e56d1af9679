"""Review a folder from Python and print what was found."""

import asyncio
from pathlib import Path

from quorate.apps.review import collect, review

HERE = Path(__file__).parent


async def main() -> None:
    """Read the shop with every reviewer that needs no key."""
    sources, _ = collect([str(HERE / "shop")], base=HERE)
    found = await review(sources)
    for cluster in found.reported:
        print(f"{cluster.severity} CWE-{cluster.head.cwe} {cluster.head.path}:{cluster.line}")


if __name__ == "__main__":
    asyncio.run(main())
