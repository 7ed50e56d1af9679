"""The tables, as they are after the last migration. A test compares the two.

Moments are whole microseconds since 1970 in UTC, and names end in `_us`. Objects and lists are JSON texts in which
characters that a database cannot keep (NUL, half a surrogate pair) stand as escapes.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

metadata = MetaData()

records = Table(
    "records",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation", Text, nullable=False),
    Column("key_id", Text),
    Column("at_us", BigInteger, nullable=False),
    Column("route", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("decided_by", Text),
    Column("why", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("config_version", Integer),
    Column("speculated", Boolean, nullable=False),
    Column("streamed", Boolean, nullable=False),
    Column("held_ms", Float, nullable=False),
    Column("elapsed_ms", Float, nullable=False),
    Column("verdicts", Text, nullable=False),
    Column("timeline", Text, nullable=False),
    Column("usage", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("messages", Text),
    Column("reply", Text),
)
Index("records_conversation", records.c.conversation)
Index("records_at", records.c.at_us, records.c.id)

ends = Table(
    "ends",
    metadata,
    Column("id", Text, ForeignKey("records.id", ondelete="CASCADE"), primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("elapsed_ms", Float, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("usage", Text, nullable=False),
    Column("timeline", Text, nullable=False),
    Column("reply", Text),
    Column("verdicts", Text),
)

turns = Table(
    "turns",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("conversation", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("config", Text, nullable=False),
    Column("verdicts", Text, nullable=False),
)
Index("turns_conversation", turns.c.conversation)
Index("turns_at", turns.c.at_us)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("rights", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
)

configs = Table(
    "configs",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("version", Integer),
    Column("ready", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)

notes = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)


def to_us(at: datetime) -> int:
    """Microseconds since 1970; raises TypeError for a moment without a time zone."""
    return (at - _EPOCH) // _US


def from_us(us: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + timedelta(microseconds=us)
