"""What a text means, in one vector: the sum of its words' vectors beside what a small transformer reads in them.

The sum knows a topic by its words; the transformer (one layer; `training.sense` teaches it what a sentence encoder says
of whole texts) knows what they say together. `docs/cards/vectors.md` says what both gain.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.context import LONGEST, Reader, summary
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors
from quorate.models.local.weights import REMEDY, WEIGHTS, Weights, read_weights

READ = 0.5
"""Share of what is read, the rest being the words' sum, in how near two texts are to each other."""


class Sense:
    """Vectors of texts, of unit length; read only, so threads may share it.

    Attributes:
        version: the weights' name and hash, and that of the word vectors.
        dim: numbers in a vector.
        words: the word vectors.
    """

    def __init__(self, weights: Weights, words: Vectors) -> None:
        self.version = f"{weights.version}+{words.version.rsplit('+', 1)[-1]}"
        self.words = words
        self._reader = Reader(weights.arrays)
        self._tell, self._tell_bias = weights.numbers("tell"), weights.numbers("tell_bias")
        self._turn = weights.numbers("turn")
        self.dim = self._turn.shape[1] + len(self._tell_bias)

    @classmethod
    def load(cls, path: Path | None = None) -> "Sense":
        """Read the transformer from a directory, by default the one that comes with the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        return _shipped() if path is None else cls._read(path)

    @classmethod
    def _read(cls, path: Path | None) -> "Sense":
        weights = read_weights("sense", path)
        try:
            return cls(weights, Vectors.load())
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/sense.npz: arrays are missing ({error}); {REMEDY}") from error

    def of(self, text: str) -> Floats:
        """The vector of a text as received; never raises. Shape (dim,); zeros for a text without a word."""
        found: Floats = self.each([features.words(features.normalise(text))])[0]
        return found

    def each(self, texts: Sequence[Sequence[str]]) -> Floats:
        """The vectors of texts whose words (of their normalised forms) are known. Shape (len(texts), dim).

        Of a text with more than `LONGEST` words the first ones are read, and all of them summed.
        """
        told = [self._told(tokens) for tokens in texts] or np.zeros((0, len(self._tell_bias)), np.float32)
        few = all(len(tokens) <= LONGEST for tokens in texts)
        return self._beside(self.words.summed(texts) if few else self.words.pooled_each(texts), told)

    def parts(self, texts: Sequence[Sequence[str]]) -> Floats:
        """The same of a text and stretches of it, in their order; these are read in the text, where they stand.

        Args:
            texts: the whole text's words, then each stretch's.
        """
        whole = list(texts[0][:LONGEST])
        seen = self._reader.read(self.words.words(whole)) if whole else np.zeros((0, 0), np.float32)
        told, start = [self._tells(seen)], 0
        for tokens in texts[1:]:
            at = _place(whole, list(tokens), start)
            told.append(self._told(tokens) if at < 0 else self._tells(seen[at : at + len(tokens)]))
            start = max(at, start)
        return self._beside(self.words.pooled_each(texts), told)

    def _told(self, tokens: Sequence[str]) -> Floats:
        some = tokens[:LONGEST]
        return self._tells(self._reader.read(self.words.words(some)) if some else np.zeros((0, 0), np.float32))

    def _tells(self, seen: Floats) -> Floats:
        if not len(seen):
            return np.zeros(len(self._tell_bias), np.float32)
        found: Floats = summary(seen) @ self._tell + self._tell_bias
        return found / np.float32(np.sqrt(found @ found) or 1.0)

    def _beside(self, summed: Floats, told: Sequence[Floats] | Floats) -> Floats:
        turned = summed @ self._turn
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)
        return np.concatenate(
            [turned * np.float32((1 - READ) ** 0.5), np.asarray(told) * np.float32(READ**0.5)], axis=1
        )


def _place(whole: Sequence[str], part: Sequence[str], start: int) -> int:
    """Where a stretch begins in a text, from `start` on; -1 if it is not there or is no stretch."""
    if not part:
        return -1
    for at in range(start, len(whole) - len(part) + 1):
        if whole[at] == part[0] and whole[at : at + len(part)] == part:
            return at
    return -1


@functools.lru_cache(maxsize=1)
def _shipped() -> Sense:
    """The package's own, read once for all checks of a process."""
    return Sense._read(None)
