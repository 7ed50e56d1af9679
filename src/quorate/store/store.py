"""The store: decisions written before anything goes out, and what several workers must agree on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from quorate.errors import StoreError, UsageError
from quorate.store.database import connect, erase, store_error
from quorate.store.queries import MAX_PAGE, PIECE, Queries, Wanted, check_key, check_mode
from quorate.store.records import (
    JSON,
    ConfigVersion,
    End,
    Key,
    Mode,
    Note,
    Record,
    Right,
    Stored,
    Turn,
    Worker,
)
from quorate.store.rows import Form, Texts
from quorate.store.writer import Job, Stats, Watch, Write, Writer

T = TypeVar("T")
Audit = Literal["strict", "async"]

MAX_QUEUED = 10_000


class Store:
    """Records, keys, configs and notes in one database. Made by `Store.open`; one for each process and event loop.

    Nothing here blocks the event loop: one thread writes, another reads. Every method that waits raises `StoreError`
    when the database is away, and `UsageError` for what cannot be kept. When a wait is cancelled, what was to be
    written is written all the same.
    """

    def __init__(self, url: str, *, audit: Audit, form: Form, max_queued: int) -> None:
        self._url = url
        self._audit = audit
        self._form = form
        self._max_queued = max_queued
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quorate-store-reader")
        self._closed = True

    @classmethod
    def open(
        cls, url: str, *, audit: Audit = "strict", text: Texts = "redacted", max_queued: int = MAX_QUEUED
    ) -> "Store":
        """A store to be entered with `async with`; entering brings the database to the newest form.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.
            audit: "strict": `decided` returns after the commit. "async": it returns when the record is queued.
            text: of customers and models: "redacted", "full" or "none".
            max_queued: writes that may wait; beyond it `decided` waits for room.

        Raises:
            UsageError: an argument is none of these. Entering raises it for a URL or database that cannot be used,
                and `StoreError` for one that is away.
        """
        for name, value, allowed in (
            ("audit", audit, ("strict", "async")),
            ("text", text, ("redacted", "full", "none")),
        ):
            if value not in allowed:
                raise UsageError(f"{name}: found {value!r}, allowed are {', '.join(allowed)}")
        if max_queued < 1:
            raise UsageError(f"max_queued: found {max_queued}, allowed is 1 or more")
        return cls(url, audit=audit, form=Form(text), max_queued=max_queued)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            self._engine: Engine = await loop.run_in_executor(self._reader, connect, self._url)
        except BaseException:
            self._reader.shutdown(wait=False)
            raise
        self._queries = Queries(self._engine)
        self._writer = Writer(self._engine, max_queued=self._max_queued)
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write all that is queued; raises `StoreError` where the database was away to the end."""
        self._closed = True
        lost = await self._writer.close()
        await asyncio.get_running_loop().run_in_executor(self._reader, self._engine.dispose)
        self._reader.shutdown(wait=False)
        if lost:
            raise StoreError(f"the store was closed with {lost} writes that the database was not there for")

    @property
    def stats(self) -> Stats:
        """What waits and what was written; for metrics."""
        return self._writer.stats

    def watched(self, watch: Watch) -> None:
        """From now on this is told of commits."""
        self._writer.watch = watch

    async def decided(self, record: Record) -> None:
        """Keep a decision. Strict: it is on the disk when this returns. Async: it is queued.

        Raises:
            StoreError: strict only: it was not written, or it is not known whether it was.
            UsageError: it cannot be kept as it is.
        """
        self._open()
        form = self._form
        rows = form.record(record) if form.is_short(record) else partial(form.record, record)
        try:
            await self._writer.room()
        except asyncio.CancelledError:
            self._writer.put(Write(rows, None))
            raise
        self._open()
        if self._audit == "async":
            self._writer.put(Write(rows, None))
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.put(Write(rows, waiter))
        await waiter

    def ended(self, end: End) -> None:
        """Queue a record's end. It is written after its record, and tried until it succeeds or the store closes.

        An end whose record was forgotten, or was never written, is dropped; of two ends the first counts.
        """
        self._open()
        form = self._form
        self._writer.put(Write(form.end(end) if form.is_short(end) else partial(form.end, end), None))

    async def recall(self, prefixes: Sequence[str]) -> Turn | None:
        """The longest admitted turn.

        Args:
            prefixes: hashes of the conversation's beginnings, the longest first.
        """
        return await self._read(self._queries.recall, prefixes) if prefixes else None

    async def ping(self) -> None:
        """Whether a write would get through now: it takes its turn in the queue. Raises StoreError where not."""
        await self._write(_ping)

    async def create_key(
        self, name: str, rights: Sequence[Right] = ("call",), *, limits: Mapping[str, float] | None = None
    ) -> tuple[Key, str]:
        """Make an API key.

        Returns:
            The key, and its whole text `qk_<id>_<secret>`: show it once, it is kept nowhere.

        Raises:
            UsageError: no name, an unknown right, or a limit that is no number above 0.
        """
        check_key(name, rights, limits=limits or {})
        return await self._write(partial(self._queries.create_key, name=name, rights=rights, limits=limits or {}))

    async def create_first_key(self, name: str, rights: Sequence[Right]) -> tuple[Key, str] | None:
        """`create_key` where there is no key yet, revoked ones counted; else None. Of several at once one makes it."""
        check_key(name, rights, limits={})
        return await self._write(partial(self._queries.create_first_key, name=name, rights=rights))

    async def keys(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        return await self._read(self._queries.keys)

    async def revoke(self, id: str) -> bool:
        """Revoke a key; False where there is none, or it is revoked already."""
        return await self._write(self._queries.revoke, id)

    async def propose(self, config: str, *, digest: str, by: str, why: str = "", mode: Mode = "enforce") -> int:
        """Make a config the active one for all workers; returns its version."""
        check_mode(mode)
        proposal = {"text": config, "digest": digest, "author": by, "why": why, "mode": mode}
        return await self._write(self._queries.propose, proposal)

    async def active(self) -> ConfigVersion | None:
        """The config that all workers are to run, None where none was proposed yet."""
        return await self._read(self._queries.active)

    async def active_number(self) -> int | None:
        """Its version alone: cheap, for a look every second."""
        return await self._read(self._queries.active_number)

    async def beat(self, worker: str, *, version: int | None, ready: bool, error: str = "") -> None:
        """Note that a worker lives, which config it runs and whether it takes requests."""
        await self._write(partial(self._queries.beat, worker=worker, version=version, ready=ready, error=error))

    async def workers(self, within_s: float) -> list[Worker]:
        """Workers whose last `beat` is at most `within_s` seconds old by the database's clock."""
        return await self._read(self._queries.workers, within_s)

    async def note(self, kind: str, *, by: str, detail: JSON | None = None) -> None:
        """Note an administrator's act; `detail` holds no text of a customer."""
        await self._write(partial(self._queries.note, kind=kind, by=by, detail=detail or {}))

    async def notes(self, limit: int = 100) -> list[Note]:
        """The last acts, newest first, at most 1000."""
        return await self._read(self._queries.notes, min(limit, MAX_PAGE))

    async def records(self, wanted: Wanted | None = None) -> list[Stored]:
        """A page of records with their ends, newest first."""
        return await self._read(self._queries.records, wanted or Wanted())

    async def expire(self, before: datetime) -> int:
        """Delete all records decided before a moment, with their ends and turns; returns how many records."""
        total = await self._in_pieces(self._queries.expire, before)
        await self._in_pieces(self._queries.expire_turns, before)
        return total

    async def forget(self, conversation: str) -> int:
        """Delete all of a conversation: records, ends, turns, texts; returns how many records.

        SQLite overwrites what was there, in the file and in its log. PostgreSQL does so at its next VACUUM.
        """
        return await self._write(self._queries.forget, conversation, after=erase)

    async def _in_pieces(self, delete: Callable[[Connection, datetime], int], before: datetime) -> int:
        total, done = 0, PIECE
        while done == PIECE:
            done = await self._write(delete, before, after=erase)
            total += done
        return total

    def _open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    async def _write(
        self, call: Callable[..., T], *args: object, after: Callable[[Connection], None] | None = None
    ) -> T:
        self._open()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Job(lambda connection: call(connection, *args), waiter, after))
        return await waiter

    async def _read(self, call: Callable[..., T], *args: object) -> T:
        self._open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._read_now, call, args)

    def _read_now(self, call: Callable[..., T], args: tuple[Any, ...]) -> T:
        try:
            with self._engine.connect() as connection:
                return call(connection, *args)
        except SQLAlchemyError as error:
            raise store_error(error) from error


def _ping(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")
