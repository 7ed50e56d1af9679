"""Learns one company's scope from labelled messages, and says by cross-validation how well that went.

Folds are of two kinds: some hold out messages drawn at random, some hold out whole groups of alike messages, as new
wordings and new matters will come. The mixture and its probabilities are learned over both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.models.local.features import Floats
from quorate.models.local.fitting import (
    Dense,
    Numbers,
    Truths,
    balanced,
    calibration_error,
    logistic_fit,
    rank_area,
)
from quorate.models.local.labelled import (
    LOPSIDED,
    PRIOR,
    PULLS,
    General,
    Linear,
    Neighbours,
    Seen,
    linear,
    packed,
    pulls,
)

LEAST = 40
"""Fewer labelled messages of a class than this teach no model; they only widen the examples."""
MOST = 16_000
"""More labelled messages than this are not looked at: an even share of both classes is taken."""
PASSED_WRONG = 0.05
"""Share of out-of-scope messages that may score below `low`."""
FLAGGED_WRONG = 0.01
"""Share of in-scope messages that may score above `high`."""

_FOLDS = ("random", "groups", "random", "groups")
_HELD = 450
_FITTED = 5_000
_GROUPS = 40
_WORDS = (3e-5, 3e-4)
_SENSE = (1e-5, 1e-4, 1e-3)
_RARE = 0.05
"""Where a smaller share is out of scope, those few do not say what all the rest is like: linear models count little."""
_HEARD = 0.75
"""An area under the curve below this says that the help centre does not tell what is in scope: then labels alone do."""
_STRANGE = 0.5
"""How much of what is out of scope is taken to be of kinds that the labels lack, for the probabilities."""
_DRAWN, _DRAWN_RARE = 0.1, 1.0
"""How strongly the mixture is drawn to its prior; the second where few are out of scope."""


@dataclass(frozen=True, slots=True)
class Held:
    """Cross-validated probabilities.

    Attributes:
        scores: probability of being out of scope. Shape (n,).
        answers: which are out of scope. Shape (n,).
        grouped: which were held out as a group of alike messages. Shape (n,).
    """

    scores: Numbers
    answers: Truths
    grouped: Truths

    def area(self, *, grouped: bool) -> float:
        """Area under the ROC curve over one kind of fold."""
        some = self.grouped == grouped
        return rank_area(self.scores[some], self.answers[some])

    @property
    def calibration(self) -> float:
        """Expected calibration error over messages drawn at random."""
        return calibration_error(self.scores[~self.grouped], self.answers[~self.grouped].astype(np.float64))


@dataclass(frozen=True, slots=True)
class Lesson:
    """What came of it.

    Attributes:
        arrays: for `Labelled`, with slope and offset in the mixture already.
        low: below this probability a message is in scope.
        high: above it, out of scope.
        held: cross-validated probabilities.
    """

    arrays: dict[str, NDArray[np.generic]]
    low: float
    high: float
    held: Held


def chosen(answers: Truths, *, seed: int = 7) -> NDArray[np.intp]:
    """Places of the messages that are learned from, sorted: all, or at most `MOST` with an even share of both."""
    if len(answers) <= MOST:
        return np.arange(len(answers))
    random = np.random.default_rng(seed)
    yes, no = np.flatnonzero(answers), np.flatnonzero(~answers)
    least = min(len(yes), len(no), MOST // 2)
    counts = (least, MOST - least) if len(yes) <= len(no) else (MOST - least, least)
    parts = [
        random.choice(some, min(count, len(some)), replace=False) for some, count in zip((yes, no), counts, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def learn(
    texts: Sequence[Seen],
    answers: Truths,
    *,
    general: Callable[[int], General],
    strangers: Sequence[tuple[Seen, General]] = (),
    seed: int = 7,
) -> Lesson:
    """Fit everything to labelled messages; takes some seconds for ten thousand.

    Args:
        texts: at least `LEAST` of either class.
        answers: which are out of scope. Shape (len(texts),).
        general: what is thought of a message without labels, by its place.
        strangers: messages out of scope that the probabilities alone are learned from, as none of their kind may be
            among the labelled ones.
        seed: of the folds.
    """
    random = np.random.default_rng(seed)
    vectors = np.stack([text.vector for text in texts])
    near = Neighbours(vectors, [text.single for text in texts], answers)
    groups = _groups(vectors, answers, random)
    penalties: tuple[float, float] | None = None
    evidence: list[Numbers] = []
    places: list[NDArray[np.intp]] = []
    kinds: list[Truths] = []
    for number, kind in enumerate(_FOLDS):
        hidden = _hidden(kind, number, groups, answers, random)
        held = _some(np.flatnonzero(hidden), _HELD, random)
        kept = _some(np.flatnonzero(~hidden), _FITTED, random)
        if penalties is None or number == 1:
            penalties = _penalties(texts, answers, kept, held)
        models = linear([texts[at] for at in kept], answers[kept], words=penalties[0], sense=penalties[1])
        evidence += [
            pulls(near.sides(texts[at], hidden), models.margins(texts[at]), general=general(int(at))) for at in held
        ]
        places.append(held)
        kinds.append(np.full(len(held), kind == "groups"))
    assert penalties is not None
    at = np.concatenate(places)
    every = _some(np.arange(len(texts)), _FITTED, random)
    last: Linear = linear([texts[one] for one in every], answers[every], words=penalties[0], sense=penalties[1])
    strange = [pulls(near.sides(text), last.margins(text), general=thought) for text, thought in strangers]
    factors, held_out = _mixed(
        np.stack(evidence),
        answers[at],
        np.concatenate(kinds),
        np.array(strange).reshape(-1, len(PULLS)),
        float(answers.mean()),
    )
    low, high = bounds(held_out.scores, held_out.answers)
    return Lesson(packed(texts, answers, models=last, factors=factors), low, high, held_out)


def bounds(scores: Numbers, answers: Truths) -> tuple[float, float]:
    """Bounds under which few are let in or flagged wrongly; low is never above high."""
    high = float(np.quantile(scores[~answers], 1 - FLAGGED_WRONG)) if (~answers).any() else 0.5
    low = float(np.quantile(scores[answers], PASSED_WRONG)) if answers.any() else 0.5
    low, high = min(max(low, 1e-4), 0.98), min(max(high, 0.02), 1 - 1e-4)
    # Where the classes hardly overlap, what is between the bounds is still a doubt.
    return (low, high) if low <= high else (high, low)


def _some(places: NDArray[np.intp], most: int, random: np.random.Generator) -> NDArray[np.intp]:
    return places if len(places) <= most else np.sort(random.choice(places, most, replace=False))


def _hidden(kind: str, number: int, groups: NDArray[np.intp], answers: Truths, random: np.random.Generator) -> Truths:
    """Which messages a fold holds out: a fifth of them, or of the groups of either class."""
    if kind == "random":
        return np.asarray(random.random(len(answers)) < 0.2)
    hidden: Truths = (groups + number // 2) % 5 == 0
    for answer in (False, True):
        if hidden[answers == answer].all() or not hidden[answers == answer].any():
            hidden[answers == answer] = random.random(int((answers == answer).sum())) < 0.2
    return hidden


def _groups(vectors: Floats, answers: Truths, random: np.random.Generator) -> NDArray[np.intp]:
    """Groups of alike messages of one class each, by k-means (Lloyd 1982) on unit vectors. Shape (n,)."""
    found = np.zeros(len(vectors), dtype=np.intp)
    for answer in (False, True):
        mine = np.flatnonzero(answers == answer)
        some = vectors[mine]
        count = min(_GROUPS, max(len(mine) // 10, 1))
        centres = some[random.choice(len(mine), count, replace=False)]
        for _ in range(6):
            nearest = (some @ centres.T).argmax(axis=1)
            sums = np.zeros_like(centres)
            np.add.at(sums, nearest, some)
            lengths = np.linalg.norm(sums, axis=1, keepdims=True)
            centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centres).astype(np.float32)
        found[mine] = (some @ centres.T).argmax(axis=1) + (_GROUPS if answer else 0)
    return found


def _penalties(
    texts: Sequence[Seen], answers: Truths, kept: NDArray[np.intp], held: NDArray[np.intp]
) -> tuple[float, float]:
    """The penalties under which each linear model loses least on what is held out."""
    rows, weights = [texts[at] for at in kept[:3000:1]], balanced(answers[held])
    truth, losses = np.where(answers[held], 1.0, -1.0), {}
    for at in range(max(len(_WORDS), len(_SENSE))):
        words, sense = _WORDS[min(at, len(_WORDS) - 1)], _SENSE[min(at, len(_SENSE) - 1)]
        models = linear(rows, answers[kept[:3000]], words=words, sense=sense)
        margins = np.array([models.margins(texts[place]) for place in held])
        lost = weights @ np.logaddexp(0.0, -truth[:, None] * margins)
        losses.update({("words", words): float(lost[0]), ("sense", sense): float(lost[1])})
    best = {
        kind: min((lost, value) for (name, value), lost in losses.items() if name == kind)[1]
        for kind in ("words", "sense")
    }
    return best["words"], best["sense"]


def _mixed(evidence: Numbers, answers: Truths, grouped: Truths, strange: Numbers, share: float) -> tuple[Numbers, Held]:
    """The mixture's factors, its probabilities calibrated to the share of the class, and its held-out scores."""
    rare = share < _RARE
    prior = (LOPSIDED if rare else PRIOR).copy()
    unlabelled = [PULLS.index("general"), PULLS.index("topics")]
    if rank_area(evidence[:, unlabelled[0]], answers) < _HEARD:
        prior[unlabelled] = 0.0
    evidence = np.where(prior > 0, evidence, 0.0)
    penalty = _DRAWN_RARE if rare else _DRAWN
    found = logistic_fit(Dense(evidence), answers, weights=balanced(answers), penalty=penalty, toward=prior, floor=0.0)
    margins = evidence @ found[:-1] + found[-1]
    strangers = strange @ found[:-1] + found[-1]
    part = _STRANGE if len(strange) else 0.0
    weights = np.r_[
        np.where(answers, (1 - part) * share / max(answers.sum(), 1), (1 - share) / max((~answers).sum(), 1)),
        np.full(len(strange), part * share / max(len(strange), 1)),
    ]
    shown, told = np.r_[margins, strangers][:, None], np.r_[answers, np.ones(len(strange), bool)]
    platt = logistic_fit(Dense(shown), told, weights=weights, penalty=1e-4, floor=0.05)
    factors = np.r_[found[:-1] * platt[0], found[-1] * platt[0] + platt[1]]
    scores = 1.0 / (1.0 + np.exp(-np.clip(margins * platt[0] + platt[1], -500, 500)))
    return factors, Held(scores, answers, grouped)
