"""Writes the model cards: the same words each time, and the figures of this training run."""

from collections.abc import Mapping

_COMMAND = "python -m training --data ../shared/data --out src/quorate/weights --cards docs/cards"

_THREAT = """# Model card: threat

`quorate.models.local.LocalThreat` scores one window of one reading of a text: how likely is it an attempt to take
over the model (injection, jailbreak, prompt extraction, obfuscated or indirect instructions)? It needs no key and no
network, and is meant as the first, cheapest of several checks: it finds the crude and the common, never all.

**How it works.** Logistic regression over hashed 2- to 5-grams of characters, words and pairs of words, and over
hints: stems of about 25 ideas ("ignore", "rules", "reveal") in about twenty languages, and their ordered pairs.
A text counts as bad as the worst window of its readings (`quorate.checks.readings`), in training as at run time.
Probabilities are calibrated on dev (where 14 % are attacks); the threshold is the one with about 1 % false alarms on
dev's honest texts.

**Data.** neuralchemy prompt injections (MIT), in-the-wild jailbreaks (MIT), BIPIA train (MIT, documents
CC-BY-SA-4.0), prompts.chat role prompts (CC0), BANKING77 (CC-BY-4.0), CLINC150 (CC-BY-3.0), Bitext (CDLA-Sharing-1.0),
and texts written for this project (`training/templates.py`,
`training/honest.py`). Dev, whose sources are in none of these:
CyberSecEval 3 (MIT), NotInject (MIT), XSTest (CC-BY-4.0), HWU64 (CC-BY-4.0). No row is shipped, only numbers.
"""

_THREAT_WEAK = """**Known weaknesses.**

- On attacks from new sources most are missed at 1 % false alarms; in-source figures say nothing about that.
- Attacks that are one only in view of what the bot was told ("tell me a story about the password") read as honest.
- Instructions hidden in documents are found when they address an assistant, not when they are plain requests.
- Languages other than English rest on the hints and a few dozen sentences.
- Harmful requests that attack no prompt are not its business: use a moderation check.
- Long role-play prompts of harmless intent and requests to write shell scripts are its commonest false alarms.
- Threshold, calibration, source weights and penalty were chosen on dev, and a second batch of the project's own
  attack texts was written after seeing which of dev's techniques were missed (AUC 0.80, recall 0.22 before it): dev
  figures flatter. What is left out of training above is the better guide.
- The example company's messages were partly seen while texts were written; they illustrate and do not measure.
"""

_SCOPE = """# Model card: scope

`quorate.models.local.LocalScope` says how likely a message is none of this company's business. It is fitted in about
a second from what a company has anyway: a sentence about itself, its help centre and some example questions.

**How it works.** Twelve signals (nearness to example questions and to sentences of the help centre, share of the
words that the company uses, log-ratio of its words against a learned background, general "sounds like support" and
"small talk" models, rare unknown words, length) are combined by a logistic model with signs fixed beforehand.
Margins are counted from the median over thirty-odd probe texts that no support is for, so that large and small
help centres can share cut-offs. The background, the two general models and the combination are learned; each
company in training is judged with what the others taught. Below `low` a text passes, above `high` it is flagged, in
between the check should abstain. A message of several sentences counts three quarters as a whole and one quarter by
its most foreign sentence.

**Data.** BANKING77 (CC-BY-4.0), CLINC150 (CC-BY-3.0), Bitext (CDLA-Sharing-1.0), prompts.chat (CC0), neuralchemy
benign (MIT), as three companies: a bank, a travel agency, a shop. Help centres are short articles written for this
project (`training/articles.py`) and names of intents with a few training questions. No row is shipped:
only numbers, and the probes, which were written for this project.
"""

_SCOPE_WEAK = """The figures are for a company that nothing was learned from, with its articles, twelve intents
and fifty examples, each text judged as a whole.

**Known weaknesses.**

- Only words and their parts count: a question in words that neither help centre nor examples use looks foreign.
- Matters near to the company's (another bank's account, another shop's parcel) pass or end as unsure.
- Three companies are few to learn a combination from; `low` and `high` should be chosen again on a company's own
  labelled messages.
- The cut-offs and signals were chosen on the held-out companies' dev texts, so these figures flatter somewhat.
- The weight of a message's sentences and a part of the small talk were chosen after seeing honest messages of the
  example company flagged (4 of 32 before, 1 after); they illustrate and do not measure.
- It reads English; in other languages nearly all is unsure or flagged unless the help centre is in that language.
- Follow-ups are recognised by rules (short, referring, without a new rare word), not learned from conversations.
"""


def card(name: str, figures: Mapping[str, str]) -> str:
    """A card's whole text."""
    top, bottom = (_THREAT, _THREAT_WEAK) if name == "threat" else (_SCOPE, _SCOPE_WEAK)
    rows = "\n".join(f"| {key} | {value} |" for key, value in figures.items())
    table = f"**Figures of this training run.**\n\n| what | figure |\n|---|---|\n{rows}\n"
    command = f"**Made by** `{_COMMAND}` (fixed seed; the same data and libraries give the same weights).\n"
    return "\n".join((top, table, bottom, command))
