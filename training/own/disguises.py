"""Ways of hiding a text from a reader who only looks at its letters; each takes a text and gives it disguised."""

import base64
import codecs
from typing import Final

LEET: Final = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})
LOOKALIKES: Final = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "i": "і", "x": "х"})


def in_base64(text: str) -> str:
    """Base64 of UTF-8."""
    return base64.b64encode(text.encode()).decode()


def in_hex(text: str) -> str:
    """Bytes of UTF-8 in hexadecimal, with spaces."""
    return text.encode().hex(" ")


def in_rot13(text: str) -> str:
    """Letters moved by thirteen."""
    return codecs.encode(text, "rot13")


def reversed_letters(text: str) -> str:
    """Read from the end."""
    return text[::-1]


def spaced(text: str) -> str:
    """A space after every letter."""
    return " ".join(text)


def dotted(text: str) -> str:
    """Full stops between the letters of each word."""
    return " ".join(".".join(word) for word in text.split(" "))


def leet(text: str) -> str:
    """Digits for letters."""
    return text.translate(LEET)


def lookalike(text: str) -> str:
    """Cyrillic letters for Latin ones that look the same."""
    return text.translate(LOOKALIKES)


def wide(text: str) -> str:
    """Full-width letters."""
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


def with_invisible(text: str) -> str:
    """A zero-width space in the middle of each word."""
    return " ".join(f"{word[: len(word) // 2]}\u200b{word[len(word) // 2 :]}" for word in text.split(" "))


def percent(text: str) -> str:
    """Every character percent-encoded."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


CIPHERS: Final = (
    in_base64, in_base64, in_hex, in_rot13, reversed_letters, spaced, dotted, leet, leet, lookalike, wide,
    with_invisible, percent,
)  # fmt: skip
