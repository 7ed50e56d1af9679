"""Ways to disguise a text: encodings, look-alike letters and puzzles. Attacks and honest texts go through the same."""

import base64
import codecs
import random
from collections.abc import Callable
from typing import Final, TypeAlias

Encoder: TypeAlias = Callable[[str, random.Random], str]


def _words(listed: str) -> list[str]:
    return listed.split()


_MORSE: Final = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz0123456789",
        _words(
            ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- "
            "--.. ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
        ),
        strict=True,
    )
)
_NATO: Final = _words(
    "Alfa Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliett Kilo Lima Mike November Oscar Papa Quebec Romeo "
    "Sierra Tango Uniform Victor Whiskey Xray Yankee Zulu"
)
_BRAILLE: Final = "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵"
_UPSIDE: Final = "ɐqɔpǝɟƃɥᴉɾʞןɯuodbɹsʇnʌʍxʎz"
_SMALL: Final = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘqʀꜱᴛᴜᴠᴡxʏᴢ"
_TWINS: Final = {"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "y": "у", "i": "і", "s": "ѕ", "B": "В"}
_LEET: Final = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7+", "b": "8", "g": "9"}
_UNSEEN: Final = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad")
_KEYS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Letters of 3 x 5 dots, row by row.
_DOTS: Final = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        _words(
            "010101111101101 110101110101110 011100100100011 110101101101110 111100110100111 111100110100100 "
            "011100101101011 101101111101101 111010010010111 001001001101010 101101110101101 100100100100111 "
            "101111111101101 110101101101101 010101101101010 110101110100100 010101101111011 110101110101101 "
            "011100010001110 111010010010010 101101101101111 101101101101010 101101111111101 101101010101101 "
            "101101010010010 111001010100111"
        ),
        strict=True,
    )
)


def _letters(text: str, table: str) -> str:
    return "".join(table[ord(char) - 97] if "a" <= char <= "z" else char for char in text.lower())


def _shift(text: str, by: int) -> str:
    moved = []
    for char in text:
        start = 65 if "A" <= char <= "Z" else 97 if "a" <= char <= "z" else None
        moved.append(char if start is None else chr((ord(char) - start + by) % 26 + start))
    return "".join(moved)


def _offset(text: str, upper: int, lower: int) -> str:
    moved = {65 + n: upper + n for n in range(26)} | {97 + n: lower + n for n in range(26)}
    return text.translate(moved)


def _hex(text: str, rng: random.Random) -> str:
    style = rng.randrange(3)
    if style == 0:
        return text.encode().hex()
    if style == 1:
        return text.encode().hex(" ")
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _binary(text: str, rng: random.Random) -> str:
    return rng.choice((" ", " ", "")).join(f"{byte:08b}" for byte in text.encode()[:160])


def _morse(text: str, _: random.Random) -> str:
    words = [" ".join(_MORSE[char] for char in word if char in _MORSE) for word in text.lower().split()]
    return " / ".join(filter(None, words))


def _leet(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.4, 1.0)
    return "".join(rng.choice(_LEET[c]) if c in _LEET and rng.random() < share else c for c in text.lower())


def _zalgo(text: str, rng: random.Random) -> str:
    most = rng.choice((1, 2, 4))
    return "".join(
        char + "".join(chr(rng.randrange(0x300, 0x36F)) for _ in range(rng.randint(0, most))) for char in text
    )


def _unseen(text: str, rng: random.Random) -> str:
    share = rng.choice((0.2, 0.5, 1.0))
    return "".join(char + (rng.choice(_UNSEEN) if rng.random() < share else "") for char in text)


def _tags(text: str, rng: random.Random) -> str:
    return rng.choice(("🏴", "👍", "😀", "")) + "".join(chr(0xE0000 + ord(c)) for c in text if 31 < ord(c) < 127)


def _twins(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.3, 1.0)
    return "".join(_TWINS[char] if char in _TWINS and rng.random() < share else char for char in text)


