"""One company's own words: how close a text is to its help centre and to the questions its customers ask."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from quorate.models.local import features
from quorate.models.local.features import Floats, Ids
from quorate.models.local.topics import Topics
from quorate.models.local.weights import Weights

SIGNALS = (
    "passage_words",
    "passage_cover",
    "log_ratio",
    "support",
    "smalltalk",
    "unknown",
    "length",
)
"""What the combination is learned over, in this order."""

_BLOCKS = 48
"""A long text is cut into at most this many pieces, however long it is."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What training learned about support questions in general.

    Attributes:
        idf: how rare a slot is. Shape (features.SIZE,).
        support: weights of "a customer's question to some company" against anything else, then the bias. Shape
            (features.SIZE + 1,).
        smalltalk: weights of greetings, thanks and questions about the bot, then the bias. Same shape.
        topics: what people ask about.
    """

    idf: Floats
    support: Floats
    smalltalk: Floats
    topics: Topics

    @classmethod
    def of(cls, weights: Weights) -> "Learned":
        """What stands in the weights of scope.

        Raises:
            KeyError: an array is missing.
        """
        idf, support, smalltalk = (weights.numbers(name) for name in ("idf", "support", "smalltalk"))
        return cls(idf, support, smalltalk, Topics(weights.arrays))


@dataclass(frozen=True, slots=True)
class Worded:
    """A text's words, their slots and weights: all that is needed of a company's own texts.

    Attributes:
        tokens: the words of the normalised text.
        words: of its stemmed words and their pairs.
        single: slots of its stemmed words alone, each once.
    """

    tokens: Sequence[str]
    words: tuple[Ids, Floats]
    single: Ids

    @classmethod
    def each(cls, texts: Sequence[str], idf: Floats) -> "Sequence[Worded]":
        """The words of texts as received, in one pass; `idf` has shape (features.SIZE,)."""
        return [one for some in _batched(texts) for one in _worded([features.normalise(text) for text in some], idf)]


@dataclass(frozen=True, slots=True)
class Grams(Worded):
    """A text's words and n-grams, worked out once for all that look at them.

    Attributes:
        chars: slots and weights of its characters' n-grams.
    """

    chars: tuple[Ids, Floats]

    @classmethod
    def of(cls, text: str, idf: Floats) -> "Grams":
        """The slots of a text as received; `idf` has shape (features.SIZE,)."""
        return cls.each([text], idf)[0]

    @classmethod
    def each(cls, texts: Sequence[str], idf: Floats) -> "list[Grams]":
        """The same of several texts in one pass."""
        found: list[Grams] = []
        for some in _batched(texts):
            flat = [features.normalise(text) for text in some]
            chars = features.weighed_each(features.char_keys(flat), idf, count=len(flat))
            said = _worded(flat, idf)
            found += [cls(one.tokens, one.words, one.single, grams) for one, grams in zip(said, chars, strict=True)]
        return found


def _batched(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts, as many at a time as can be weighed together."""
    return (texts[low : low + features.MANY] for low in range(0, len(texts), features.MANY))


def _worded(flat: Sequence[str], idf: Floats) -> list[Worded]:
    """The words of at most `features.MANY` normalised texts."""
    tokens = [features.words(text) for text in flat]
    stems = features.stems(chain.from_iterable(tokens))
    keys = features.word_keys([[stems[token] for token in some] for some in tokens])
    weighed = features.weighed_each(keys, idf, count=len(flat))
    single = features.slots_each(keys[: sum(map(len, tokens))], count=len(flat))
    return [Worded(*parts) for parts in zip(tokens, weighed, single, strict=True)]


class Postings:
    """Cosines of a text with many sparse rows at once, by slot."""

    def __init__(self, rows: Sequence[tuple[Ids, Floats]]) -> None:
        self.count = len(rows)
        slots = np.concatenate([row[0] for row in rows]) if rows else np.zeros(0, np.uint32)
        order = np.argsort(slots, kind="stable")
        owners = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
        values = np.concatenate([row[1] for row in rows]) if rows else np.zeros(0, np.float32)
        self._slots, self._owners, self._values = slots[order], owners[order], values[order]

    def products(self, slots: Ids, values: Floats) -> Floats:
        """The dot product with every row. Shape (count,)."""
        found: Floats = self.many([(slots, values)])[0]
        return found

    def many(self, texts: Sequence[tuple[Ids, Floats]]) -> Floats:
        """The dot products of several texts with every row. Shape (len(texts), count)."""
        slots = np.concatenate([text[0] for text in texts])
        values = np.concatenate([text[1] for text in texts])
        whose = np.repeat(np.arange(len(texts)) * self.count, [len(text[0]) for text in texts])
        first = np.searchsorted(self._slots, slots, side="left")
        sizes = np.searchsorted(self._slots, slots, side="right") - first
        # Every posting of every slot: the slot's first place, counted up.
        steps = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at = np.repeat(first, sizes) + steps
        weights = self._values[at] * np.repeat(values, sizes)
        found = np.bincount(
            self._owners[at] + np.repeat(whose, sizes), weights=weights, minlength=len(texts) * self.count
        )
        return found.reshape(len(texts), self.count).astype(np.float32)


