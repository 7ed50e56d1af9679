"""Configs while they change: the file is checked whole, its version is kept in the store, every worker follows it.

A config is put in force by proposing it: the store gives it a number, and each worker, the one that proposed it too,
looks for a higher number several times a second, builds what it describes beside the running requests, and swaps.
What a worker cannot build it does not swap: the last good config stays, and the worker says what was wrong.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

from quorate.engine import clock
from quorate.errors import ConfigError, QuorateError
from quorate.service.live import Configs, Live
from quorate.store import ConfigVersion, Store
from quorate.store.records import Mode, Worker
from quorate.wiring.serving import close_app, open_app, parsed

LOOK_S = 0.25
"""Seconds between two looks for a newer config."""
BEAT_S = 0.5
"""Seconds between two signs of life."""
LIVE_S = 3.0
"""A worker that has not been heard of for so many seconds is gone."""
FOLLOW_S = 5.0
"""Seconds that a reload waits for all workers."""


def read(path: Path) -> str:
    """A config's text.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read as UTF-8 text: {error}"]) from error


def digest_of(text: str, mode: Mode, *, fingerprint: str) -> str:
    """The hash of a config, its mode and what the files say that it names, as records and metrics name it."""
    return hashlib.sha256(f"{mode}\n{fingerprint}\n{text}".encode()).hexdigest()[:16]


async def opened(path: Path, version: ConfigVersion) -> Live:
    """Build a config's app.

    Raises:
        ConfigError: it, or a file it names, has mistakes.
    """
    settings = parsed(version.text, path, observe=version.mode == "observe")
    return Live(await open_app(settings, path.parent), version.digest, version.version)


async def propose(store: Store, path: Path, *, by: str, why: str, mode: Mode | None = None) -> int:
    """Check the file whole and put it in force for all workers; returns its version, the old one where nothing changed.

    Files that the config names count: a changed prompt or help centre is a new version under the same text.

    Args:
        store: where versions live.
        path: the file.
        by: who wants it.
        why: what for.
        mode: "observe" enforces nothing, "enforce" does what the file says; None keeps the mode that is in force.

    Raises:
        ConfigError: it has mistakes; nothing is changed, and the attempt is noted.
        StoreError: it could not be kept.
    """
    active = await store.active()
    chosen: Mode = mode or (active.mode if active is not None else "enforce")
    try:
        text = read(path)
        app = await open_app(parsed(text, path, observe=chosen == "observe"), path.parent)
    except ConfigError as error:
        await store.note("reload rejected", by=by, detail={"mistakes": len(error.problems)})
        raise
    await close_app(app)
    digest = digest_of(text, chosen, fingerprint=app.fingerprint)
    if active is not None and active.digest == digest:
        return active.version
    version = await store.propose(text, digest=digest, by=by, why=why, mode=chosen)
    kind = "reload" if active is None or active.mode == chosen else f"mode {chosen}"
    await store.note(kind, by=by, detail={"version": version, "digest": digest, "why": why[:200]})
    return version


class Follower:
    """Keeps one worker on the config in force.

    Args:
        store: where versions live.
        configs: what this worker serves with.
        path: the config's file: where relative paths start.
        worker: this worker's name.

    Attributes:
        worker: this worker's name.
        error: why the newest config was not taken, "" where it was.
        behind_s: since when a newer one is known and not in force, None where there is none.
    """

    def __init__(self, store: Store, configs: Configs, path: Path, *, worker: str) -> None:
        self._store, self._configs, self._path, self.worker = store, configs, path, worker
        self._tried = 0
        self._told = (-math.inf, "")
        self.error = ""
        self.behind_s: float | None = None
        self.heard_s = clock.now()

    @property
    def ready(self) -> bool:
        """Whether this worker is on the config in force, or has known of a newer one for less than a second."""
        fresh = clock.now() - self.heard_s < LIVE_S
        return fresh and (self.behind_s is None or clock.now() - self.behind_s < 1.0)

    async def look(self) -> bool:
        """Look once, follow, and say that this worker lives; tells whether another config came into force."""
        number = await self._store.active_number()
        self.heard_s = clock.now()
        swapped = False
        if number is not None and number != self._configs.live.version:
            self.behind_s = self.behind_s if self.behind_s is not None else clock.now()
            if number != self._tried:
                swapped = await self._follow(number)
        else:
            self.behind_s, self.error = None, ""
        if swapped or self.error != self._told[1] or clock.now() - self._told[0] >= BEAT_S:
            version = self._configs.live.version
            await self._store.beat(self.worker, version=version, ready=self.ready, error=self.error)
            self._told = (clock.now(), self.error)
        await self._configs.tidy()
        return swapped

    async def _follow(self, number: int) -> bool:
        self._tried = number
        active = await self._store.active()
        if active is None:
            return False
        try:
            self._configs.swap(await opened(self._path, active))
        except QuorateError as error:
            self.error = f"{_of(number)}{error}"
            return False
        self.behind_s, self.error = None, ""
        return True


def _of(version: int) -> str:
    return f"version {version}: "


async def followed(store: Store, version: int) -> dict[str, Any]:
    """Wait until every live worker is on a version, at most `FOLLOW_S`; names those that are not.

    Raises:
        StoreError: the store is away.
    """
    limit_s = clock.now() + FOLLOW_S
    seen: dict[str, Worker] = {}
    while True:
        # Whoever builds a config may be silent for so long that it is held for gone: it has not followed all the same.
        seen |= {worker.worker: worker for worker in await store.workers(LIVE_S)}
        pending = [worker for worker in seen.values() if worker.version != version]
        # What it says of an older version says nothing of this one.
        failed = [worker for worker in pending if worker.error.startswith(_of(version))]
        if not pending or len(failed) == len(pending) or clock.now() >= limit_s:
            break
        await clock.sleep(0.05)
    return {
        "version": version,
        "workers": [worker.worker for worker in seen.values() if worker.version == version],
        "pending": {worker.worker: worker.error or "has not followed yet" for worker in pending},
    }
