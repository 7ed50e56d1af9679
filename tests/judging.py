"""Judges by rule, in virtual time, shared by the tests of checks and apps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quorate.apps.answer import Answer, Effects
from quorate.apps.frontdoor import Decision, FrontDoor, Policy, Refusals
from quorate.checks import Check, Conversation, Part, Subject, Verdict
from quorate.checks.verdict import VerdictOutcome
from quorate.engine import clock, spend
from quorate.events import Context, Usage

REFUSALS = Refusals(
    {
        "scope": "Only about lamps.",
        "threat": "Not like this.",
        "too_long": "Too long.",
        "unread": "Only text.",
        "error": "Try again.",
    },
    default="Sorry.",
    handover="A colleague will see.",
)
POLICY = Policy(REFUSALS)


def said(outcome: VerdictOutcome, score: float | None = None, *, model: str = "rule", category: str = "") -> Verdict:
    """A verdict of this outcome."""
    if score is None and outcome != "abstain":
        score = 0.9 if outcome == "flag" else 0.1
    named = category or ("marked" if outcome == "flag" else "none")
    return Verdict(outcome, score, named, f"{model} says {outcome}", model, f"{model}@1")


Say = Verdict | Exception
FLAG, PASS, ABSTAIN = said("flag"), said("pass"), said("abstain")


@dataclass
class Rule:
    """A judge: waits, then says what its rule makes of the text; notes what it was asked, and its cancels."""

    say: Say | Callable[[str], Say] = PASS
    after_s: float = 0.0
    asked: list[Subject] = field(default_factory=list)
    began_s: list[float] = field(default_factory=list)
    answered: int = 0

    async def judge(self, subject: Subject) -> Verdict:
        self.asked.append(subject)
        self.began_s.append(clock.now())
        spend(Usage(1, 10, 0))
        await clock.sleep(self.after_s)
        said = self.say(subject.text) if callable(self.say) else self.say
        self.answered += 1
        if isinstance(said, Exception):
            raise said
        return said


def holding(*words: str) -> Callable[[str], Say]:
    """Flags a text that holds all of these words, in this order."""

    def say(text: str) -> Say:
        start = 0
        for word in words:
            start = text.find(word, start) + len(word)
            if start < len(word):
                return PASS
        return FLAG

    return say


def subject(*texts: str) -> Subject:
    return Subject(tuple(Part("customer", text) for text in texts))


def check(name: str, judge: Any, **settings: Any) -> Check:
    return Check(name, f"{name}?", judge, **{"kind": "scope" if name == "scope" else "threat", **settings})


@dataclass
class Speaker:
    """An answerer: says its pieces, each after a gap; notes what it was given and how far it came."""

    pieces: tuple[str, ...] = ("Hel", "lo.")
    gap_s: float = 0.1
    error: Exception | None = None
    effects: Effects = "none"
    asked: list[Conversation] = field(default_factory=list)
    began_s: list[float] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    finished: bool = False

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        self.asked.append(conversation)
        self.began_s.append(clock.now())
        for piece in self.pieces:
            await clock.sleep(self.gap_s)
            spend(Usage(0, 0, 5))
            self.spoken.append(piece)
            await context.emit(piece)
        if self.error is not None:
            raise self.error
        self.finished = True
        return Answer("".join(self.pieces), ("Lamps",), model="speaker")


def door(
    scope: Rule | None = None, threat: Any = None, answerer: Any = None, *, policy: Any = None, **common: Any
) -> FrontDoor:
    checks = [check("scope", scope or Rule(), **common), check("threat", threat or Rule(), **common)]
    return FrontDoor(checks, answerer, policy=policy or POLICY)


async def asked(door: FrontDoor, source: Any = "Hi", *, evaluate_all: bool = False) -> tuple[list[Any], Decision]:
    """What a customer reads of a message's response, and the whole decision."""
    pieces = []
    async with door.respond(source, evaluate_all=evaluate_all) as response:
        async for piece in response:
            pieces.append(piece)
    return pieces, response.report()
