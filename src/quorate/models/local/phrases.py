"""What the threat classifier sees of a window's words: which words and near pairs occur.

`Phrases` is a linear model over the presence of hashed words, pairs of neighbours, pairs a word or two apart, and
hints. It is numpy only; `training.linear` fits it.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quorate.models.local.features import Floats, Ids, crcs, distinct

BITS = 18
SIZE = 1 << BITS
VALUES = {"words": 1.0, "pairs": 1.0, "skips": 0.7, "hints": 1.2}
"""What a feature of each kind counts before the window's own scale."""

_MASK = np.uint64(SIZE - 1)
_PRIME = np.uint64(0x9E3779B1)
_SALT = zlib.crc32(b"w")
_PAIR, _SKIP = np.uint64(0x85EBCA6D), np.uint64(0x85EBCA6F)


def phrase_ids(tokens: Sequence[str]) -> Mapping[str, Ids]:
    """Slots of what occurs among the words of a normalised window, by kind; each slot once, sorted."""
    codes = crcs(tokens, _SALT).astype(np.uint64)
    skips = [_mixed(codes[:-gap], codes[gap:], _SKIP) for gap in (2, 3)]
    found = {"words": codes & _MASK, "pairs": _mixed(codes[:-1], codes[1:], _PAIR), "skips": np.concatenate(skips)}
    return {kind: distinct(ids).astype(np.uint32) for kind, ids in found.items()}


def many_ids(texts: Sequence[Sequence[str]]) -> Mapping[str, NDArray[np.uint64]]:
    """`phrase_ids` of several windows in one go, by kind; the window's number stands above the slot's `BITS`."""
    codes = crcs([token for tokens in texts for token in tokens], _SALT).astype(np.uint64)
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(tokens) for tokens in texts])
    found = {"words": [(owner, codes & _MASK)], "pairs": [], "skips": []}
    for kind, gap, salt in (("pairs", 1, _PAIR), ("skips", 2, _SKIP), ("skips", 3, _SKIP)):
        same = owner[:-gap] == owner[gap:]
        found[kind].append((owner[:-gap][same], _mixed(codes[:-gap], codes[gap:], salt)[same]))
    shift = np.uint64(BITS)
    return {
        kind: distinct(np.concatenate([whose << shift | slots for whose, slots in parts]))
        for kind, parts in found.items()
    }


def _mixed(first: NDArray[np.uint64], second: NDArray[np.uint64], kind: np.uint64) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = (((first * _PRIME) ^ second) * kind >> np.uint64(7)) & _MASK
    return mixed


def scale(counts: Mapping[str, int]) -> float:
    """What a window's features are multiplied by, from how many known ones of each kind it has."""
    length = sum(VALUES[kind] ** 2 * count for kind, count in counts.items())
    return float(3.0 / length**0.25) if length else 0.0


class Phrases:
    """A linear model over `phrase_ids` and hints.

    Args:
        tables: weights by kind; 0 for a slot that was pruned. Shape (SIZE,) each, hints (number of hints,).
        bias: what every window gets.
    """

    def __init__(self, tables: Mapping[str, Floats], bias: float) -> None:
        self._tables = dict(tables)
        self._bias = bias

    def margin(self, ids: Mapping[str, Ids]) -> float:
        """The log-odds that a window attacks; `ids` by kind, hints among them."""
        total, counts = 0.0, {}
        for kind, slots in ids.items():
            weights = self._tables[kind][slots]
            total += VALUES[kind] * float(weights.sum())
            counts[kind] = int(np.count_nonzero(weights))
        return self._bias + scale(counts) * total

    def margins(self, texts: Sequence[Sequence[str]], hints: Sequence[Ids]) -> Floats:
        """`margin` of several windows in one go, from their words and their hints. Shape (len(texts),)."""
        count = len(texts)
        ids = {kind: (keys >> np.uint64(BITS), keys & _MASK) for kind, keys in many_ids(texts).items()}
        owner = np.repeat(np.arange(count), [len(one) for one in hints])
        ids["hints"] = owner.astype(np.uint64), np.concatenate([*hints, np.zeros(0, np.uint32)]).astype(np.uint64)
        total, length = np.zeros(count), np.zeros(count)
        for kind, (owners, slots) in ids.items():
            weights, whose = self._tables[kind][slots], owners.astype(np.intp)
            total += VALUES[kind] * np.bincount(whose, weights=weights, minlength=count)
            length += VALUES[kind] ** 2 * np.bincount(whose, weights=weights != 0, minlength=count)
        factors = np.where(length > 0, 3.0 / np.maximum(length, 1e-9) ** 0.25, 0.0)
        return np.asarray(self._bias + factors * total, dtype=np.float32)
