"""A whole serving process: everything opened in order, its long-lived jobs supervised, everything closed again."""

import gc
import itertools
import logging
import socket
import sys
from asyncio import selector_events
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TextIO

from threadpoolctl import threadpool_limits

from quorate.apps.frontdoor import ANSWER
from quorate.engine import Observer, abandoned_tasks, clock, in_thread, supervised
from quorate.errors import QuorateError, StoreError, UsageError
from quorate.service.admission import Admission
from quorate.service.app import ROUTES, asgi
from quorate.service.callers import Callers, is_loopback
from quorate.service.limits import KeyLimits
from quorate.service.live import Configs
from quorate.service.reloading import LIVE_S, LOOK_S, Follower, opened, propose
from quorate.service.server import serve
from quorate.service.state import Service
from quorate.settings import ServiceTable
from quorate.store import Store
from quorate.telemetry import JsonLog, names
from quorate.telemetry.metrics import Metrics
from quorate.telemetry.shared import Shared
from quorate.telemetry.traces import ModelCall, Traces, open_traces
from quorate.wiring.serving import store_url

COLLECT_AFTER = (20_000, 20, 50)
"""Allocations, and rounds of the younger generations, between two of the collector's rounds."""
READ_BYTES = 1 << 14
"""What a read of a socket may take at once. asyncio's own 256 KB are asked of the heap for every read and shrunk to the
few hundred bytes that came, which cuts it into pieces: it grew by half a megabyte a minute under load."""
SWITCH_S = 0.0005
"""The longest that a thread of the store or of a check keeps the interpreter from the event loop, which asks often."""
EXPIRE_S = 3600.0
"""Seconds between two deletions of old records."""
log = logging.getLogger("quorate.service")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process serves, beside what its config says.

    Attributes:
        path: the config's file.
        worker: the process's name among the workers.
        shared: folder of the workers' figures, None where it is alone.
        lines: where log lines go, None for nowhere.
    """

    path: Path
    worker: str
    shared: Path | None = None
    lines: TextIO | None = None


def open_store(table: ServiceTable, base: Path) -> Store:
    """The store of a config; enter it."""
    return Store.open(store_url(table, base), audit=table.audit, text=table.text)


async def prepare(store: Store, path: Path, *, table: ServiceTable) -> str | None:
    """Before the first worker: put the file's config in force; where keys are needed and there are none, make one.

    Returns:
        The new key's whole text, or None. Show it once: it is kept nowhere.

    Raises:
        ConfigError: the config has mistakes.
    """
    await propose(store, path, by="start", why="the service was started")
    made = None if is_loopback(table.host) else await store.create_first_key("first", ("call", "details", "admin"))
    if made is None:
        return None
    key, secret = made
    await store.note("key created", by="start", detail={"key": key.id})
    return secret


@asynccontextmanager
async def running(place: Place, table: ServiceTable) -> AsyncIterator[Service]:
    """Open everything that a process serves with; closed after the block, the store last.

    Args:
        place: where it serves.
        table: the `[service]` table it starts with; host, port, workers, store and audit stay as they are here.

    Raises:
        QuorateError: the store, or the config in force, cannot be opened.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        lines = stack.enter_context(JsonLog(place.lines)) if place.lines is not None else None
        store = await stack.enter_async_context(open_store(table, place.path.parent))
        active = await store.active()
        if active is None:
            raise UsageError("no config is in force: start with `quorate serve`")
        configs = Configs(await opened(place.path, active))
        stack.push_async_callback(configs.close)
        metrics = Metrics(Shared(place.shared) if place.shared is not None else None)
        stack.callback(metrics.close)
        observers: list[Observer] = [lines] if lines is not None else []
        if table.traces is not None:
            traces = open_traces(table.traces, calls=partial(_call, configs), ratio=table.traces_share)
            stack.push_async_callback(_closed, traces)
            metrics.losses("traces", lambda: traces.lost)
            observers.append(traces)
        if lines is not None:
            metrics.losses("log", lambda: lines.lost)
        service = Service(
            place.path,
            configs,
            Callers(table.hosts),
            store,
            Follower(store, configs, place.path, worker=place.worker),
            metrics,
            Admission(max_running=table.max_running, max_queued=table.max_queued),
            KeyLimits(),
            tuple(observers),
        )
        store.watched(metrics)
        _gauges(service)
        _know(service)
        await _follow_once(service)
        jobs = {"follow": partial(_follow, service), "expire": partial(_expire, service)}
        async with supervised(jobs, on_crash=_crashed):
            yield service


def _call(configs: Configs, branch: str) -> ModelCall | None:
    """What a branch calls, for its span: a model, or the upstream."""
    app = configs.live.app
    if branch == ANSWER and app.relay is not None:
        return ModelCall(app.relay.where)
    table = app.settings.checks.get(branch)
    named = table.models[-1] if table is not None and isinstance(table.models[-1], str) else None
    model = app.models.get(named) if named is not None else None
    return ModelCall(model.name) if model is not None else None


