"""A database by its URL: connections as we need them, migrations under a lock, errors as ours."""

import os
import sqlite3
import threading
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError, SQLAlchemyError

from quorate.errors import StoreError, UsageError

_STEPS = Path(__file__).parent / "migrations"
_LOCK = 0x71756F72
"""Names our migrations among PostgreSQL's advisory locks."""
_BUSY_MS = 10_000
_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps the database that its steps run on in one place for the whole process."""
_WRITES = "quorate_writes"
_NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
}


def parse_url(url: str) -> URL:
    """The URL with its driver.

    Raises:
        UsageError: it names no SQLite file and no PostgreSQL database. The message does not repeat it: it may hold
            a password.
    """
    allowed = "allowed are sqlite:///FILE and postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"the store's URL is none: {allowed}") from error
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:") or parsed.query:
            raise UsageError(f"the store needs a file of its own, without options: {allowed}")
        return parsed.set(drivername="sqlite+pysqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise UsageError(f"the store's URL begins with {kind!r}: {allowed}")


def connect(url: str) -> Engine:
    """Connections to a database, brought to the newest form; blocks.

    SQLite: write-ahead log, every commit on the disk before it returns, deleted texts overwritten, and a file that
    only its owner can read. PostgreSQL: a lost connection is noticed, and replaced by the next use.

    Raises:
        UsageError: the URL is wrong, its driver is not installed, or its database is of a newer version.
        StoreError: the database is away.
    """
    parsed = parse_url(url)
    try:
        engine = _sqlite(parsed) if parsed.drivername.startswith("sqlite") else _postgres(parsed)
        try:
            _migrate(engine)
        except BaseException:
            engine.dispose()
            raise
    except ModuleNotFoundError as error:
        raise UsageError("a PostgreSQL store needs a driver: pip install 'quorate[postgres]'") from error
    except OSError as error:
        raise StoreError(f"the store cannot be opened: {error.strerror}") from error
    except SQLAlchemyError as error:
        raise store_error(error) from error
    return engine


def begins_writing(engine: Engine) -> Engine:
    """The same connections, for transactions that write from the start."""
    return engine.execution_options(**{_WRITES: True})


def store_error(error: SQLAlchemyError) -> StoreError:
    """Ours for theirs, without statements, values or passwords."""
    if isinstance(error, DBAPIError) and (is_away(error) or type(error) is DatabaseError):
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        return StoreError(f"the store is not to be had: {lines[0]}")
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StoreError(f"the store would not do it: {type(cause).__name__}")


def is_away(error: SQLAlchemyError) -> bool:
    """Whether the database could not be reached or was busy, so that the same may succeed later."""
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def now_us(engine: Engine) -> str:
    """SQL for the database's own time: workers on several machines agree on it."""
    return _NOW[engine.dialect.name]


def erase(connection: Connection) -> None:
    """After a deletion, outside of transactions: let no old copy of a page lie in SQLite's write-ahead log."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    # One that the writer keeps, one for what it does after a job, one for the reader.
    engine = create_engine(
        url, hide_parameters=True, pool_size=3, max_overflow=0, connect_args={"timeout": _BUSY_MS / 1000}
    )
    event.listen(engine, "connect", _pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _pragmas(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # Transactions begin where we say so, not where the driver guesses.
    cursor = connection.cursor()
    _turn_on_log(connection)
    for line in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {line}")
    cursor.close()


def _turn_on_log(connection: DBAPIConnection) -> None:
    """The one statement for which SQLite does not wait while another process has the file."""
    cursor = connection.cursor()
    pause = threading.Event()
    for tries_left in reversed(range(_BUSY_MS // 10)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if not tries_left:
                raise
            pause.wait(0.01)
        else:
            break
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=2,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10},
    )
    event.listen(engine, "connect", _commit_to_disk)
    return engine


def _commit_to_disk(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    connection.commit()


def _migrate(engine: Engine) -> None:
    script = ScriptDirectory(_STEPS, version_locations=[_STEPS / "versions"])

    def steps(found: tuple[str, ...], _context: MigrationContext) -> list[MigrationStep]:
        missing = script.iterate_revisions("head", found, implicit_base=True)
        return [MigrationStep.upgrade_from_script(script.revision_map, step) for step in reversed(list(missing))]

    with _ONE_AT_A_TIME, begins_writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if connection.execute(text("SHOW server_encoding")).scalar() != "UTF8":
                raise UsageError("the store's database must keep any text: create it with ENCODING 'UTF8'")
        context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True})
        try:
            with Operations.context(context):
                context.run_migrations()
        except (CommandError, ResolutionError) as error:
            raise UsageError(
                "the store was written by a newer Quorate: install that version, or name another database"
            ) from error