class Company:
    """A company's index: built once, then read only.

    Args:
        learned: what training learned in general.
        passages: sentences of its help centre, of its customers' questions and of its description; single sentences
            are about as long as the questions that the background was learned from.
    """

    def __init__(self, learned: Learned, *, passages: Sequence[Worded]) -> None:
        self._learned = learned
        self._passages = Postings([text.words for text in passages])
        slots = [text.single for text in passages]
        self._pieces = Postings([(row, np.ones(len(row), np.float32)) for row in slots])
        counts = np.bincount(np.concatenate(slots) if slots else [], minlength=features.SIZE)
        share = (counts / max(len(slots), 1)).astype(np.float32)
        self._share = share

    def signals(self, texts: Sequence[Grams]) -> Floats:
        """The evidence about each text, in the order of `SIGNALS`. Shape (len(texts), len(SIGNALS))."""
        rare = [np.maximum(self._learned.idf[text.single] - np.float32(2.0), np.float32(0.05)) for text in texts]
        words = [text.words for text in texts]
        covered = self._pieces.many([(text.single, one) for text, one in zip(texts, rare, strict=True)])
        whole = np.array([float(one.sum()) or 1.0 for one in rare], dtype=np.float32)
        near = [tops(self._passages.many(words), 1), tops(covered, 1) / whole]
        alone = np.array([self._alone(text, one) for text, one in zip(texts, rare, strict=True)], dtype=np.float32)
        return np.concatenate([np.stack(near, axis=1), alone], axis=1)

    def _alone(self, text: Grams, rarity: Floats) -> list[float]:
        """The evidence that needs no single row of the company's, in the order of `SIGNALS`."""
        learned = self._learned
        single = text.single
        total = float(rarity.sum()) or 1.0
        share = self._share[single]
        known = share > 0
        ratio = np.log((share + 0.002) / (np.exp(1.0 - learned.idf[single]) + 0.002))
        # Words that everybody uses tell prose from questions rather than one topic from another.
        weighted = float(rarity @ np.clip(ratio, -2.0, 3.0)) / total
        return [
            weighted,
            _margin(learned.support, text.chars, text.words),
            max(_margin(learned.smalltalk, text.chars, text.words), 0.0),
            math.log1p(float(rarity[~known].sum())),
            math.log1p(len(single)),
        ]


def sentences(text: str) -> list[str]:
    """A text's sentences and lines, without empty ones."""
    found: list[str] = []
    start = 0
    for at, char in enumerate(text):
        if char == "\n" or (char in ".!?。？！" and text[at + 1 : at + 2] in ("", " ", "\n")):
            found.append(text[start : at + 1].strip())
            start = at + 1
    found.append(text[start:].strip())
    return [part for part in found if part]


def blocks(text: str) -> list[str]:
    """A long text in pieces of whole words where it has any; together they are the text, however long it is."""
    size = max(1_000, -(-len(text) // _BLOCKS))
    found: list[str] = []
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        cut = text.rfind(" ", start + size // 2, end) if end < len(text) else -1
        end = cut if cut > start else end
        found.append(text[start:end])
        start = end
    return [part for part in found if part.strip()] or [text[:1]]


def tops(values: Floats, count: int) -> Floats:
    """The mean of the highest few of each row; 0 of none. Shape (len(values),)."""
    if values.shape[1] <= count:
        return values.mean(axis=1) if values.shape[1] else np.zeros(len(values), np.float32)
    if count == 1:
        return np.asarray(values.max(axis=1))
    return np.asarray(np.partition(values, -count, axis=1)[:, -count:].mean(axis=1))


def _margin(weights: Floats, *parts: tuple[Ids, Floats]) -> float:
    total = float(weights[-1])
    for slots, values in parts:
        total += float(np.dot(weights[slots], values))
    return max(-4.0, min(4.0, total))
