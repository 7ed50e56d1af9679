"""One thread that writes: it is given all that waits, commits it at once, and the loop tells those who wait for it.

The thread has one batch at a time; what comes meanwhile gathers on the loop. So a slow disk makes larger groups and not
a longer queue, and a commit costs the loop one wake-up, however many it keeps.
"""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from quorate.errors import QuorateError, StoreError
from quorate.store import schema
from quorate.store.database import begins_writing, is_away, store_error
from quorate.store.rows import Inserts, Rows

GROUP = 512
"""The most writes of one commit."""
SOON_S = 0.05
"""The longest that a write waits for others which nobody waits for."""
CROWD_S = 0.02
"""For about so long a write that somebody waits for counts as company."""
REST_S, MOST_REST_S = 0.0025, 0.01
"""After a commit the next waits so long for each write in company beyond two: fewer commits under load, and no wait
without it."""
RETRY_S = 0.2
"""Between two tries while the database is away, for what nobody waits for."""
_LAST_TRIES = 20


@dataclass(slots=True, eq=False)
class Write:
    """Rows to be added.

    Attributes:
        rows: or a call that makes them, on the writer's thread.
        waiter: set where somebody waits for the commit: then it is tried once, and otherwise until it succeeds.
        tries: how often it was tried.
    """

    rows: Rows | Callable[[], Rows]
    waiter: asyncio.Future[None] | None
    tries: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """Anything else that writes, in a transaction of its own; `after` is run when that is committed."""

    run: Callable[[Connection], Any]
    waiter: asyncio.Future[Any]
    after: Callable[[Connection], None] | None = None


@dataclass(slots=True)
class Stats:
    """What a writer has done.

    Attributes:
        queued: writes that wait now.
        written: writes committed.
        commits: commits of writes; written / commits is the size of a group.
        failed: writes that were given up, those whose callers were told included.
        error: why the last try to write failed, empty since the last success.
    """

    queued: int = 0
    written: int = 0
    commits: int = 0
    failed: int = 0
    error: str = ""


class Watch(Protocol):
    """Told of commits, on the event loop's thread."""

    def committed(self, rows: int, elapsed_s: float) -> None:
        """So many writes were committed, in so many seconds."""

    def store_failed(self) -> None:
        """A commit was refused."""


Item = Write | Job


@dataclass(slots=True)
class _Done:
    """What became of a batch."""

    settled: list[tuple[Item, Any, QuorateError | None]] = field(default_factory=list)
    left: list[Item] = field(default_factory=list)
    commits: int = 0
    error: str = ""
    took_s: float = 0.0

    @property
    def written(self) -> int:
        return sum(isinstance(item, Write) and failure is None for item, _, failure in self.settled)


