"""One thread that writes: it takes all that waits, commits it at once, and tells those who wait for it.

While one commit runs the next ones' writes gather, so a slow disk makes larger groups and not a longer queue.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from quorate.errors import QuorateError, StoreError
from quorate.store import schema
from quorate.store.database import begins_writing, is_away, store_error
from quorate.store.rows import Inserts, Rows

GROUP = 512
"""The most writes of one commit."""
SOON_S = 0.02
"""The longest that a write waits for others which nobody waits for."""
BUSY_S, GATHER_S = 0.005, 0.002
"""Where one commit follows another so soon, the next waits that long for company: fewer commits, each no slower."""
_RETRY_S = 0.2
"""Between two tries while the database is away. Who waits for a commit then waits at most that much longer."""
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


Item = Write | Job | asyncio.Future[int]
Settled = list[tuple[Write | Job, Any, QuorateError | None]]


class Writer:
    """The queue and the thread behind it.

    `put`, `full` and `stats` are for the event loop's thread only.

    Args:
        engine: of the database.
        max_queued: writes that may wait before `full` waits.
    """

    def __init__(self, engine: Engine, *, max_queued: int) -> None:
        self.stats = Stats()
        self.watch: Watch | None = None
        self._loop = asyncio.get_running_loop()
        self._plain = engine
        self._engine = begins_writing(engine)
        self._inserts = Inserts(engine.dialect)
        self._max_queued = max_queued
        self._room: deque[asyncio.Future[None]] = deque()
        self._queue: queue.SimpleQueue[list[Item]] = queue.SimpleQueue()
        self._pending: list[Item] = []
        self._soon: asyncio.TimerHandle | None = None
        self._backlog: deque[Item] = deque()
        self._ended_s = 0.0
        self._pause = threading.Event()  # Never set: it is waited for, to let time pass.
        self._left: list[Write] = []
        self._thread = threading.Thread(target=self._main, name="quorate-store", daemon=True)
        self._thread.start()

    def put(self, item: Write | Job) -> None:
        """Queue it; nothing is refused. What nobody waits for goes with the next that somebody does, or soon."""
        self.stats.queued += 1
        self._pending.append(item)
        if item.waiter is not None or len(self._pending) >= GROUP:
            self._hand_over()
        elif self._soon is None:
            self._soon = self._loop.call_later(SOON_S, self._hand_over)

    def _hand_over(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._pending:
            self._queue.put(self._pending)
            self._pending = []

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
        self._hand_over()
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._queue.put([waiter])
        lost = await asyncio.shield(waiter)
        self._thread.join()  # That was its last word.
        return lost

    # On the event loop's thread.

    def _settle(self, settled: Settled, commits: int, error: str, took_s: float, /) -> None:
        self.stats.commits += commits
        self.stats.error = error
        if self.watch is not None and commits:
            self.watch.committed(len(settled), took_s)
        elif self.watch is not None and error:
            self.watch.store_failed()
        for item, result, failure in settled:
            self.stats.queued -= 1
            if failure is not None:
                self.stats.failed += 1
            elif isinstance(item, Write):
                self.stats.written += 1
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
        while True:
            writes, other = self._take()
            for at in range(0, len(writes), GROUP):
                self._write(writes[at : at + GROUP])
            if isinstance(other, Job):
                self._do(other)
            elif other is not None:
                self._end(other)
                return

    def _take(self) -> tuple[list[Write], Job | asyncio.Future[int] | None]:
        """All writes that wait, up to the first thing that is none: order is kept."""
        writes, self._left = self._left, []
        if writes:
            self._pause.wait(_RETRY_S)
        elif not self._backlog:
            self._backlog.extend(self._queue.get())
            if time.perf_counter() - self._ended_s < BUSY_S:
                self._pause.wait(GATHER_S)
        with contextlib.suppress(queue.Empty):
            while True:
                self._backlog.extend(self._queue.get_nowait())
        while self._backlog and len(writes) < GROUP:
            item = self._backlog.popleft()
            if not isinstance(item, Write):
                return writes, item
            writes.append(item)
        return writes, None

    def _write(self, writes: list[Write]) -> None:
        made = self._made(writes)
        if not made:
            return
        begun_s = time.perf_counter()
        try:
            self._commit([rows for _, rows in made])
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_away(error):
                self._keep([write for write, _ in made], store_error(error))
            elif len(made) == 1:
                self._give_up(made[0][0], error)
            else:  # One of them is to blame. The others must not suffer.
                for write, _ in made:
                    self._write([write])
        else:
            self._ended_s = time.perf_counter()
            took_s = self._ended_s - begun_s
            self._tell([(write, None, None) for write, _ in made], commits=1, took_s=took_s)

    def _made(self, writes: list[Write]) -> list[tuple[Write, Rows]]:
        made: list[tuple[Write, Rows]] = []
        for write in writes:
            try:
                rows = write.rows if isinstance(write.rows, Rows) else write.rows()
            except Exception as error:
                self._give_up(write, error)
            else:
                write.rows = rows
                made.append((write, rows))
        return made

    def _commit(self, made: list[Rows]) -> None:
        records = [rows.record for rows in made if rows.record is not None]
        ends = [rows.end for rows in made if rows.end is not None]
        turns = {rows.turn[0]: rows.turn for rows in made if rows.turn is not None}
        with self._engine.begin() as connection:
            for table, rows in ((schema.records, records), (schema.ends, ends), (schema.turns, [*turns.values()])):
                for sql, values in self._inserts.batches(table, rows):
                    connection.exec_driver_sql(sql, values)

    def _keep(self, writes: list[Write], error: StoreError) -> None:
        """The database is away: who waits is told so, and what nobody waits for is tried again."""
        for write in writes:
            write.tries += 1
        self._left += [write for write in writes if write.waiter is None]
        self._tell([(write, None, error) for write in writes if write.waiter is not None], error=str(error))

    def _give_up(self, write: Write, error: Exception) -> None:
        if isinstance(error, IntegrityError) and write.tries:
            # It is there: an earlier try was committed, and the connection was lost before we heard of it.
            self._tell([(write, None, None)], commits=1)
            return
        ours = error if isinstance(error, QuorateError) else _ours(error)
        self._tell([(write, None, ours)], error=str(ours))

    def _do(self, job: Job) -> None:
        try:
            with self._engine.begin() as connection:
                result = job.run(connection)
            if job.after is not None:
                with self._plain.connect() as connection:
                    job.after(connection)
        except Exception as error:
            ours = error if isinstance(error, QuorateError) else _ours(error)
            self._tell([(job, None, ours)], error=str(ours))
        else:
            self._tell([(job, result, None)])

    def _end(self, waiter: asyncio.Future[int]) -> None:
        for _ in range(_LAST_TRIES):
            writes, self._left = self._left, []
            if not writes:
                break
            self._pause.wait(_RETRY_S)
            self._write(writes)
        lost = StoreError("the store was closed before the database came back")
        self._tell([(write, None, lost) for write in self._left], error=str(lost) if self._left else "")
        self._call(waiter.set_result, len(self._left))

    def _tell(self, settled: Settled, *, commits: int = 0, error: str = "", took_s: float = 0.0) -> None:
        self._call(self._settle, settled, commits, error, took_s)

    def _call(self, call: Callable[..., object], *args: object) -> None:
        # A loop that was closed without closing the store has nobody left who could hear it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)


def _ours(error: Exception) -> StoreError:
    if isinstance(error, SQLAlchemyError):
        return store_error(error)
    return StoreError(f"the store cannot keep it: {type(error).__name__}")
