"""What a text means to one company: nearness of sentence vectors to its help centre, questions and vocabulary."""

from collections.abc import Sequence

import numpy as np

from quorate.models.local import features
from quorate.models.local.company import top
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors

MEANINGS = (
    "meant_example",
    "meant_examples",
    "meant_passage",
    "meant_passages",
    "meant_side",
    "meant_words",
    "meant_kin",
    "meant_elsewhere",
    "meant_strangest",
)
"""What `Meaning.signals` gives, in this order; the last two speak for "out of scope", the others against it."""

_LONGEST = 400
"""Words of a text whose meaning is looked at one by one; its vector is made of all of them."""
_VOCABULARY = 1200
_AT_ONCE = 512
"""Words in one matrix product; it keeps other threads waiting."""
_NEAR, _FAR = 0.75, 0.45
"""A background vector nearer than the first to a company is its own matter, one below the second is none of it."""
_RIDGE = 0.1


class Meaning:
    """A company's texts as vectors, and a background of what people ask assistants about; built once, then read only.

    Args:
        vectors: the word vectors.
        background: unit vectors of matters of all kinds. Shape (n, vectors.dim).
        asked: questions that customers ask, and the description.
        written: sentences of the help centre.
    """

    def __init__(self, vectors: Vectors, background: Floats, *, asked: Sequence[str], written: Sequence[str]) -> None:
        self._vectors = vectors
        self._asked = _stack(vectors, asked)
        self._written = _stack(vectors, written)
        own = np.concatenate([self._asked, self._written])
        near = (background @ own.T).max(axis=1) if len(own) else np.zeros(len(background), np.float32)
        share = np.clip((_NEAR - near) / (_NEAR - _FAR), 0.0, 1.0).astype(np.float32)
        # What is near to a company's few texts is most likely its matter too, in words that it did not think of.
        kin = near > _FAR
        self._kin = background[kin] * np.minimum(near[kin] / _NEAR, 1.0)[:, None]
        self._background, self._share = background[share > 0], share[share > 0]
        self._side, self._middle = _side(own, self._background, self._share)
        self._vocabulary = self._words_of([*asked, *written])

    def _words_of(self, texts: Sequence[str]) -> Floats:
        """Unit vectors of the company's most telling words, those with the longest vectors."""
        tokens = sorted({token for text in texts for token in features.words(features.normalise(text))})
        found = self._vectors.words(tokens)
        lengths = np.linalg.norm(found, axis=1)
        kept = np.sort(np.argsort(-lengths, kind="stable")[:_VOCABULARY])
        unit: Floats = found[kept] / np.maximum(lengths[kept], 1e-9)[:, None]
        return unit

    def signals(self, texts: Sequence[Sequence[str]], vectors: Floats) -> Floats:
        """The evidence about each text, in the order of `MEANINGS`.

        Args:
            texts: the words of each.
            vectors: the meaning of each. Shape (len(texts), dim).

        Returns:
            Shape (len(texts), len(MEANINGS)).
        """
        asked, written = vectors @ self._asked.T, vectors @ self._written.T
        elsewhere = (vectors @ self._background.T) * self._share
        side, kin = vectors @ self._side - self._middle, vectors @ self._kin.T
        found = [
            [
                top(asked[at], 1),
                top(asked[at], 4),
                top(written[at], 1),
                top(written[at], 4),
                float(side[at]),
                cover,
                top(kin[at], 2),
                top(elsewhere[at], 4),
                strangest,
            ]
            for at, (cover, strangest) in enumerate(self._covers(texts))
        ]
        return np.array(found, dtype=np.float32)

    def _covers(self, texts: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
        """How near each text's words are to words of the company on average, by weight, and the strangest's weight."""
        each = [list(dict.fromkeys(tokens[:_LONGEST])) for tokens in texts]
        place = {word: at for at, word in enumerate(dict.fromkeys(word for words in each for word in words))}
        if not place or not len(self._vocabulary):
            return [(0.0, 0.0)] * len(texts)
        found = self._vectors.words(list(place))
        lengths = np.linalg.norm(found, axis=1)
        unit = found / np.maximum(lengths, 1e-9)[:, None]
        near = np.concatenate(
            [(unit[low : low + _AT_ONCE] @ self._vocabulary.T).max(axis=1) for low in range(0, len(unit), _AT_ONCE)]
        )
        near = np.maximum(near, 0.0)
        return [_cover(lengths[at], near[at]) for at in ([place[word] for word in words] for words in each)]


def _cover(lengths: Floats, near: Floats) -> tuple[float, float]:
    total = float(lengths.sum())
    if total <= 0:
        return 0.0, 0.0
    strange = lengths * (1.0 - near) / max(float(lengths.max()), 1e-9)
    return float(lengths @ near) / total, float(strange.max())


def _stack(vectors: Vectors, texts: Sequence[str]) -> Floats:
    rows = [vectors.of(text) for text in texts]
    return np.stack(rows) if rows else np.zeros((0, vectors.dim), np.float32)


def _side(own: Floats, background: Floats, share: Floats) -> tuple[Floats, float]:
    """A direction that leads from the background to the company, by ridge regression, and where its middle is.

    Projections are scaled so that the background's spread is one, whatever the company's size.
    """
    if not len(own) or not len(background):
        return np.zeros(own.shape[1], np.float32), 0.0
    x = np.concatenate([own, background]).astype(np.float64)
    weight = np.r_[np.full(len(own), 0.5 / len(own)), 0.5 * share / share.sum()]
    y = np.r_[np.ones(len(own)), -np.ones(len(background))]
    mean = weight @ x
    centred = x - mean
    scatter = (centred * weight[:, None]).T @ centred
    ridge = _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    side = np.linalg.solve(scatter + ridge, (centred * weight[:, None]).T @ y)
    projected = background @ side
    middle = float(share @ projected / share.sum())
    spread = float(np.sqrt(share @ np.square(projected - middle) / share.sum())) or 1.0
    return (side / spread).astype(np.float32), middle / spread
