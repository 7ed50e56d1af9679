"""Static word vectors: a sentence encoder boiled down to a table, so that a text's meaning costs a lookup.

Each entry of the table is what a sentence encoder says of one word, centred, reduced, weighted by how rare the word is
(smooth inverse frequency, Arora, Liang and Ma 2017; distilled in the manner of Model2Vec, Minish 2024) and then fitted
so that sums of words come near to what the encoder says of sentences. Words are kept as hashes and their vectors as
bytes with a scale each. A word that is not in the table is put together from its character n-grams.
`docs/cards/vectors.md` says what it was made from and what it gains.
"""

import functools
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.features import Floats
from quorate.models.local.weights import REMEDY, WEIGHTS, Weights, read_weights

_SHORTEST, _LONGEST = 3, 5
_LONGEST_WORD = 40
"""What follows in a longer "word" says no more about it, and nobody should be able to make one word expensive."""
_BATCH = 2048
_FEW = 256
_TOGETHER = 4096
"""Texts times different words that are counted in one table."""
_PRIME = np.uint32(0x01000193)
_MIX = np.uint32(0x85EBCA6B)
_SPACE = np.uint32(ord(" "))

Keys = NDArray[np.uint32]
Counts = NDArray[np.int64]
Places = NDArray[np.intp]


class Vectors:
    """The table of word vectors; read only, so threads may share it.

    Attributes:
        version: the weights' name and hash.
        dim: numbers in a vector.
    """

    def __init__(self, weights: Weights) -> None:
        self.version = weights.version
        self._keys = np.asarray(weights.arrays["keys"], dtype=np.uint32)
        self._rows = np.asarray(weights.arrays["rows"], dtype=np.int8)
        self._scales = weights.numbers("scales")
        self._grams = np.asarray(weights.arrays["grams"], dtype=np.int8)
        self._gram_scales = weights.numbers("gram_scales")
        if len(self._keys) != len(self._rows) or len(self._grams) != len(self._gram_scales):
            raise ValueError("keys and rows differ in number")
        self.dim = int(self._rows.shape[1])

    @classmethod
    def load(cls, path: Path | None = None) -> "Vectors":
        """Read the table from a directory, by default the one that comes with the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        return _shipped() if path is None else cls._read(path)

    @classmethod
    def _read(cls, path: Path | None) -> "Vectors":
        weights = read_weights("vectors", path)
        try:
            return cls(weights)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/vectors.npz: arrays are missing ({error}); {REMEDY}") from error

    def of(self, text: str) -> Floats:
        """The vector of a text: the sum of its words' weighted vectors, scaled to unit length; never raises.

        Args:
            text: as received; it is normalised here.

        Returns:
            Shape (dim,); zeros for a text without a word.
        """
        return self.pooled(features.words(features.normalise(text)))

    def pooled(self, tokens: Sequence[str]) -> Floats:
        """The vector of a text whose words (of its normalised form) are known already. Shape (dim,)."""
        total = np.zeros(self.dim, dtype=np.float32)
        if not tokens:
            return total
        codes, first, counts = np.unique(codes_of(tokens), return_index=True, return_counts=True)
        places, known = self._places(codes)
        at, often = places[known], counts[known]
        for low in range(0, len(at), _BATCH):
            some = at[low : low + _BATCH]
            total += (self._scales[some] * often[low : low + _BATCH]).astype(np.float32) @ self._rows.take(
                some, axis=0
            ).astype(np.float32)
        if not known.all():
            total += self._guessed_sum([tokens[place] for place in first[~known]], counts[~known])
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else total

    def pooled_each(self, texts: Sequence[Sequence[str]]) -> Floats:
        """The vectors of several texts whose words are known already; one pass over short ones is less work.

        Returns:
            Shape (len(texts), dim).
        """
        place = {token: at for at, token in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        # Unknown words are dearer one by one than together, so what has many words is read the other way.
        if not place or len(place) > _FEW or len(place) * len(texts) > _TOGETHER:
            rows = [self.pooled(tokens) for tokens in texts]
            return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        counts = np.zeros((len(texts), len(place)), dtype=np.float32)
        for row, tokens in zip(counts, texts, strict=True):
            for token in tokens:
                row[place[token]] += 1
        found = counts @ self.words(list(place))
        return _unit(found)

    def summed(self, texts: Sequence[Sequence[str]]) -> Floats:
        """The vectors of many short texts that share most of their words. Shape (len(texts), dim)."""
        place = {token: at for at, token in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        rows, found = self.words(list(place)), np.zeros((len(texts), self.dim), np.float32)
        for tokens, total in zip(texts, found, strict=True):
            rows.take([place[token] for token in tokens], axis=0).sum(axis=0, out=total)
        return _unit(found)

    def words(self, tokens: Sequence[str]) -> Floats:
        """The vector of each word, longer the more it says of a sentence. Shape (len(tokens), dim).

        Lengths are no measure of rarity: words that are common in the texts it was fitted on are longer than that.

        Args:
            tokens: words of a normalised text (`features.words(features.normalise(text))`).
        """
        found = np.zeros((len(tokens), self.dim), dtype=np.float32)
        if not tokens:
            return found
        places, known = self._places(codes_of(tokens))
        at = places[known]
        found[known] = self._rows.take(at, axis=0) * self._scales[at, None]
        if not known.all():
            found[~known] = self._guessed(
                [token for token, is_known in zip(tokens, known, strict=True) if not is_known]
            )
        return found

    def known(self, tokens: Sequence[str]) -> NDArray[np.bool_]:
        """Which words of a normalised text stand in the table itself. Shape (len(tokens),)."""
        return self._places(codes_of(tokens))[1]

    def _places(self, codes: Keys) -> tuple[Places, NDArray[np.bool_]]:
        places = np.minimum(np.searchsorted(self._keys, codes), len(self._keys) - 1)
        return places, self._keys[places] == codes

    def _guessed(self, tokens: Sequence[str]) -> Floats:
        """Vectors of unknown words: the mean of their parts'. Shape (len(tokens), dim)."""
        slots, owners = gram_slots(tokens, len(self._grams))
        slots = slots[np.argsort(owners, kind="stable")]
        sizes = np.bincount(owners, minlength=len(tokens))
        made = np.empty((len(tokens), self.dim), dtype=np.float32)
        scales, low = self._gram_scales[slots], 0
        # Word by word: the parts of many long words together would not fit into a processor's cache.
        for place, high in enumerate(np.cumsum(sizes).tolist()):
            np.dot(scales[low:high], self._grams.take(slots[low:high], axis=0).astype(np.float32), out=made[place])
            low = high
        return np.asarray(made / sizes[:, None], dtype=np.float32)

    def _guessed_sum(self, tokens: Sequence[str], counts: Counts) -> Floats:
        """The sum of unknown words' vectors, each as often as it occurs. Shape (dim,)."""
        slots, owners = gram_slots(tokens, len(self._grams))
        share = counts / np.bincount(owners, minlength=len(tokens))
        weight = np.bincount(slots, weights=share[owners], minlength=len(self._grams)).astype(np.float32)
        at = np.flatnonzero(weight)
        total = np.zeros(self.dim, dtype=np.float32)
        for low in range(0, len(at), _BATCH):
            some = at[low : low + _BATCH]
            total += (weight[some] * self._gram_scales[some]) @ self._grams.take(some, axis=0).astype(np.float32)
        return total


