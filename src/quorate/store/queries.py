"""What the store does with a connection, blocking: keys, configs, workers, notes, reading, deleting."""

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Row,
    delete,
    desc,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from quorate.errors import UsageError
from quorate.store.database import now_us
from quorate.store.records import (
    JSON,
    RIGHTS,
    ConfigVersion,
    Decided,
    Key,
    Mode,
    Note,
    Right,
    Stored,
    Turn,
    Worker,
    digest_of,
)
from quorate.store.rows import name_of, plain, read, turn_of
from quorate.store.schema import configs, ends, from_us, keys, notes, records, to_us, turns, workers

PIECE = 500
"""Records or turns that one transaction deletes: others write in between."""
MAX_PAGE = 1000

_BOTH = select(records, *(column.label(f"end_{column.name}") for column in ends.c)).select_from(
    records.outerjoin(ends, ends.c.id == records.c.id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records; fields left out do not matter.

    Attributes:
        since: decided at this moment or later.
        until: decided before it.
        decision: "admit", "refuse" or "escalate".
        conversation: of this one.
        id: this one.
        after: go on after this record, the last of the page before.
        limit: the most of one page, newest first; at most 1000.
    """

    since: datetime | None = None
    until: datetime | None = None
    decision: Decided | None = None
    conversation: str | None = None
    id: str | None = None
    after: Stored | None = None
    limit: int = 100


class Queries:
    """Statements for one kind of database."""

    def __init__(self, engine: Engine) -> None:
        self._now: ColumnElement[int] = literal_column(now_us(engine), BigInteger)
        self._upsert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def create_key(
        self, connection: Connection, /, *, name: str, rights: Sequence[Right], limits: JSON
    ) -> tuple[Key, str]:
        """Make a key; returns it with its whole text, which is nowhere kept."""
        # Hexadecimal: a double click takes the whole key, and no shell or pattern reads part of it as something else.
        id, secret = secrets.token_hex(6), secrets.token_hex(32)
        row = connection.execute(
            insert(keys)
            .values(
                id=id,
                name=plain(name),
                digest=digest_of(secret),
                rights=json.dumps(sorted(set(rights), key=RIGHTS.index)),
                limits=json.dumps(dict(limits)),
                created_us=self._now,
            )
            .returning(keys)
        ).one()
        return _key(row), f"qk_{id}_{secret}"

    def create_first_key(
        self, connection: Connection, /, *, name: str, rights: Sequence[Right]
    ) -> tuple[Key, str] | None:
        """Make a key where there is none yet."""
        if connection.dialect.name == "postgresql":  # SQLite has one writer anyway.
            connection.exec_driver_sql("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE")
        if connection.execute(select(keys.c.id).limit(1)).first() is not None:
            return None
        return self.create_key(connection, name=name, rights=rights, limits={})

    def keys(self, connection: Connection) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.created_us, keys.c.id))]

    def revoke(self, connection: Connection, id: str, /) -> bool:
        """Revoke a key; False where there is none, or it is revoked already."""
        done = connection.execute(
            update(keys)
            .where(keys.c.id == plain(id), keys.c.revoked_us.is_(None))
            .values(revoked_us=self._now)
            .returning(keys.c.id)
        )
        return done.first() is not None

    def propose(self, connection: Connection, proposal: Mapping[str, str], /) -> int:
        """Add a config version and return its number."""
        values = {name: plain(text) for name, text in proposal.items()}
        row = connection.execute(insert(configs).values(**values, at_us=self._now).returning(configs.c.version))
        return int(row.scalar_one())

    def active(self, connection: Connection) -> ConfigVersion | None:
        """The config with the highest version."""
        row = connection.execute(select(configs).order_by(desc(configs.c.version)).limit(1)).first()
        if row is None:
            return None
        return ConfigVersion(row.version, row.digest, row.mode, row.text, row.author, row.why, from_us(row.at_us))

    def active_number(self, connection: Connection) -> int | None:
        """Its number only: cheap, to be asked every second."""
        return connection.execute(select(configs.c.version).order_by(desc(configs.c.version)).limit(1)).scalar()

    def beat(self, connection: Connection, /, *, worker: str, version: int | None, ready: bool, error: str) -> None:
        """Note a worker's sign of life."""
        values = {"version": version, "ready": ready, "error": plain(error), "seen_us": self._now}
        statement = self._upsert(workers).values(worker=name_of(worker), **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["worker"], set_=values))

    def workers(self, connection: Connection, within_s: float, /) -> list[Worker]:
        """Workers whose last sign is at most `within_s` old."""
        recent = workers.c.seen_us >= self._now - int(within_s * 1_000_000)
        rows = connection.execute(select(workers).where(recent).order_by(workers.c.worker))
        return [Worker(row.worker, row.version, row.ready, row.error, from_us(row.seen_us)) for row in rows]

    def note(self, connection: Connection, /, *, kind: str, by: str, detail: JSON) -> None:
        """Note an administrator's act."""
        values = {"kind": plain(kind), "author": plain(by), "detail": json.dumps(dict(detail), default=str)}
        connection.execute(insert(notes).values(**values, at_us=self._now))

    def notes(self, connection: Connection, limit: int, /) -> list[Note]:
        """The last acts, newest first."""
        rows = connection.execute(select(notes).order_by(desc(notes.c.id)).limit(limit))
        return [Note(row.id, row.kind, row.author, json.loads(row.detail), from_us(row.at_us)) for row in rows]

    def recall(self, connection: Connection, prefixes: Sequence[str], /) -> Turn | None:
        """The turn of the first prefix that has one."""
        names = {name_of(prefix): at for at, prefix in reversed([*enumerate(prefixes)])}
        found = connection.execute(select(turns).where(turns.c.prefix.in_(names))).all()
        return turn_of(min(found, key=lambda row: names[row.prefix])) if found else None

    def records(self, connection: Connection, wanted: Wanted, /) -> list[Stored]:
        """A page of records, newest first."""
        query = _BOTH.order_by(desc(records.c.at_us), desc(records.c.id)).limit(min(wanted.limit, MAX_PAGE))
        if wanted.since is not None:
            query = query.where(records.c.at_us >= to_us(wanted.since))
        if wanted.until is not None:
            query = query.where(records.c.at_us < to_us(wanted.until))
        if wanted.decision is not None:
            query = query.where(records.c.decision == wanted.decision)
        if wanted.conversation is not None:
            query = query.where(records.c.conversation == name_of(wanted.conversation))
        if wanted.id is not None:
            query = query.where(records.c.id == name_of(wanted.id))
        if wanted.after is not None:
            last = wanted.after.record
            query = query.where(tuple_(records.c.at_us, records.c.id) < (to_us(last.at), last.id))
        return [read(row) for row in connection.execute(query)]

    def expire(self, connection: Connection, before: datetime, /) -> int:
        """Delete at most `PIECE` records decided before a moment, with their ends; returns how many."""
        us = to_us(before)
        some = select(records.c.id).where(records.c.at_us < us).order_by(records.c.at_us).limit(PIECE)
        return connection.execute(delete(records).where(records.c.id.in_(some))).rowcount

    def expire_turns(self, connection: Connection, before: datetime, /) -> int:
        """Delete at most `PIECE` turns of before a moment, and all workers last seen then; returns how many turns."""
        us = to_us(before)
        connection.execute(delete(workers).where(workers.c.seen_us < us))
        some = select(turns.c.prefix).where(turns.c.at_us < us).order_by(turns.c.at_us).limit(PIECE)
        return connection.execute(delete(turns).where(turns.c.prefix.in_(some))).rowcount

    def forget(self, connection: Connection, conversation: str, /) -> int:
        """Delete a conversation's records, ends and turns; returns how many records."""
        name = name_of(conversation)
        connection.execute(delete(turns).where(turns.c.conversation == name))
        return connection.execute(delete(records).where(records.c.conversation == name)).rowcount


def check_key(name: str, rights: Sequence[str], /, *, limits: JSON) -> None:
    """Whether a key can be made so; raises UsageError."""
    if not name.strip():
        raise UsageError("a key needs a name that tells whose it is")
    unknown = [right for right in rights if right not in RIGHTS]
    if unknown or not rights:
        raise UsageError(f"rights: found {list(rights)}, allowed are one or more of {', '.join(RIGHTS)}")
    for limit, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
            raise UsageError(f"limits.{limit}: found {value!r}, allowed is a number above 0")


def check_mode(mode: str) -> None:
    """Raises UsageError for what is no mode."""
    if mode not in get_args(Mode):
        raise UsageError(f"mode: found {mode!r}, allowed are {', '.join(get_args(Mode))}")


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        rights=tuple(json.loads(row.rights)),
        limits=json.loads(row.limits),
        created=from_us(row.created_us),
        revoked=None if row.revoked_us is None else from_us(row.revoked_us),
        digest=row.digest,
    )
