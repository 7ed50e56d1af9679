"""A small transformer over word vectors: each word is read beside its neighbours.

After Vaswani and others 2017, "Attention is all you need", normalised before each layer. `training.context` teaches it
what a sentence encoder says.
"""

from collections.abc import Mapping, Sequence
from itertools import count, takewhile

import numpy as np
from numpy.typing import NDArray

from quorate.models.local.features import Floats

LONGEST = 96
"""Words of a window that are read; a window of 320 characters has fewer unless it is made to have more."""
HEADS = 4
PREFIX = "context_"
_TINY = np.float32(1e-5)


class Reader:
    """Reads words in their context.

    Args:
        arrays: `project`; `places`; for each layer, numbered from 0, `ask`, `tell`, `widen` and `narrow`; `gain`; each
            but the places with its `_bias`, as `training.context` names and folds them, each name behind `PREFIX`.
            Others are not looked at.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        own = _own(arrays)
        self._project, self._project_bias = own["project"], own["project_bias"]
        self._places = own["places"]
        self._gain, self._gain_bias = own["gain"], own["gain_bias"]
        self._layers = [_Layer(own, number) for number in takewhile(lambda at: f"ask{at}" in own, count())]

    def read(self, vectors: Floats) -> Floats:
        """What each word says in its context.

        Args:
            vectors: of the words, in their order (`Vectors.words`), of texts with as many words each. Shape
                (texts, words, dim), 1 to `LONGEST` words.

        Returns:
            Shape (texts, words, width).
        """
        seen: Floats = vectors @ self._project + self._project_bias
        seen += self._places[: vectors.shape[1]]
        for layer in self._layers:
            seen = layer(seen)
        seen = _normal(seen)
        seen *= self._gain
        seen += self._gain_bias
        return seen


def summary(seen: Floats) -> Floats:
    """The mean and the highest of what words say. Shape (..., words, width) to (..., 2 * width)."""
    mean: Floats = np.add.reduce(seen, axis=-2) / np.float32(seen.shape[-2])
    return np.concatenate([mean, np.maximum.reduce(seen, axis=-2)], axis=-1)


class Context:
    """How likely a window is one of a kind, by what its words say in their context.

    Args:
        arrays: as for `Reader`, and `hidden` and `out`.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        own = _own(arrays)
        self._reader = Reader(arrays)
        self._hidden, self._hidden_bias = own["hidden"], own["hidden_bias"]
        self._out, self._out_bias = own["out"], float(own["out_bias"][0])

    def margin(self, vectors: Floats) -> float:
        """The log-odds of a window whose words have these vectors, 1 to `LONGEST`. Shape (words, dim)."""
        seen = self._reader.read(vectors[None])[0]
        hidden = np.maximum(summary(seen) @ self._hidden + self._hidden_bias, 0.0)
        return float(hidden @ self._out) + self._out_bias


def _own(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    return {
        name.removeprefix(PREFIX): array.astype(np.float32) for name, array in arrays.items() if name.startswith(PREFIX)
    }


class _Layer:
    """Attention, then two linear maps with a bend between; both are added to what they read. Shape stays."""

    def __init__(self, arrays: Mapping[str, Floats], number: int) -> None:
        names = ("ask", "tell", "widen", "narrow")
        self._ask, self._tell, self._widen, self._narrow = (
            (arrays[f"{name}{number}"], arrays[f"{name}{number}_bias"]) for name in names
        )

    def __call__(self, words: Floats) -> Floats:
        texts, count, width = words.shape
        asked = _through(_normal(words), self._ask).reshape(texts, count, 3, HEADS, width // HEADS)
        asked = asked.transpose(2, 0, 3, 1, 4)
        share: Floats = asked[0] @ asked[1].transpose(0, 1, 3, 2)
        share -= np.maximum.reduce(share, axis=3, keepdims=True)
        np.exp(share, out=share)
        told = (share @ asked[2]) / np.add.reduce(share, axis=3, keepdims=True)
        words = words + _through(told.transpose(0, 2, 1, 3).reshape(texts, count, width), self._tell)
        wide = _through(_normal(words), self._widen)
        return words + _through(np.maximum(wide, 0.0, out=wide), self._narrow)


def _normal(words: Floats) -> Floats:
    """Each word's numbers with mean 0 and variance 1; gains and biases are folded into what follows."""
    width = np.float32(words.shape[-1])
    mean: Floats = np.add.reduce(words, axis=-1, keepdims=True)
    centred: Floats = words - mean / width
    variance: Floats = np.einsum("...j,...j->...", centred, centred) / width
    centred /= np.sqrt(variance + _TINY)[..., None]
    return centred


def _through(words: Floats, pair: Sequence[NDArray[np.float32]]) -> Floats:
    found: Floats = words @ pair[0]
    found += pair[1]
    return found
