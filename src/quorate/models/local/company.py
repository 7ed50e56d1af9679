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

_COMMON = 5.5
"""A word of less idf than this says little about a topic."""
_RARE = 7.0
"""A word of more idf than this brings a topic of its own."""
_FOLLOW = frozenset(
    features.words(
        "and but or so it that this these those they them then there one ones how why when where what which who ok"
        " okay yes no yep nope sure thanks still also again instead same if"
    )
)


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
        self._char_known = np.unique(np.concatenate([self._chars(text)[0] for text in written]))

    def _chars(self, text: str) -> tuple[Ids, Floats]:
        return features.weighed(features.char_ids(features.normalise(text)), self._learned.idf)

    def _words(self, text: str) -> tuple[Ids, Floats]:
        return features.weighed(features.word_ids(_stems(text)), self._learned.idf)

    def _unique(self, text: str) -> Ids:
        return features.unique_words(_stems(text))

    def parts(self, text: str) -> list[str]:
        """What is judged apart: the whole text, and its sentences where there are several that say something."""
        whole = [text] if text.strip() else []
        split = [part for part in sentences(text) if len(part.split()) >= 8]
        return whole + (split if len(split) > 1 else [])

    def follows(self, text: str) -> bool:
        """Whether a text reads as a short follow-up that brings no new topic of its own."""
        tokens = features.words(features.normalise(text))
        if len(tokens) > 12:
            return False
        single = self._unique(text)
        foreign = self._learned.idf[single][self._share[single] == 0]
        if not len(foreign) or foreign.max() <= _COMMON:
            return True
        refers = any(token in _FOLLOW for token in tokens)
        return bool(refers and len(tokens) <= 8 and foreign.max() <= _RARE and (foreign > _COMMON).sum() == 1)

    def signals(self, text: str) -> Floats:
        """The evidence about one text, in the order of `SIGNALS`. Shape (len(SIGNALS),)."""
        learned = self._learned
        chars, char_values = self._chars(text)
        words, word_values = self._words(text)
        single = self._unique(text)
        rarity = np.maximum(learned.idf[single] - 2.0, 0.05)
        total = float(rarity.sum()) or 1.0
        near = np.sort(self._example_chars.products(chars, char_values))[::-1]
        near_words = self._example_words.products(words, word_values)
        covered = self._pieces.products(single, rarity) / total
        known = self._share[single] > 0
        cover = float(rarity[known].sum()) / total if len(single) else 1.0
        known_chars = float(np.square(char_values[np.isin(chars, self._char_known)]).sum())
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


def _stems(text: str) -> list[str]:
    return features.stemmed(features.words(features.normalise(text)))


def _top(values: Floats, count: int) -> float:
    return float(np.sort(values)[::-1][:count].mean()) if len(values) else 0.0


def _margin(weights: Floats, *parts: tuple[Ids, Floats]) -> float:
    total = float(weights[-1])
    for slots, values in parts:
        total += float(np.dot(weights[slots], values))
    return max(-4.0, min(4.0, total))
