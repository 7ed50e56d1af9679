"""The local threat classifier: a linear model over n-grams and hints; `docs/cards/threat.md` says how well it does."""

from pathlib import Path

import numpy as np

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.features import Lexicon
from quorate.models.local.weights import REMEDY, WEIGHTS, Scored, Weights, logistic, read_weights

THREATS = ("injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect")


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
            raise UsageError(f"{path or WEIGHTS}/threat.npz: arrays are missing ({error}); {REMEDY}") from error

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
