"""The options of `keys` and `forget`, apart from them so that `--help` loads nothing else."""

import argparse

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


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", default=STORE, metavar="URL", help=f"of the database (default {STORE})")
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
