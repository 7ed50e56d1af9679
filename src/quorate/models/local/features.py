"""What the local classifiers see of a text: hashed n-grams of characters and words, and hints in their order.

All of it is numpy over integers: no fitted vocabulary, so a word nobody has seen still has features. The hashes
are part of the weights' meaning; a change here needs a new training run, which the weights' index records as
`features`.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

VERSION = 1
BITS = 19
SIZE = 1 << BITS
"""Number of slots of the shared table of hashed n-grams."""
REACH = 5
"""How many words apart two hints may stand to count as a pair."""

Ids = NDArray[np.uint32]
Floats = NDArray[np.float32]

_LOW, _HIGH = 2, 5
_MASK = np.uint32(SIZE - 1)
_PRIME = np.uint32(0x01000193)
_MIX = np.uint32(0x85EBCA6B)
_HALF = np.uint64(32)
_LONGEST_STEM = 14
_WORDS = re.compile(r"(?:[^\W_]|')+")


def _unaccented() -> dict[int, str]:
    """Accented Latin letters to their base letters: one character for one, so that positions stay."""
    table = {}
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFKD", chr(code))[0].lower()
        if base != chr(code):
            table[code] = base
    return table | {ord("ß"): "s", ord("ø"): "o", ord("đ"): "d", ord("ł"): "l", ord("ı"): "i", ord("’"): "'"}


_TABLE = _unaccented() | {ord(digit): "0" for digit in "123456789"}


def normalise(text: str) -> str:
    """Lower case, accents and digits folded, white space collapsed; what all features are computed from."""
    return " ".join(text.lower().translate(_TABLE).split())


def words(text: str) -> list[str]:
    """The words of a normalised text: runs of letters, digits and inner apostrophes; others split."""
    return _WORDS.findall(text)


def char_ids(text: str) -> Ids:
    """Slots of all character 2- to 5-grams of a normalised text, with repeats. Shape (about 4 * len(text),)."""
    raw = f" {text} ".encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    grams = []
    state = np.full(len(codes), 0x811C9DC5, dtype=np.uint32)
    for length in range(1, _HIGH + 1):
        if len(codes) < length:
            break
        state = (state[: len(codes) - length + 1] ^ codes[length - 1 :]) * _PRIME
        if length >= _LOW:
            mixed = (state ^ (state >> np.uint32(15))) * _MIX
            grams.append((mixed ^ (mixed >> np.uint32(13))) & _MASK)
    return np.concatenate(grams) if grams else np.zeros(0, dtype=np.uint32)


def word_ids(tokens: Sequence[str]) -> Ids:
    """Slots of the words and of the pairs of neighbouring words, with repeats. Shape (2 * len(tokens) - 1,)."""
    codes = [zlib.crc32(token.encode("utf-8", "surrogatepass")) for token in tokens]
    single = np.array(codes, dtype=np.uint32)
    pairs = (single[:-1] * _PRIME ^ single[1:]) * _MIX
    both: Ids = np.concatenate([single * _MIX, pairs])
    return (both ^ (both >> np.uint32(16))) & _MASK


def stemmed(tokens: Sequence[str]) -> list[str]:
    """English words without their commonest endings ("refunds", "refunded" -> "refund"); crude, cheap and blind."""
    return [_stem(token) for token in tokens]


def _stem(word: str) -> str:
    if word[-1] not in "sgdey":
        return word
    for ending in ("'s", "ing", "ies", "ied", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def unique_words(tokens: Sequence[str]) -> Ids:
    """Slots of the different words alone, sorted. Shape (number of different slots,)."""
    return np.unique(word_ids(tokens)[: len(tokens)])


def weighed(ids: Ids, idf: Floats) -> tuple[Ids, Floats]:
    """The different slots and their tf-idf weights with sublinear counts, scaled to unit length."""
    return weighed_each([ids], idf)[0]


def weighed_each(many: Sequence[Ids], idf: Floats) -> list[tuple[Ids, Floats]]:
    """What `weighed` says of each; one pass over several short ones is a fraction of the work."""
    sizes = [len(ids) for ids in many]
    # Sorted by whose they are, then by slot: equal ones of one owner stand side by side.
    every = np.repeat(np.arange(len(many), dtype=np.uint64) << _HALF, sizes)
    every |= np.concatenate(many) if many else np.zeros(0, np.uint32)
    every.sort()
    fresh = np.ones(len(every), dtype=np.bool_)
    np.not_equal(every[1:], every[:-1], out=fresh[1:])
    starts = np.flatnonzero(fresh)
    counts = np.empty(len(starts), dtype=np.int64)
    counts[:-1], counts[-1:] = starts[1:] - starts[:-1], len(every) - starts[-1:]
    slots = every[starts].astype(np.uint32)
    values = (1.0 + np.log(counts)).astype(np.float32) * idf[slots]
    ends = np.searchsorted(starts, np.cumsum(sizes)).tolist()
    found, begin = [], 0
    for end in ends:
        mine = values[begin:end]
        length = float(np.sqrt(np.dot(mine, mine)))
        found.append((slots[begin:end], mine / np.float32(length or 1.0)))
        begin = end
    return found


class Lexicon:
    """Words of many languages that hint at one of a few ideas ("ignore", "rules", "reveal"), found by their stems.

    Hints carry over to languages and wordings that the training texts lack: what is learned about the pair
    (override, rules) holds for every word for either.

    Args:
        stems: stem to the number of its idea. A stem that begins with "=" must be the whole word.
        ideas: how many ideas there are.
    """

    def __init__(self, stems: Mapping[str, int], ideas: int) -> None:
        self._stems = dict(stems)
        # What no stem begins with needs no second look.
        self._starts = {stem[:2] for stem in stems}
        self._ideas = ideas
        self.size = ideas + ideas * ideas

    def hints(self, tokens: Sequence[str]) -> Ids:
        """Slots in [0, size) of the ideas found and of their ordered pairs within reach, sorted."""
        found = list(self._found(tokens))
        slots = {idea for _, idea in found}
        for at, (place, idea) in enumerate(found):
            for later, other in found[at + 1 : at + 1 + 2 * REACH]:
                if later - place > REACH:
                    break
                slots.add(self._ideas + idea * self._ideas + other)
        return np.array(sorted(slots), dtype=np.uint32)

    def idea(self, token: str) -> int:
        """The number of the first idea that a word hints at, counted from 1; 0 for none."""
        return next((idea + 1 for _, idea in self._found([token])), 0)

    def _found(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        place = 0
        for token in tokens:
            if "぀" <= token[0] <= "鿿" or "가" <= token[0] <= "힣":
                # Scripts without spaces: look at every place of the run. Three characters count as two words.
                at = 0
                while at < len(token):
                    length, idea = self._longest(token[at : at + 6])
                    if idea is not None:
                        yield place, idea
                    at += max(length, 1)
                    place += 1
                continue
            idea = self._stems.get("=" + token)
            if idea is None:
                # The Arabic article is written as part of its word.
                idea = self._longest(token[:_LONGEST_STEM].removeprefix("ال"))[1]
            if idea is not None:
                yield place, idea
            place += 1

    def _longest(self, token: str) -> tuple[int, int | None]:
        if token[:2] not in self._starts:
            return 0, None
        for length in range(len(token), 1, -1):
            idea = self._stems.get(token[:length])
            if idea is not None:
                return length, idea
        return 0, None
