"""Writes weights: arrays in one file, and its line in the index that the package checks it against."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.models.local import features


def save(out: Path, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write `<name>.npz` and its line in index.json; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    raw = buffer.getvalue()
    (out / f"{name}.npz").write_bytes(raw)
    path = out / "index.json"
    index = json.loads(path.read_text("utf-8")) if path.exists() else {"files": {}}
    index["features"] = features.VERSION
    index["files"][f"{name}.npz"] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
