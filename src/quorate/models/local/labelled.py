"""What a company's labelled messages teach beyond its help centre: neighbours, two linear models and their mixture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.models.local import features
from quorate.models.local.company import Grams, Postings
from quorate.models.local.features import Floats, Ids
from quorate.models.local.fitting import Dense, Numbers, Sparse, Truths, balanced, logistic_fit

Arrays = Mapping[str, NDArray[np.generic]]

PULLS = ("nearer", "lonely", "words", "sense", "general", "topics")
"""What is mixed: neighbours' side, distance of the nearest in scope, two linear models, the general combination, and
how much a text is about the company's topics."""
PRIOR = np.array([0.4, 0.05, 0.2, 0.15, 1.0, 1.0])
"""Shares of the mixture that held up on sources unseen in training; labels have to speak against them."""
LOPSIDED = np.array([0.8, 0.8, 0.1, 0.1, 0.4, 0.4])
"""The same where hardly any labelled message is out of scope."""
_MEANING = 0.6
"""Share of the vectors, not the words, in how near two texts are."""
_NEIGHBOURS = 3
_FIRST, _LOOKED_AT = 64, 200
_SCALE = 10.0
_TOPICAL, _HALF = 8.0, 0.6
_SENSE = 4.0
_WIDEST = 8.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One text as the labelled models see it.

    Attributes:
        vector: its meaning. Shape (dim,), of unit length or zero.
        single: slots of its stemmed words and pairs of them, each once.
        grams: slots and weights of its characters' and words' n-grams.
    """

    vector: Floats
    single: Ids
    grams: tuple[Ids, Floats]


def seen(grams: Grams, vector: Floats) -> Seen:
    """A text's n-grams with its vector, as the labelled models see it."""
    (chars, char_values), (slots, values) = grams.chars, grams.words
    return Seen(vector, slots, (np.concatenate([chars, slots]), np.concatenate([char_values, values])))


@dataclass(frozen=True, slots=True)
class General:
    """What is thought of a text without labels.

    Attributes:
        margin: how foreign it is to the company by the general combination.
        topical: how much it is about the company's topics, about 0 to 2.
    """

    margin: float
    topical: float


class Neighbours:
    """Labelled texts that can be asked how near a text is to either side.

    Args:
        vectors: their meanings. Shape (n, dim).
        singles: their words' slots.
        answers: which are out of scope. Shape (n,).
    """

    def __init__(self, vectors: Floats, singles: Sequence[Ids], answers: Truths) -> None:
        # Turned so that the first numbers say most: these pick the few that are worth a look at all numbers.
        self._turn = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1].astype(np.float32)
        turned = vectors.astype(np.float32) @ self._turn
        self._first = np.ascontiguousarray(turned[:, :_FIRST])
        self._rest = np.ascontiguousarray(turned[:, _FIRST:])
        self._sides = np.flatnonzero(~answers), np.flatnonzero(answers)
        counts = np.bincount(np.concatenate(singles) if singles else [], minlength=features.SIZE)
        self._idf = (np.log((1 + len(singles)) / (1 + counts)) + 1).astype(np.float32)
        self._postings = Postings([(slots, self._weights(slots)) for slots in singles])

    def _weights(self, slots: Ids) -> Floats:
        values = self._idf[slots]
        length = float(np.sqrt(values @ values))
        return values / np.float32(length or 1.0)

    def sides(self, text: Seen, hidden: Truths | None = None) -> tuple[float, float]:
        """Mean likeness of the nearest texts in scope and of those out of it; `hidden` ones are not looked at."""
        vector = text.vector @ self._turn
        like = _MEANING * (self._first @ vector[:_FIRST])
        like += (1 - _MEANING) * self._postings.products(text.single, self._weights(text.single))
        if hidden is not None:
            like[hidden] = -1.0
        inside, outside = (self._nearest(like, side, vector[_FIRST:]) for side in self._sides)
        return inside, outside

    def _nearest(self, like: Floats, side: NDArray[np.intp], vector: Floats) -> float:
        """The mean likeness of the nearest ones of one side; `like` lacks what `vector` has yet to say."""
        some = like[side]
        if len(side) > _LOOKED_AT:
            best = np.argpartition(some, -_LOOKED_AT)[-_LOOKED_AT:]
            side, some = side[best], some[best]
        whole = some + _MEANING * (self._rest[side] @ vector)
        if len(whole) <= _NEIGHBOURS:
            return float(whole.mean()) if len(whole) else 0.0
        return float(np.partition(whole, -_NEIGHBOURS)[-_NEIGHBOURS:].mean())


