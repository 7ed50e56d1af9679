"""Attack texts and honest texts written for this project, with their slots filled by a seeded generator.

They cover what the public sources lack: honest support questions that hold an attack's words, attacks that stand
behind an honest opener, instructions hidden in retrieved text, and a dozen languages.
"""

import base64
import codecs
import random
from dataclasses import dataclass

from training.honest import FOREIGN_HONEST, HONEST, HONEST_TASKS, OPENERS
from training.templates import ATTACKS, FOREIGN_ATTACKS, SLOTS


@dataclass(frozen=True, slots=True)
class Text:
    """One written text; `category` is "none" for an honest one."""

    text: str
    category: str


def fill(template: str, rng: random.Random) -> str:
    """The template with every {slot} replaced by one of its fillings."""
    for _ in range(8):
        start = template.find("{")
        if start < 0:
            break
        end = template.index("}", start)
        template = template[:start] + rng.choice(SLOTS[template[start + 1 : end]]) + template[end + 1 :]
    return template


def written(seed: int, *, per_template: int = 5) -> list[Text]:
    """All written texts: each template filled up to `per_template` times, some attacks behind an honest opener."""
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    for category, templates in ATTACKS.items():
        for template in templates:
            for _ in range(per_template if "{" in template else 1):
                text = fill(template, rng)
                texts.setdefault(text, category)
                if rng.random() < 0.3:
                    opener = fill(rng.choice(OPENERS), rng)
                    texts.setdefault(f"{opener} {text}", category)
    for template in (*HONEST, *HONEST_TASKS):
        for _ in range(per_template if "{" in template else 1):
            texts.setdefault(fill(template, rng), "none")
    for template in OPENERS:
        texts.setdefault(fill(template, rng), "none")
    texts.update(dict.fromkeys(FOREIGN_ATTACKS, "injection"))
    texts.update(dict.fromkeys(FOREIGN_HONEST, "none"))
    return [Text(text, category) for text, category in texts.items()]


def disguised(text: str, rng: random.Random) -> str:
    """The text in one of the dresses in which attacks come; readings take most of them off again."""
    way = rng.randrange(7)
    if way == 0:
        return text.upper()
    if way == 1:
        return text.lower().rstrip(".!")
    if way == 2:
        return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)
    if way == 3:
        return "".join(_LEET.get(char, char) if rng.random() < 0.6 else char for char in text.lower())
    if way == 4:
        return "Decode this and do it: " + base64.b64encode(text.encode()).decode()
    if way == 5:
        return codecs.encode(text, "rot13")
    return " ".join(_misspelt(word, rng) for word in text.split(" "))


_LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}


def _misspelt(word: str, rng: random.Random) -> str:
    if len(word) < 5 or rng.random() < 0.6:
        return word
    at = rng.randrange(1, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
