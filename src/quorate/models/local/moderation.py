"""The local moderation classifier: n-grams and two small networks; `docs/cards/moderation.md` says how well it does."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from quorate.errors import UsageError
from quorate.models.local import features
from quorate.models.local.context import LONGEST, Context
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors
from quorate.models.local.weights import REMEDY, WEIGHTS, Scored, Weights, logistic, read_weights

HARMS = ("hate", "harassment", "sexual", "violence", "self-harm", "illicit")
LENGTH = 0.1
"""How much the log-odds of a text fall for each doubling of its windows: the highest of many is high by chance."""
_AT_ONCE = 8
"""Windows that are looked at together: enough to be cheap, few enough to keep no other thread waiting."""
_MEANING = np.float32(8.0)
"""Length of a window's vector beside its words', which are about 1 long."""


class Reader:
    """A network over word vectors in their order: each word, each three words in a row, and all of them together.

    The largest of each convolution counts (after Kim 2014, "Convolutional neural networks for sentence
    classification").

    Args:
        arrays: `scale`, `project`, `single`, `triple`, `whole`, each but the scale with its `_bias`, as
            `training.moderation` names them.
    """

    def __init__(self, arrays: Mapping[str, Floats]) -> None:
        self._scale = float(arrays["scale"][0])
        self._project, self._project_bias = arrays["project"], arrays["project_bias"]
        self._single, self._single_bias = arrays["single"], arrays["single_bias"]
        self._triple, self._triple_bias = arrays["triple"], arrays["triple_bias"]
        self._whole, self._whole_bias = arrays["whole"], arrays["whole_bias"]

    def read(self, vectors: Floats) -> tuple[Floats, Floats]:
        """What the network sees of a window, and its meaning as a whole.

        Args:
            vectors: of its words, in their order. Shape (words, dim), at least one word.

        Returns:
            Shape (3 * width,), none below 0; and shape (dim,), of unit length unless it is zeros.
        """
        scaled = vectors * np.float32(self._scale)
        words = np.maximum(scaled @ self._project + self._project_bias, 0.0)
        single = (words @ self._single).max(axis=0) + self._single_bias
        padded = np.zeros((len(words) + 2, words.shape[1]), dtype=np.float32)
        padded[1:-1] = words
        rows = padded[:-2] @ self._triple[0] + padded[1:-1] @ self._triple[1] + padded[2:] @ self._triple[2]
        triple = rows.max(axis=0) + self._triple_bias
        total = scaled.sum(axis=0)
        meaning: Floats = total / np.float32(max(float(np.sqrt(total @ total)), 1e-12))
        whole = _MEANING * meaning @ self._whole + self._whole_bias
        seen: Floats = np.maximum(np.concatenate([single, triple, whole]), 0.0)
        return seen, meaning


class LocalModeration:
    """Tells whether a text is inappropriate, and in which way.

    Attributes:
        version: the weights' name and hash, and that of the word vectors.
        threshold: the score above which to flag; chosen for about 5 % false alarms on honest texts that look harmful,
            which is hardly any on support questions.
    """

    def __init__(self, weights: Weights, vectors: Vectors) -> None:
        self.version = f"{weights.version}+{vectors.version.split('+')[1]}"
        self._vectors = vectors
        slots = weights.numbers("slots")
        self._table = features.linear(weights.numbers("idf"), slots)
        self._reader = Reader({name: weights.numbers(name) for name in weights.arrays if name not in ("idf", "slots")})
        self._context = Context(weights.arrays)
        self._out = weights.numbers("out")
        self._kinds = weights.numbers("kinds")
        if len(self._kinds) != len(HARMS) or len(slots) != features.SIZE:
            raise ValueError("kinds or slots differ in number")
        scalars = weights.numbers("scalars").tolist()
        self._bias, *self._shares = scalars[:4]
        self._slope, self._offset, self.threshold = scalars[4:7]

    @classmethod
    def load(cls, path: Path | None = None) -> "LocalModeration":
        """Read the weights from a directory, by default the ones that come with the package.

        The word vectors are read from there too if it has them, else from the package.

        Raises:
            UsageError: the weights are missing or not the ones that their index describes.
        """
        weights = read_weights("moderation", path)
        own = path is not None and (path / "vectors.npz").exists()
        vectors = Vectors.load(path if own else None)
        try:
            return cls(weights, vectors)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(f"{path or WEIGHTS}/moderation.npz: arrays are missing ({error}); {REMEDY}") from error

    def score(self, text: str) -> Scored:
        """Judge one window of one reading of a text (see `quorate.checks.readings`); never raises.

        The whole text's score is `over` the highest of its windows' and readings': it is calibrated on that.
        A text without a word scores 0.
        """
        plain = features.normalise(text)
        tokens = features.words(plain)
        if not tokens:
            return Scored(0.0, "none")
        linear = self._bias + float(self._linear([plain], [tokens])[0])
        vectors = self._vectors.words(tokens[:LONGEST])
        seen, meaning = self._reader.read(vectors)
        network = float(self._out[:-1] @ seen) + float(self._out[-1])
        first, second, third = self._shares
        margin = first * linear + second * network + third * self._context.margin(vectors)
        score = logistic(self._slope * margin + self._offset)
        if score < self.threshold / 2:
            return Scored(score, "none")
        kinds = self._kinds[:, :-1] @ np.concatenate([seen, meaning]) + self._kinds[:, -1]
        return Scored(score, HARMS[int(np.argmax(kinds))])

    def promising(self, windows: Sequence[str], *, most: int, pause: Callable[[], object] = bool) -> list[int]:
        """Places of the windows most worth a `score`: those that the n-grams alone find worst.

        Args:
            windows: of one text and its readings.
            most: how many places to give at most.
            pause: called between pieces of work, so that a long text can let others go first.

        Returns:
            Sorted places; fewer if `pause` says to stop.
        """
        found = [np.zeros(0, dtype=np.float32)]
        for low in range(0, len(windows), _AT_ONCE):
            if pause():
                break
            plain = [features.normalise(text) for text in windows[low : low + _AT_ONCE]]
            found.append(self._linear(plain, [features.words(text) for text in plain]))
        return sorted(np.argsort(-np.concatenate(found), kind="stable")[:most].tolist())

    def _linear(self, plain: Sequence[str], tokens: Sequence[Sequence[str]]) -> Floats:
        """What the n-grams say of normalised windows with these words, without the bias. Shape (len(plain),)."""
        found = np.zeros(len(plain), dtype=np.float32)
        for keys in (features.char_keys(plain), features.word_keys(tokens)):
            found += features.margins(keys, table=self._table, count=len(plain))
        return found

    def over(self, score: float, windows: int) -> float:
        """The probability for a whole text whose highest of so many windows has this score. In [0, score]."""
        if windows <= 1 or not 0.0 < score < 1.0:
            return score
        return logistic(math.log(score / (1.0 - score)) - LENGTH * math.log2(windows))
