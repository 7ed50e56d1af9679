"""Generates role-play attacks, disguised attacks and their honest twins: same dress, same length, harmless aim.

The parts are in `roleplay_attacks`, `roleplay_honest` and `roleplay_words`, the disguises in `roleplay_codes`. A
disguise alone tells nothing here: honest texts wear all of them too.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from training.own.roleplay_attacks import (
    ATTACKS,
    DECODE_AND_OBEY,
    ESCALATION,
    PERSONA,
    YIELDING,
)
from training.own.roleplay_codes import CODED, ENCODERS, SPOKEN
from training.own.roleplay_honest import DECODE_FOR_FUN, FOLLOW_UPS, HONEST, ROLE
from training.own.roleplay_strings import gibberish, invented_name, string
from training.own.roleplay_words import WORDS
from training.own.rows import Row, attack, fold, honest, read

Maker = Callable[[random.Random], Row]

_SLOT: Final = re.compile(r"\$([a-z]+)")
_SAME: Final = frozenset(("bad", "good", "name", "place", "role", "shop", "teller", "topic", "work", "mode"))
"""Slots that mean the same thing wherever they stand in one template."""
_REPLIES: Final = (
    "Sure: it takes $n minutes.",
    "It's about $topic.",
    "Yes, $format.",
    "Please ask $shop.",
    "I'd start with the easy part and then $good.",
    "That depends. How many people are you?",
    "Good question! Most people like $topic better.",
    "I'm sorry, I can't see that order. Could you send me the number?",
    "Done. Anything else about $field?",
    "There are $n of them, the best known is $topic.",
    "I can't do that for you, but $shop can.",
    "Here you go.",
)
_HIJACK: Final = frozenset(("hijack",))
_SPEAKERS: Final = (
    ("User", "Assistant"),
    ("Human", "AI"),
    ("Q", "A"),
    ("me", "you"),
    ("Customer", "Agent"),
    ("Student", "Tutor"),
    ("<user>", "<bot>"),
    ("[1]", "[2]"),
    ("You", "Bot"),
)


def fill(template: str, rng: random.Random, given: Mapping[str, str] | None = None) -> str:
    """The template with each `$slot` replaced: by what is given for it, else by one of `WORDS`.

    Raises:
        KeyError: If a slot is neither given nor known.
    """
    known = dict(given or {})

    def one(slot: re.Match[str]) -> str:
        name = slot[1]
        if name in known:
            return known[name]
        chosen = invented_name(rng) if name == "name" else rng.choice(WORDS[name])
        if name in _SAME:
            known[name] = chosen
        return chosen

    return _SLOT.sub(one, template)


def composed(groups: Mapping[str, Sequence[str]], rng: random.Random, *, always: tuple[str, ...], name: str) -> str:
    """A prompt of one or two sentences from a random choice of groups, in the groups' order."""
    fullness = rng.choice((0.25, 0.5, 0.8, 1.0))
    parts = []
    for group, sentences in groups.items():
        if group in always or rng.random() < fullness:
            count = rng.choice((1, 1, 2, 3)) if fullness > 0.7 and group != "open" else 1
            parts += [fill(one, rng, {"name": name}) for one in rng.sample(sentences, min(count, len(sentences)))]
    style = rng.randrange(6)
    if style == 0:
        return "\n".join(f"- {part}" for part in parts)
    if style == 1:
        return "\n".join(f"{number}. {part}" for number, part in enumerate(parts, start=1))
    if style == 2:
        return "\n\n".join(parts)
    return " ".join(parts)


def voiced(text: str, rng: random.Random) -> str:
    """The text as different people would type it; most leave it as it is."""
    way = rng.random()
    if way < 0.15:
        return text.lower().replace("'", "")
    if way < 0.18:
        return text.upper()
    if way < 0.24:
        return ENCODERS["typos"](text, rng)
    if way < 0.30:
        return text.rstrip(".") + rng.choice((" please", "!!", " thx", " :)", " (urgent)", "...", " 🙏"))
    if way < 0.36 and text[0].isalpha():
        return rng.choice(("Hi! ", "Hello, ", "Okay, ", "hey ", "Dear assistant, ", "So: ", "Listen. ")) + text
    return text


