"""The local scope classifier of one company; `docs/cards/scope.md` says how well it does."""

import hashlib
from collections.abc import Sequence

import numpy as np

from quorate.errors import UsageError
from quorate.models.local.company import Company, Learned
from quorate.models.local.features import Floats
from quorate.models.local.weights import Scored, Weights, logistic, read_weights


class LocalScope:
    """Tells whether a text is a support matter of one company, from its help centre and a few example questions.

    Attributes:
        version: the weights' name and hash, and a hash of what the company was fitted from.
        low: below this score a text is in scope.
        high: above this score a text is out of scope; in between the caller should abstain.
    """

    def __init__(self, weights: Weights, company: Company, *, fitted: str) -> None:
        self.version = f"{weights.version}+{fitted}"
        self._company = company
        self._mean = weights.numbers("mean")
        self._spread = weights.numbers("spread")
        self._factors = weights.numbers("factors")
        self._slope, self._offset, self.low, self.high = weights.numbers("scalars").tolist()[:4]
        # A large help centre is nearer to every text than a small one. How near it is to texts that no company's
        # support is for tells how much, so margins are counted from there.
        probes = [str(probe) for probe in weights.arrays["probes"].tolist()]
        self._origin = 0.0
        self._origin = float(np.median([self._margin(probe) for probe in probes]))

    @classmethod
    def fit(cls, *, description: str, sections: Sequence[str], examples: Sequence[str]) -> "LocalScope":
        """Fit to one company; takes well under two seconds for a help centre of some hundred sections.

        Args:
            description: what the company does, in a sentence or two.
            sections: the help centre's sections, as plain text.
            examples: questions that customers ask, ideally about fifty; may be empty.

        Raises:
            UsageError: there is nothing to fit from, or the shipped weights are not usable.
        """
        if not any(text.strip() for text in (description, *sections, *examples)):
            raise UsageError("a scope needs a description, help centre sections or example questions; all are empty")
        weights = read_weights("scope")
        learned = Learned(weights.numbers("idf"), weights.numbers("support"), weights.numbers("smalltalk"))
        parts = "\x00".join((description, *sections, *examples))
        fitted = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        company = Company(learned, description=description, sections=sections, examples=examples)
        return cls(weights, company, fitted=fitted)

    def score(self, text: str, *, context: str = "") -> Scored:
        """The probability that a text is out of scope; never raises.

        Args:
            text: the customer's latest message.
            context: the exchange that it follows, if any; a short follow-up is judged together with it.
        """
        alone = self._alone(text)
        if context.strip() and self._company.follows(text):
            alone = min(alone, self._alone(f"{context[-400:]} {text}"), self.low * 0.9)
        return Scored(alone, "off_topic" if alone > self.low else "none")

    def _alone(self, text: str) -> float:
        """The probability for the whole text, raised by its most foreign sentence where it has several."""
        parts = self._company.parts(text)
        if not parts:
            return 0.0
        signals: Floats = np.stack([self._company.signals(part) for part in parts])
        margins = self._margins(signals)
        margin = 0.75 * float(margins[0]) + 0.25 * float(margins.max())
        return logistic(self._slope * margin + self._offset)

    def _margins(self, signals: Floats) -> Floats:
        weighted = ((signals - self._mean) / self._spread) @ self._factors - self._origin
        return np.asarray(weighted, dtype=np.float32)

    def _margin(self, text: str) -> float:
        return float(self._margins(self._company.signals(text)[None, :])[0])