def _spaced(text: str, rng: random.Random) -> str:
    between = rng.choice((" ", " ", ".", "-", "_", "*", "|", "~"))
    return rng.choice(("  ", "   ", " / ")).join(between.join(word) for word in text.split())


def _cut(text: str, rng: random.Random) -> str:
    mark = rng.choice(("-", ".", "|", "_", " ", "'"))
    return " ".join(_with(word, rng.randrange(1, len(word)), mark) if len(word) > 2 else word for word in text.split())


def _with(word: str, at: int, mark: str) -> str:
    return word[:at] + mark + word[at:]


def _pig(text: str, _: random.Random) -> str:
    words = []
    for word in text.lower().split():
        bare = word.strip(".,!?:;\"'")
        at = next((number for number, char in enumerate(bare) if char in "aeiou"), 0)
        words.append(bare[at:] + bare[:at] + "ay" if at else bare + "way")
    return " ".join(words)


def _art(text: str, rng: random.Random) -> str:
    ink = rng.choice("#*@█X+o")
    words = [word for word in ("".join(c for c in w if "a" <= c <= "z") for w in text.lower().split()) if word]
    blocks = []
    for word in rng.sample(words, min(len(words), 3)):
        rows = [" ".join(_DOTS[char][row * 3 : row * 3 + 3] for char in word[:12]) for row in range(5)]
        blocks.append("\n".join(row.replace("1", ink).replace("0", " ") for row in rows))
    return "\n\n".join(blocks)


def _variables(text: str, rng: random.Random) -> str:
    words = text.split()
    size = max(1, len(words) // rng.randint(3, 5))
    parts = [" ".join(words[at : at + size]) for at in range(0, len(words), size)]
    names = rng.choice(("abcdefghijklmnopqrstuvwxyz", [f"x{n}" for n in range(60)], [f"part{n}" for n in range(60)]))
    style = rng.choice(('{0} = "{1}"', "let {0}='{1}';", "{0}: {1}", "${0}='{1} '"))
    lines = [style.format(name, part) for name, part in zip(names, parts, strict=False)]
    return rng.choice(("\n", "\n", " ")).join(lines) + "\n" + " + ".join(names[: len(parts)])


def _acrostic(text: str, rng: random.Random) -> str:
    starts = [word for word in ("".join(c for c in w if c.isalpha()) for w in text.split()) if word][:12]
    endings = ("at dawn", "by the sea", "in the rain", "goes on", "once more", "under the moon", "with a song", "again")
    return "\n".join(f"{word.capitalize()} {rng.choice(endings)}" for word in starts)


def _typos(text: str, rng: random.Random) -> str:
    return " ".join(_typo(word, rng) for word in text.split(" "))


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4 or rng.random() < 0.4:
        return word
    at = rng.randrange(1, len(word) - 1)
    way = rng.randrange(4)
    if way == 0:
        return word[:at] + word[at + 1 :]
    if way == 1:
        return word[:at] + word[at] + word[at:]
    if way == 2:
        return word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
    row = next((row for row in _KEYS if word[at].lower() in row), "ea")
    return word[:at] + rng.choice(row) + word[at + 1 :]


def _scramble(text: str, rng: random.Random) -> str:
    words = []
    for word in text.split():
        middle = list(word[1:-1])
        rng.shuffle(middle)
        words.append(word[:1] + "".join(middle) + word[-1:] if len(word) > 3 else word)
    return " ".join(words)


def _filler(text: str, rng: random.Random) -> str:
    fill = rng.choice((["tree"], ["blah", "dum", "la"], ["one", "two", "three"], ["🍎", "🍐"], ["*"], ["xx", "qz"]))
    return " ".join(f"{word} {rng.choice(fill)}" for word in text.split())


def _mixed_case(text: str, rng: random.Random) -> str:
    return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)


