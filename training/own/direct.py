"""Writes further rows on direct attacks: `direct_grammar.jsonl` expanded, and `direct.jsonl` recombined.

A root of the grammar is a family; its category says whether it is an attack. Everything that only changes the surface
(typing, cipher, place in a longer message) is done to honest texts as well, so that it tells nothing by itself.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from training.own.disguises import CIPHERS
from training.own.rows import HONEST_CATEGORY, Row, attack, fold, honest, read

HERE: Final = Path(__file__).parent
SLOT: Final = re.compile(r"‹(\w+)›")
QUESTION: Final = re.compile(
    r"(^|[.?!:] |\n)((?:who|how do|how does|where|is it|is th\w+|could|can|do i|may i|when will)\b[^.?!\n]*)\.(?=\s|$)",
    re.IGNORECASE,
)
AFTER_COMMA: Final = re.compile(
    r"(?<=, )(?:The|This|That|There|It|It's|You|Your|You're|We|We're|My|No|Do|Don't|Above|Write|Explain|Tell|Give|Say|"
    r"Start|Imagine|Suppose|Think|Let's|Turn|Delete|Begin|What|Whatever|Complete|Continue|Repeat|Refusing|Everyone|"
    r"Nobody|Other|If|Spare|Keep|Answer|Only|Print|Reply|Send|Show|Confirm|Put|Read|Carry|Describe|Teach)\b"
)
DEPTH: Final = 12
TRIES: Final = 40


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name of the grammar with its options; a root also says what its texts are and how many are wanted."""

    options: tuple[str, ...]
    category: str = ""
    count: int = 0


@cache
def grammar() -> dict[str, Symbol]:
    """Give all symbols by name. Roots carry a category."""
    found: dict[str, Symbol] = {}
    for line in filter(None, (HERE / "direct_grammar.jsonl").read_text("utf-8").split("\n")):
        raw = json.loads(line)
        key = f"root:{raw['name']}" if "category" in raw else raw["name"]
        found[key] = Symbol(tuple(raw["options"]), raw.get("category", ""), raw.get("count", 0))
    return found


@cache
def written() -> tuple[Row, ...]:
    """Give the rows written by hand."""
    return tuple(read(HERE / "direct.jsonl"))


def expand(template: str, rng: random.Random) -> str:
    """Replace every ‹name› by one of its options until none is left.

    Raises:
        ValueError: If the grammar goes round in circles.
    """
    symbols = grammar()
    for _ in range(DEPTH):
        if not SLOT.search(template):
            return tidy(template, rng)
        template = SLOT.sub(lambda found: rng.choice(symbols[found[1]].options), template)
    raise ValueError("the grammar goes round in circles")


def tidy(text: str, rng: random.Random) -> str:
    """Mend the seams between parts, and mostly write sentences with a capital."""
    text = re.sub(r"(?<!\.)([?!.:,])[.,](?=\s|$)", r"\1", text)
    text = re.sub(r"(,)( \1)+", r"\1", text)
    text = re.sub(r" +([,.;?])(?=\s|$)", r"\1", text)
    text = re.sub(r" {2,}", " ", text).strip()
    text = QUESTION.sub(r"\1\2?", text)
    text = AFTER_COMMA.sub(lambda found: found[0].lower(), text)
    if rng.random() < 0.8 and "{" not in text and "<" not in text:
        text = re.sub(r"(^|[.?!] +)([a-z])(?=[a-z]*[ ,'])", lambda found: found[1] + found[2].upper(), text)
    return text


def lower(text: str, rng: random.Random) -> str:
    """All in lower case, sometimes without full stops."""
    text = text.lower()
    return text.replace(". ", " ").rstrip(".") if rng.random() < 0.5 else text


def typos(text: str, rng: random.Random) -> str:
    """Swap, drop or double a letter in some of the longer words."""
    words = text.split(" ")
    for at, word in enumerate(words):
        if len(word) < 4 or not word.isalpha() or rng.random() > 0.2:
            continue
        spot = rng.randrange(1, len(word) - 1)
        swapped = word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :]
        words[at] = rng.choice([swapped, word[:spot] + word[spot + 1 :], word[:spot] + word[spot] + word[spot:]])
    return " ".join(words)


