"""The local threat classifier: phrases and a reader of context over windows; `docs/cards/threat.md` has its figures."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.context import LONGEST, Context
from quorate.models.local.features import Lexicon
from quorate.models.local.phrases import Phrases, phrase_ids
from quorate.models.local.vectors import Vectors
from quorate.models.local.weights import REMEDY, WEIGHTS, Scored, Weights, logistic, read_weights

THREATS = ("injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect")
FORMAT = 4
"""Of the arrays in threat.npz; counted up when their meaning changes."""

FREE = 16
"""Windows of a text up to which the highest counts as it is."""
LENGTH = 0.1
"""What each doubling beyond costs, in log-odds: about what the highest of honest windows gains by it."""

_AT_ONCE = 16
"""Windows that are looked at together: enough to be cheap, few enough to keep no other thread waiting."""
_KINDS = ("words", "pairs", "skips", "hints")


class LocalThreat:
    """Finds attempts to take over the model: injection, jailbreaks, prompt extraction.

    Attributes:
        version: the weights' name and hash, and that of the word vectors.
        threshold: the score above which to flag; chosen for about 0.15 % false alarms on honest texts of new sources.
    """

    def __init__(self, weights: Weights, vectors: Vectors) -> None:
        if int(weights.numbers("format")[0]) != FORMAT:
            raise UsageError(f"{WEIGHTS}/threat.npz: made for another version of the classifier; {REMEDY}")
        self.version = f"threat-local-{FORMAT}+{weights.version.split('+')[1]}+{vectors.version.split('+')[1]}"
        self._vectors = vectors
        tables = {kind: weights.numbers(f"phrases_{kind}") for kind in _KINDS}
        self._phrases = Phrases(tables, float(weights.numbers("phrase_bias")[0]))
        self._context = Context(weights.arrays)
        self._kinds = weights.numbers("kinds")
        scalars = weights.numbers("scalars").tolist()
        self._mix = scalars[:3]
        self._slope, self._offset, self.threshold = (float(one) for one in scalars[3:6])
        self._bends = [(float(knot), float(bend)) for knot, bend in weights.numbers("bends").tolist()]
        stems = (str(stem) for stem in weights.arrays["stems"].tolist())
        ideas = (int(idea) for idea in weights.numbers("stem_ideas"))
        self._lexicon = Lexicon(dict(zip(stems, ideas, strict=True)), int(scalars[6]))

    @classmethod
    def load(cls, path: Path | None = None) -> "LocalThreat":
        """Read the weights from a directory, by default the ones that come with the package.

        The word vectors are read from there too if it has them, else from the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        weights = read_weights("threat", path)
        own = path is not None and (path / "vectors.npz").exists()
        vectors = Vectors.load(path if own else None)
        try:
            return cls(weights, vectors)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/threat.npz: arrays are missing ({error}); {REMEDY}") from error

    def score(self, text: str) -> Scored:
        """Judge one window of one reading of a text (see `quorate.checks.readings`); never raises.

        The whole text's score is `over` the highest of its windows' and readings'. A text without a word scores 0.
        """
        tokens = features.words(features.normalise(text))
        if not tokens:
            return Scored(0.0, "none")
        hints = self._lexicon.hints(tokens)
        first, second, constant = self._mix
        margin = first * self._phrases.margin({**phrase_ids(tokens), "hints": hints}) + constant
        margin += second * self._context.margin(self._vectors.words(tokens[:LONGEST]))
        score = self._probability(margin)
        if score < self.threshold / 2:
            return Scored(score, "none")
        kinds = self._kinds[:, hints].sum(axis=1) + self._kinds[:, -1]
        return Scored(score, THREATS[int(np.argmax(kinds))])

    def _probability(self, margin: float) -> float:
        bent = sum(bend * max(margin - knot, 0.0) for knot, bend in self._bends)
        return logistic(self._slope * margin + self._offset + bent)

    def promising(self, windows: Sequence[str], *, most: int, pause: Callable[[], object] = bool) -> list[int]:
        """Places of the windows most worth a `score`, which is dear: those that the phrases alone find worst.

        Args:
            windows: of one text and its readings.
            most: how many places to give at most.
            pause: called between pieces of work, so that a long text can let others go first.

        Returns:
            Sorted places; fewer if `pause` says to stop.
        """
        margins = [np.zeros(0, dtype=np.float32)]
        for low in range(0, len(windows), _AT_ONCE):
            if pause():
                break
            tokens = [features.words(features.normalise(text)) for text in windows[low : low + _AT_ONCE]]
            margins.append(self._phrases.margins(tokens, [self._lexicon.hints(one) for one in tokens]))
        return sorted(np.argsort(-np.concatenate(margins), kind="stable")[:most].tolist())

    def over(self, score: float, windows: int) -> float:
        """The probability for a whole text whose highest of so many windows has this score.

        Honest texts of many windows have a high one by chance, so the log-odds fall by `LENGTH` for each doubling
        beyond `FREE` windows. In [0, score].
        """
        if windows <= FREE or not 0.0 < score < 1.0:
            return score
        odds = math.log(score / (1.0 - score)) - LENGTH * math.log2(windows / FREE)
        return logistic(odds)
