"""What the local classifiers see of a text: hashed n-grams of characters and words, and hints in their order.

All of it is numpy over integers: no fitted vocabulary, so a word nobody has seen still has features. The hashes
are part of the weights' meaning; a change here needs a new training run, which the weights' index records as
`features`.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, pairwise, repeat
from operator import add, itemgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

VERSION = 1
BITS = 19
SIZE = 1 << BITS
"""Number of slots of the shared table of hashed n-grams."""
MANY = 1 << 32 - BITS
"""Texts that are weighed together at most: as many as fit above a slot in 32 bits."""
REACH = 5
"""How many words apart two hints may stand to count as a pair."""

Ids = NDArray[np.uint32]
Floats = NDArray[np.float32]
Unsigned = TypeVar("Unsigned", np.uint32, np.uint64)

_LOW, _HIGH = 2, 5
_MASK = np.uint32(SIZE - 1)
_PRIME = np.uint32(0x01000193)
_MIX = np.uint32(0x85EBCA6B)
_LONGEST_STEM = 14
_ARTICLE = "ال"
_DENSE = "぀"
_START = itemgetter(slice(2))
_ENDINGS = {"s": ("'s", "ies", "es", "s"), "g": ("ing",), "d": ("ied", "ed"), "e": ("e",), "y": ("y",)}
"""A word's commonest endings by their last letter, in the order in which they are tried."""
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


# The same for bytes, which take a tenth of the time: most texts are Latin-1.
_FOLDED = bytes(ord(_TABLE.get(code, chr(code))) for code in range(256))
_PARTED = bytes(code if chr(code).isalnum() or chr(code) == "'" else ord(" ") for code in range(256))


def normalise(text: str) -> str:
    """Lower case, accents and digits folded, white space collapsed; what all features are computed from."""
    low = text.lower()
    raw = _latin(low)
    folded = low.translate(_TABLE) if raw is None else raw.translate(_FOLDED).decode("latin-1")
    return " ".join(folded.split())


def words(text: str) -> list[str]:
    """The words of a normalised text: runs of letters, digits and inner apostrophes; others split."""
    raw = _latin(text)
    return _WORDS.findall(text) if raw is None else raw.translate(_PARTED).decode("latin-1").split()


def _latin(text: str) -> bytes | None:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def char_ids(text: str) -> Ids:
    """Slots of all character 2- to 5-grams of a normalised text, with repeats. Shape (about 4 * len(text),)."""
    return char_keys([text])


def char_keys(texts: Sequence[str]) -> Ids:
    """The slots that `char_ids` gives of at most `MANY` texts, each with its text's place above its `BITS`."""
    raw = "".join(f" {text} " for text in texts).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    owner = _owners([len(text) + 2 for text in texts])
    found = [np.zeros(0, np.uint32)]
    for length, grams in _grams(codes):
        if len(texts) == 1:
            found.append(grams)
            continue
        # No n-gram reaches from one text into the next.
        inside = owner[: len(grams)] == owner[length - 1 :]
        found.append((grams | owner[: len(grams)])[inside])
    return np.concatenate(found)


def _owners(sizes: Sequence[int]) -> Ids:
    """The place of each text above `BITS`, as often as its size says."""
    return np.repeat(np.arange(len(sizes), dtype=np.uint32) << np.uint32(BITS), sizes)


def _grams(codes: Ids) -> Iterator[tuple[int, Ids]]:
    """Slots of the n-grams at every place, by their length."""
    state = np.full(len(codes), 0x811C9DC5, dtype=np.uint32)
    for length in range(1, min(_HIGH, len(codes)) + 1):
        state = (state[: len(codes) - length + 1] ^ codes[length - 1 :]) * _PRIME
        if length >= _LOW:
            mixed = (state ^ (state >> np.uint32(15))) * _MIX
            yield length, (mixed ^ (mixed >> np.uint32(13))) & _MASK


def crcs(tokens: Sequence[str], start: int = 0) -> Ids:
    """The CRC-32 of each word's UTF-8, continued from `start`. Shape (len(tokens),)."""
    # Maps over C functions: of a text of many words this is most of the work.
    encoded = map(str.encode, tokens, repeat("utf-8"), repeat("surrogatepass"))
    return np.fromiter(map(zlib.crc32, encoded, repeat(start)), np.uint32, len(tokens))


def word_ids(tokens: Sequence[str]) -> Ids:
    """Slots of the words and of the pairs of neighbouring words, with repeats. Shape (2 * len(tokens) - 1,)."""
    return word_keys([tokens])


def word_keys(texts: Sequence[Sequence[str]]) -> Ids:
    """The slots that `word_ids` gives of at most `MANY` texts, as keys like those of `char_keys`; all words first."""
    single = crcs([token for tokens in texts for token in tokens])
    owner = _owners([len(tokens) for tokens in texts])
    pairs = (single[:-1] * _PRIME ^ single[1:]) * _MIX
    inside = owner[:-1] == owner[1:]
    both = np.concatenate([single * _MIX, pairs[inside]])
    keys: Ids = (both ^ (both >> np.uint32(16))) & _MASK | np.concatenate([owner, owner[:-1][inside]])
    return keys


def stemmed(tokens: Sequence[str]) -> list[str]:
    """English words without their commonest endings ("refunds", "refunded" -> "refund"); crude, cheap and blind."""
    return [_stem(token) for token in tokens]


def stems(tokens: Iterable[str]) -> dict[str, str]:
    """Each different word with what `stemmed` makes of it."""
    return {token: _stem(token) for token in set(tokens)}


