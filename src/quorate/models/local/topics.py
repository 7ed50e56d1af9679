"""What customers and people ask about, by topic: which topics are a company's matter, and is a text one of those?

A company's few texts say which topics it deals with far more reliably than which wordings its customers will use. The
topics were learned beforehand from many wordings each: one linear model a topic over words, one over vectors. Being
ridge regressions on the same texts, the models of several topics add up, so a company needs one dot product of each.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quorate.models.local import features
from quorate.models.local.features import Floats, Ids

TOPICAL = ("topic_words", "topic_sense")
"""What `Matters.signals` gives, in this order: both speak against "out of scope"."""
CLUES = ("share", "peak", "trade", "trade_peak", "description", "trade_description")
"""What a topic's membership is judged by, in this order."""

_PEAK = 4
_OWN = 0.5
"""How much a topic's own membership counts beside its trade's."""
_SURE = 1.5
"""Memberships above two thirds are full ones."""

Weighed = tuple[Ids, Floats]


class Topics:
    """The topics' models; read only.

    Attributes:
        names: of the topics, "trade: topic".

    Args:
        arrays: what `packed` made.

    Raises:
        KeyError: an array is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self.names = [str(name) for name in arrays["topic_names"].tolist()]
        self._slots = np.asarray(arrays["topic_slots"], dtype=np.uint32)
        self._words = np.asarray(arrays["topic_words"], dtype=np.int8)
        self._scales = np.asarray(arrays["topic_scales"], dtype=np.float32)
        self._sense = np.asarray(arrays["topic_sense"], dtype=np.float32)
        self._biases = np.asarray(arrays["topic_biases"], dtype=np.float32)
        self._clues = np.asarray(arrays["topic_clues"], dtype=np.float32)
        trades = [name.partition(": ")[0] for name in self.names]
        self._trades = np.array([trades.index(trade) for trade in trades])

    def near(self, texts: Sequence[Weighed], meant: Floats) -> Floats:
        """How much each text is about each topic: about 1 for its own, about 0 for others.

        Args:
            texts: slots and weights of their words.
            meant: their vectors. Shape (len(texts), dim).

        Returns:
            Shape (len(texts), len(names)).
        """
        found = meant @ self._sense + self._biases.sum(axis=0)
        if texts:
            places, known = self._places(np.concatenate([slots for slots, _ in texts]))
            owners = np.repeat(np.arange(len(texts)), [len(slots) for slots, _ in texts])[known]
            values = np.concatenate([values for _, values in texts])[known]
            some, first = np.unique(owners, return_index=True)
            if len(some):
                weighed = self._words.take(places[known], axis=0) * values[:, None]
                found[some] += np.add.reduceat(weighed, first, axis=0) * self._scales
        return np.asarray(found / 2, dtype=np.float32)

    def clues(self, own: Floats, description: Floats) -> Floats:
        """What speaks for each topic's being a company's matter, in the order of `CLUES`.

        Args:
            own: what `near` says of the company's own texts.
            description: the same of its description. Shape (len(names),).

        Returns:
            Shape (len(names), len(CLUES)).
        """
        count = int(self._trades.max()) + 1
        of_trade = np.zeros((len(own), count), np.float32)
        np.add.at(of_trade.T, self._trades, own.T)
        told = np.bincount(self._trades, weights=description, minlength=count)
        found = [
            np.maximum(own, 0.0).mean(axis=0),
            _peak(own),
            of_trade.mean(axis=0)[self._trades],
            _peak(of_trade)[self._trades],
            description,
            told[self._trades],
        ]
        return np.stack(found, axis=1).astype(np.float32)

    def members(self, own: Floats, description: Floats) -> Floats:
        """How much each topic is a company's matter, in [0, 1]. Shape (len(names),); the arguments are `clues`'."""
        if not len(own):
            return np.zeros(len(self.names), np.float32)
        alone = 1.0 / (1.0 + np.exp(-(self.clues(own, description) @ self._clues[:-1] + self._clues[-1])))
        sizes = np.bincount(self._trades)
        trade = (np.bincount(self._trades, weights=alone) / np.maximum(sizes, 1))[self._trades]
        found: Floats = np.minimum(_SURE * (_OWN * alone + (1 - _OWN) * trade), 1.0).astype(np.float32)
        return found

    def _places(self, slots: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        places = np.minimum(np.searchsorted(self._slots, slots), len(self._slots) - 1)
        return places, self._slots[places] == slots

    def of(self, members: Floats) -> "Matters":
        """The models of the topics of one company, added up."""
        words = np.zeros(features.SIZE, np.float32)
        words[self._slots] = self._words @ (self._scales * members)
        biases = self._biases @ members
        return Matters(words, self._sense @ members, (float(biases[0]), float(biases[1])))


class Matters:
    """The matters of one company as two linear models.

    Args:
        words: weights of words. Shape (features.SIZE,).
        sense: weights of a vector. Shape (dim,).
        biases: of either.
    """

    def __init__(self, words: Floats, sense: Floats, biases: tuple[float, float]) -> None:
        self._words, self._sense, self._biases = words, sense, biases

    def signals(self, texts: Sequence[Weighed], meant: Floats) -> Floats:
        """How much each text is about the company's matters, in the order of `TOPICAL`; arguments as of `Topics.near`.

        Returns:
            Shape (len(texts), 2).
        """
        words = [float(values @ self._words[slots]) + self._biases[0] for slots, values in texts]
        sense = meant @ self._sense + self._biases[1]
        return np.stack([np.array(words, dtype=np.float32), sense], axis=1)


def packed(
    names: Sequence[str], slots: Ids, *, words: Floats, sense: Floats, biases: Floats, clues: Floats
) -> dict[str, NDArray[np.generic]]:
    """The arrays that `Topics` is made of; the words' weights as bytes with a scale for each topic.

    Args:
        names: of the topics.
        slots: of the words, sorted. Shape (n,).
        words: weights. Shape (n, len(names)).
        sense: weights. Shape (dim, len(names)).
        biases: of either kind. Shape (2, len(names)).
        clues: factors of membership, the bias last. Shape (len(CLUES) + 1,).
    """
    scales = np.maximum(np.abs(words).max(axis=0) / 127, 1e-9).astype(np.float32)
    return {
        "topic_names": np.array(names),
        "topic_slots": slots.astype(np.uint32),
        "topic_words": np.round(words / scales).astype(np.int8),
        "topic_scales": scales,
        "topic_sense": sense.astype(np.float16),
        "topic_biases": biases.astype(np.float32),
        "topic_clues": clues.astype(np.float32),
    }


def _peak(some: Floats) -> Floats:
    """The mean of the highest few of each column."""
    count = min(_PEAK, len(some))
    return np.asarray(np.partition(some, len(some) - count, axis=0)[len(some) - count :].mean(axis=0))
