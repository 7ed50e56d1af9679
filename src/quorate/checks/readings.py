"""The ways in which a text can be read.

A check that reads only the raw characters is blind to text that is hidden from it on purpose: invisible
characters, look-alike letters, base64, rot13. `readings` undoes what can be undone without a key, so that every
check sees at least what a language model would make of the text. Nothing here decides anything: a reading is one
more text to judge.

Every step is linear in the length of the text. Decoding goes at most `MAX_DEPTH` layers deep, and all readings
together are at most `MAX_EXPANSION` times as long as the text, so hostile input costs no more than honest input.
"""

import base64
import binascii
import codecs
import html
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

MAX_DEPTH = 3
MAX_EXPANSION = 4

Pause = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text.

    Attributes:
        name: "raw", "plain" (invisible characters gone, look-alikes folded, spaced letters joined), "tags",
            "selectors" (text hidden in variation selectors), or what was undone, joined by "+": "base64",
            "hex", "url", "html", "escape", "leet", "rot13", "reversed".
        text: the text so read; decoded parts stand in the place of what they were decoded from.
    """

    name: str
    text: str


def readings(text: str, *, pause: Pause = bool) -> tuple[Reading, ...]:
    """Every reading of a text that differs from the others, the raw text first.

    Never raises, whatever the string holds. The work is linear in `len(text)`; the readings' lengths add up to
    at most `MAX_EXPANSION * len(text)`, and a reading that would exceed this is left out.

    Args:
        text: anything.
        pause: called every few milliseconds of work, so that a long text can let others go first.
    """
    found = [Reading("raw", text)]
    plain = _plain(text, pause)
    decoded, kinds = _decoded(plain, pause)
    clear, tricks = _unscrambled(decoded, pause)
    _keep(found, "plain", plain)
    _keep(found, "tags", _tags(text, pause))
    _keep(found, "selectors", _selectors(text, pause))
    _keep(found, "+".join(kinds), decoded)
    _keep(found, "+".join(kinds + tricks), clear)
    return tuple(found)


def _keep(found: list[Reading], name: str, text: str) -> None:
    """Add a reading unless it says nothing new or the readings would grow beyond their bound."""
    new = text.strip() and all(text != one.text for one in found)
    if new and sum(len(one.text) for one in found) + len(text) <= MAX_EXPANSION * len(found[0].text):
        found.append(Reading(name, text))


# --- plain: invisible characters, look-alikes, spaced letters -------------------------------------

_CYRILLIC = dict(zip("авсеёһіїјкмнорѕтухԁԛԝгпьӏѵ", "abceehiijkmhopstyxdqwrnblv", strict=True))
_GREEK = dict(zip("αβγεζηικμνορστυχωϲϳ", "abyeznikuvopotuxwcj", strict=True))
_ARMENIAN = dict(zip("օոսհցզա", "onuhgqw", strict=True))
_SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True))
_LATIN_LIKE = {"ı": "i", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ɛ": "e", "ɔ": "o", "ʋ": "v", "ƅ": "b"}
_PUNCTUATION = {"ꞌ": "'", "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "⁄": "/", "∕": "/"}
_FOREIGN = {**_CYRILLIC, **_GREEK, **_ARMENIAN}
_LOOKALIKES = {
    ord(key): value
    for small, latin in _FOREIGN.items()
    for key, value in ((small, latin), (small.upper(), latin.upper()))
    if len(key) == 1
}
# Upper case that looks like another letter than its lower case does.
_LOOKALIKES.update({ord("Н"): "H", ord("Η"): "H", ord("Ν"): "N", ord("Μ"): "M", ord("Υ"): "Y", ord("Ρ"): "P"})
_LIKE = frozenset(map(chr, _LOOKALIKES))
_FOLD = {**_SMALL_CAPITALS, **_LATIN_LIKE, **_PUNCTUATION}
# Blocks of enclosed letters that NFKC leaves alone or wraps in brackets.
_ENCLOSED = ((0x249C, "a"), (0x1F110, "A"), (0x1F150, "A"), (0x1F170, "A"), (0x1F1E6, "A"))

# Blanks that Unicode does not class as invisible: Hangul fillers, the empty Braille pattern.
_BLANKS = frozenset(("\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"))
_WORD = re.compile(r"\S+")
_PIECE = re.compile(r"\S{1,4000}")
_SEAM = re.compile(r"[^!-~]")
_STRETCH = 32_768
_LETTER = re.compile(r"[A-Za-z]")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
# Four or more single letters with the same separator between them: "i g n o r e", "i.g.n.o.r.e".
_SPACED = re.compile(r"(?<![^\W_])[^\W_](?:([ .\-_*|/,~])[^\W_](?:\1[^\W_]){2,})(?![^\W_])")


def _plain(text: str, pause: Pause = bool) -> str:
    chars: set[str] = set()
    for piece in _stretches(text, pause):
        chars.update(piece)
    folds: dict[str, str] = {}
    for char in chars:
        pause()
        folds[char] = char if " " <= char <= "~" else _folded(char)
    table = {ord(char): to for char, to in folds.items() if to != char}
    folded = "".join(piece.translate(table) for piece in _stretches(text, pause)) if table else text
    if not _LIKE.isdisjoint(folds.values()):
        folded = _sub(_PIECE, _latin_word, folded, pause)
    return _sub(_SPACED, lambda run: run[0].replace(run[1], ""), folded, pause)


def _stretches(text: str, pause: Pause) -> Iterator[str]:
    """The text in pieces, cut where no encoded run can be: one call over all of it keeps other threads waiting."""
    end = 0
    while end < len(text):
        pause()
        start, seam = end, _SEAM.search(text, end + _STRETCH)
        end = seam.end() if seam else len(text)
        yield text[start:end]


def _sub(pattern: re.Pattern[str], change: Callable[[re.Match[str]], str], text: str, pause: Pause) -> str:
    if len(text) <= _STRETCH:
        return pattern.sub(change, text)

    def changed(match: re.Match[str]) -> str:
        pause()
        return change(match)

    return "".join(pattern.sub(changed, piece) for piece in _stretches(text, pause))


def _folded(char: str) -> str:
    """One character or none in the place of one: a fold never makes a text longer."""
    code = ord(char)
    if char in "\t\n\r":
        return char
    if unicodedata.category(char) in ("Cf", "Cc", "Cs", "Co", "Cn") or 0x0300 <= code <= 0x036F:
        return ""
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or char in _BLANKS:
        return ""
    for first, letter in _ENCLOSED:
        if first <= code < first + 26:
            return chr(ord(letter) + code - first)
    # Folding character by character keeps this linear: NFKC of a whole string sorts runs of combining marks.
    wide = unicodedata.normalize("NFKC", char)
    return _FOLD.get(wide, wide if len(wide) == 1 else char)


def _latin_word(match: re.Match[str]) -> str:
    """Fold look-alikes in a word that mixes scripts or is is made of look-alikes; leave Russian as it is."""
    word = match[0]
    if word.isascii():
        return word
    folded = word.translate(_LOOKALIKES)
    return folded if _LETTER.search(word) or folded.isascii() else word


def _runs(pattern: re.Pattern[str], text: str, pause: Pause) -> str:
    """All that a pattern of single characters finds, together."""
    if text.isascii():
        return ""
    pieces = (text[at : at + _STRETCH // 8] for at in range(0, len(text), _STRETCH // 8) if not pause())
    return "".join(found for piece in pieces for found in pattern.findall(piece))


def _tags(text: str, pause: Pause = bool) -> str:
    """What is written in Unicode tag characters, which show as nothing."""
    return "".join(chr(ord(char) - 0xE0000) for char in _runs(_TAGS, text, pause))


def _selectors(text: str, pause: Pause = bool) -> str:
    """Bytes smuggled as variation selectors, as UTF-8. An emoji's own selector decodes to nothing."""
    codes = map(ord, _runs(_SELECTORS, text, pause))
    raw = bytes(code - 0xFE00 if code <= 0xFE0F else code - 0xE0100 + 16 for code in codes)
    return "".join(char for char in raw.decode("utf-8", "ignore") if char.isprintable())