@dataclass(frozen=True, slots=True)
class Linear:
    """Two linear models: over n-grams (shape (features.SIZE + 1,)) and over vectors (shape (dim + 1,)); biases last."""

    words: Floats
    sense: Floats

    def margins(self, text: Seen) -> tuple[float, float]:
        """How far out of scope either thinks a text to be."""
        slots, values = text.grams
        words = float(self.words[slots] @ values) + float(self.words[-1])
        sense = float(self.sense[:-1] @ text.vector) * _SENSE + float(self.sense[-1])
        return _within(words), _within(sense)


def _within(margin: float) -> float:
    return max(-_WIDEST, min(_WIDEST, margin))


def linear(texts: Sequence[Seen], answers: Truths, *, words: float, sense: float) -> Linear:
    """Fit both linear models; both answers count the same.

    Args:
        texts: the rows.
        answers: which are out of scope.
        words: penalty of the n-grams' model.
        sense: penalty of the vectors' model.
    """
    weights = balanced(answers)
    table = Sparse([text.grams for text in texts])
    found = logistic_fit(table, answers, weights=weights, penalty=words)
    spread = np.zeros(features.SIZE + 1, np.float32)
    spread[table.slots], spread[-1] = found[:-1], found[-1]
    dense = Dense(np.stack([text.vector for text in texts]) * _SENSE)
    return Linear(spread, logistic_fit(dense, answers, weights=weights, penalty=sense).astype(np.float32))


def pulls(sides: tuple[float, float], margins: tuple[float, float], *, general: General) -> Numbers:
    """What is mixed for one text, in the order of `PULLS`. Shape (len(PULLS),)."""
    inside, outside = sides
    near = _SCALE * (outside - inside), _SCALE * (0.5 - inside)
    return np.array([*near, *margins, _within(general.margin), _TOPICAL * (_HALF - general.topical)])


class Labelled:
    """Everything that labelled messages taught, as it is kept in a file: arrays of numbers only.

    Args:
        arrays: what `packed` made.

    Raises:
        KeyError, ValueError, IndexError: the arrays are not what `packed` makes.
    """

    def __init__(self, arrays: Arrays) -> None:
        scales = np.asarray(arrays["scales"], dtype=np.float32)
        vectors = np.asarray(arrays["vectors"], dtype=np.int8).astype(np.float32) * scales[:, None]
        ends = np.cumsum(np.asarray(arrays["sizes"], dtype=np.int64))
        slots = np.asarray(arrays["slots"], dtype=np.uint32)
        answers = np.asarray(arrays["answers"], dtype=np.int8) > 0
        if not len(vectors) == len(ends) == len(answers) or ends[-1] != len(slots) or slots.max() >= features.SIZE:
            raise ValueError("arrays of different sizes")
        self._near = Neighbours(vectors, np.split(slots, ends[:-1]), answers)
        words = np.zeros(features.SIZE + 1, np.float32)
        words[np.asarray(arrays["word_slots"], dtype=np.int64)] = np.asarray(arrays["words"], dtype=np.float32)
        self._linear = Linear(words, np.asarray(arrays["sense"], dtype=np.float32))
        self._factors = np.asarray(arrays["factors"], dtype=np.float64)
        self.dim = vectors.shape[1]
        if len(self._factors) != len(PULLS) + 1 or len(self._linear.sense) != self.dim + 1:
            raise ValueError("arrays of different sizes")

    def margin(self, text: Seen, general: General) -> float:
        """How far out of scope a text is, in log-odds.

        Args:
            text: as the models see it.
            general: what is thought of it without labels.
        """
        found = pulls(self._near.sides(text), self._linear.margins(text), general=general)
        return float(found @ self._factors[:-1] + self._factors[-1])


def packed(
    texts: Sequence[Seen], answers: Truths, *, models: Linear, factors: Numbers
) -> dict[str, NDArray[np.generic]]:
    """The arrays that `Labelled` is made of; vectors as bytes with a scale each."""
    vectors = np.stack([text.vector for text in texts])
    scales = np.maximum(np.abs(vectors).max(axis=1) / 127, 1e-9).astype(np.float32)
    kept = np.flatnonzero(np.abs(models.words) > 1e-4).astype(np.uint32)
    return {
        "vectors": np.round(vectors / scales[:, None]).astype(np.int8),
        "scales": scales,
        "slots": np.concatenate([text.single for text in texts]).astype(np.uint32),
        "sizes": np.array([len(text.single) for text in texts], dtype=np.uint32),
        "answers": answers.astype(np.int8),
        "word_slots": kept,
        "words": models.words[kept].astype(np.float16),
        "sense": models.sense.astype(np.float32),
        "factors": factors.astype(np.float64),
    }
