"""Grades that need no model: sameness, likeness, form. Deterministic, and linear or nearly so in the text."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Measure = Literal["f1", "rouge-l", "meaning"]
MAX_TOKENS = 20_000
"""Words of a text that likeness looks at: forty pages. What follows is not compared, and the reason says so."""


def plain(text: str, *, ignore_case: bool, ignore_space: bool) -> str:
    """A text ready to be compared: Unicode's composed form, and where asked for no case and single spaces."""
    text = unicodedata.normalize("NFC", text)
    text = text.casefold() if ignore_case else text
    return " ".join(text.split()) if ignore_space else text


def tokens(text: str) -> list[str]:
    """The words of a text, without case and punctuation; signs of scripts without spaces stand alone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = "".join(_spaced(char) for char in folded)
    return spaced.split()[:MAX_TOKENS]


def _spaced(char: str) -> str:
    if not char.isalnum():
        return char if unicodedata.category(char) in ("Mn", "Mc") else " "
    return f" {char} " if unicodedata.category(char) == "Lo" and ord(char) >= 0x2E80 else char


def f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over the bag of words (SQuAD: Rajpurkar et al., EMNLP 2016)."""
    shared = sum((Counter(answer) & Counter(reference)).values())
    return _harmonic(shared, len(answer), size=len(reference))


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean over the longest common subsequence (ROUGE-L: C.-Y. Lin, 2004).

    Its length by rows of bits (H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004).
    """
    places: dict[str, int] = {}
    for at, word in enumerate(reference):
        places[word] = places.get(word, 0) | 1 << at
    full = (1 << len(reference)) - 1
    row = full
    for word in answer:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return _harmonic(len(reference) - row.bit_count(), len(answer), size=len(reference))


def _harmonic(shared: int, length: int, *, size: int) -> float:
    if not length and not size:
        return 1.0
    return 2 * shared / (length + size)
