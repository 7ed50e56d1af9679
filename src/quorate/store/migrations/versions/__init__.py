"""One module for each step; Alembic reads them as files."""