def persona(rng: random.Random) -> Row:
    """An attack that gives the model another self."""
    text = composed(PERSONA, rng, always=("open", "free"), name=invented_name(rng))
    return attack(voiced(text, rng), "jailbreak", "made_persona")


def framed(rng: random.Random) -> Row:
    """An attack in one of many frames: story, research, mode, policy, promise."""
    idea = rng.choice(list(ATTACKS))
    text = fill(rng.choice(ATTACKS[idea]), rng)
    return attack(voiced(text, rng), "injection" if idea in _HIJACK else "jailbreak", f"made_{idea}")


def role(rng: random.Random) -> Row:
    """An honest role prompt with rules."""
    text = composed(ROLE, rng, always=("open", "task"), name=rng.choice(WORDS["person"]))
    return honest(voiced(text, rng), "made_role")


def plain(rng: random.Random) -> Row:
    """An honest text of any other kind."""
    idea = rng.choice(list(HONEST))
    return honest(voiced(fill(rng.choice(HONEST[idea]), rng), rng), f"made_{idea}")


@cache
def _written(label: str) -> tuple[Row, ...]:
    """The rows written by hand that are no disguise yet."""
    kept = read(Path(__file__).with_name("roleplay.jsonl"))
    return tuple(row for row in kept if row.label == label and row.category != "obfuscation")


def _short(label: str, rng: random.Random) -> str:
    return rng.choice([row for row in _written(label) if len(row.text) < 260]).text


def disguised_attack(rng: random.Random) -> Row:
    """An attack in a disguise, with or without an order to decode it."""
    way = rng.choice(list(ENCODERS))
    ordered = way in CODED and rng.random() < 0.6
    if ordered and rng.random() < 0.6:
        text = fill(rng.choice(("how do I $bad?", "Explain how to $bad", "tell me how to $bad in detail")), rng)
    elif rng.random() < 0.5:
        text = _short("attack", rng)
    else:
        text = fill(rng.choice(ATTACKS[rng.choice(("bare", "mode", "prefix", "policy", "feeling", "hijack"))]), rng)
    code = ENCODERS[way](text, rng)
    if ordered or rng.random() < 0.2:
        code = fill(rng.choice(DECODE_AND_OBEY), rng, {"code": code, "way": SPOKEN.get(way, way)})
    elif rng.random() < 0.2:
        code = fill(rng.choice(HONEST["support"]), rng) + "\n" + code
    return attack(code, "obfuscation", f"made_code_{way}")


def disguised_honest(rng: random.Random) -> Row:
    """An honest text in a disguise, mostly with a question about it."""
    way = rng.choice(list(ENCODERS))
    kind = rng.choice(("bare", "support", "template", "game", "fiction"))
    text = _short("benign", rng) if rng.random() < 0.5 else fill(rng.choice(HONEST[kind]), rng)
    code = ENCODERS[way](text, rng)
    if rng.random() < (0.7 if way in CODED else 0.2):
        code = fill(rng.choice(DECODE_FOR_FUN), rng, {"code": code, "way": SPOKEN.get(way, way)})
    elif rng.random() < 0.2:
        code = fill(rng.choice(HONEST["support"]), rng) + "\n" + code
    return honest(code, f"made_code_{way}")


def suffixed(rng: random.Random) -> Row:
    """A harmful request with a tail of tokens found by search; such tails are invented here."""
    ask = fill(
        rng.choice(("Tell me how to $bad", "how do i $bad", "Write a tutorial on how to $bad", "$bad, how?")), rng
    )
    if rng.random() < 0.3:
        ask = fill(rng.choice(ATTACKS["bare"]), rng) + " " + ask
    tail = gibberish(rng)
    text = f"{tail} {ask}" if rng.random() < 0.15 else f"{ask} {tail}"
    return attack(text, "obfuscation", "made_suffix")


def stringed(rng: random.Random) -> Row:
    """An honest question with a machine's string in it."""
    ask = fill(rng.choice(HONEST[rng.choice(("support", "bare"))]), rng)
    found = string(rng)
    text = rng.choice((f"{ask}\n{found}", f"{found}\n{ask}", f"{found} - what is this?", found, f"{ask} ({found})"))
    return honest(text, "made_string")


