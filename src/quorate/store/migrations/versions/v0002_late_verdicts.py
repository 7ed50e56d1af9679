"""Ends keep the verdicts that came after the decision: those of checks that are only observed."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; ends from before have none."""
    op.add_column("ends", Column("verdicts", Text))


def downgrade() -> None:
    """Drop the column, and all that is in it."""
    op.drop_column("ends", "verdicts")
