"""Small classifiers of our own: no key, no network, a fraction of a millisecond, and honest about what they miss.

Both are linear models over `quorate.models.features`, trained by `python -m training`; `docs/cards` says on what and
how well. Weights are arrays of numbers only, and are checked against their index's size and hash before use. Objects
are immutable after construction, so threads may share them.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models import features
from quorate.models.company import Company, Learned
from quorate.models.features import Floats, Lexicon

WEIGHTS = Path(__file__).parent.parent / "weights"
THREATS = ("injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect")
_REMEDY = "reinstall quorate, or train again with `python -m training`"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a classifier says of one text.

    Attributes:
        score: calibrated probability of a violation, in [0, 1].
        category: what kind of violation it would be; "none" if none is likely.
    """

    score: float
    category: str


@dataclass(frozen=True, slots=True)
class Weights:
    """The arrays of one file of weights, and the version that they give their classifier."""

    arrays: Mapping[str, NDArray[np.generic]]
    version: str

    def numbers(self, name: str) -> Floats:
        """One array as float32. Raises `KeyError` if there is none of that name."""
        return np.asarray(self.arrays[name], dtype=np.float32)


def read_weights(name: str, path: Path | None = None) -> Weights:
    """Read and check `<name>.npz` in a directory of weights (the package's own by default).

    Raises:
        UsageError: the file or its index is missing, of another size, hash or feature version, or unreadable.
    """
    folder = path or WEIGHTS
    file = folder / f"{name}.npz"
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        stated = index["files"][file.name]
        raw = file.read_bytes() if file.stat().st_size == stated["bytes"] else b""
        digest = hashlib.sha256(raw).hexdigest()
        if digest != stated["sha256"]:
            raise UsageError(f"{file}: not the file that index.json describes (size or sha256); {_REMEDY}")
        if index["features"] != features.VERSION:
            raise UsageError(f"{file}: made for other features than this version's; {_REMEDY}")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return Weights(dict(arrays), f"{name}-local-{index['features']}+{digest[:8]}")
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file}: cannot be read as weights ({type(error).__name__}); {_REMEDY}") from error


def logistic(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    return 1.0 / (1.0 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1.0 + math.exp(margin))


class LocalThreat:
    """Finds attempts to take over the model: injection, jailbreaks, prompt extraction.

    Attributes:
        version: the weights' name and hash.
        threshold: the score above which to flag; chosen for about 1 % false alarms on honest texts.
    """

    def __init__(self, weights: Weights) -> None:
        self.version = weights.version
        self._idf = weights.numbers("idf")
        self._slots = weights.numbers("slots")
        self._hints = weights.numbers("hints")
        self._kinds = weights.numbers("kinds")
        scalars = weights.numbers("scalars").tolist()
        self._bias, self._slope, self._offset, self.threshold = scalars[:4]
        stems = (str(stem) for stem in weights.arrays["stems"].tolist())
        ideas = (int(idea) for idea in weights.numbers("stem_ideas"))
        self._lexicon = Lexicon(dict(zip(stems, ideas, strict=True)), int(scalars[4]))

    @classmethod
    def load(cls, path: Path | None = None) -> "LocalThreat":
        """Read the weights from a directory, by default the ones that come with the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        weights = read_weights("threat", path)
        try:
            return cls(weights)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/threat.npz: arrays are missing ({error}); {_REMEDY}") from error

    def score(self, text: str) -> Scored:
        """Judge one window of one reading of a text (see `quorate.checks.readings`); never raises.

        The whole text's score is the highest of its windows' and readings': the probability is calibrated on that.
        """
        plain = features.normalise(text)
        tokens = features.words(plain)
        hints = self._lexicon.hints(tokens)
        margin = self._bias + float(self._hints[hints].sum())
        for ids in (features.char_ids(plain), features.word_ids(tokens)):
            slots, values = features.weighed(ids, self._idf)
            margin += float(np.dot(self._slots[slots], values))
        score = logistic(self._slope * margin + self._offset)
        if score < self.threshold / 2:
            return Scored(score, "none")
        kinds = self._kinds[:, hints].sum(axis=1) + self._kinds[:, -1]
        return Scored(score, THREATS[int(np.argmax(kinds))])


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
