"""Weights are arrays of numbers only, checked against their index's size and hash before use."""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.features import Floats

WEIGHTS = Path(__file__).parents[2] / "weights"
REMEDY = "reinstall quorate, or train again with `python -m training`"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a classifier says of one text.

    Attributes:
        score: calibrated probability of a violation, in [0, 1].
        category: what kind of violation it would be; "none" if none is likely.
    """

    score: float
    category: str


@dataclass(frozen=True, slots=True)
class Weights:
    """The arrays of one file of weights, and the version that they give their classifier."""

    arrays: Mapping[str, NDArray[np.generic]]
    version: str

    def numbers(self, name: str) -> Floats:
        """One array as float32. Raises `KeyError` if there is none of that name."""
        return np.asarray(self.arrays[name], dtype=np.float32)


def read_weights(name: str, path: Path | None = None) -> Weights:
    """Read and check `<name>.npz` in a directory of weights (the package's own by default).

    Raises:
        UsageError: the file or its index is missing, of another size, hash or feature version, or unreadable.
    """
    folder = path or WEIGHTS
    file = folder / f"{name}.npz"
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        stated = index["files"][file.name]
        raw = file.read_bytes() if file.stat().st_size == stated["bytes"] else b""
        digest = hashlib.sha256(raw).hexdigest()
        if digest != stated["sha256"]:
            raise UsageError(f"{file}: not the file that index.json describes (size or sha256); {REMEDY}")
        if index["features"] != features.VERSION:
            raise UsageError(f"{file}: made for other features than this version's; {REMEDY}")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return Weights(dict(arrays), f"{name}-local-{index['features']}+{digest[:8]}")
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file}: cannot be read as weights ({type(error).__name__}); {REMEDY}") from error


def logistic(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    return 1.0 / (1.0 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1.0 + math.exp(margin))
