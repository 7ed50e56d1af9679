"""Reads the labelled rows and turns texts into bags of windows and windows into sparse rows."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from quorate.checks.readings import readings
from quorate.checks.windows import windows
from quorate.models.local import features
from quorate.models.local.features import Floats, Ids, Lexicon

Matrix: TypeAlias = sp.csr_matrix


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text; `group` is what `meta` says about its kind, `family` the idea behind one of our own."""

    text: str
    label: str
    source: str
    group: str = ""
    company: str = ""
    intent: str = ""
    domain: str = ""
    family: str = ""


def rows(path: Path) -> list[Row]:
    """All rows of a JSON lines file."""
    found = []
    for line in filter(None, path.read_text("utf-8").split("\n")):
        raw = json.loads(line)
        meta = raw["meta"]
        group = str(meta.get("category") or meta.get("variant") or meta.get("kind") or "")
        found.append(
            Row(
                text=raw["text"],
                label=raw["label"],
                source=raw["source"],
                group=group,
                company=raw.get("company", ""),
                intent=str(meta.get("orig_label", "")),
                domain=str(meta.get("domain", "")),
            )
        )
    return found


def bag(text: str, *, most: int | None = None) -> list[str]:
    """The windows of all readings of a text, as at run time; `most` takes an even sample of a long text's."""
    found = list(
        dict.fromkeys(window.text for reading in readings(text) for window in windows(reading.text, limit=10**6))
    )
    if most is not None and len(found) > most:
        found = [found[at] for at in np.linspace(0, len(found) - 1, most).astype(int)]
    return found


@dataclass(frozen=True, slots=True)
class Counted:
    """A window's slots, before any weight: characters, words and hints, with repeats."""

    chars: Ids
    words: Ids
    hints: Ids


def counted(text: str, lexicon: Lexicon) -> Counted:
    """The slots of one window."""
    plain = features.normalise(text)
    tokens = features.words(plain)
    return Counted(features.char_ids(plain), features.word_ids(tokens), lexicon.hints(tokens))


def inverse_frequencies(many: Iterable[Counted]) -> Floats:
    """Smoothed idf of every slot. Shape (SIZE,)."""
    seen = np.zeros(features.SIZE, dtype=np.int64)
    total = 0
    for one in many:
        total += 1
        seen[np.unique(np.concatenate([one.chars, one.words]))] += 1
    idf = np.log((1 + total) / (1 + seen)) + 1
    return np.asarray(idf, dtype=np.float16).astype(np.float32)


def matrix(many: Sequence[Counted], idf: Floats, *, hints: int, hint_value: float) -> Matrix:
    """Sparse rows: hashed n-grams, then hints. Shape (len(many), SIZE + hints)."""
    columns, values, ends = [], [], [0]
    for one in many:
        for part in (one.chars, one.words):
            slots, weights = features.weighed(part, idf)
            columns.append(slots.astype(np.int32))
            values.append(weights)
        columns.append(one.hints.astype(np.int32) + features.SIZE)
        values.append(np.full(len(one.hints), hint_value, dtype=np.float32))
        ends.append(ends[-1] + sum(map(len, columns[-3:])))
    shape = (len(many), features.SIZE + hints)
    made = sp.csr_matrix((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=shape)
    made.sum_duplicates()
    return made


def recall_at(scores: NDArray[np.float64], positive: NDArray[np.bool_], *, alarms: float) -> float:
    """Share of positives above the cut that a share `alarms` of the negatives exceeds."""
    cut = np.quantile(scores[~positive], 1 - alarms, method="higher")
    return float(np.mean(scores[positive] > cut))


def sampled(items: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    """At most `count` of the items, in random order."""
    return rng.sample(list(items), min(count, len(items)))
