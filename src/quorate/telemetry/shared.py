"""Several worker processes, one scrape: each keeps a snapshot file in a directory that they share.

A worker takes the lowest slot that nobody holds, locks it for as long as it lives, and counts on from what the slot's
last worker had counted: what was shown once is never taken back, and a worker that dies a thousand times leaves one
file. The system lets go of the lock of a process that dies, however it dies. POSIX only.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from quorate.errors import UsageError
from quorate.telemetry.snapshot import Snapshot, parse

if sys.platform != "win32":
    import fcntl

MAX_SLOTS = 1024


@dataclass(slots=True)
class Others:
    """What the other slots hold.

    Attributes:
        every: all snapshots.
        live: those of workers that live.
        dead: how many workers have died without a word.
        unreadable: files that could not be read; they count as they were when they last could.
    """

    every: list[Snapshot] = field(default_factory=list)
    live: list[Snapshot] = field(default_factory=list)
    dead: int = 0
    unreadable: int = 0


class Shared:
    """One worker's place in the directory. Make it in the worker, after any fork.

    Args:
        directory: for the workers of one service and nobody else; made where it is not there, for its owner only.

    Attributes:
        inherited: what the slot's last worker had counted, or None.

    Raises:
        UsageError: the directory cannot be used, or every slot is taken.
    """

    def __init__(self, directory: Path) -> None:
        if sys.platform == "win32":
            raise UsageError("several workers need POSIX file locks: run one worker, or run them on Linux or macOS")
        self._directory = directory
        self._known: dict[Path, tuple[Snapshot, bool]] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self._lock, self._file = self._claim()
            self.inherited = parse(self._file.read_text(encoding="ascii"))[0] if self._file.exists() else None
        except OSError as error:
            raise UsageError(f"metrics directory {directory}: {error.strerror}") from error
        except ValueError:
            self.inherited = None

    def _claim(self) -> tuple[int, Path]:
        for number in range(MAX_SLOTS):
            lock = _locked(self._directory / f"slot-{number}.lock")
            if lock is not None:
                return lock, self._directory / f"slot-{number}.json"
        raise UsageError(f"metrics directory {self._directory}: all {MAX_SLOTS} slots are taken")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else claims or looks meanwhile: whoever looks whether a slot is held, holds it for a moment."""
        fd = os.open(self._directory / "slots.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def write(self, snapshot: Snapshot, *, ended: bool = False) -> None:
        """Replace this worker's file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        whole = self._file.with_suffix(".new")
        whole.write_text(snapshot.dump(ended=ended), encoding="ascii")
        whole.replace(self._file)

    def others(self) -> Others:
        """Read the files of the other workers. Blocks for it."""
        found = Others()
        with self._alone():
            for file in sorted(self._directory.glob("slot-*.json")):
                if file == self._file:
                    continue
                try:
                    self._known[file] = parse(file.read_text(encoding="ascii"))
                except (OSError, ValueError):
                    found.unreadable += 1
                if file in self._known:
                    snapshot, ended = self._known[file]
                    found.every.append(snapshot)
                    if _held(file.with_suffix(".lock")):
                        found.live.append(snapshot)
                    else:
                        found.dead += not ended
        return found

    def close(self) -> None:
        """Let go of the slot."""
        os.close(self._lock)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed or its process ends; None where somebody else holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _held(path: Path) -> bool:
    fd = _locked(path)
    if fd is not None:
        os.close(fd)
    return fd is None
