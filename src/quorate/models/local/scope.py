"""The local scope classifier of one company; `docs/cards/scope.md` says how well it does."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from quorate.errors import UsageError
from quorate.models.local.company import SIGNALS, Company, Grams, Learned, Worded, blocks, sentences
from quorate.models.local.features import Floats
from quorate.models.local.follow import follow_signals
from quorate.models.local.foreign import Foreign
from quorate.models.local.labelled import General, Labelled, Seen, seen
from quorate.models.local.meaning import MEANINGS, Meaning
from quorate.models.local.sense import Sense
from quorate.models.local.taught import Taught
from quorate.models.local.topics import TOPICAL
from quorate.models.local.weights import Scored, Weights, logistic, read_weights

EVIDENCE = (*SIGNALS, *MEANINGS, *TOPICAL)
"""What the general combination is learned over, in this order."""
Pause = Callable[[], object]

_CONTEXT = 600
"""Characters of the exchange before a message that say what it follows."""
_TELLING = 3
"""Shorter texts of the company say too little of what it deals with."""
_LONG = 6_000
"""A longer text is judged in blocks alone, so that the work stays in proportion to its length."""


class Evidence:
    """All that is known of a text in view of one company's own texts: words, their parts, and meaning.

    Attributes:
        foreign: what counts in place of all the rest where the company's texts are in another language.
        own: the company's questions and sentences, each once.
        members: how much each topic is the company's matter. Shape (number of topics,).

    Args:
        learned: what training learned in general.
        sense: what texts mean.
        background: unit vectors of what people ask assistants. Shape (n, sense.dim).
        texts: the company's description, its help centre's sections, and its customers' questions.
    """

    def __init__(
        self, learned: Learned, sense: Sense, background: Floats, *, texts: tuple[str, Sequence[str], Sequence[str]]
    ) -> None:
        description, sections, examples = texts
        self._idf, self._sense = learned.idf, sense
        asked = [text for text in (*examples, description) if text.strip()]
        written = [part for text in sections for part in sentences(text)]
        passages = [*written, *(part for text in asked for part in sentences(text))]
        # Each text once, however often it is looked at: fitting has to be quick.
        distinct = list(dict.fromkeys((*asked, *passages)))
        known = dict(zip(distinct, Worded.each(distinct, learned.idf), strict=True))
        meant = dict(zip(distinct, sense.each([one.tokens for one in known.values()]), strict=True))
        self._company = Company(learned, passages=[known[text] for text in passages])
        self._meaning = Meaning(
            sense.words,
            background,
            asked=_stacked([meant[text] for text in asked], sense.dim),
            written=_stacked([meant[text] for text in written], sense.dim),
            tokens=[token for grams in known.values() for token in grams.tokens],
        )
        telling = [text for text, grams in known.items() if len(grams.tokens) >= _TELLING]
        near = learned.topics.near(
            [known[text].words for text in telling], _stacked([meant[text] for text in telling], sense.dim)
        )
        told = Worded.each([description], learned.idf)[0]
        described = learned.topics.near([told.words], sense.each([told.tokens]))[0]
        self.members = learned.topics.members(near, described)
        self._matters = learned.topics.of(self.members)
        self.foreign = Foreign([*asked, *written], sense.words)
        self.own = tuple(dict.fromkeys((*asked, *(part for part in written if len(part.split()) > 3))))

    def signals(self, texts: Sequence[Grams], meant: Floats) -> Floats:
        """The evidence about each text, in the order of `EVIDENCE`; `meant` has shape (len(texts), dim).

        Returns:
            Shape (len(texts), len(EVIDENCE)).
        """
        said = self._company.signals(texts)
        means = self._meaning.signals([text.tokens for text in texts], meant)
        topical = self._matters.signals([text.words for text in texts], meant)
        return np.concatenate([said, means, topical], axis=1)

    def meant(self, texts: Sequence[Grams]) -> Floats:
        """The vector of each text. Shape (len(texts), dim)."""
        return self._sense.each([text.tokens for text in texts])

    def meant_within(self, texts: Sequence[Grams]) -> Floats:
        """The vectors of a text and stretches of it, in their order. Shape (len(texts), dim)."""
        return self._sense.parts([text.tokens for text in texts])

    def read(self, texts: Sequence[str]) -> list[Grams]:
        """The texts' n-grams, weighed as training weighed them."""
        return Grams.each(texts, self._idf)


