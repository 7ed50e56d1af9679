"""Which language is a text in, if it is not English? `docs/decisions/0008-language.md` says why this way.

Scripts settle what they can; between languages of one script, words and character n-grams are weighed by naive Bayes.
What cannot be told (names, numbers, codes, a word or two) counts as English: the question is asked in order to say
"I was not trained on this", so only a substantial stretch of another language answers it.
"""

import bisect
import functools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local.features import Ids
from quorate.models.local.weights import REMEDY, WEIGHTS, Weights, read_weights

Places = NDArray[np.intp]

BITS = 15
SIZE = 1 << BITS
STRETCH = 160
"""A text is looked at in stretches of about so many letters, so that one foreign paragraph is seen."""
ENGLISH = "English"
SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0370, 0x03FF, "Greek"),
    (0x0530, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Punjabi"),
    (0x0A80, 0x0AFF, "Gujarati"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0C80, 0x0CFF, "Kannada"),
    (0x0D00, 0x0D7F, "Malayalam"),
    (0x0D80, 0x0DFF, "Sinhala"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x1000, 0x109F, "Burmese"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1200, 0x139F, "Amharic"),
    (0x1780, 0x17FF, "Khmer"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0600, 0x077F, "Arabic"),
    (0xFB50, 0xFEFC, "Arabic"),
    (0x3040, 0x30FF, "Japanese"),
    (0x1100, 0x11FF, "Korean"),
    (0xAC00, 0xD7A3, "Korean"),
    (0x3400, 0x9FFF, "Chinese"),
    (0x20000, 0x3134F, "Chinese"),
)
"""First and last code point, and the language or, where several share it, the script."""
SEVERAL = frozenset(("Cyrillic", "Arabic", "Devanagari"))
"""Scripts whose languages are told apart by their words."""

_DENSE = frozenset(("Japanese", "Chinese", "Korean", "Thai", "Lao", "Khmer", "Burmese"))
_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Signs of addresses, handles and code; what holds one, or a digit, is no language's word.
_SIGNS = frozenset("0123456789@#_\\<>{}=&%$|~^*+[]")
_MARKS = ".,;:!?\"'"
_LETTER_LIMIT = 24
_LONGEST = 64
"""A longer "word" is looked at in pieces, so that scripts glued together are seen; of one in ASCII, the first."""
_SHORT = 400
"""In a longer text the only stretch of words has more beside it than it says, so it must be as sure as others."""
_AT_ONCE = 64
"""Stretches that are weighed together."""
_AMONG = 3.0
_FEW = 3


def wordlike(text: str) -> list[str]:
    """The lower-case words of a text that may belong to a language; addresses, codes and numbers left out."""
    found: list[str] = []
    for token in text.split():
        bare = token.strip(_MARKS)
        if bare.isalpha():
            found.append(bare.lower())
        elif _SIGNS.isdisjoint(token) and "//" not in token and "()" not in token:
            found += [word.lower() for word in _WORDS.findall(token)]
    if all(len(word) <= _LONGEST for word in found):
        return found
    ends = [_LONGEST if word.isascii() else len(word) for word in found]
    return [word[at : at + _LONGEST] for word, end in zip(found, ends, strict=True) for at in range(0, end, _LONGEST)]


def slots(words: Sequence[str]) -> Ids:
    """Slots of the words and of their character 1- to 4-grams with their bounds, with repeats."""
    return _slots(words)[0]


def _slots(words: Sequence[str]) -> tuple[Ids, Places]:
    """All words' slots, and where each word's begin; every word has some."""
    if not words:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.intp)
    short = [word[:_LETTER_LIMIT] for word in words]
    if all(map(str.isascii, short)):
        return _ascii_slots(short)
    pieces = [_word_slots(word) for word in short]
    sizes = np.array([len(piece) for piece in pieces])
    return np.concatenate(pieces), np.cumsum(sizes) - sizes


def _crc_table() -> Ids:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(0xEDB88320), table >> np.uint32(1))
    return table


