"""Personal data in texts, replaced before they are stored. Rules of our own, each linear in the text's length.

| what | rule | becomes |
|---|---|---|
| e-mail | letters, digits and `.+'-` before `@` (also its full-width form and `%40`), a host after it | `[e-mail]` |
| IBAN | country, length and checksum (ISO 13616), with or without spaces and dashes | `[iban]` |
| payment card | 13 to 19 digits that pass Luhn's check (ISO/IEC 7812), whole groups of a run | `[card]` |
| phone | 7 to 15 digits written as phones are: `+`, `00`, `0` or `(` first, or 3-3-4, 3-4 or pairs | `[phone]` |
| other numbers | 8 digits in one piece or 9 in groups: accounts, tax and insurance numbers, IP addresses | `[number]` |

A *run* is digits of any script with at most three spaces, dashes, dots, slashes or brackets between two of them. It is
replaced as a whole, with an expiry date or security code that stands beside a card. Kept are dates, times, prices with
a comma, short numbers and lists of one- and two-digit numbers. Rather too much is replaced than too little. Names and
postal addresses are not found: that takes a language model, not a rule.
"""

import re
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import Any

_MAIL = re.compile(r"(?<![\w.+'-])[\w.+'-]++(?:@|＠|%40)[\w-]++(?:\.[\w-]++)*")
_BETWEEN = " \\t\u00a0\u2000-\u200f\u202f\u2060\ufeff\\-\u2010-\u2015\u2212\uff0d./()"
_RUN = re.compile(rf"\d(?:[{_BETWEEN}]{{0,3}}\d)*+")
_GROUP = re.compile(r"\d+")
_DATE = r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4})"
_DATES = re.compile(rf"{_DATE}(?: ?[-–] ?{_DATE})?(?: \d{{1,2}})?")
_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,29}", re.ASCII)
_PACKED = re.compile(r"[A-Za-z0-9+/_=-]++")

