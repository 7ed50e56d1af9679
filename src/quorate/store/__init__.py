"""What the service keeps: every decision before its first byte goes out, and its end; keys, configs, admin acts.

It knows nothing of HTTP. SQLite by default, PostgreSQL by URL.
"""

from quorate.store.queries import Wanted
from quorate.store.records import (
    RIGHTS,
    ConfigVersion,
    End,
    Key,
    Note,
    Outcome,
    Record,
    Right,
    Stored,
    Turn,
    Worker,
    digest_of,
    parse_key,
)
from quorate.store.redact import redact
from quorate.store.store import Store
from quorate.store.writer import Stats

__all__ = [
    "RIGHTS",
    "ConfigVersion",
    "End",
    "Key",
    "Note",
    "Outcome",
    "Record",
    "Right",
    "Stats",
    "Store",
    "Stored",
    "Turn",
    "Wanted",
    "Worker",
    "digest_of",
    "parse_key",
    "redact",
]
