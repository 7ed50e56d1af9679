"""What a text means, in one vector: the sum of its words' vectors beside what a small transformer reads in them.

The sum knows a topic by its words; the transformer (one layer; `training.sense` teaches it what a sentence encoder says
of whole texts) knows what they say together. `docs/cards/vectors.md` says what both gain.
"""

import functools
from collections.abc import Sequence
from itertools import chain
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
_TOGETHER = 32
"""Texts that are read at once: enough to be cheap, few enough for a processor's cache."""


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
        few = all(len(tokens) <= LONGEST for tokens in texts)
        summed = self.words.summed(texts) if few else self.words.pooled_each(texts)
        return self._beside(summed, self._read_each(texts))

    def parts(self, texts: Sequence[Sequence[str]]) -> Floats:
        """The same of a text and stretches of it, in their order; these are read in the text, where they stand.

        Args:
            texts: the whole text's words, then each stretch's.
        """
        whole = list(texts[0][:LONGEST])
        if not whole:
            return self.each(texts)
        seen = self._reader.read(self.words.words(whole)[None])[0]
        found, strange, start = [summary(seen)], [], 0
        for number, tokens in enumerate(texts[1:], 1):
            at = _place(whole, list(tokens), start)
            start = max(at, start)
            stretch = seen[at : at + len(tokens)] if at >= 0 else seen
            found.append(summary(stretch))
            strange += [number] if at < 0 else []
        told = self._tells(np.stack(found))
        if strange:
            told[strange] = self._read_each([texts[number] for number in strange])
        return self._beside(self.words.pooled_each(texts), told)

    def _read_each(self, texts: Sequence[Sequence[str]]) -> Floats:
        """What is read in each text alone, those with as many words together. Shape (len(texts), numbers told)."""
        place = {token: at for at, token in enumerate(dict.fromkeys(chain(*(some[:LONGEST] for some in texts))))}
        rows = self.words.words(list(place))
        alike: dict[int, list[int]] = {}
        for number, tokens in enumerate(texts):
            alike.setdefault(min(len(tokens), LONGEST), []).append(number)
        alike.pop(0, None)
        found = np.zeros((len(texts), len(self._tell_bias)), np.float32)
        for numbers in alike.values():
            for low in range(0, len(numbers), _TOGETHER):
                some = numbers[low : low + _TOGETHER]
                at = [[place[token] for token in texts[number][:LONGEST]] for number in some]
                found[some] = self._tells(summary(self._reader.read(rows[at])))
        return found

    def _tells(self, seen: Floats) -> Floats:
        """Vectors of unit length. Shape (texts, numbers of a summary) to (texts, numbers told)."""
        return _unit(seen @ self._tell + self._tell_bias)

    def _beside(self, summed: Floats, told: Floats) -> Floats:
        turned = _unit(summed @ self._turn)
        return np.concatenate([turned * np.float32((1 - READ) ** 0.5), told * np.float32(READ**0.5)], axis=1)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


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