@functools.lru_cache(maxsize=1)
def _shipped() -> Vectors:
    """The package's own, read once for all checks of a process."""
    return Vectors._read(None)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def codes_of(tokens: Sequence[str]) -> Keys:
    """The words' keys in the table. Shape (len(tokens),)."""
    return features.crcs(tokens)


def gram_slots(tokens: Sequence[str], size: int) -> tuple[Places, Places]:
    """Slots of the words' character 3- to 5-grams, their ends included, in a table of `size` slots, and whose each is.

    Returns:
        Slots and the place of the word that each belongs to; equal shapes. A word has at least one.
    """
    # A token with a space, or without anything, is none that `features.words` gives; it shall do no harm.
    parts = [token[:_LONGEST_WORD] for token in tokens]
    joined = " ".join(parts)
    if "" in parts or joined.count(" ") >= len(parts):
        joined = " ".join(part.replace(" ", "_") or "_" for part in parts)
    raw = f" {joined} ".encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    gap = (codes == _SPACE).astype(np.int64)
    # The gap before a word has the word's place; the one behind it, the next word's.
    owner = np.cumsum(gap) - 1
    slots, owners = [], []
    state = np.full(len(codes), 0x811C9DC5, dtype=np.uint32)
    inner = np.zeros(len(codes), dtype=np.int64)
    for length in range(1, _LONGEST + 1):
        if len(codes) < length:
            break
        state = (state[: len(codes) - length + 1] ^ codes[length - 1 :]) * _PRIME
        if length >= 3:
            # A gap may stand at either end of an n-gram, never inside.
            inner = inner[: len(codes) - length + 1] + gap[length - 2 : len(codes) - 1]
        if length >= _SHORTEST:
            fits = inner == 0
            mixed = (state ^ (state >> np.uint32(15))) * _MIX
            slots.append((((mixed ^ (mixed >> np.uint32(13))) % np.uint32(size))[fits]).astype(np.intp))
            owners.append(owner[: len(fits)][fits])
    return np.concatenate(slots), np.concatenate(owners)
