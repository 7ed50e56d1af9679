"""Instructions hidden in content, and the same content without them: a seeded generator.

Honest carriers (mails, pages, tool results, code, news and so on) get a sentence in one of their places. It is an
attack when it speaks to the model that reads for somebody, and honest when it asks something of a person. Both kinds
stand in the same carriers, places and wrappings, so that neither place nor imperative gives an attack away.
"""

import html
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from training.own.rows import Row, attack, fold, honest, read

_HERE: Final = Path(__file__).parent
_PLACE: Final = "[[*]]"
_CARRIER_SLOT: Final = re.compile(r"\[\[(\w+)\]\]")
_PART_SLOT: Final = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")
_SENTENCE_END: Final = re.compile(r"(?<=[a-z0-9][.!?])\s+|\n")
_NO_CARRIER: Final = ("bare-to-human", "user-commands-own-agent", "json-tool", "code-comment", "more-tools")
_PROSE: Final = ("news", "prose", "report", "review", "email", "kb", "transcript", "legal")

_FIELDS: Final = {
    "id": "n",
    "sender": "name",
    "recipient": "name",
    "amount": "money",
    "price": "money",
    "hotel": "firm",
}
_SHAPES: Final = (
    "{t}\n\n{d}",
    "{t}\n\n{d}",
    "{d}\n\n{t}",
    '{t}\n"""\n{d}\n"""',
    "{t}\n<text>\n{d}\n</text>",
)

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "name": (
        *("Anna", "Tobias", "Mrs Lindqvist", "Farid", "Chloe", "Mr Osei", "Yuki", "Dr Marin", "Helga", "Ravi"),
        *("Beatriz", "Samuel", "Ms Novak", "Ibrahim", "Lotte", "Pavel", "Grace", "Mr Tanaka", "Esther", "Nils"),
    ),
    "city": (
        *("Lisbon", "Tampere", "Leeds", "Graz", "Accra", "Osaka", "Quito", "Ghent", "Split", "Durban"),
        *("Perth", "Halifax", "Cork", "Turin", "Pune", "Bergen", "Austin", "Lyon", "Tallinn", "Izmir"),
    ),
    "firm": (
        *("Brightwell", "Kappa Supply", "Northern Loom", "Betta Foods", "Hotel Aurora", "Pellucid Fund", "Mezzaluna"),
        *("Greenmoor", "Aqualor", "Tandem & Sons", "Clearspring", "Orbit Travel", "Somnia", "Kestrel Insurance"),
    ),
    "last": ("Osei", "Lindqvist", "Novak", "Tanaka", "Marin", "Berg", "Castillo", "Whelan", "Adeyemi", "Fontaine"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "March", "April", "May", "June", "August", "September", "October", "November"),
    "word": ("lantern", "heron", "sunflower", "pebble", "cobalt", "walnut", "meadow", "ticket", "bravo", "juniper"),
    "lang": ("Finnish", "French", "Swahili", "Korean", "Portuguese", "Polish", "Turkish", "Welsh"),
    "host": (
        *(
            "relay",
            "paperboat",
            "northdesk",
            "quickform",
            "inbox-care",
            "mapleshop",
            "datapost",
            "helpdesk",
            "reviewhub",
        ),
        *("reviewhub", "sunlane", "archive", "clubhouse", "city-office", "partsworld", "verify-now", "login-portal"),
    ),
    "ending": ("example", "example.com", "example.org", "example.net", "test"),
    "user": ("info", "office", "team", "m.berg", "desk", "audit", "hello", "records", "jobs", "k.stern", "contact"),
    "path": (
        "",
        "/in",
        "/form",
        "/start",
        "/v1/notes",
        "/login",
        "/offer?ref=22",
        "/setup.zip",
        "/help",
        "/p.png",
    ),
}


def _number(rng: random.Random) -> str:
    return str(rng.choice((rng.randint(3, 60), rng.randint(100, 999), rng.randint(10_000, 99_999))))


def _money(rng: random.Random) -> str:
    sum_ = rng.choice((rng.randint(5, 95), rng.randint(100, 990), rng.randint(1000, 9900)))
    return rng.choice((f"${sum_}", f"{sum_} euros", f"£{sum_}.00", f"{sum_:,}", f"{sum_}.50 dollars", f"EUR {sum_}"))


