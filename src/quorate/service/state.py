"""What one serving process holds, and what it counts."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from quorate.apps.frontdoor import ANSWER, Decision
from quorate.engine import Observer, Timeline, clock
from quorate.errors import LimitExceeded, QuorateError
from quorate.service.callers import Caller, Callers
from quorate.service.exchange import Exchange
from quorate.service.limits import Admission, KeyLimits
from quorate.service.live import Configs, Live
from quorate.service.reloading import Follower
from quorate.store import Store
from quorate.telemetry import request_id
from quorate.telemetry.metrics import Metrics

log = logging.getLogger("quorate.service")


@dataclass(slots=True)
class Service:
    """One process that serves.

    Attributes:
        path: the config's file.
        configs: the config in force.
        callers: the keys in force.
        store: decisions, keys, versions.
        follower: keeps this worker on the config in force.
        metrics: what is counted.
        admission: room for requests.
        keys: bounds of each key.
        observers: watch every run.
        draining: whether it is about to stop.
        workers: live workers that share the limits.
    """

    path: Path
    configs: Configs
    callers: Callers
    store: Store
    follower: Follower
    metrics: Metrics
    admission: Admission
    keys: KeyLimits
    observers: tuple[Observer, ...] = ()
    draining: bool = False
    workers: int = 1

    @property
    def limits_hold(self) -> str:
        """How far the limits of keys reach."""
        return f"the whole deployment: divided by its {self.workers} live workers, as the store knows them"