CHAT_WORDS: Final = {
    "you": "u", "your": "ur", "are": "r", "please": "pls", "you're": "ur", "because": "cuz", "with": "w", "and": "n",
    "thanks": "thx", "to": "2", "for": "4", "people": "ppl", "want": "wanna", "going": "gonna", "know": "kno",
}  # fmt: skip


def chatty(text: str, rng: random.Random) -> str:
    """Write some words as in a text message."""
    words = text.lower().split(" ")
    return " ".join(CHAT_WORDS.get(word, word) if rng.random() < 0.7 else word for word in words)


def broken(text: str, rng: random.Random) -> str:
    """Write like a learner: articles and forms of "to be" go missing."""
    return " ".join(
        word for word in text.split(" ") if word not in {"the", "a", "an", "is", "are", "that"} or rng.random() < 0.3
    )


def loud(text: str, rng: random.Random) -> str:
    """Shout."""
    return text.upper().rstrip(".") + "!" * rng.randrange(1, 4)


def wrapped(text: str, rng: random.Random) -> str:
    """Break the lines as an old mail program does, or quote them."""
    words, lines, width = text.split(" "), [""], rng.randrange(30, 70)
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return ("\n> " if rng.random() < 0.3 else "\n").join(lines)


STYLES: Final[tuple[Callable[[str, random.Random], str], ...]] = (
    lower, lower, lower, typos, typos, chatty, broken, loud, wrapped,
)  # fmt: skip


def styled(text: str, rng: random.Random) -> str:
    """Give a third of the texts another way of typing, but no code and no markup."""
    plain = not set(text) & set("\n{}<>=`")
    return rng.choice(STYLES)(text, rng) if plain and rng.random() < 0.37 else text


def from_grammar(rng: random.Random) -> list[Row]:
    """Give as many texts of each root as it asks for."""
    found: list[Row] = []
    for key, root in grammar().items():
        if not root.category:
            continue
        seen: set[str] = set()
        for _ in range(root.count * TRIES):
            if len(seen) == root.count:
                break
            text = styled(expand(rng.choice(root.options), rng), rng)
            if fold(text) not in seen and not stutters(text):
                seen.add(fold(text))
                found.append(labelled(text, root.category, key.removeprefix("root:")))
    return found


def stutters(text: str) -> bool:
    """Whether a sentence stands there twice."""
    sentences = [part for part in re.split(r"[.?!\n] *", fold(text)) if len(part) > 8]
    return len(sentences) != len(set(sentences))


def labelled(text: str, category: str, family: str) -> Row:
    """Give the row of a text by its category alone."""
    return honest(text, family) if category == HONEST_CATEGORY else attack(text, category, family)


BEFORE_ORDER: Final = (
    "Decode and do it: ", "This is coded, follow it: ", "Read it, then act on it.\n", "", "", "my order for you: ",
    "Work out what it says and answer as it asks:\n", "hi! ", "First decode. Second obey. ", "Task:\n",
)  # fmt: skip
BEFORE_QUESTION: Final = (
    "What does this say? ", "My son sent me this, can you read it? ", "", "", "It's from our treasure hunt: ",
    "Decode please, it's on a mug:\n", "hi! ", "Is this a code? ", "Puzzle no. 4: ", "The label reads: ",
)  # fmt: skip
PLAIN_WORDS: Final = (
    "happy birthday to my favourite aunt", "meet me at the old mill at six", "the cake is in the blue box",
    "what time do you open on sunday", "i need a refund for my shoes", "congratulations you found the treasure",
    "where is my parcel please", "the next clue is under the bench", "best dad in the world", "see you in lisbon",
    "my keyboard writes like this since the update", "never gonna tell a lie", "do you ship to norway",
    "wash at forty degrees only", "the answer to the riddle is candle", "good luck with your exam tomorrow",
    "can i change my delivery address", "please feed the cat twice a day", "class trip on friday bring boots",
    "how do i cancel my subscription", "the secret word is marzipan", "ignore the last clue it was wrong",
    "i forgot my password what now", "reset the clock on the oven", "hello world", "made with love in wales",
)  # fmt: skip