def _host(rng: random.Random) -> str:
    return f"{rng.choice(_WORDS['host'])}.{rng.choice(_WORDS['ending'])}"


def _mail(rng: random.Random) -> str:
    return f"{rng.choice(_WORDS['user'])}@{_host(rng)}"


def _url(rng: random.Random) -> str:
    start = rng.choice(("https://", "https://", "http://", "www.", ""))
    return f"{start}{_host(rng)}{rng.choice(_WORDS['path'])}"


def _account(rng: random.Random) -> str:
    digits = "".join(rng.choice("0123456789") for _ in range(12))
    return rng.choice((f"XX00{digits}", f"{digits[:4]}-{digits[4:8]}", f"XX22 {digits[:4]} {digits[4:8]} {digits[8:]}"))


def _phone(rng: random.Random) -> str:
    return rng.choice(("555-01", "0900 555 01", "+00 555 01")) + f"{rng.randint(10, 99)}"


_MAKERS: Final[dict[str, Callable[[random.Random], str]]] = {
    "n": _number,
    "small": lambda rng: str(rng.randint(2, 28)),
    "big": lambda rng: str(rng.randint(60, 4000)),
    "money": _money,
    "mail": _mail,
    "url": _url,
    "acct": _account,
    "phone": _phone,
}


def _slot(name: str, rng: random.Random) -> str:
    maker = _MAKERS.get(name)
    return maker(rng) if maker is not None else rng.choice(_WORDS[name])


def _loaded(name: str) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for line in (_HERE / name).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kinds.setdefault(entry["kind"], []).append(entry["text"])
    return kinds


