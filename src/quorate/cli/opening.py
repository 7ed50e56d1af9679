"""The store for a command that works on it: at hand, and named in errors by the way out."""

import getpass

from quorate.errors import UsageError

try:
    from quorate.store import Store
except ModuleNotFoundError as error:
    raise UsageError("the store needs a database library: pip install 'quorate[service]'") from error

__all__ = ["Store", "who"]


def who() -> str:
    """Who runs the command, for the journal of administrators' acts."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # A container's user without a name.
        return "command line"