_CRC = _crc_table()


def _ascii_slots(words: Sequence[str]) -> tuple[Ids, Places]:
    """As `_word_slots`, for many words at once: the CRC-32 of every gram, byte by byte for all places together."""
    raw = np.frombuffer("".join(f"<{word}>" for word in words).encode("ascii"), dtype=np.uint8)
    lengths = np.array([len(word) for word in words]) + 2
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(raw))
    owner = np.repeat(np.arange(len(words)), lengths)
    state = np.full(len(raw), 0xFFFFFFFF, dtype=np.uint32)
    found, owners = [], []
    for size in range(1, min(5, len(raw) + 1)):
        upto = len(raw) - size + 1
        state = _CRC[(state[:upto] ^ raw[size - 1 :]) & np.uint32(0xFF)] ^ (state[:upto] >> np.uint32(8))
        if size > 1:
            fits = left[:upto] >= size
            found.append(~state[fits])
            owners.append(owner[:upto][fits])
    found.append(np.array([zlib.crc32(b"=" + word.encode("ascii")) for word in words], dtype=np.uint32))
    owners.append(np.arange(len(words)))
    whose = np.concatenate(owners)
    order = np.argsort(whose, kind="stable")
    sizes = np.bincount(whose, minlength=len(words))
    return np.concatenate(found)[order] & np.uint32(SIZE - 1), np.cumsum(sizes) - sizes


@functools.lru_cache(maxsize=4096)
def _word_slots(word: str) -> Ids:
    bound = f"<{word}>"
    grams = [bound[at : at + size] for size in (2, 3, 4) for at in range(len(bound) - size + 1)]
    grams += [letter for letter in word if letter > "z"]
    grams.append(f"={word}")
    found = [zlib.crc32(gram.encode("utf-8", "surrogatepass")) & (SIZE - 1) for gram in grams]
    return np.array(found, dtype=np.uint32)


_RANGES = sorted(SCRIPTS)
_FIRSTS = [low for low, _, _ in _RANGES]


def script(word: str) -> str:
    """The script or language that a word's letters settle; "Latin" for all others."""
    last = "Latin"
    if word.isascii():
        return last
    for code in map(ord, word):
        if code >= 0x370:
            _, high, name = _RANGES[bisect.bisect_right(_FIRSTS, code) - 1]
            last = name if code <= high else last
            if last == "Japanese":
                break
    return last


