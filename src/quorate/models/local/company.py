"""One company's own words: how close a text is to its help centre and to the questions its customers ask."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quorate.models.local import features
from quorate.models.local.features import Floats, Ids

SIGNALS = (
    "example_chars",
    "example_words",
    "example_chars_top3",
    "passage_words",
    "passage_cover",
    "cover",
    "char_cover",
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
    """

    idf: Floats
    support: Floats
    smalltalk: Floats


@dataclass(frozen=True, slots=True)
class Grams:
    """A text's words, slots and their weights, worked out once for all that look at them.

    Attributes:
        tokens: the words of the normalised text.
        chars: of its characters' n-grams.
        words: of its stemmed words and their pairs.
        single: slots of its stemmed words alone, each once.
    """

    tokens: Sequence[str]
    chars: tuple[Ids, Floats]
    words: tuple[Ids, Floats]
    single: Ids

    @classmethod
    def of(cls, text: str, idf: Floats) -> "Grams":
        """The slots of a text as received; `idf` has shape (features.SIZE,)."""
        flat = features.normalise(text)
        tokens = features.words(flat)
        stems = features.stemmed(tokens)
        ids = features.word_ids(stems)
        chars = features.weighed(features.char_ids(flat), idf)
        return cls(tokens, chars, features.weighed(ids, idf), np.unique(ids[: len(stems)]))


class Postings:
    """Cosines of a text with many sparse rows at once, by slot."""

    def __init__(self, rows: Sequence[tuple[Ids, Floats]]) -> None:
        self.count = len(rows)
        slots = np.concatenate([row[0] for row in rows]) if rows else np.zeros(0, np.uint32)
        order = np.argsort(slots, kind="stable")
        owners = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
        values = np.concatenate([row[1] for row in rows]) if rows else np.zeros(0, np.float32)
        self._slots, self._owners, self._values = slots[order], owners[order], values[order]
        self.known = np.unique(slots)

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
        description: what the company does.
        sections: its help centre.
        examples: questions its customers ask.
    """

    def __init__(self, learned: Learned, *, description: str, sections: Sequence[str], examples: Sequence[str]) -> None:
        self._learned = learned
        asked = [text for text in (*examples, description) if text.strip()]
        written = [text for text in (*sections, *examples, description) if text.strip()]
        self._example_chars = Postings([self._chars(text) for text in asked])
        self._example_words = Postings([self._words(text) for text in asked])
        # Single sentences are about as long as the questions that the background was learned from.
        passages = [part for text in written for part in sentences(text)]
        self._passages = Postings([self._words(text) for text in passages])
        slots = [self._unique(text) for text in passages]
        self._pieces = Postings([(row, np.ones(len(row), np.float32)) for row in slots])
        counts = np.bincount(np.concatenate(slots) if slots else [], minlength=features.SIZE)
        self._share = (counts / max(len(slots), 1)).astype(np.float32)
        self._char_known = np.zeros(features.SIZE, dtype=np.bool_)
        for text in written:
            self._char_known[self._chars(text)[0]] = True

    def _chars(self, text: str) -> tuple[Ids, Floats]:
        return features.weighed(features.char_ids(features.normalise(text)), self._learned.idf)

    def _words(self, text: str) -> tuple[Ids, Floats]:
        return features.weighed(features.word_ids(_stems(text)), self._learned.idf)

    def _unique(self, text: str) -> Ids:
        return features.unique_words(_stems(text))

    def signals(self, texts: Sequence[Grams]) -> Floats:
        """The evidence about each text, in the order of `SIGNALS`. Shape (len(texts), len(SIGNALS))."""
        rare = [np.maximum(self._learned.idf[text.single] - 2.0, 0.05) for text in texts]
        near = self._example_chars.many([text.chars for text in texts])
        words = [text.words for text in texts]
        near_words, passages = self._example_words.many(words), self._passages.many(words)
        covered = self._pieces.many([(text.single, one) for text, one in zip(texts, rare, strict=True)])
        found = [
            [
                top(near[at], 1),
                top(near_words[at], 1),
                top(near[at], 3),
                top(passages[at], 1),
                top(covered[at], 1) / (float(rare[at].sum()) or 1.0),
                *self._alone(text, rare[at]),
            ]
            for at, text in enumerate(texts)
        ]
        return np.array(found, dtype=np.float32).reshape(len(texts), len(SIGNALS))

    def _alone(self, text: Grams, rarity: Floats) -> list[float]:
        """The evidence that needs no single row of the company's, in the order of `SIGNALS`."""
        learned = self._learned
        chars, char_values = text.chars
        single = text.single
        total = float(rarity.sum()) or 1.0
        known = self._share[single] > 0
        cover = float(rarity[known].sum()) / total if len(single) else 1.0
        known_chars = float(np.square(char_values[self._char_known[chars]]).sum())
        ratio = np.log((self._share[single] + 0.002) / (np.exp(1.0 - learned.idf[single]) + 0.002))
        # Words that everybody uses tell prose from questions rather than one topic from another.
        weighted = float(np.dot(rarity, np.clip(ratio, -2.0, 3.0))) / total
        return [
            cover,
            known_chars,
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


def _stems(text: str) -> list[str]:
    return features.stemmed(features.words(features.normalise(text)))


def top(values: Floats, count: int) -> float:
    """The mean of the highest few; 0 of none."""
    if len(values) <= count:
        return float(values.mean()) if len(values) else 0.0
    return float(np.partition(values, -count)[-count:].mean()) if count > 1 else float(values.max())


def _margin(weights: Floats, *parts: tuple[Ids, Floats]) -> float:
    total = float(weights[-1])
    for slots, values in parts:
        total += float(np.dot(weights[slots], values))
    return max(-4.0, min(4.0, total))