class LocalScope:
    """Tells whether a text is a support matter of one company, from its help centre and a few example questions.

    Attributes:
        version: the weights' name and hash, and a hash of what the company was fitted from.
        low: below this score a text is in scope.
        high: above this score a text is out of scope; in between the caller should abstain.
        fingerprint: of the company's texts and the weights; what was learned from labels must have the same.
    """

    def __init__(self, weights: Weights, sense: Sense, evidence: Evidence, *, fingerprint: str) -> None:
        self.version = f"{weights.version}+{sense.version.split('+', 1)[-1]}+{fingerprint[:8]}"
        self.fingerprint = fingerprint
        self._sense, self._evidence = sense, evidence
        self._mean, self._spread = weights.numbers("mean"), weights.numbers("spread")
        self._factors, self._follow = weights.numbers("factors"), weights.numbers("follow")
        self._slope, self._offset, self.low, self.high = weights.numbers("scalars").tolist()[:4]
        self.probes = [str(text) for text in weights.arrays["probes"].tolist()]
        self.chat = [str(text) for text in weights.arrays["chat"].tolist()]
        self.outsiders = [str(text) for text in weights.arrays["foreign"].tolist()]
        self._labelled: Labelled | None = None
        # A large help centre is nearer to every text than a small one. How near it is to texts that no company's
        # support is for tells how much, so margins are counted from there.
        probes = evidence.read(self.probes)
        self._origin = float(np.median(self._weighed(evidence.signals(probes, evidence.meant(probes)))))

    @classmethod
    def fit(
        cls, *, description: str, sections: Sequence[str], examples: Sequence[str], taught: Taught | None = None
    ) -> "LocalScope":
        """Fit to one company; takes well under two seconds for a help centre of some hundred sections.

        Args:
            description: what the company does, in a sentence or two.
            sections: the help centre's sections, as plain text.
            examples: questions that customers ask, ideally about fifty; may be empty.
            taught: what `quorate learn-scope` kept, if it was run.

        Raises:
            UsageError: there is nothing to fit from, the shipped weights are not usable, or what was kept belongs to
                other texts or weights.
        """
        if not any(text.strip() for text in (description, *sections, *examples)):
            raise UsageError("a scope needs a description, help centre sections or example questions; all are empty")
        weights, sense = read_weights("scope"), Sense.load()
        learned = Learned.of(weights)
        background = weights.numbers("background") * weights.numbers("background_scales")[:, None]
        parts = "\x00".join((weights.version, sense.version, description, *sections, "", *examples))
        fingerprint = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
        if taught is not None:
            examples = [*examples, *taught.examples]
        evidence = Evidence(learned, sense, background, texts=(description, sections, examples))
        fitted = cls(weights, sense, evidence, fingerprint=fingerprint)
        if taught is not None:
            fitted.take(taught)
        return fitted

    @property
    def own(self) -> tuple[str, ...]:
        """Texts that are in scope beyond doubt: the company's own questions and sentences, and small talk."""
        return (*self._evidence.own, *self.chat)

    def take(self, taught: Taught) -> None:
        """Judge with what was learned from labels from now on; call it before the object is shared.

        Raises:
            UsageError: it belongs to other texts or weights.
        """
        taught.check(self.fingerprint)
        self._labelled = taught.labelled(self._sense.dim)
        self.low, self.high = taught.low, taught.high
        self.version += f"+{taught.digest[:8] or 'unkept'}"

    def score(self, text: str, *, context: str = "", pause: Pause = bool) -> Scored:
        """The probability that a text is out of scope; never raises.

        Args:
            text: the customer's latest message.
            context: the exchange that it follows, if any; a follow-up is judged by what it follows.
            pause: called between pieces of work, so that a long text can let others go first.
        """
        alone = self._alone(text, pause)
        if context.strip() and text.strip() and len(text) <= _LONG:
            going = self._drift(text, context, alone)
            alone = min(alone, going) if going <= self.low else max(alone, going)
        return Scored(alone, "off_topic" if alone > self.low else "none")

    def _drift(self, text: str, context: str, alone: float) -> float:
        """The probability that a text drifts off, moved so that the bound learned with it falls on `low`."""
        margin = float(np.log(max(alone, 1e-9) / max(1 - alone, 1e-9))) - _odds(self.low)
        found = follow_signals(text, context[-_CONTEXT:], alone=margin, vectors=self._sense.words)
        return logistic(float(found @ self._follow[:-1] + self._follow[-1]) + _odds(self.low))

    def _alone(self, text: str, pause: Pause) -> float:
        """The probability for the whole text, raised by its most foreign sentence where it has several."""
        if not text.strip():
            return 0.0
        if len(text) > _LONG:
            margins = [margin for part in blocks(text) if not pause() for margin in self._margins([part], pause)]
            return logistic(0.75 * float(np.mean(margins)) + 0.25 * max(margins)) if margins else 1.0
        split = [part for part in sentences(text) if len(part.split()) >= 8]
        whole, *parts = self._margins([text, *split] if len(split) > 1 else [text])
        return logistic(0.75 * whole + 0.25 * max(whole, *parts) if parts else whole)

    def _margins(self, texts: Sequence[str], pause: Pause = bool) -> list[float]:
        """The margins of a text and of stretches of it."""
        if self._evidence.foreign.spoken and self._labelled is None:
            return [self._evidence.foreign.margin(text) for text in texts]
        grams = self._evidence.read(texts)
        pause()
        meant = self._evidence.meant_within(grams)
        pause()
        general = self._general(texts, grams, meant)
        if self._labelled is None:
            return [self._slope * one.margin + self._offset for one in general]
        return [
            self._labelled.margin(seen(one, vector), thought)
            for one, vector, thought in zip(grams, meant, general, strict=True)
        ]

    def general(self, text: str) -> General:
        """What is thought of a text without labels; its margin is counted from the probes' median."""
        grams = self._evidence.read([text])
        return self._general([text], grams, self._evidence.meant(grams))[0]

    def _general(self, texts: Sequence[str], grams: Sequence[Grams], meant: Floats) -> list[General]:
        if self._evidence.foreign.spoken:
            return [General(self._evidence.foreign.margin(text), 0.0) for text in texts]
        found = self._evidence.signals(grams, meant)
        topical = found[:, -len(TOPICAL) :].sum(axis=1)
        return [
            General(float(margin) - self._origin, float(share))
            for margin, share in zip(self._weighed(found), topical, strict=True)
        ]

    def seen(self, text: str) -> Seen:
        """A text as the models that labels teach see it."""
        return seen(self._evidence.read([text])[0], self._sense.of(text))

    def _weighed(self, found: Floats) -> Floats:
        return np.asarray(((found - self._mean) / self._spread) @ self._factors, dtype=np.float32)


def _stacked(rows: Sequence[Floats], dim: int) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, dim), np.float32)


def _odds(share: float) -> float:
    return float(np.log(share / (1.0 - share)))
