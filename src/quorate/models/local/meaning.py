"""What a text means to one company: nearness of sentence vectors to its help centre, questions and vocabulary."""

from collections.abc import Sequence

import numpy as np

from quorate.models.local.company import tops
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
_LETTERS = 40
"""Letters of a word that count, as for `Vectors`."""
_REMEMBERED = 20_000
"""Words whose nearness to the company is remembered."""
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
        background: unit vectors of matters of all kinds. Shape (n, dim).
        asked: vectors of questions that customers ask, and of the description. Shape (n, dim).
        written: vectors of the help centre's sentences. Shape (n, dim).
        tokens: the words of all of them.
    """

    def __init__(
        self, vectors: Vectors, background: Floats, *, asked: Floats, written: Floats, tokens: Sequence[str]
    ) -> None:
        self._vectors = vectors
        own = np.concatenate([asked, written])
        near = (background @ own.T).max(axis=1) if len(own) else np.zeros(len(background), np.float32)
        share = np.clip((_NEAR - near) / (_NEAR - _FAR), 0.0, 1.0).astype(np.float32)
        # What is near to a company's few texts is most likely its matter too, in words that it did not think of.
        self._kin, self._elsewhere = np.flatnonzero(near > _FAR), np.flatnonzero(share)
        self._akin, self._strange = np.minimum(near[self._kin] / _NEAR, 1.0), share[self._elsewhere]
        side, self._middle = _side(own, background[self._elsewhere], self._strange)
        # One product for all of them.
        parts = (asked, written, background, side[None, :])
        self._all = np.ascontiguousarray(np.concatenate(parts).T)
        self._ends = np.cumsum([len(part) for part in parts])[:-1]
        self._vocabulary = self._telling(sorted(set(tokens)))
        self._near: dict[str, tuple[float, float]] = {}

    def _telling(self, tokens: Sequence[str]) -> Floats:
        """Unit vectors of the company's most telling words, those with the longest vectors."""
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
        asked, written, matters, side = np.split(vectors @ self._all, self._ends, axis=1)
        covers = np.array(self._covers(texts), dtype=np.float32).reshape(-1, 2)
        found = (
            tops(asked, 1),
            tops(asked, 4),
            tops(written, 1),
            tops(written, 4),
            side[:, 0] - np.float32(self._middle),
            covers[:, 0],
            tops(matters[:, self._kin] * self._akin, 2),
            tops(matters[:, self._elsewhere] * self._strange, 4),
            covers[:, 1],
        )
        return np.stack(found, axis=1).astype(np.float32)

    def _covers(self, texts: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
        """How near each text's words are to words of the company on average, by weight, and the strangest's weight."""
        each = [list(dict.fromkeys(word[:_LETTERS] for word in tokens[:_LONGEST])) for tokens in texts]
        # Most words of a message were in another one. The dict is replaced, never emptied: other threads read it.
        if len(self._near) > _REMEMBERED:
            self._near = {}
        known = self._near
        new = [word for word in dict.fromkeys(word for words in each for word in words) if word not in known]
        if new:
            known.update(zip(new, self._looked_up(new), strict=True))
        return [_cover(*np.array([known[word] for word in words], dtype=np.float32).reshape(-1, 2).T) for words in each]

    def _looked_up(self, words: Sequence[str]) -> list[tuple[float, float]]:
        """The length of each word's vector, and how near it is to a word of the company."""
        if not len(self._vocabulary):
            return [(0.0, 0.0)] * len(words)
        found = self._vectors.words(words)
        lengths = np.linalg.norm(found, axis=1)
        unit = found / np.maximum(lengths, 1e-9)[:, None]
        near = np.concatenate(
            [(unit[low : low + _AT_ONCE] @ self._vocabulary.T).max(axis=1) for low in range(0, len(unit), _AT_ONCE)]
        )
        return list(zip(lengths.tolist(), np.maximum(near, 0.0).tolist(), strict=True))


def _cover(lengths: Floats, near: Floats) -> tuple[float, float]:
    total = float(lengths.sum())
    if total <= 0:
        return 0.0, 0.0
    strange = lengths * (1.0 - near) / max(float(lengths.max()), 1e-9)
    return float(lengths @ near) / total, float(strange.max())


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
    # A product with itself is symmetric, which BLAS does in half the time.
    rooted = centred * np.sqrt(weight)[:, None]
    scatter = rooted.T @ rooted
    ridge = _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    side = np.linalg.solve(scatter + ridge, (weight * y) @ centred)
    projected = background @ side
    middle = float(share @ projected / share.sum())
    spread = float(np.sqrt(share @ np.square(projected - middle) / share.sum())) or 1.0
    return (side / spread).astype(np.float32), middle / spread
