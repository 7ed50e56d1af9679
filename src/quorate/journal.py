"""An append-only file of finished work, so that a long job can be stopped at any moment and gone on with.

One line of JSON for each finished piece, written in one call and handed to the system at once: a killed process
loses nothing it had finished. A line that was cut in the middle is dropped when the file is read again.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quorate.errors import UsageError

_DONE = {"done": True}


def key_of(*parts: object) -> str:
    """A key that changes when any of its parts does: SHA-256 over their JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Journal:
    """Finished results by key.

    Args:
        path: the file; its folder must exist.
        resume: go on with what is in it. Without, an unfinished journal is an error, since its work would be lost.

    Raises:
        UsageError: it holds unfinished work and `resume` is not set, or it cannot be opened.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.results: dict[str, Any] = {}
        finished, good = self._read()
        if not resume:
            if self.results and not finished:
                raise UsageError(
                    f"{path} holds {len(self.results)} finished results of a run that was stopped: "
                    f"add --resume to go on with it, or delete the file to start again"
                )
            self.results, good = {}, 0
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
        self._file.truncate(good)
        self._mend = b""

    def add(self, key: str, result: Any) -> None:
        """Note a finished piece."""
        self.results[key] = result
        self._write({"key": key, "result": result})

    def finish(self) -> None:
        """Note that all is done: the next run without `resume` may start again."""
        self._write(_DONE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, record: object) -> None:
        data = self._mend + (json.dumps(record) + "\n").encode()
        self._mend = b"\n"  # Until it is whole: what follows half a line, on a full disk, starts on its own.
        while data:
            data = data[os.write(self._file.fileno(), data) :]
        self._mend = b""

    def _read(self) -> tuple[bool, int]:
        """Load what is there; tell whether it was finished, and where its last whole line ends, in bytes."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return False, 0
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read: {error.strerror}") from error
        finished = False
        whole, end, _ = data.rpartition(b"\n")
        for line in whole.split(b"\n"):
            with contextlib.suppress(ValueError, LookupError, TypeError):  # Half a line that a full disk left.
                record = json.loads(line)
                finished = record == _DONE
                if not finished:
                    self.results[record["key"]] = record["result"]
        if whole.strip() and not finished and not self.results:
            raise UsageError(f"{self.path} is no journal, and a journal is to be written there: move it away")
        return finished, len(whole) + len(end)
