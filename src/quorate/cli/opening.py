"""The store for a command that works on it: at hand, and named in errors by the way out."""

import argparse
import getpass

from quorate.cli.store_options import STORE
from quorate.errors import UsageError
from quorate.settings import load_settings
from quorate.wiring.serving import store_url

try:
    from quorate.store import Store
except ModuleNotFoundError as error:
    raise UsageError("the store needs a database library: pip install 'quorate[service]'") from error

__all__ = ["Store", "at_hand", "who"]


def at_hand(args: argparse.Namespace) -> Store:
    """The store that --store names, or else the one of --config; enter it.

    Raises:
        ConfigError: the config has mistakes.
    """
    if args.store is None and args.config is not None:
        return Store.open(store_url(load_settings(args.config).service, args.config.resolve().parent))
    return Store.open(args.store or STORE)


def who() -> str:
    """Who runs the command, for the journal of administrators' acts."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # A container's user without a name.
        return "command line"
