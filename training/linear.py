"""Fits the linear half of the threat classifier: `quorate.models.local.phrases.Phrases`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from quorate.models.local import features
from quorate.models.local.features import Floats, Ids, Lexicon
from quorate.models.local.phrases import SIZE, VALUES, phrase_ids, scale

Numbers = NDArray[np.float64]
SOURCES = 3
"""A feature counts if so many sources (families of texts of our own) have it: what one source has is its accent."""
STRENGTH = 0.1
"""Inverse strength of the L2 penalty; among 0.01 to 0.3 the best on sources left out."""
ROUNDS = 2

Slots = Mapping[str, Ids]


def slots(window: str, lexicon: Lexicon) -> Slots:
    """What occurs in a window, by kind."""
    tokens = features.words(features.normalise(window))
    return {**phrase_ids(tokens), "hints": lexicon.hints(tokens)}


@dataclass(frozen=True, slots=True)
class Bags:
    """Texts as bags of windows.

    Attributes:
        windows: what occurs in each window, text by text.
        owner: the text's number for each window. Shape (len(windows),).
        attack: whether a text is an attack. Shape (number of texts,).
        weight: what a text counts. Shape (number of texts,).
        source: where a text is from, as `SOURCES` counts.
    """

    windows: list[Slots]
    owner: NDArray[np.int64]
    attack: NDArray[np.bool_]
    weight: Numbers
    source: list[str]

    def shares(self, chosen: NDArray[np.bool_]) -> Numbers:
        """What each chosen window counts: an attack's share its text's weight, honest ones more. Shape (chosen,)."""
        sizes = np.maximum(np.bincount(self.owner[chosen], minlength=len(self.attack)), 1)
        return (self.weight / np.where(self.attack, sizes, np.sqrt(sizes)))[self.owner][chosen]

    def telling(self, margins: Numbers | Floats) -> NDArray[np.bool_]:
        """Honest windows, and of attacks those that look like one. Shape (len(windows),)."""
        top = worst(margins, self.owner, len(self.attack))[self.owner]
        return np.asarray(~self.attack[self.owner] | (margins >= top - 1e-9) | (margins > 1.0))


def worst(margins: Numbers | Floats, owner: NDArray[np.int64], texts: int) -> Numbers:
    """The highest margin of each text's windows. Shape (texts,)."""
    best = np.full(texts, -np.inf)
    np.maximum.at(best, owner, margins)
    return best


def fit(some: Bags, hints: int) -> tuple[dict[str, Floats], float]:
    """Weights by kind and the bias: first every window of an attack counts, then only those that look like one."""
    columns, width = _columns(some, hints)
    x = _matrix(some.windows, columns, width)
    positive = some.attack[some.owner]
    chosen = np.ones(len(some.owner), dtype=np.bool_)
    model = LogisticRegression(C=STRENGTH, max_iter=30, tol=1e-3)
    for _ in range(ROUNDS):
        model.fit(x[chosen], positive[chosen], sample_weight=some.shares(chosen))
        chosen = some.telling(model.decision_function(x))
    tables = {}
    for kind, places in columns.items():
        kept = places >= 0
        table = np.zeros(len(places), dtype=np.float32)
        learned = model.coef_[0][places[kept]]
        # A weight that is kept is never 0: zero says that a slot was pruned.
        table[kept] = np.where(np.abs(learned) < 1e-4, 1e-4, learned)
        tables[kind] = table.astype(np.float16).astype(np.float32)
    return tables, float(model.intercept_[0])


def _columns(some: Bags, hints: int) -> tuple[dict[str, NDArray[np.int64]], int]:
    """For each kind the column of every slot, -1 for those too few sources have; and how many columns."""
    by_source: dict[str, list[int]] = {}
    for at, owner in enumerate(some.owner):
        by_source.setdefault(some.source[owner], []).append(at)
    found, width = {}, 0
    for kind in VALUES:
        size = hints if kind == "hints" else SIZE
        seen = np.zeros(size, dtype=np.int32)
        for places in by_source.values():
            mine = np.zeros(size, dtype=np.bool_)
            mine[np.concatenate([some.windows[at][kind] for at in places])] = True
            seen += mine
        kept = seen >= (1 if kind == "hints" else SOURCES)
        column = np.full(size, -1, dtype=np.int64)
        column[kept] = width + np.arange(int(kept.sum()))
        width += int(kept.sum())
        found[kind] = column
    return found, width


def _matrix(windows: Sequence[Slots], columns: Mapping[str, NDArray[np.int64]], width: int) -> sp.csr_matrix:
    places, values, ends = [], [], [0]
    for one in windows:
        known = {kind: columns[kind][one[kind]] for kind in VALUES}
        known = {kind: some[some >= 0] for kind, some in known.items()}
        factor = scale({kind: len(some) for kind, some in known.items()})
        for kind, some in known.items():
            places.append(some.astype(np.int32))
            values.append(np.full(len(some), VALUES[kind] * factor, dtype=np.float32))
        ends.append(ends[-1] + sum(map(len, known.values())))
    return sp.csr_matrix((np.concatenate(values), np.concatenate(places), np.array(ends)), shape=(len(windows), width))