def _numbers(text: str, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return " ".join(str(ord(char)) for char in text[:120])
    return " / ".join("-".join(str(ord(c) - 96) for c in word if "a" <= c <= "z") for word in text.lower().split())


def _escapes(text: str, rng: random.Random) -> str:
    style = rng.choice(("\\u{0:04x}", "%{0:02X}", "&#{0};", "&#x{0:x};"))
    share = rng.choice((0.5, 1.0))
    return "".join(style.format(ord(c)) if rng.random() < share and ord(c) < 128 else c for c in text)


def _flags(text: str, _: random.Random) -> str:
    return " ".join(chr(0x1F1E6 + ord(char) - 97) if "a" <= char <= "z" else char for char in text.lower())


def _styled(text: str, rng: random.Random) -> str:
    upper, lower = rng.choice(
        ((0x1D400, 0x1D41A), (0x1D5D4, 0x1D5EE), (0x1D4D0, 0x1D4EA), (0x24B6, 0x24D0), (0xFF21, 0xFF41), (0x1F130,) * 2)
    )
    return _offset(text, upper, lower)


ENCODERS: Final[dict[str, Encoder]] = {
    "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
    "base64_url": lambda text, _: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base32": lambda text, _: base64.b32encode(text.encode()).decode(),
    "base85": lambda text, _: base64.b85encode(text.encode()).decode(),
    "base64_twice": lambda text, _: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "hex": _hex,
    "rot13": lambda text, _: codecs.encode(text, "rot13"),
    "caesar": lambda text, rng: _shift(text, rng.choice((1, 2, 3, 5, 7, 11, 19, 25))),
    "atbash": lambda text, _: _letters(text, "zyxwvutsrqponmlkjihgfedcba"),
    "morse": _morse,
    "binary": _binary,
    "numbers": _numbers,
    "escapes": _escapes,
    "reversed": lambda text, _: text[::-1],
    "reversed_words": lambda text, _: " ".join(word[::-1] for word in text.split()),
    "words_backwards": lambda text, _: " ".join(reversed(text.split())),
    "leet": _leet,
    "typos": _typos,
    "scramble": _scramble,
    "mixed_case": _mixed_case,
    "spaced": _spaced,
    "cut": _cut,
    "pig_latin": _pig,
    "zalgo": _zalgo,
    "unseen": _unseen,
    "tags": _tags,
    "twins": _twins,
    "styled": _styled,
    "flags": _flags,
    "upside_down": lambda text, _: _letters(text, _UPSIDE)[::-1],
    "small_caps": lambda text, _: _letters(text, _SMALL),
    "braille": lambda text, _: _letters(text, _BRAILLE),
    "nato": lambda text, _: " ".join(_NATO[ord(c) - 97] if "a" <= c <= "z" else "-" for c in text.lower()[:70]),
    "art": _art,
    "variables": _variables,
    "acrostic": _acrostic,
    "filler": _filler,
}
"""Every way by its name."""

CODED: Final = frozenset(
    _words(
        "base64 base64_url base32 base85 base64_twice hex rot13 caesar atbash morse binary numbers escapes reversed "
        "reversed_words words_backwards upside_down braille nato art variables acrostic"
    )
)
"""The ways in which a text can't be read at a glance, so that something around it must say what to do."""

SPOKEN: Final = {
    "base64_url": "base64",
    "base64_twice": "double base64",
    "caesar": "Caesar",
    "numbers": "number code",
    "escapes": "escape codes",
    "reversed_words": "backwards words",
    "words_backwards": "reverse order",
    "leet": "leetspeak",
    "typos": "fast typing",
    "scramble": "scrambled letters",
    "mixed_case": "mixed case",
    "spaced": "spaced letters",
    "cut": "cut words",
    "pig_latin": "pig latin",
    "unseen": "invisible letters",
    "tags": "invisible tags",
    "twins": "look-alike letters",
    "styled": "fancy letters",
    "flags": "emoji letters",
    "upside_down": "upside-down letters",
    "small_caps": "small capitals",
    "nato": "NATO alphabet",
    "art": "ASCII art",
    "variables": "split variables",
    "filler": "every second word",
}
"""What people call a way, where its name here is another."""