_IBAN_CHARS: dict[int, str] = {
    15: "NO",
    16: "BE",
    18: "DK FK FI FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTH = {country: length for length, names in _IBAN_CHARS.items() for country in names.split()}

_MOST_DIGITS = 40
_MOST_DEPTH = 32
_PACKED_CHARS = 1000
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_FREE = frozenset(("reason", "why", "category", "error"))
_COMMON = frozenset(("role", "content", "type", "text", "name", "tool_calls", "tool_call_id", "function", "arguments"))
_ATOMS = frozenset((int, float, bool, type(None)))


def redact(text: str) -> str:
    """The text with personal data replaced, by the rules above; never raises."""
    if len(text) < 3:
        return text
    if "@" in text or "＠" in text or "%40" in text:
        text = _MAIL.sub("[e-mail]", text)
    return _numbers(text)


def redact_all(value: Any) -> Any:
    """A copy of a JSON value with every string in it redacted, names of fields too.

    Long strings of packed data, such as an image or a voice, become `[data]`, and what is nested deeper than 32
    levels `[nested]`.
    """
    return _walk(value, _kept_text, 0)


def bounded(value: Any) -> Any:
    """A copy of a JSON value, whole but for what is nested deeper than 32 levels."""
    return _walk(value, _same, 0)


def redact_words(value: Any, change: Callable[[str], str] = redact) -> Any:
    """A copy of verdicts or a timeline with their free texts changed: reason, why, category and error.

    Ids, versions and hashes stay as they are.
    """
    if isinstance(value, (list, tuple)):
        return [redact_words(part, change) for part in value]
    if not isinstance(value, Mapping):
        return value
    out = dict(value)
    for name, part in out.items():
        kind = type(part)
        if kind is str:
            if part and name in _FREE:
                out[name] = change(part)
        elif kind not in _ATOMS:
            out[name] = redact_words(part, change)
    return out


def _walk(value: Any, change: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        return change(value)
    if type(value) in _ATOMS or not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth == _MOST_DEPTH:
        return "[nested]"
    if isinstance(value, (list, tuple)):
        return [_walk(part, change, depth + 1) for part in value]
    return {
        name if name in _COMMON else change(str(name)): _walk(part, change, depth + 1) for name, part in value.items()
    }


def _same(text: str) -> str:
    return text


def _kept_text(text: str) -> str:
    if text.startswith("data:") or (len(text) >= _PACKED_CHARS and _PACKED.fullmatch(text)):
        return "[data]"
    return redact(text)


def _numbers(text: str) -> str:
    match = _RUN.search(text)
    if match is None:
        return text
    out: list[str] = []
    done = 0
    while match is not None:
        start, end = match.span()
        what = ""
        if start - done >= 2 and text[start - 2 : start].upper() in _IBAN_LENGTH:
            length = _iban_at(text, start - 2)
            if length:
                start, end, what = start - 2, start - 2 + length, "[iban]"
        if not what and end - start >= 7:
            first = start
            while start > done and first - start < 2 and text[start - 1] in "+＋(":
                start -= 1
            what = _kind(text[start:end])
        if what:
            out += (text[done:start], what)
            done = end
        match = _RUN.search(text, end)
    out.append(text[done:])
    return "".join(out)


def _iban_at(text: str, start: int) -> int:
    """How many characters from `start` are an IBAN, 0 where they are none."""
    match = _IBAN.match(text, start)
    if match is None or (start and text[start - 1].isalnum()):
        return 0
    length = _IBAN_LENGTH[match[0][:2].upper()]
    chars = [(at, char) for at, char in enumerate(match[0]) if char.isalnum()][:length]
    if len(chars) < length:
        return 0
    turned = (*chars[4:], *chars[:4])
    if int("".join(str(int(char, 36)) for _, char in turned)) % 97 != 1:
        return 0
    return chars[-1][0] + 1


def _kind(run: str) -> str:
    """What a run of digits becomes, empty where it stays."""
    groups: list[str] = _GROUP.findall(run)
    digits = "".join(groups)
    count = len(digits)
    if count < 7 or _DATES.fullmatch(run):
        return ""
    if count > _MOST_DIGITS:
        return "[number]"
    sizes = [len(group) for group in groups]
    if _has_card(digits, sizes):
        return "[card]"
    if _is_phone(run, digits, sizes):
        return "[phone]"
    return "[number]" if max(sizes) >= 8 or (count >= 9 and max(sizes) > 2) else ""


def _has_card(digits: str, sizes: list[int]) -> bool:
    """Whether whole neighbouring groups are 13 to 19 digits that pass Luhn's check."""
    if len(digits) < 13:
        return False
    # Luhn's sum of any piece is a difference of two running sums; which two depends on where the piece ends.
    values = [int(char) for char in digits]
    odd, even = [0], [0]
    for at, value in enumerate(values):
        odd.append(odd[-1] + (_DOUBLED[value] if at % 2 else value))
        even.append(even[-1] + (value if at % 2 else _DOUBLED[value]))
    edges = [0, *accumulate(sizes)]
    for at, start in enumerate(edges):
        for end in edges[at + 1 : at + 20]:
            if 13 <= end - start <= 19:
                sums = odd if end % 2 else even
                if sums[end] - sums[start] and (sums[end] - sums[start]) % 10 == 0:
                    return True
    return False


def _is_phone(run: str, digits: str, sizes: list[int]) -> bool:
    count = len(digits)
    if run[0] in "+＋" or run[:2] == "(+":
        return count <= 15
    if digits.startswith("00"):
        return 9 <= count <= 17
    if count > 15:
        return False
    if run[0] in "0(" or int(digits[0]) == 0:
        return count >= 8
    if sizes[-3:] == [3, 3, 4] or (sizes == [3, 4] and " " not in run):
        return True
    # Pairs or triples, as in 612 34 56 78; lists of short numbers are not, and thousands are 1.234.567.
    return len(sizes) >= 4 and count >= 9 and sizes[0] in (2, 3) and all(a >= b == 2 for a, b in pairwise(sizes))