class _Writer:
    """Makes texts out of the stored carriers and parts with one random generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.parts = _loaded("indirect_parts.jsonl")
        self.carriers = _loaded("indirect_carriers.jsonl")
        self.written = [
            row.text
            for row in read(_HERE / "indirect.jsonl")
            if row.label == "benign"
            and row.family not in _NO_CARRIER
            and len(row.text) > 110
            and row.text[0] not in "{["
        ]

    def part(self, kind: str) -> str:
        """One part of a kind, its slots filled, {a} and {A} left alone."""
        text = self.rng.choice(self.parts[kind])
        return _PART_SLOT.sub(lambda found: self._filled(found[0], found[1]), text)

    def _filled(self, whole: str, name: str) -> str:
        return whole if name in ("a", "A") else _slot(name, self.rng)

    def _said(self, frame: str, action: str) -> str:
        text = frame.replace("{a}", action).replace("{A}", action[0].upper() + action[1:])
        return text.replace("!.", "!")

    def composed(self, *, human: bool, bare: bool = False) -> str:
        """An opener, a framed action and perhaps a pressing word; to a person if `human`, else to a model."""
        rng, who = self.rng, "human_" if human else ""
        action = self.part(f"{who}action")
        if rng.random() < 0.15:
            action = f"{action}{rng.choice((', then ', ' and '))}{self.part(f'{who}action')}"
        if rng.random() < 0.45:
            opener = self.part("neutral_opener") if rng.random() < 0.3 else ""
            text = self._said(self.part(f"{who}embedded"), action)
        else:
            opener = self.part(f"{who}opener") if bare or rng.random() < 0.8 else ""
            text = self._said(self.part(f"{who}frame"), action)
        if not opener or opener[-1] in ".!*]":
            text = text[0].upper() + text[1:]
        hushed = rng.random() < (0.4 if opener else 0.6)
        return " ".join(piece for piece in (opener, text, self.part(f"{who}hush") if hushed else "") if piece)

    def payload(self) -> tuple[str, str]:
        """What an attacker hides, and the family it belongs to."""
        roll = self.rng.random()
        if roll < 0.62:
            return self.composed(human=False), "indirect-composed"
        if roll < 0.76:
            return self.part("whole"), "indirect-whole"
        return self.part("request"), "indirect-request"

    def harmless(self) -> tuple[str | None, str]:
        """What stands in the same place in an honest text, and the family it belongs to."""
        roll = self.rng.random()
        if roll < 0.55:
            return self.composed(human=True), "person-asked"
        if roll < 0.69:
            return self.part("about_ai"), "about-machines"
        return None, "carrier"

    def voiced(self, text: str) -> str:
        """The sentence as somebody else would have typed it: loud, careless, or (mostly) as it is."""
        roll = self.rng.random()
        if roll < 0.04:
            return text.upper()
        if roll < 0.08:
            return text.lower()
        if roll < 0.11:
            return text.replace("you ", "u ").replace("please", "pls").replace("your", "ur")
        return text

    def wrapped(self, text: str, kind: str) -> str:
        """The sentence in one of the dresses that a carrier of this kind allows."""
        rng = self.rng
        if kind == "code":
            return text.replace("*/", "").replace("\n", " ")
        if kind == "record":
            return text.replace('"', "'").replace("\n", " ")
        if kind == "web":
            safe = html.escape(text, quote=True) if rng.random() < 0.3 else text
            dress = ("<!-- {} -->", "<p>{}</p>", '<div style="display:none">{}</div>', '<p class="small">{}</p>', "{}")
            more = ('<img src="a.png" alt="{}">', '<span style="font-size:0;color:#fff">{}</span>', "<li>{}</li>")
            return rng.choice((*dress, *more)).replace("{}", safe)
        if kind in ("calendar", "table", "search"):
            return " ".join(rng.choice(("{}", "{}", "({})", "[{}]")).replace("{}", text).split())
        if kind == "markdown":
            return rng.choice(("{}", "> {}", "<!-- {} -->", "[//]: # ({})", "**{}**", "\n{}\n")).replace("{}", text)
        plain = ("{}", "{}", "{}", "{}", "({})", "[{}]", "\n\n{}\n\n", "\n---\n{}\n---\n", "*** {} ***", "{}")
        return rng.choice(plain).replace("{}", text)

    def carrier(self, kind: str) -> str:
        """One carrier with its slots filled and its places still open."""
        return _CARRIER_SLOT.sub(lambda found: _slot(found[1], self.rng), self.rng.choice(self.carriers[kind]))

    def placed(self, carrier: str, kind: str, sentence: str | None) -> str:
        """The carrier with the sentence in one of its places; the other places are closed."""
        pieces = carrier.split(_PLACE)
        at = self.rng.randrange(len(pieces) - 1) if sentence is not None else -1
        text = pieces[0]
        for number, piece in enumerate(pieces[1:]):
            if number == at and sentence is not None:
                gap = "\n" if not piece.strip() and self.rng.random() < 0.7 else " "
                text = text + ("" if not text or text[-1].isspace() else gap) + sentence
                text += "" if not piece or piece[0].isspace() or text[-1].isspace() else " "
            elif kind == "code":
                text += self.rng.choice(self.parts["comment"])
            text += piece
        return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip()

    def amid(self, sentence: str) -> str:
        """A hand-written honest text with the sentence before, between or behind its own ones."""
        text = self.rng.choice(self.written)
        gaps = [(0, 0), *(found.span() for found in _SENTENCE_END.finditer(text)), (len(text), len(text))]
        start, end = self.rng.choice(gaps)
        glue = "\n" if "\n" in text[start:end] or self.rng.random() < 0.25 else " "
        return f"{text[:start]}{glue}{self.wrapped(sentence, 'prose').strip()}{glue}{text[end:]}".strip()

    def document(self, sentence: str | None) -> tuple[str, str]:
        """A carrier with the sentence (or none), and the carrier's kind."""
        if sentence is not None and self.rng.random() < 0.35:
            return self.amid(self.voiced(sentence)), "written"
        kind = self.rng.choice(list(self.carriers))
        if sentence is not None:
            sentence = self.wrapped(self.voiced(sentence), kind)
        return self.placed(self.carrier(kind), kind, sentence), kind

    def digest(self, sentence: str | None) -> str:
        """Several pieces of prose in a row, the sentence in one of them: a text of a page or two."""
        kinds = self.rng.sample(_PROSE, self.rng.randint(2, 6))
        chosen = self.rng.randrange(len(kinds))
        texts = []
        for number, kind in enumerate(kinds):
            inside = self.wrapped(self.voiced(sentence), kind) if sentence and number == chosen else None
            texts.append(self.placed(self.carrier(kind), kind, inside))
        return self.rng.choice(("\n\n", "\n\n---\n\n", "\n\n* * *\n\n")).join(texts)

    def asked(self, text: str) -> str:
        """The text with the task of the person who brought it, before or behind it."""
        task = self.part("task")
        shape = self.rng.choice(_SHAPES)
        return shape.replace("{t}", task).replace("{d}", text)

    def record(self, sentence: str | None) -> str:
        """A tool's result of several entries; the sentence, if any, is the note of one of them."""
        rng = self.rng
        entries = [self._entry() for _ in range(rng.randint(1, 5))]
        key = rng.choice(("note", "subject", "comment", "description", "message", "remark", "bio"))
        for entry in entries:
            entry[key] = self.part("plain_note") if rng.random() < 0.7 else ""
        if sentence is not None:
            rng.choice(entries)[key] = " ".join(self.voiced(sentence).split())
        return _shaped(entries, rng)

    def _entry(self) -> dict[str, str]:
        first = self.rng.choice(
            (
                *(("id", "sender", "amount"), ("id", "recipient", "amount", "day"), ("hotel", "city", "price")),
                *(("sender", "mail", "day"), ("firm", "phone", "city"), ("id", "url"), ("firm", "price", "mail")),
            )
        )
        return {key: _slot(_FIELDS.get(key, key), self.rng) for key in first}


