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
    """A text's slots and their weights, worked out once for all that look at them.

    Attributes:
        chars: of its characters' n-grams.
        words: of its stemmed words and their pairs.
        single: slots of its stemmed words alone, each once.
    """

    chars: tuple[Ids, Floats]
    words: tuple[Ids, Floats]
    single: Ids

    @classmethod
    def of(cls, text: str, idf: Floats) -> "Grams":
        """The slots of a text as received; `idf` has shape (features.SIZE,)."""
        flat = features.normalise(text)
        stems = features.stemmed(features.words(flat))
        ids = features.word_ids(stems)
        chars = features.weighed(features.char_ids(flat), idf)
        return cls(chars, features.weighed(ids, idf), np.unique(ids[: len(stems)]))


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
        first = np.searchsorted(self._slots, slots, side="left")
        sizes = np.searchsorted(self._slots, slots, side="right") - first
        # Every posting of every slot: the slot's first place, counted up.
        steps = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at = np.repeat(first, sizes) + steps
        weights = self._values[at] * np.repeat(values, sizes)
        return np.bincount(self._owners[at], weights=weights, minlength=self.count).astype(np.float32)


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

    def signals(self, grams: Grams) -> Floats:
        """The evidence about one text, in the order of `SIGNALS`. Shape (len(SIGNALS),)."""
        learned = self._learned
        chars, char_values = grams.chars
        words, word_values = grams.words
        single = grams.single
        rarity = np.maximum(learned.idf[single] - 2.0, 0.05)
        total = float(rarity.sum()) or 1.0
        near = np.sort(self._example_chars.products(chars, char_values))[::-1]
        near_words = self._example_words.products(words, word_values)
        covered = self._pieces.products(single, rarity) / total
        known = self._share[single] > 0
        cover = float(rarity[known].sum()) / total if len(single) else 1.0
        known_chars = float(np.square(char_values[self._char_known[chars]]).sum())
        ratio = np.log((self._share[single] + 0.002) / (np.exp(1.0 - learned.idf[single]) + 0.002))
        # Words that everybody uses tell prose from questions rather than one topic from another.
        weighted = float(np.dot(rarity, np.clip(ratio, -2.0, 3.0))) / total
        support = _margin(learned.support, (chars, char_values), (words, word_values))
        smalltalk = _margin(learned.smalltalk, (chars, char_values), (words, word_values))
        return np.array(
            [
                _top(near, 1),
                _top(near_words, 1),
                _top(near, 3),
                _top(self._passages.products(words, word_values), 1),
                _top(covered, 1),
                cover,
                known_chars,
                weighted,
                support,
                max(smalltalk, 0.0),
                math.log1p(float(rarity[~known].sum())),
                math.log1p(len(single)),
            ],
            dtype=np.float32,
        )


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


def _top(values: Floats, count: int) -> float:
    return float(np.sort(values)[::-1][:count].mean()) if len(values) else 0.0


def _margin(weights: Floats, *parts: tuple[Ids, Floats]) -> float:
    total = float(weights[-1])
    for slots, values in parts:
        total += float(np.dot(weights[slots], values))
    return max(-4.0, min(4.0, total))