def _stem(word: str) -> str:
    for ending in _ENDINGS.get(word[-1], ()):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def weighed(ids: Ids, idf: Floats) -> tuple[Ids, Floats]:
    """The different slots and their tf-idf weights with sublinear counts, scaled to unit length."""
    return weighed_each(ids, idf, count=1)[0]


def weighed_each(keys: Ids, idf: Floats, *, count: int) -> list[tuple[Ids, Floats]]:
    """What `weighed` says of each of so many texts, from their keys."""
    found, counts = _counted(keys)
    slots = found & _MASK
    values = idf[slots]
    repeated = np.flatnonzero(counts > 1)
    values[repeated] *= (1.0 + np.log(counts[repeated])).astype(np.float32)
    texts = []
    for begin, end in pairwise([*_starts(found, count).tolist(), len(found)]):
        mine = values[begin:end]
        length = float(np.sqrt(np.dot(mine, mine)))
        texts.append((slots[begin:end], mine / np.float32(length or 1.0)))
    return texts


def slots_each(keys: Ids, *, count: int) -> list[Ids]:
    """The different slots of each of so many texts, sorted, from their keys."""
    found = distinct(keys)
    return np.split(found & _MASK, _starts(found, count)[1:])


def _starts(keys: Ids, count: int) -> NDArray[np.intp]:
    """Where the sorted keys of each of so many texts begin."""
    return np.searchsorted(keys, np.arange(count, dtype=np.uint32) << np.uint32(BITS))


def distinct(keys: NDArray[Unsigned]) -> NDArray[Unsigned]:
    """The different keys, sorted; for some thousand of them a fraction of what `numpy.unique` takes."""
    found = np.sort(keys)
    return found[_firsts(found)]


def _counted(keys: NDArray[Unsigned]) -> tuple[NDArray[Unsigned], NDArray[np.int64]]:
    """The different keys, sorted, and how often each occurs."""
    found = np.sort(keys)
    starts = np.flatnonzero(_firsts(found))
    return found[starts], np.diff(starts, append=len(found))


def _firsts(found: NDArray[Unsigned]) -> NDArray[np.bool_]:
    """Which of the sorted keys are not the one before them."""
    fresh = np.ones(len(found), dtype=np.bool_)
    np.not_equal(found[1:], found[:-1], out=fresh[1:])
    return fresh


def linear(idf: Floats, weights: Floats) -> Floats:
    """The table by which `margins` judges: the square of each slot's rarity, and its part in the margin.

    Args:
        idf: how rare a slot is. Shape (SIZE,).
        weights: of a linear model over `weighed` slots. Shape (SIZE,).

    Returns:
        Shape (SIZE, 2): side by side, since to look up a slot costs more than to reckon with it.
    """
    return np.stack([idf * idf, idf * weights], axis=1)


def margins(keys: Ids, *, table: Floats, count: int) -> Floats:
    """What a linear model over `weighed` slots says of several texts, without its bias.

    Args:
        keys: of all texts, with repeats.
        table: what `linear` made of the model.
        count: how many texts there are, at most `MANY`.

    Returns:
        Shape (count,); 0 for a text without a slot.
    """
    keys, counts = _counted(keys)
    parts = table.take(keys & _MASK, axis=0)  # A seventh of what table[...] takes.
    repeated = np.flatnonzero(counts > 1)
    factors = (1.0 + np.log(counts[repeated])).astype(np.float32)
    parts[repeated, 0] *= factors * factors
    parts[repeated, 1] *= factors
    starts = _starts(keys, count)
    some = np.diff(starts, append=len(keys)) > 0
    found = np.zeros((count, 2), dtype=np.float32)
    found[some] = np.add.reduceat(parts, starts[some], axis=0)
    return np.asarray(found[:, 1] / np.maximum(np.sqrt(found[:, 0]), 1e-9), dtype=np.float32)


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
        self._whole = {stem[1:]: idea for stem, idea in stems.items() if stem.startswith("=")}
        # What no stem begins with needs no second look. The Arabic article is written as part of its word.
        self._starts = {_ARTICLE, *(stem.removeprefix("=")[:2] for stem in stems)}
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
        if max(tokens, default="") >= _DENSE:
            return self._found_densely(tokens)
        # Most words begin as no stem does: C functions leave them out, as long texts have many.
        likely = map(self._starts.__contains__, map(_START, tokens))
        named = ((place, self._named(tokens[place])) for place in compress(range(len(tokens)), likely))
        return ((place, idea) for place, idea in named if idea is not None)

    def _found_densely(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        """As `_found`, where words may be of scripts without spaces."""
        place = 0
        for token in tokens:
            if _DENSE <= token[0] <= "鿿" or "가" <= token[0] <= "힣":
                # Look at every place of the run. Three characters count as two words.
                at = 0
                for spot in compress(range(len(token)), map(self._starts.__contains__, map(add, token, token[1:]))):
                    if spot < at:
                        continue
                    place += spot - at
                    length, idea = self._longest(token[spot : spot + 6])
                    if idea is not None:
                        yield place, idea
                    at = spot + max(length, 1)
                    place += 1
                place += len(token) - at
                continue
            idea = self._named(token)
            if idea is not None:
                yield place, idea
            place += 1

    def _named(self, token: str) -> int | None:
        idea = self._whole.get(token)
        return self._longest(token[:_LONGEST_STEM].removeprefix(_ARTICLE))[1] if idea is None else idea

    def _longest(self, token: str) -> tuple[int, int | None]:
        if token[:2] not in self._starts:
            return 0, None
        for length in range(len(token), 1, -1):
            idea = self._stems.get(token[:length])
            if idea is not None:
                return length, idea
        return 0, None