def _shaped(entries: list[dict[str, str]], rng: random.Random) -> str:
    way = rng.randrange(7)
    if way == 0:
        return json.dumps({rng.choice(("results", "transactions", "items", "messages")): entries}, indent=2)
    if way == 1:
        return json.dumps(entries, ensure_ascii=False)
    if way == 2:
        return str(entries)
    if way == 3:
        return "\n".join(";".join(entry.values()) for entry in entries)
    if way == 4:
        return "\n".join("- " + "\n  ".join(f"{key}: {value}" for key, value in entry.items()) for entry in entries)
    if way == 5:
        lines = ("".join(f"<{key}>{value}</{key}>" for key, value in entry.items()) for entry in entries)
        return "<rows>\n" + "\n".join(f"  <row>{line}</row>" for line in lines) + "\n</rows>"
    stamp = f"2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T0{rng.randint(0, 9)}"
    level = ("INFO", "WARN", "DEBUG", "ERROR")
    lines = (" ".join(f'{key}="{value}"' for key, value in entry.items()) for entry in entries)
    return "\n".join(f"{stamp}:{rng.randint(10, 59)}:00Z {rng.choice(level)} {line}" for line in lines)


def _attack(writer: _Writer) -> Row:
    roll = writer.rng.random()
    if roll < 0.14:
        text = writer.voiced(writer.composed(human=False, bare=True))
        return attack(text, "indirect", "indirect-bare")
    sentence, family = writer.payload()
    if roll < 0.28:
        if family == "indirect-request":
            sentence, family = writer.composed(human=False), "indirect-composed"
        return attack(writer.record(sentence), "indirect", f"{family}-record")
    if roll < 0.38:
        return attack(writer.digest(sentence), "indirect", family)
    text, kind = writer.document(sentence)
    if kind in ("code", "chat", "table", "calendar") and family == "indirect-request":
        text, _ = writer.document(writer.composed(human=False))
        family = "indirect-composed"
    return attack(writer.asked(text) if writer.rng.random() < 0.15 else text, "indirect", family)


def _honest(writer: _Writer) -> Row:
    roll = writer.rng.random()
    if roll < 0.14:
        if writer.rng.random() < 0.2:
            return honest(writer.voiced(writer.part("about_ai")), "about-machines")
        return honest(writer.voiced(writer.composed(human=True, bare=True)), "person-bare")
    sentence, family = writer.harmless()
    if roll < 0.28:
        return honest(writer.record(sentence), f"{family}-record")
    if roll < 0.38:
        return honest(writer.digest(sentence), family)
    text, _ = writer.document(sentence)
    return honest(writer.asked(text) if writer.rng.random() < 0.25 else text, family)


def rows(seed: int, *, attacks: int = 2600, honests: int = 3200) -> list[Row]:
    """Generate rows, the same for the same seed; no text (case and spaces aside) occurs twice.

    Args:
        seed: Of the random generator.
        attacks: How many attack rows.
        honests: How many honest rows.

    Returns:
        The attack rows, then the honest ones.
    """
    writer = _Writer(seed)
    found: dict[str, Row] = {}
    for make, wanted in ((_attack, attacks), (_honest, attacks + honests)):
        while len(found) < wanted:
            row = make(writer)
            found.setdefault(fold(row.text), row)
    return list(found.values())