async def _closed(traces: Traces) -> None:
    """Sending what is left may take seconds: not on the loop."""
    await in_thread(lambda _stop: traces.close(), lane="long")


def _know(service: Service) -> None:
    app = service.configs.live.app
    branches = [*app.door.checks, *app.door.output, ANSWER]
    upstreams = [*app.paces, *app.breakers]
    service.metrics.know(
        checks=[*app.door.checks, *app.door.output], branches=branches, upstreams=upstreams, routes=ROUTES
    )


def _gauges(service: Service) -> None:
    metrics, store = service.metrics, service.store
    metrics.gauge(names.RUNNING, lambda: service.admission.running)
    metrics.gauge(names.QUEUED, lambda: service.admission.queued)
    metrics.gauge(names.QUEUE_LIMIT, lambda: service.configs.live.limits.max_queued)
    metrics.gauge(names.STORE_QUEUED, lambda: store.stats.queued)
    metrics.gauge(names.STORE_UP, lambda: float(not store.stats.error))
    metrics.gauge(names.CONFIG_VERSION, lambda: service.configs.live.version)
    metrics.gauge(names.CONFIG_NEWEST, lambda: service.configs.live.version)
    metrics.gauge(names.ABANDONED_TASKS, abandoned_tasks)
    for metric in (names.UPSTREAM_LIMIT, names.UPSTREAM_RUNNING, names.UPSTREAM_QUEUED, names.BREAKER):
        metrics.gauge(metric, partial(_level, service, metric.name))


def _level(service: Service, name: str) -> dict[str, float]:
    return service.levels.get(name, {})


def _sample(service: Service) -> None:
    """What is read by other threads is looked at here, where the clock is."""
    app = service.configs.live.app
    state = {"open": 1.0, "half-open": 0.5, "closed": 0.0}
    service.levels.update(
        {
            names.UPSTREAM_LIMIT.name: {name: pace.limit for name, pace in app.paces.items()},
            names.UPSTREAM_RUNNING.name: {name: pace.running for name, pace in app.paces.items()},
            names.UPSTREAM_QUEUED.name: {name: pace.queued for name, pace in app.paces.items()},
            names.BREAKER.name: {name: state[breaker.state] for name, breaker in app.breakers.items()},
        }
    )


async def _follow_once(service: Service, *, keys: bool = True) -> None:
    if await service.follower.look():
        service.metrics.reloaded("loaded")
        _know(service)
    _sample(service)
    if not keys:
        return
    service.callers.refresh(await service.store.keys())
    names_ = sorted(worker.worker for worker in await service.store.workers(LIVE_S))
    mine = names_.index(service.follower.worker) if service.follower.worker in names_ else None
    service.keys.share(max(1, len(names_)), mine)


async def _follow(service: Service) -> None:
    """Follow the config in force and the keys; while the store is away, look on for its return."""
    told = ""
    for number in itertools.count(1):
        await clock.sleep(LOOK_S)
        try:
            await _follow_once(service, keys=number % 2 == 0)
        except StoreError as error:
            if str(error) != told:
                log.error("the store is away; the config and the keys stay as they are: %s", error)
            told = str(error)
        else:
            told = ""


async def _expire(service: Service) -> None:
    """Delete what is older than the config's days."""
    while True:
        days = service.configs.live.limits.retention_days
        await service.store.expire(datetime.now(UTC) - timedelta(days=days))
        await clock.sleep(EXPIRE_S)


def _crashed(name: str, error: BaseException) -> None:
    log.error("the job %s broke and is started again: %r", name, error)


async def serve_on(sock: socket.socket, place: Place, *, table: ServiceTable, ready: Callable[[Service], None]) -> None:
    """Serve on an open socket until a signal ends it; SIGHUP reads the config again."""
    async with running(place, table) as service:
        asked = _Flag()

        def drain() -> None:
            service.draining = True

        async def reloading() -> None:
            while True:
                if asked.take():
                    try:
                        await propose(service.store, place.path, by="SIGHUP", why="a signal")
                    except QuorateError as error:
                        service.metrics.reloaded("rejected")
                        log.error("the config was not taken, the last good one stays: %s", error)
                await clock.sleep(LOOK_S)

        # What is loaded stays: the collector need not look at it again, and runs leave it no cycles to find.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        sys.setswitchinterval(SWITCH_S)
        small_reads()
        async with supervised({"reload": reloading}, on_crash=_crashed):
            ready(service)
            await serve(asgi(service), sock, drain_s=table.drain_s, draining=drain, reload=asked.give)


def small_reads() -> None:
    """Let every connection of this process read `READ_BYTES` at a time."""
    selector_events._SelectorTransport.max_size = READ_BYTES  # type: ignore[attr-defined]


class _Flag:
    """A signal that waits to be looked at."""

    def __init__(self) -> None:
        self._set = False

    def give(self) -> None:
        self._set = True

    def take(self) -> bool:
        was, self._set = self._set, False
        return was
