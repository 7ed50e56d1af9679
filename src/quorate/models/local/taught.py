"""What `quorate learn-scope` keeps beside the config: numbers in an npz, and a JSON that says what they are.

The JSON has the size and sha256 of the numbers, the fingerprint of what they were made from, and the figures of the
day. Both are data: nothing in them is ever run.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local.labelled import Labelled

FORMAT: Final = 1
_REMEDY = "run `quorate learn-scope` again, or delete both files to do without"


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learned for one company.

    Attributes:
        fingerprint: of the company's texts and the shipped weights.
        low: below this probability a text is in scope.
        high: above it, out of scope.
        examples: in-scope messages that serve as examples where labels were too few to learn from.
        arrays: for `Labelled`; empty where labels were missing or too few.
        made_from: what was read, for people.
        figures: cross-validated, for people.
        where: the file, for messages.
        digest: sha256 of both files' contents together.
    """

    fingerprint: str
    low: float
    high: float
    examples: tuple[str, ...] = ()
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    made_from: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, object] = field(default_factory=dict)
    where: str = ""
    digest: str = ""

    def check(self, fingerprint: str) -> None:
        """Compare with the fingerprint of what stands there now.

        Raises:
            UsageError: it is another one.
        """
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"{self.where}: was learned from another help centre, other examples or other weights than those that"
                f" are here now; {_REMEDY}"
            )

    def labelled(self, dim: int) -> Labelled | None:
        """The models that labels taught, or None where there are none; `dim` is the size of a vector.

        Raises:
            UsageError: the arrays are not what they should be.
        """
        if not self.arrays:
            return None
        try:
            found = Labelled(self.arrays)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise UsageError(f"{self.where}: its arrays cannot be used ({type(error).__name__}); {_REMEDY}") from error
        if found.dim != dim:
            raise UsageError(f"{self.where}: was learned with other vectors; {_REMEDY}")
        return found


def path_of(folder: Path) -> Path:
    """Where the JSON of a help centre's folder stands: beside it, under its name. The npz has the same name."""
    whole = folder.absolute()
    return whole.parent / f"{whole.name}.scope.json"


def keep(taught: Taught, path: Path) -> int:
    """Write both files, each in one step, the numbers first; returns their size in bytes.

    Raises:
        UsageError: they cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(taught.arrays))  # type: ignore[arg-type]
    raw = buffer.getvalue()
    told = {
        "format": FORMAT,
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "fingerprint": taught.fingerprint,
        "low": taught.low,
        "high": taught.high,
        "examples": list(taught.examples),
        "made_from": dict(taught.made_from),
        "figures": dict(taught.figures),
    }
    text = json.dumps(told, indent=2, ensure_ascii=True) + "\n"
    try:
        for file, content in ((path.with_suffix(".npz"), raw), (path, text.encode())):
            part = file.with_name(file.name + ".part")
            part.write_bytes(content)
            os.replace(part, file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    return len(raw) + len(text)


def recall(path: Path) -> Taught | None:
    """Read both files, or None where the JSON is not there.

    Raises:
        UsageError: they are damaged, do not belong together, or are of another format.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; {_REMEDY}") from error
    numbers = path.with_suffix(".npz")
    try:
        told = json.loads(text)
        if told["format"] != FORMAT:
            raise UsageError(f"{path}: is of format {told['format']!r}, this version reads {FORMAT}; {_REMEDY}")
        raw = numbers.read_bytes() if numbers.stat().st_size == told["bytes"] else b""
        if hashlib.sha256(raw).hexdigest() != told["sha256"]:
            raise UsageError(f"{numbers}: is not the file that {path.name} describes (size or sha256); {_REMEDY}")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            kept = dict(arrays)
        low, high = float(told["low"]), float(told["high"])
        if not 0 < low <= high < 1:
            raise ValueError("bounds out of order")
        return Taught(
            fingerprint=str(told["fingerprint"]),
            low=low,
            high=high,
            examples=tuple(str(example) for example in told["examples"]),
            arrays=kept,
            made_from=dict(told["made_from"]),
            figures=dict(told["figures"]),
            where=str(path),
            digest=hashlib.sha256(text + raw).hexdigest(),
        )
    except (OSError, KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read as what was learned ({type(error).__name__}); {_REMEDY}") from error
