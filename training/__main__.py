"""`python -m training --data ../shared/data --out src/quorate/weights --cards docs/cards` trains everything."""

import argparse
import hashlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.models.local import features
from training import cards, report_scope, report_threat

SEED = 7


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


def main() -> None:
    """Train, save the weights, measure, write the cards."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled rows")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--cards", type=Path, required=True, help="folder for the model cards")
    parser.add_argument("--only", choices=("threat", "scope"), help="train one of the two")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.cards.mkdir(parents=True, exist_ok=True)
    jobs = {"threat": report_threat.train, "scope": report_scope.train}
    for name, train in jobs.items():
        if arguments.only in (None, name):
            start = time.perf_counter()
            arrays, measure = train(arguments.data, SEED)
            save(arguments.out, name, arrays)
            figures = measure(arguments.out)
            (arguments.cards / f"{name}.md").write_text(cards.card(name, figures), "utf-8")
            print(f"{name}: {time.perf_counter() - start:.0f} s\n{figures}")


main()
