"""The options of `keys` and `forget`, apart from them so that `--help` loads nothing else."""

import argparse
import contextlib
from pathlib import Path

LIMITS = ("per_minute", "concurrency", "waste_tokens", "waste_usd", "refusal_share")
RIGHTS = ("call", "details", "admin")
STORE = "sqlite:///quorate.db"


def add_keys_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `keys` and of its acts."""
    acts = command.add_subparsers(dest="act", metavar="ACT", required=True)
    create = acts.add_parser("create", help="make a key and print it once")
    create.add_argument("name", metavar="NAME", help="whose it is")
    create.add_argument(
        "--right", action="append", choices=RIGHTS, help="call (the default), details, admin; may be repeated"
    )
    create.add_argument("--rate", type=rate, metavar="N/min", help="the most requests a minute (default: no limit)")
    create.add_argument(
        "--limit", action="append", type=limit, metavar="NAME=N", help="as in [service.keys]; may be repeated"
    )
    revoke = acts.add_parser("revoke", help="make a key worthless, at once and for ever")
    revoke.add_argument("id", metavar="ID", help="the part between the first and second _ of the key")
    for act in (create, acts.add_parser("list", help="show all keys, without their secrets"), revoke):
        _shared(act)


def add_forget_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `forget`."""
    command.add_argument("--conversation", required=True, metavar="ID", help="delete all that is stored of it")
    _shared(command)


def rate(text: str) -> int:
    """Requests a minute, as "60/min" or "60".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    number = text.removesuffix("/min")
    if number.isascii() and number.isdigit() and 0 < len(number) < 10 and int(number):
        return int(number)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed is a whole number above 0, such as 60/min")


def limit(text: str) -> tuple[str, float]:
    """A bound of a key, as "concurrency=4".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    name, _, number = text.partition("=")
    with contextlib.suppress(ValueError):
        if name in LIMITS and float(number) > 0:
            return name, float(number)
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed are {', '.join(LIMITS)}, each with a number above 0")


def add_mode_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `mode`."""
    command.add_argument("mode", choices=("enforce", "observe"), help="observe refuses nothing; enforce ends that")
    command.add_argument("--why", required=True, metavar="TEXT", help="what for; it is recorded")
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the quorate.toml that is served")
    command.add_argument("--store", metavar="URL", help="of the database, where it is not the config's")
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml, for its [service] store")
    command.add_argument("--store", metavar="URL", help=f"of the database; without --config {STORE}")
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