class Writer:
    """The queue and the thread behind it.

    `put`, `room` and `stats` are for the event loop's thread only.

    Args:
        engine: of the database.
        max_queued: writes that may wait before `room` waits.
    """

    def __init__(self, engine: Engine, *, max_queued: int) -> None:
        self.stats = Stats()
        self.watch: Watch | None = None
        self._loop = asyncio.get_running_loop()
        self._plain = engine
        self._engine = begins_writing(engine)
        self._inserts = Inserts(engine.dialect)
        # A file is there or it is not; a server's connection may have died since, and the pool would see it.
        self._keeps = engine.dialect.name == "sqlite"
        self._kept: Connection | None = None
        self._max_queued = max_queued
        self._room: deque[asyncio.Future[None]] = deque()
        self._pending: list[Item] = []
        self._at_work = self._away = False
        self._wanted_s = math.inf
        self._rested_s = self._last_s = -math.inf
        self._crowd = 0.0
        self._timer: asyncio.Handle | None = None
        self._timer_s = math.inf
        self._idle: asyncio.Future[None] | None = None
        self._batches: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="quorate-store", daemon=True)
        self._thread.start()

    # On the event loop's thread.

    def put(self, item: Item) -> None:
        """Queue it; nothing is refused. What nobody waits for goes with the next that somebody does, or soon."""
        self.stats.queued += 1
        self._pending.append(item)
        now_s = self._loop.time()
        if item.waiter is not None:
            self._crowd = 1 + self._crowd * math.exp((self._last_s - now_s) / CROWD_S)
            self._last_s = now_s
        urgent = item.waiter is not None or len(self._pending) >= GROUP
        self._want(now_s + (0 if urgent else SOON_S))

    async def room(self) -> None:
        """Wait until less than `max_queued` wait."""
        while self.stats.queued >= self._max_queued:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._room.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not waiter.cancelled():  # The room was ours already: somebody else shall have it.
                    self._wake()
                raise

    async def close(self) -> int:
        """Write all that is queued, and end the thread; returns how many writes could not be written."""
        tries = 0
        while tries < _LAST_TRIES:
            self._hand_over()
            if not self._at_work:
                break
            self._idle = self._loop.create_future()
            await self._idle
            if self._away:
                self._put_away()
                tries += 1
                pause: asyncio.Future[None] = self._loop.create_future()
                self._loop.call_later(RETRY_S, pause.set_result, None)
                await asyncio.shield(pause)
        self._put_away()
        self._batches.put(None)
        self._thread.join()  # It has nothing more to do.
        lost = StoreError("the store was closed before the database came back")
        missed, self._pending = self._pending, []
        if missed:
            self._told(_Done([(item, None, lost) for item in missed], error=str(lost)))
        return len(missed)

    def _want(self, at_s: float) -> None:
        """Have the next batch begin at that time, or as soon after it as may be."""
        self._wanted_s = min(self._wanted_s, at_s)
        if self._at_work:
            return
        at_s = max(self._wanted_s, self._rested_s)
        if at_s <= self._loop.time():
            self._hand_over()
        elif at_s < self._timer_s:
            self._put_away()
            self._timer, self._timer_s = self._loop.call_at(at_s, self._hand_over), at_s

    def _put_away(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_s = None, math.inf

    def _hand_over(self) -> None:
        self._put_away()
        if self._at_work or not self._pending:
            return
        batch, self._pending = self._pending, []
        self._at_work, self._wanted_s = True, math.inf
        self._batches.put(batch)

    def _settle(self, done: _Done, /) -> None:
        """The thread has done a batch: tell who waits, and plan the next."""
        self._at_work = False
        now_s = self._loop.time()
        self._rested_s = now_s + min(REST_S * max(self._crowd - 2, 0), MOST_REST_S)
        self._away = bool(done.left)
        self._told(done)
        if done.left:
            self._pending[:0] = done.left
            self._want(now_s + RETRY_S)
        elif self._pending:
            self._want(self._wanted_s)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _told(self, done: _Done) -> None:
        self.stats.commits += done.commits
        self.stats.written += done.written
        self.stats.error = done.error
        if self.watch is not None and done.commits:
            self.watch.committed(done.written, done.took_s)
        if self.watch is not None and done.error:
            self.watch.store_failed()
        for item, result, failure in done.settled:
            self.stats.queued -= 1
            self.stats.failed += failure is not None
            if item.waiter is not None and not item.waiter.done():
                if failure is None:
                    item.waiter.set_result(result)
                else:
                    item.waiter.set_exception(failure)
        self._wake()

    def _wake(self) -> None:
        free = self._max_queued - self.stats.queued
        while self._room and free > 0:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    # On the writer's thread.

    def _main(self) -> None:
        while (batch := self._batches.get()) is not None:
            done = _Done()
            writes: list[Write] = []
            for item in batch:  # In order: an end never comes before its record.
                if isinstance(item, Write) and len(writes) < GROUP:
                    writes.append(item)
                    continue
                self._write(writes, done)
                writes = []
                if isinstance(item, Write):
                    writes.append(item)
                else:
                    self._do(item, done)
            self._write(writes, done)
            # A loop that was closed without closing the store has nobody left who could hear it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, done)
        if self._kept is not None:
            self._kept.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction; on a kept connection where that may be, since to take one costs as much as to add a row."""
        connection = self._kept if self._kept is not None else self._engine.connect()
        self._kept = None
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        if self._keeps:
            self._kept = connection
        else:
            connection.close()

    def _write(self, writes: list[Write], done: _Done) -> None:
        made = self._made(writes, done)
        if not made:
            return
        begun_s = time.perf_counter()
        try:
            self._commit([rows for _, rows in made])
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_away(error):
                _keep([write for write, _ in made], store_error(error), done)
            elif len(made) == 1:
                _give_up(made[0][0], error, done)
            else:  # One of them is to blame. The others must not suffer.
                for write, _ in made:
                    self._write([write], done)
        else:
            done.took_s = time.perf_counter() - begun_s
            done.settled += [(write, None, None) for write, _ in made]
            done.commits += 1
            done.error = ""

    def _made(self, writes: list[Write], done: _Done) -> list[tuple[Write, Rows]]:
        made: list[tuple[Write, Rows]] = []
        for write in writes:
            try:
                rows = write.rows if isinstance(write.rows, Rows) else write.rows()
            except Exception as error:
                _give_up(write, error, done)
            else:
                write.rows = rows
                made.append((write, rows))
        return made

    def _commit(self, made: list[Rows]) -> None:
        records = [rows.record for rows in made if rows.record is not None]
        ends = [rows.end for rows in made if rows.end is not None]
        turns = {rows.turn[0]: rows.turn for rows in made if rows.turn is not None}
        with self._transaction() as connection:
            for table, rows in ((schema.records, records), (schema.ends, ends), (schema.turns, [*turns.values()])):
                for sql, values in self._inserts.batches(table, rows):
                    connection.exec_driver_sql(sql, values)

    def _do(self, job: Job, done: _Done) -> None:
        try:
            with self._transaction() as connection:
                result = job.run(connection)
            if job.after is not None:
                with self._plain.connect() as connection:
                    job.after(connection)
        except Exception as error:
            ours = error if isinstance(error, QuorateError) else _ours(error)
            done.settled.append((job, None, ours))
            done.error = str(ours)
        else:
            done.settled.append((job, result, None))
            done.error = ""


def _keep(writes: list[Write], error: StoreError, done: _Done) -> None:
    """The database is away: who waits is told so, and what nobody waits for is tried again."""
    for write in writes:
        write.tries += 1
        if write.waiter is None:
            done.left.append(write)
        else:
            done.settled.append((write, None, error))
    done.error = str(error)


def _give_up(write: Write, error: Exception, done: _Done) -> None:
    if isinstance(error, IntegrityError) and write.tries:
        # It is there: an earlier try was committed, and the connection was lost before we heard of it.
        done.settled.append((write, None, None))
        done.commits += 1
        return
    ours = error if isinstance(error, QuorateError) else _ours(error)
    done.settled.append((write, None, ours))
    done.error = str(ours)


def _ours(error: Exception) -> StoreError:
    if isinstance(error, SQLAlchemyError):
        return store_error(error)
    return StoreError(f"the store cannot keep it: {type(error).__name__}")
