"""The first form: records and ends, turns, keys, configs, workers, notes."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Integer, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    _requests()
    _administration()


def downgrade() -> None:
    """Drop all tables, and all that is in them."""
    for table in ("notes", "workers", "configs", "keys", "turns", "ends", "records"):
        op.drop_table(table)


def _requests() -> None:
    op.create_table(
        "records",
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
    op.create_index("records_conversation", "records", ["conversation"])
    op.create_index("records_at", "records", ["at_us", "id"])
    op.create_table(
        "ends",
        Column("id", Text, ForeignKey("records.id", ondelete="CASCADE"), primary_key=True),
        Column("outcome", Text, nullable=False),
        Column("error", Text),
        Column("elapsed_ms", Float, nullable=False),
        Column("bytes_out", BigInteger, nullable=False),
        Column("usage", Text, nullable=False),
        Column("timeline", Text, nullable=False),
        Column("reply", Text),
    )
    op.create_table(
        "turns",
        Column("prefix", Text, primary_key=True),
        Column("conversation", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("config", Text, nullable=False),
        Column("verdicts", Text, nullable=False),
    )
    op.create_index("turns_conversation", "turns", ["conversation"])
    op.create_index("turns_at", "turns", ["at_us"])


def _administration() -> None:
    op.create_table(
        "keys",
        Column("id", Text, primary_key=True),
        Column("name", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("rights", Text, nullable=False),
        Column("limits", Text, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Column("revoked_us", BigInteger),
    )
    op.create_table(
        "configs",
        Column("version", Integer, primary_key=True),
        Column("digest", Text, nullable=False),
        Column("mode", Text, nullable=False),
        Column("text", Text, nullable=False),
        Column("author", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "workers",
        Column("worker", Text, primary_key=True),
        Column("version", Integer),
        Column("ready", Boolean, nullable=False),
        Column("error", Text, nullable=False),
        Column("seen_us", BigInteger, nullable=False),
    )
    op.create_table(
        "notes",
        Column("id", Integer, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("author", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
