"""Is a message spam? Five small voters, asked by `quorate.vote`; no key, no network. Run: `python spam.py [OUT.jsonl]`.

Prints what the panel says of a few messages, and writes every voter's vote on 400 labelled ones for `quorate panel`.
The voters look for links, for money, for haste, for both of the last two, and for words that belong to the shop.
The fourth shares its mistakes with the second and the third, which `quorate panel` finds out.
"""

import asyncio
import json
import re
import sys
from itertools import product
from pathlib import Path

from quorate import UNDECIDED, Adaptive, Quorum, vote

LINK = re.compile(r"https?://|www\.|\b\w+\.(?:example|test)\b")
MONEY = re.compile(r"\b(?:free|prize|win|won|cash|loan|invest|profit|discount|refund|invoice)\b", re.IGNORECASE)
HASTE = re.compile(r"\b(?:now|today|urgent|immediately|last chance|final|hurry|soon)\b|!", re.IGNORECASE)
SHOP = re.compile(r"\b(?:lamp|bulb|order|delivery|parcel|return|receipt|socket)\b", re.IGNORECASE)


async def links(text: str) -> bool:
    """Spam wants to be clicked."""
    return bool(LINK.search(text))


async def money(text: str) -> bool:
    """Spam speaks of money."""
    return bool(MONEY.search(text))


async def haste(text: str) -> bool:
    """Spam is in a hurry."""
    return bool(HASTE.search(text))


async def greed(text: str) -> bool:
    """Money or haste: hardly a new opinion."""
    return bool(MONEY.search(text) or HASTE.search(text))


async def stranger(text: str) -> bool | None:
    """Spam knows nothing of lamps; a message of three words or fewer says too little."""
    return None if len(text.split()) <= 3 else not SHOP.search(text)


VOTERS = [links, money, haste, greed, stranger]

HONEST_STARTS = ("Hello, ", "Good morning. ", "", "Please help: ", "Quick question. ")
HONEST = (
    "where is my parcel?",
    "the lamp flickers since today",
    "can I still return a bulb?",
    "I need the receipt of order 4711 now!",
    "is delivery free from 50 euros on?",
    "my invoice shows the wrong name",
    "your page www.lantern.example does not open",
    "when will the refund arrive?",
)
HONEST_ENDS = ("", " Thank you.", " Best regards, Ina", " It is urgent!", " I wait for it since May.")
SPAM_STARTS = ("", "Dear friend, ", "Hello, ", "Attention! ", "Good news. ")
SPAM = (
    "you won a prize, claim it at https://claims.test",
    "double your cash with our fund",
    "a loan without questions, today only",
    "your parcel waits, pay the fee at www.parcel-fee.test",
    "meet new people near you",
    "your account closes soon, log in at https://bank.test",
    "we rank your shop first on every search page",
    "final discount on watches",
)
SPAM_ENDS = ("", " Hurry!", " Reply now.", " Last chance.", " Best regards, Ina")


def messages() -> list[tuple[str, bool]]:
    """Every message with its label, the two kinds in turn."""
    honest = ["".join(parts) for parts in product(HONEST_STARTS, HONEST, HONEST_ENDS)]
    spam = ["".join(parts) for parts in product(SPAM_STARTS, SPAM, SPAM_ENDS)]
    return [pair for h, s in zip(honest, spam, strict=True) for pair in ((h, False), (s, True))]


def row(number: int, text: str, label: bool) -> dict[str, object]:
    """One line for `quorate panel`: every voter is asked, none is cut."""
    votes = {voter.__name__: asyncio.run(voter(text)) for voter in VOTERS}
    return {"id": number, "label": label, "votes": votes}


async def main() -> None:
    """Ask about three messages, by two rules."""
    for text in ("Dear friend, you won a prize, claim it at https://claims.test", "Where is my parcel?", "Free?"):
        three = await vote(text, VOTERS, rule=Quorum(3, 5), spares=[links], tie="ask a person")
        most = await vote(text, VOTERS, rule=Adaptive(cap=5, risk=0))
        told = "split" if most is UNDECIDED else most
        print(f"{text!r}: spam by 3 of 5: {three}; by the most, asked in waves: {told}")


if __name__ == "__main__":
    asyncio.run(main())
    if len(sys.argv) > 1:
        lines = [json.dumps(row(i, text, label)) for i, (text, label) in enumerate(messages(), 1)]
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
