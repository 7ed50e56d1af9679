"""Reads the scope texts of this project: fictional companies, conversations that go on or drift off, messages."""

import json
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Fictional:
    """A company of our own.

    Attributes:
        name: unique.
        trade: what kind of business it is.
        description: a sentence.
        help: its help centre's sections.
        questions: what its customers ask, in words that are not the help centre's.
        near: questions near to its trade that are not its matter.
        part: "train" or "figure".
    """

    name: str
    trade: str
    description: str
    help: tuple[str, ...]
    questions: tuple[str, ...]
    near: tuple[str, ...]
    part: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A legitimate opener, its answer, and what comes next.

    Attributes:
        company: the name of a `Fictional`.
        part: "train" or "figure", as the company's.
        drifts: whether the text is none of the company's business.
        opener: the customer's first message.
        answer: the assistant's.
        text: the customer's second message.
    """

    company: str
    part: str
    drifts: bool
    opener: str
    answer: str
    text: str

    @property
    def context(self) -> str:
        """What stands before the text, as a check gets it."""
        return f"{self.opener}\n{self.answer}"


def companies() -> list[Fictional]:
    """All fictional companies."""
    found = []
    for raw in _rows("scope_companies"):
        lists = {key: tuple(raw.pop(key)) for key in ("help", "questions", "near")}
        found.append(Fictional(**raw, **lists))
    return found


def dialogues(part: str) -> list[Dialogue]:
    """The conversations of one half; no company is in both."""
    return [
        Dialogue(raw["company"], raw["part"], raw["label"] == "drift", raw["opener"], raw["answer"], raw["text"])
        for raw in _rows("scope_dialogues")
        if raw["part"] == part
    ]


def messages(company: str) -> list[str]:
    """Messages to "bank", "travel" or "shop" that nothing is learned from; "" for texts that no support is for."""
    return [raw["text"] for raw in _rows("scope_messages") if raw["company"] == company]


@dataclass(frozen=True, slots=True)
class Topic:
    """What people ask about, in many wordings.

    Attributes:
        trade: whose business it is, or the name of the topic where it is no company's in particular.
        name: "trade: topic", unique.
        texts: what they say.
    """

    trade: str
    name: str
    texts: tuple[str, ...]


def topics() -> list[Topic]:
    """All topics."""
    found = []
    for line in (_HERE / "scope_topics.jsonl").read_text("utf-8").splitlines():
        raw = json.loads(line)
        name = raw["topic"] if raw["topic"] == raw["trade"] else f"{raw['trade']}: {raw['topic']}"
        found.append(Topic(raw["trade"], name, tuple(raw["texts"])))
    return found


def new_messages(company: str, part: str) -> list[str]:
    """Messages to a company of the data ("": to none) that nothing is learned from.

    Args:
        company: "bank", "travel", "shop" or "".
        part: "choose": to choose between ways; "figure": only for the figures in the card.
    """
    return [raw["text"] for raw in _rows("scope_new") if raw["company"] == company and raw["part"] == part]


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (_HERE / f"{name}.jsonl").read_text("utf-8").splitlines() if line]