class Languages:
    """Tells English from other languages, and names them.

    Attributes:
        names: the languages that are told apart by their words, English first.
    """

    def __init__(self, weights: Weights) -> None:
        self.names = tuple(str(name) for name in weights.arrays["names"].tolist())
        # Log-likelihoods in steps of a size that keeps them in a byte.
        self._table: NDArray[np.int8] = np.asarray(weights.arrays["table"], dtype=np.int8)
        scalars = weights.numbers("scalars").tolist()
        self._step, self._sure, self._each = scalars[:3]
        groups = [str(name) for name in weights.arrays["scripts"].tolist()]
        # The last by name first: it wins among equals, whatever their order in the weights.
        order = sorted(range(1, len(groups)), key=lambda at: self.names[at], reverse=True)
        self._of = {group: [at for at in order if groups[at] == group] for group in set(groups)}
        if self._table.shape != (SIZE, len(self.names)) or self.names[0] != ENGLISH:
            raise ValueError("the table does not fit its names")

    @classmethod
    def load(cls, path: Path | None = None) -> "Languages":
        """Read the weights from a directory, by default the ones that come with the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        return cls._read(path) if path else _shipped()

    @classmethod
    def _read(cls, path: Path | None) -> "Languages":
        weights = read_weights("language", path)
        try:
            return cls(weights)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/language.npz: arrays are missing ({error}); {REMEDY}") from error

    def foreign(self, text: str) -> str | None:
        """The name of a language other than English that a substantial part of a text is in, or None; never raises.

        Linear in the text's length.
        """
        if text.isascii() and not any(map(str.isalpha, text)):
            return None
        stretches = _stretches(text)
        some = list(islice(stretches, _AT_ONCE))
        alone = len(some) == 1 and len(text) <= _SHORT
        while some:
            found = next(filter(None, self._judged(some, alone=alone)), None)
            if found is not None:
                return found
            some = list(islice(stretches, _AT_ONCE))
        return None

    def margin(self, words: Sequence[str], group: str = "Latin") -> tuple[float, str]:
        """How much likelier the likeliest language of a script is than English, as a log-odds, and its name."""
        return self._margins([words], group)[0]

    def _margins(self, texts: Sequence[Sequence[str]], group: str) -> list[tuple[float, str]]:
        """`margin` of several texts of at least a word each, in one go."""
        columns = self._of[group]
        place = {word: at for at, word in enumerate(dict.fromkeys(word for words in texts for word in words))}
        found, begins = _slots(list(place))
        rows = np.add.reduceat(self._table.take(found, axis=0), begins, axis=0, dtype=np.int32)
        sizes = np.array([len(words) for words in texts])
        told = rows.take([place[word] for words in texts for word in words], axis=0)
        total = np.add.reduceat(told, np.cumsum(sizes) - sizes, axis=0, dtype=np.int64) * self._step
        others = total[:, columns]
        best = others.argmax(axis=1)
        margins = others[np.arange(len(best)), best] - total[:, 0]
        return [(float(margin), self.names[columns[at]]) for margin, at in zip(margins, best, strict=True)]

    def _judged(self, stretches: Sequence[list[str]], *, alone: bool) -> Iterable[str | None]:
        """What each stretch is in; the Latin ones are weighed together."""
        parted = [_parted(words) for words in stretches]
        asked = [latin for latin, _ in parted if len(latin) > 1 and sum(map(len, latin)) >= 8]
        margins = iter(self._margins(asked, "Latin") if asked else ())
        for latin, others in parted:
            weighed = len(latin) > 1 and sum(map(len, latin)) >= 8
            margin, name = next(margins) if weighed else (0.0, "")
            # A list of names among other stretches, and a word or two, are likelier than a change of language.
            needed = max(self._sure, self._each * len(latin)) * (1.0 if alone and len(latin) > _FEW else _AMONG)
            yield self._other(latin, others) or (name if weighed and margin > needed else None)

    def _other(self, latin: Sequence[str], others: Mapping[str, list[str]]) -> str | None:
        """The language of a stretch that is for the better part in another script."""
        if not others:
            return None
        name, found = max(others.items(), key=lambda one: sum(map(len, one[1])))
        letters = sum(map(len, found))
        # One sign of a dense script is worth about three letters.
        if letters * (3 if name in _DENSE else 1) < max(8, sum(map(len, latin)) / 2):
            return None
        if name == "Chinese" and "Japanese" in others:
            return "Japanese"
        return self.margin(found, name)[1] if name in SEVERAL and name in self._of else name


@functools.lru_cache(maxsize=1)
def _shipped() -> Languages:
    """The package's own, read once for all checks of a process."""
    return Languages._read(None)


def _parted(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """A stretch's Latin words, and the others by their script."""
    latin: list[str] = []
    others: dict[str, list[str]] = {}
    for word in words:
        kind = script(word)
        (latin if kind == "Latin" else others.setdefault(kind, [])).append(word)
    return latin, others


def _stretches(text: str) -> Iterator[list[str]]:
    """The words of each line, long lines in pieces, short lines together."""
    words: list[str] = []
    size = 0
    for line in text.splitlines():
        for sentence in re.split(r"(?<=[.!?。！？;:])\s+", line):
            found = wordlike(sentence)
            for at in range(0, len(found), STRETCH // 5):
                piece = found[at : at + STRETCH // 5]
                words += piece
                size += sum(map(len, piece))
                if size >= STRETCH // 4:
                    yield words
                    words, size = [], 0
    if words:
        yield words