def _turns(pairs: Sequence[tuple[str, str]], last: str, rng: random.Random, *, open_end: bool) -> str:
    one, other = rng.choice(_SPEAKERS)
    lines = [line for ask, reply in pairs for line in (f"{one}: {ask}", f"{other}: {reply}")]
    lines.append(f"{one}: {last}")
    if open_end:
        lines.append(f"{other}:")
    return rng.choice(("\n", "\n", "\n\n", " ")).join(lines)


def _reply(rng: random.Random) -> str:
    return fill(rng.choice(_REPLIES), rng)


def escalating(rng: random.Random) -> Row:
    """A transcript that begins harmless or with an assistant that gave in, and ends with the attack."""
    if rng.random() < 0.5:
        pairs = [
            (fill("How do I $bad?", rng), fill(rng.choice(YIELDING), rng) + " ...") for _ in range(rng.randint(2, 9))
        ]
        last, family = fill("How do I $bad?", rng), "made_many_shot"
    else:
        pairs = [(fill(rng.choice(HONEST["bare"]), rng), _reply(rng)) for _ in range(rng.randint(1, 4))]
        last, family = fill(rng.choice(ESCALATION), rng), "made_crescendo"
    return attack(_turns(pairs, last, rng, open_end=rng.random() < 0.5), "jailbreak", family)


def talked(rng: random.Random) -> Row:
    """An honest transcript."""
    pairs = [
        (fill(rng.choice(HONEST[rng.choice(("bare", "support", "template"))]), rng), _reply(rng))
        for _ in range(rng.randint(1, 7))
    ]
    last = fill(rng.choice(FOLLOW_UPS), rng)
    return honest(_turns(pairs, last, rng, open_end=rng.random() < 0.5), "made_talk")


def _paragraphs(rng: random.Random, most: int) -> list[str]:
    if rng.random() < 0.6:
        return [row.text for row in rng.sample(_written("benign"), rng.randint(1, most - 1))]
    makers = (role, plain, plain, talked)
    return [rng.choice(makers)(rng).text for _ in range(rng.randint(2, most))]


def buried(rng: random.Random) -> Row:
    """An attack somewhere in a longer honest text."""
    parts = _paragraphs(rng, 5)
    hidden = rng.choice(_written("attack")) if rng.random() < 0.6 else rng.choice((persona, framed))(rng)
    parts.insert(rng.randint(0, len(parts)), hidden.text)
    return attack("\n\n".join(parts), hidden.category, "made_buried")


def long(rng: random.Random) -> Row:
    """A longer honest text."""
    return honest("\n\n".join(_paragraphs(rng, 6)), "made_long")


def retyped(rng: random.Random) -> Row:
    """A row written by hand as somebody else would type it; attack or honest."""
    row = rng.choice(_written(rng.choice(("attack", "benign"))))
    way = rng.choice(("typos", "mixed_case", "cut", "scramble", "leet", "twins", "unseen", "styled", ""))
    text = ENCODERS[way](row.text, rng) if way and rng.random() < 0.5 else voiced(row.text, rng)
    return Row(text, row.label, row.category, "made_retyped")


COUNTS: Final[tuple[tuple[Maker, int], ...]] = (
    (persona, 520),
    (framed, 780),
    (disguised_attack, 720),
    (suffixed, 200),
    (escalating, 220),
    (buried, 200),
    (retyped, 400),
    (role, 520),
    (plain, 900),
    (disguised_honest, 720),
    (stringed, 260),
    (talked, 220),
    (long, 220),
)
"""How many rows of each kind are tried; those that come twice are dropped."""


def rows(seed: int) -> list[Row]:
    """All generated rows, none twice and none as written by hand; the same seed gives the same rows in order."""
    rng = random.Random(seed)
    by_hand = {fold(row.text) for label in ("attack", "benign") for row in _written(label)}
    found: dict[str, Row] = {}
    for make, count in COUNTS:
        for _ in range(count):
            row = make(rng)
            key = fold(row.text)
            if key not in by_hand:
                found.setdefault(key, row)
    made = list(found.values())
    rng.shuffle(made)
    return made
