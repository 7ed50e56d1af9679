"""Which language is a text in, if it is not English? `docs/decisions/0008-language.md` says why this way.

Scripts settle what they can; between languages of one script, words and character n-grams are weighed by naive Bayes.
What cannot be told (names, numbers, codes, a word or two) counts as English: the question is asked in order to say
"I was not trained on this", so only a substantial stretch of another language answers it.
"""

import functools
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local.features import Ids
from quorate.models.local.weights import REMEDY, WEIGHTS, Weights, read_weights

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
_LETTER_LIMIT = 24
_AMONG = 3.0
_FEW = 3


def wordlike(text: str) -> list[str]:
    """The lower-case words of a text that may belong to a language; addresses, codes and numbers left out."""
    found: list[str] = []
    for token in text.split():
        if _SIGNS.isdisjoint(token) and "//" not in token and "()" not in token:
            found += [word.lower() for word in _WORDS.findall(token)]
    return found


def slots(words: Sequence[str]) -> Ids:
    """Slots of the words and of their character 1- to 4-grams with their bounds, with repeats."""
    pieces = [_word_slots(word[:_LETTER_LIMIT]) for word in words]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint32)


@functools.lru_cache(maxsize=4096)
def _word_slots(word: str) -> Ids:
    bound = f"<{word}>"
    grams = [bound[at : at + size] for size in (2, 3, 4) for at in range(len(bound) - size + 1)]
    grams += [letter for letter in word if letter > "z"]
    grams.append(f"={word}")
    found = [zlib.crc32(gram.encode("utf-8", "surrogatepass")) & (SIZE - 1) for gram in grams]
    return np.array(found, dtype=np.uint32)


def script(word: str) -> str:
    """The script or language that a word's letters settle; "Latin" for all others."""
    last = "Latin"
    for char in word:
        code = ord(char)
        if code >= 0x370:
            last = next((name for low, high, name in SCRIPTS if low <= code <= high), last)
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
        self._of = {group: [at for at, one in enumerate(groups) if one == group] for group in set(groups)}
        if self._table.shape != (SIZE, len(self.names)) or self.names[0] != ENGLISH:
            raise ValueError("the table does not fit its names")

    @classmethod
    def load(cls, path: Path | None = None) -> "Languages":
        """Read the weights from a directory, by default the ones that come with the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
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
        stretches = list(_stretches(text))
        for words in stretches:
            found = self._stretch(words, alone=len(stretches) == 1)
            if found is not None:
                return found
        return None

    def margin(self, words: Sequence[str], group: str = "Latin") -> tuple[float, str]:
        """How much likelier the likeliest language of a script is than English, as a log-odds, and its name."""
        columns = self._of[group]
        rows = self._table[slots(words)][:, [0, *columns]]
        total = rows.sum(axis=0, dtype=np.int64) * self._step
        others = [(float(total[1 + at]), self.names[column]) for at, column in enumerate(columns) if column]
        best, name = max(others)
        return best - float(total[0]), name

    def _stretch(self, words: list[str], *, alone: bool) -> str | None:
        latin: list[str] = []
        others: dict[str, list[str]] = {}
        for word in words:
            kind = script(word)
            (latin if kind == "Latin" else others.setdefault(kind, [])).append(word)
        if others:
            name, found = max(others.items(), key=lambda one: sum(map(len, one[1])))
            letters = sum(map(len, found))
            dense = name in _DENSE
            # One sign of a dense script is worth about three letters.
            if letters * (3 if dense else 1) >= max(8, sum(map(len, latin)) / 2):
                if name == "Chinese" and "Japanese" in others:
                    return "Japanese"
                return self.margin(found, name)[1] if name in SEVERAL and name in self._of else name
        if len(latin) < 2 or sum(map(len, latin)) < 8:
            return None
        margin, name = self.margin(latin)
        # A list of names among other stretches, and a word or two, are likelier than a change of language.
        needed = max(self._sure, self._each * len(latin)) * (1.0 if alone and len(latin) > _FEW else _AMONG)
        return name if margin > needed else None


def _stretches(text: str) -> Iterator[list[str]]:
    """The words of each line, long lines in pieces, short lines together."""
    words: list[str] = []
    size = 0
    for line in text.splitlines():
        for sentence in re.split(r"(?<=[.!?。！？;:])\s+", line):
            found = wordlike(sentence)
            while found:
                piece, found = found[: STRETCH // 5], found[STRETCH // 5 :]
                words += piece
                size += sum(map(len, piece))
                if size >= STRETCH // 4:
                    yield words
                    words, size = [], 0
    if words:
        yield words
