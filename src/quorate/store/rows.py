"""Records and ends as rows, texts redacted on the way; rows as records."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Dialect, Row, Table

from quorate.errors import UsageError
from quorate.store import schema
from quorate.store.records import JSON, End, Record, Stored, Turn
from quorate.store.redact import bounded, redact, redact_all, redact_words

Texts = Literal["redacted", "full", "none"]

MAX_NAME = 200
"""Ids, conversations and routes that are longer, in characters, are kept as their hash."""
SHORT_CHARS = 4000
"""Texts up to this many characters are redacted at once, longer ones on the writer's thread."""

_escaped = json.JSONEncoder(separators=(",", ":"), default=str).encode
_SIZES = (64, 32, 16, 8, 4, 2, 1)


class Rows(NamedTuple):
    """What one write adds to the tables."""

    record: tuple[object, ...] | None = None
    end: tuple[object, ...] | None = None
    turn: tuple[object, ...] | None = None


def name_of(text: str) -> str:
    """An id as it is kept: without characters a database cannot keep, and hashed where it is very long."""
    if len(text) > MAX_NAME:
        return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return plain(text)


def plain(text: str) -> str:
    """The text without NUL and half surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def as_json(value: object) -> str:
    """The value as JSON that any database can keep: NUL and half surrogate pairs stand in it as escapes."""
    try:
        return to_json(value, fallback=str).decode()
    except ValueError:  # Of its reasons half a surrogate pair is one that a customer can send.
        return _escaped(value)


class Form:
    """Makes rows, by the policy for texts.

    Args:
        texts: "redacted", "full", or "none" for no text of customers or models, reasons included.
    """

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def record(self, record: Record) -> Rows:
        """The rows of a decision."""
        try:
            at_us = schema.to_us(record.at)
        except TypeError as error:
            raise UsageError("Record.at has no time zone: use datetime.now(UTC)") from error
        verdicts = as_json(self._words(record.verdicts))
        conversation = name_of(record.conversation)
        row = (
            name_of(record.id),
            conversation,
            None if record.key is None else name_of(record.key),
            at_us,
            name_of(record.route),
            record.decision,
            None if record.decided_by is None else name_of(record.decided_by),
            self._text(record.why) or "",
            plain(record.config),
            record.config_version,
            record.speculated,
            record.streamed,
            float(record.held_ms),
            float(record.elapsed_ms),
            verdicts,
            as_json(self._words(record.timeline)),
            as_json(record.usage),
            as_json(record.versions),
            self._messages(record.messages),
            self._text(record.reply),
        )
        if record.turn is None or record.decision != "admit":
            return Rows(row)
        turn = record.turn
        same = turn.verdicts is record.verdicts
        kept = verdicts if same else as_json(self._words(turn.verdicts))
        return Rows(row, None, (name_of(turn.prefix), conversation, at_us, plain(turn.config), kept))

    def end(self, end: End) -> Rows:
        """The row of an end."""
        return Rows(
            end=(
                name_of(end.id),
                end.outcome,
                self._text(end.error),
                float(end.elapsed_ms),
                end.bytes_out,
                as_json(end.usage),
                as_json(self._words(end.timeline)),
                self._text(end.reply),
                as_json(self._words(end.verdicts)) if end.verdicts else None,
            )
        )

    def is_short(self, item: Record | End) -> bool:
        """Whether making its rows takes next to no time."""
        size = len(item.reply or "")
        if isinstance(item, Record) and item.messages is not None and self._texts != "none":
            for message in item.messages:
                content = message.get("content")
                # Anything but one text may be an image, or nested to any depth.
                size += len(content) if isinstance(content, str) and "tool_calls" not in message else SHORT_CHARS
        return size < SHORT_CHARS

    def _text(self, text: str | None) -> str | None:
        if text is None or self._texts == "none":
            return None
        return plain(redact(text) if self._texts == "redacted" else text)

    def _messages(self, messages: Sequence[JSON] | None) -> str | None:
        if messages is None or self._texts == "none":
            return None
        return as_json(redact_all(messages) if self._texts == "redacted" else bounded(messages))

    def _words(self, value: Sequence[JSON]) -> Any:
        if self._texts == "full":
            return bounded(value)
        return redact_words(value) if self._texts == "redacted" else redact_words(value, _nothing)


def _nothing(_text: str) -> str:
    return ""


def read(row: Row[Any]) -> Stored:
    """A record with its end, from a row of `records` joined with `ends` (whose names begin with "end_")."""
    c = row._mapping
    record = Record(
        id=c["id"],
        conversation=c["conversation"],
        key=c["key_id"],
        at=schema.from_us(c["at_us"]),
        route=c["route"],
        decision=c["decision"],
        decided_by=c["decided_by"],
        why=c["why"],
        verdicts=json.loads(c["verdicts"]),
        timeline=json.loads(c["timeline"]),
        usage=json.loads(c["usage"]),
        config=c["config"],
        config_version=c["config_version"],
        versions=json.loads(c["versions"]),
        speculated=c["speculated"],
        streamed=c["streamed"],
        held_ms=c["held_ms"],
        elapsed_ms=c["elapsed_ms"],
        messages=None if c["messages"] is None else json.loads(c["messages"]),
        reply=c["reply"],
    )
    if c["end_id"] is None:
        return Stored(record, None)
    end = End(
        id=c["end_id"],
        outcome=c["end_outcome"],
        error=c["end_error"],
        elapsed_ms=c["end_elapsed_ms"],
        bytes_out=c["end_bytes_out"],
        usage=json.loads(c["end_usage"]),
        timeline=json.loads(c["end_timeline"]),
        reply=c["end_reply"],
        verdicts=() if c["end_verdicts"] is None else json.loads(c["end_verdicts"]),
    )
    return Stored(record, end)


def turn_of(row: Row[Any]) -> Turn:
    """A turn, from a row of `turns`."""
    return Turn(row.prefix, json.loads(row.verdicts), row.config, row.conversation)


class Inserts:
    """Statements that add many rows at once: one for each table and group, not one for each row.

    Each statement gives the interpreter lock away, and then waits for a busy event loop to give it back. PostgreSQL
    takes a group as one JSON text (a value for each column of each row costs the driver more than all else here).
    SQLite takes 64, 32, ... 1 rows, so that each statement is prepared once.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._as_one = dialect.name == "postgresql"
        self._made: dict[tuple[str, int], str] = {}

    def batches(self, table: Table, rows: Sequence[tuple[object, ...]]) -> list[tuple[str, tuple[object, ...]]]:
        """Statements with their values that add these rows, in their order."""
        if not rows:
            return []
        if self._as_one:
            names = [f"{column.name}" for column in table.columns]  # Plain strings, which SQLAlchemy's own are not.
            whole = to_json([dict(zip(names, row, strict=True)) for row in rows]).decode()
            return [(self._sql(table, 1), (whole,))]
        out: list[tuple[str, tuple[object, ...]]] = []
        done = 0
        while done < len(rows):
            size = next(size for size in _SIZES if size <= len(rows) - done)
            values = tuple(value for row in rows[done : done + size] for value in row)
            out.append((self._sql(table, size), values))
            done += size
        return out

    def _sql(self, table: Table, size: int) -> str:
        sql = self._made.get((table.name, size))
        if sql is None:
            sql = self._made[table.name, size] = self._make(table, size)
        return sql

    def _make(self, table: Table, size: int) -> str:
        types = [column.type.compile(self._dialect) for column in table.columns]
        names = [self._dialect.identifier_preparer.quote(column.name) for column in table.columns]
        if self._as_one:
            columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
            source = f"json_to_recordset(CAST(%s AS JSON)) AS news ({columns})"
        else:
            row = f"({', '.join(f'CAST(? AS {kind})' for kind in types)})"
            source = f"(VALUES {', '.join([row] * size)}) AS news"
        sql = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {source}"
        if table is schema.ends:
            # The end of a record that was forgotten meanwhile is forgotten too.
            id = "news.id" if self._as_one else "news.column1"
            return f"{sql} WHERE EXISTS (SELECT 1 FROM records WHERE records.id = {id}) ON CONFLICT (id) DO NOTHING"
        if table is schema.turns:
            rest = ", ".join(f"{name} = excluded.{name}" for name in names if name != "prefix")
            return f"{sql} WHERE true ON CONFLICT (prefix) DO UPDATE SET {rest}"
        return sql