# --- decoded: base64, hex, percent, entities, escapes ---------------------------------------------

_HEX = re.compile(
    r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{16,}(?![0-9A-Za-z])"
    r"|(?<!\S)[0-9A-Fa-f]{2}(?:[ :][0-9A-Fa-f]{2}){5,}(?!\S)"
)
# Digits alone: a card's number has up to 19, a parcel's 22. English of twelve characters seldom comes without a letter.
_NUMBER = 24
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{12,}={0,2}")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,12};")
_ESCAPE = re.compile(r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2})+")


def _decoded(text: str, pause: Pause = bool) -> tuple[str, list[str]]:
    """The text with all encoded runs decoded in place, and which kinds there were."""
    kinds: list[str] = []
    for _ in range(MAX_DEPTH):
        before = text
        for kind, sign, pattern, decode in _DECODERS:
            if sign not in text:
                continue
            changed = _sub(pattern, decode, text, pause)
            if changed != text and len(changed) <= len(text):
                text = changed
                kinds.append(kind)
        if text == before:
            break
    return text, list(dict.fromkeys(kinds))


def _readable(raw: bytes, otherwise: str) -> str:
    """The bytes as text if they look like text that somebody wrote, else what stood there."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return otherwise
    if not "".join(text.split()).isprintable():
        return otherwise
    wordlike = sum(char.isalpha() or char.isspace() for char in text)
    return text if wordlike * 10 >= len(text) * 7 else otherwise


def _from_hex(match: re.Match[str]) -> str:
    digits = match[0].removeprefix("0x").replace(" ", "").replace(":", "")
    if digits.isdigit() and len(digits) < _NUMBER:  # The number of a card or an account.
        return match[0]
    try:
        return _readable(bytes.fromhex(digits), match[0])
    except ValueError:
        return match[0]


def _from_base64(match: re.Match[str]) -> str:
    run = match[0].rstrip("=").replace("-", "+").replace("_", "/")
    run = run[: len(run) - (len(run) % 4 == 1)]
    if _LETTER.search(run) is None:  # An order's number. What is ASCII once decoded has letters.
        return match[0]
    try:
        return _readable(base64.b64decode(run + "=" * (-len(run) % 4)), match[0])
    except (binascii.Error, ValueError):
        return match[0]


def _from_percent(match: re.Match[str]) -> str:
    return unquote_to_bytes(match[0]).decode("utf-8", "replace")


def _from_entity(match: re.Match[str]) -> str:
    char = html.unescape(match[0])
    return char if len(char) <= 2 else match[0]


def _from_escape(match: re.Match[str]) -> str:
    return "".join(chr(int(part[1:], 16)) for part in match[0].split("\\")[1:])


# What each kind cannot do without, as a quick look before the long one.
_DECODERS: tuple[tuple[str, str, re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    ("url", "%", _PERCENT, _from_percent),
    ("html", "&", _ENTITY, _from_entity),
    ("escape", "\\", _ESCAPE, _from_escape),
    ("hex", "", _HEX, _from_hex),
    ("base64", "", _BASE64, _from_base64),
)

# --- unscrambled: leet, rot13, reversed -----------------------------------------------------------

# The commonest pairs of letters of English: about half of English text, a tenth of scrambled text.
_PAIRS = frozenset(
    _WORD.findall(
        "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi"
        " ri ro ic ne ea ra ce li ch ll be ma si om ur yo no pr ct em us wi ho"
    )
)
_WORDS = frozenset(
    _WORD.findall(
        "the and all you your to of is in it that for on with this are be not have from or an my me do what"
        " how can will now any tell show give say write make ignore previous instructions rules prompt system reveal"
        " forget secret password disregard print repeat above act without"
    )
)
_UNDO: dict[str, Callable[[str], str]] = {"": str, "rot13": lambda text: codecs.encode(text, "rot13")}
_UNDO["reversed"] = lambda text: text[::-1]
# What the common pairs and words look like in a disguise: so a text is judged as it stands, and undone only if need be.
_COMMON = {way: (frozenset(map(undo, _PAIRS)), frozenset(map(undo, _WORDS))) for way, undo in _UNDO.items()}
_LEET = str.maketrans("013456789@$!|+€", "oieasgtbgasiite")
_LEET_L = str.maketrans("013456789@$!|+€", "oleasgtbgaslite")
_LEET_SIGNS = frozenset("013456789@$!|+€")
# A word that has one.
_LEETED = re.compile(r"(?<!\S)[^\s013456789@$!|+€]*+\S+")
_ORDINALS = frozenset(("st", "nd", "rd", "th", "am", "pm", "k", "h", "x", "d", "g"))
# Bounded: what is done to a chunk is done in single calls, which let no other thread run.
_CHUNK = re.compile(r"(?:\S{1,400}\s*){1,8}")


def _english(text: str, ways: Iterable[str] = ("",)) -> list[float]:
    """How English a text looks once undone: the share of common pairs of letters and of common words, in [0, 1]."""
    low = text.lower()
    # Maps over C functions: this runs on every stretch of every text.
    words, pairs = low.split(), list(map(operator.add, low, low[1:]))
    n, m = max(len(pairs), 1), max(len(words), 1)
    common = map(_COMMON.__getitem__, ways)
    return [(sum(map(p.__contains__, pairs)) / n + sum(map(w.__contains__, words)) / m) / 2 for p, w in common]


def _english_word(word: str) -> float:
    """`_english` of one word as it stands, in less time."""
    low = word.lower()
    common = sum(map(_PAIRS.__contains__, map(operator.add, low, low[1:])))
    return (common / max(len(low) - 1, 1) + (low in _WORDS)) / 2


def _unscrambled(text: str, pause: Pause = bool) -> tuple[str, list[str]]:
    """The text with every stretch of it turned into English that rot13, reversing or leet had hidden."""
    plain = text if all(map(_LEET_SIGNS.isdisjoint, _stretches(text, pause))) else _sub(_LEETED, _unleet, text, pause)
    used: list[str] = []
    last = ""

    def turn(match: re.Match[str]) -> str:
        nonlocal last
        pause()
        chunk = match[0]
        letters = sum(map(str.isalpha, chunk))
        if not chunk.isascii() or not letters:
            return chunk
        [straight] = _english(chunk)  # Undone, what reads so well would have to read half as well again.
        others = (0.0, 0.0) if straight > 0.4 else _english(chunk, ("rot13", "reversed"))
        score, name = max(zip(others, ("rot13", "reversed"), strict=True))
        # A chunk of few letters proves little; it follows the one before it if it can.
        certain = letters >= 10 and score > max(1.5 * straight, 0.2)
        if not certain and not (letters < 10 and name == last and score > straight):
            last = ""
            return chunk
        last = name
        used.append(name)
        return _UNDO[name](chunk)

    turned = _sub(_CHUNK, turn, plain, pause)
    return turned, ["leet"] * (plain != text) + sorted(set(used))


def _unleet(match: re.Match[str]) -> str:
    word = match[0]
    if _LETTER.search(word) is None:
        return word
    # Digits at the end of a word are a number or a date far more often than letters; signs there are punctuation.
    core = word.rstrip("!|+.,;:?)]}\"'")
    core = core.rstrip("0123456789") if core[-2:].isdigit() else core
    signs, letters = sum(map(_LEET_SIGNS.__contains__, core)), sum(map(str.isalpha, core))
    if not signs or 2 * letters < signs or len(core) > 40 or core.lstrip("0123456789") in _ORDINALS:
        return word
    way, other = core.translate(_LEET), core.translate(_LEET_L)
    gain, own = _english_word(way), _english_word(core)
    if other != way and (better := _english_word(other)) > gain:
        way, gain = other, better
    gain -= own
    return way + word[len(core) :] if gain > 0 or (gain == 0 and letters >= 2 * signs) else word
