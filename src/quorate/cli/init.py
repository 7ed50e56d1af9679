"""`quorate init`: a commented config and a starter help centre that work at once."""

import argparse
import shlex
from importlib import resources
from pathlib import Path

from quorate.cli.safe import safe
from quorate.errors import UsageError

_FILES = ("quorate.toml", "examples.txt", "help/returns.md", "help/delivery.md", "help/contact.md")


async def run(args: argparse.Namespace) -> int:
    """Write the files; never over anything that is there."""
    folder: Path = args.dir
    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} holds {', '.join(there)} already; choose an empty folder")
    starter = resources.files("quorate.cli") / "starter"
    try:
        for name in _FILES:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(starter.joinpath(*name.split("/")).read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    config = folder / "quorate.toml"
    print(safe(f"Wrote {len(_FILES)} files to {folder}. Try:", lines=False))
    print(safe(f'  quorate ask --config {shlex.quote(str(config))} "How do I return an item?"', lines=False))
    return 0