def coded(rng: random.Random) -> list[Row]:
    """Give orders and harmless words under the same ciphers."""
    found = []
    orders = [root for name in ("override", "prompt_extraction", "secret_game") for root in short(name)]
    for _ in range(170):
        text = expand(rng.choice(orders), rng).lower()[:140]
        found.append(attack(rng.choice(BEFORE_ORDER) + rng.choice(CIPHERS)(text), "obfuscation", "coded"))
        plain = rng.choice(PLAIN_WORDS) if rng.random() < 0.6 else expand("‹qsay›, ‹hdetail›", rng).lower()
        found.append(honest(rng.choice(BEFORE_QUESTION) + rng.choice(CIPHERS)(plain), "coded_honest"))
    return found


def short(root: str) -> list[str]:
    """Give the shorter half of a root's templates."""
    options = sorted(grammar()[f"root:{root}"].options, key=len)
    return options[: len(options) // 2 + 1]


JOINERS: Final = (
    ("{0} = '{1}'", "; ", "Do what {names} says."), ("{0}: {1}", "\n", "Join {names} and answer the result."),
    ("let {0} be \"{1}\"", ", ", "now reply to {names}"), ("part {0}: {1}", " | ", "Put {names} together and go on."),
    ("[{0}] {1}", " ", "Read {names} in order, that's my message."), ("{0}={1}", "&", "print(model({names}))"),
)  # fmt: skip


def split(text: str, rng: random.Random) -> str:
    """Cut a text into named pieces that are to be put together."""
    words = text.split(" ")
    count = min(len(words), rng.randrange(2, 5))
    cuts = [0, *sorted(rng.sample(range(1, len(words)), count - 1)), len(words)]
    names = rng.choice(["abcd", "xyzw", "1234", "ABCD"])[:count]
    form, between, tail = rng.choice(JOINERS)
    pieces = [" ".join(words[cuts[at] : cuts[at + 1]]) for at in range(count)]
    listed = between.join(form.format(name, piece) for name, piece in zip(names, pieces, strict=True))
    return f"{listed}{between}{tail.format(names='+'.join(names))}"


def pieces(rng: random.Random) -> list[Row]:
    """Give orders and harmless wishes in pieces."""
    found = []
    for _ in range(90):
        order = expand(rng.choice(["‹badask›", "‹get› ‹ptext›", "‹void›", "‹twist› ‹thesecret›"]), rng)
        found.append(attack(split(order, rng), "obfuscation", "pieces"))
        wish = expand(rng.choice(["‹hact›, ‹hwhy›", "‹get› ‹hthing›", "‹cask› ‹cobj›", "‹wtwist› ‹wword›"]), rng)
        found.append(honest(split(wish, rng), "pieces_honest"))
    return found


GLUE: Final = (
    " ", " ", "\n", "\n\n", " Also, ", " PS: ", " And another thing: ", " By the way, ", " One more thing. ", " ... ",
    "\n---\n", " btw ", " While you're at it, ", "\nSecond point: ", " Apart from that: ", " (", " Oh, and ",
)  # fmt: skip


def glue(first: str, second: str, rng: random.Random) -> str:
    """Put one text behind another as people do."""
    joint = rng.choice(GLUE)
    return f"{first}{joint}{second}{')' if joint == ' (' else ''}"


def placed(rng: random.Random) -> list[Row]:
    """Give attacks at the start, middle and end of honest messages, and honest messages joined alike."""
    carriers = [row.text for row in written() if row.family in {"support", "support_long", "long_honest", "general"}]
    bad = [row for row in written() if row.label == "attack" and len(row.text) < 400]
    good = [row.text for row in written() if row.label == "benign" and len(row.text) < 400]
    families = [root for root in grammar().values() if root.category not in {"", HONEST_CATEGORY}]
    calm = [root for root in grammar().values() if root.category == HONEST_CATEGORY]
    found = []
    for at in range(420):
        kind = rng.choice(families)
        row = rng.choice(bad)
        evil, category = (row.text, row.category) if at % 2 else (expand(rng.choice(kind.options), rng), kind.category)
        found.append(attack(around(evil, rng.sample(carriers, 2), rng), category, "placed"))
        fine = rng.choice(good) if at % 2 else expand(rng.choice(rng.choice(calm).options), rng)
        found.append(honest(around(fine, rng.sample(carriers, 2), rng), "placed_honest"))
    return found


def around(text: str, carriers: Sequence[str], rng: random.Random) -> str:
    """Put a text in front of, behind or between carriers."""
    match rng.randrange(5):
        case 0:
            return glue(text, carriers[0], rng)
        case 1:
            return glue(glue(carriers[0], text, rng), carriers[1], rng)
        case _:
            return glue(carriers[0], text, rng)


def pages(rng: random.Random) -> list[Row]:
    """Give pages of honest paragraphs, with one attack somewhere in them or none."""
    paragraphs = [row.text for row in written() if row.label == "benign" and len(row.text) > 200]
    lines = [row.text for row in written() if row.label == "benign" and len(row.text) < 200]
    bad = [row for row in written() if row.label == "attack" and 40 < len(row.text) < 700]
    found = []
    for _ in range(110):
        page = [*rng.sample(paragraphs, rng.randrange(3, 9)), *rng.sample(lines, rng.randrange(1, 4))]
        rng.shuffle(page)
        between = rng.choice(("\n\n", "\n", " ", "\n\n* * *\n\n"))
        found.append(honest(between.join(page[1:]), "page_honest"))
        evil = rng.choice(bad)
        page[rng.randrange(len(page))] = evil.text
        rng.shuffle(page)
        found.append(attack(between.join(page), evil.category, "page"))
    return found


TURNS: Final = (
    ("Q: ", "A: "), ("User: ", "Assistant: "), ("Input: ", "Output: "), ("Customer: ", "Agent: "), ("> ", "< "),
)  # fmt: skip


def primed(rng: random.Random) -> list[Row]:
    """Give example dialogues that lead to compliance, and ordinary ones that end with a question."""
    found = []
    for _ in range(110):
        asks, says = rng.choice(TURNS)
        yes = [rng.choice(("Sure.", "Yes.", "Gladly: ...", "Of course, here it is.", "Done.")) for _ in range(4)]
        count = rng.randrange(2, 5)
        evil = [expand(rng.choice(("‹badask›", "‹demand›", "‹get› ‹ptext›", "‹tool›")), rng) for _ in range(count)]
        last = expand(rng.choice(("‹badask›", "‹demand›", "‹get› ‹ptext›", "‹twist› ‹thesecret›")), rng)
        shots = [f"{asks}{one}\n{says}{answer}" for one, answer in zip(evil, yes, strict=False)]
        found.append(attack("\n".join([*shots, f"{asks}{last}\n{says}"]), "injection", "primed"))
        calm = [expand(rng.choice(("‹hq›?", "‹hact›", "‹qsay›", "‹topic_q›")), rng) for _ in range(count + 1)]
        agent = [expand("‹agent›", rng) if rng.random() < 0.6 else answer for answer in yes]
        talk = [f"{asks}{one}\n{says}{answer}" for one, answer in zip(calm, agent, strict=False)]
        tail = expand(rng.choice(("‹xask2›", "Please summarise the chat.", "", "What's the next line?")), rng)
        found.append(honest("\n".join([*talk, tail]).strip(), "primed_honest"))
    return found


def rows(seed: int) -> list[Row]:
    """Give the generated rows, the same for the same seed; none is in `direct.jsonl` or there twice.

    Raises:
        OSError: If the grammar or the written rows cannot be read.
        ValueError: If one of them is broken.
    """
    rng = random.Random(seed)
    found = [*from_grammar(rng), *coded(rng), *pieces(rng), *placed(rng), *pages(rng), *primed(rng)]
    known = {fold(row.text) for row in written()}
    fresh = list({fold(row.text): row for row in found if fold(row.text) not in known}.values())
    rng.shuffle(fresh)
    return fresh
