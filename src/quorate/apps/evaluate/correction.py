"""A judge's bias, taken out with a sample of rows that people have graded too.

Both corrections assume that the labelled rows are a random sample of what the judge graded, and both carry the
uncertainty of the labels into their interval. Pure functions of numbers in [0, 1].
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.apps.evaluate.statistics import MIN_LABELS, MIN_OF_EACH, Codes, Floats, codes_of, t_quantile
from quorate.stats import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Corrected:
    """A mean freed from its judge's bias.

    Attributes:
        method: "rogan-gladen" or "difference".
        mean: the corrected mean, in [0, 1].
        low: lower end of its interval.
        high: upper end.
        labels: rows that people graded.
        bias: the judge's mean minus the corrected one.
        sensitivity: share of the rows good by people that the judge passed; None for "difference".
        specificity: share of the rows bad by people that the judge failed; None for "difference".
    """

    method: str
    mean: float
    low: float
    high: float
    labels: int
    bias: float
    sensitivity: float | None = None
    specificity: float | None = None


def corrected(
    judged: Sequence[float] | Floats,
    human: Sequence[float | None],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
) -> Corrected | None:
    """Correct the mean of a judge's grades by what people say of some of the same rows.

    Yes-or-no grades are corrected by Rogan and Gladen's formula where the labels hold enough of both kinds and the
    judge is better than chance; all others by the difference estimator.

    Args:
        judged: the judge's grades, shape (n,).
        human: people's grades of the same rows, None where there is none.
        groups: what each row belongs to.
        confidence: of the interval.

    Returns:
        The corrected mean, or None where fewer than `MIN_LABELS` rows are labelled.
    """
    values, labels, codes = _arrays(judged, human, groups)
    known = ~np.isnan(labels)
    count = int(known.sum())
    if count < MIN_LABELS:
        return None
    binary = bool(np.all((values == 0) | (values == 1)) and np.all((labels[known] == 0) | (labels[known] == 1)))
    good = int(np.sum(labels[known] == 1))
    found = None
    if binary and MIN_OF_EACH <= good <= count - MIN_OF_EACH:
        found = _rogan_gladen(values, labels, codes, confidence=confidence)
    return found or _difference(values, labels, codes, confidence=confidence)


def difference(
    judged: Sequence[float] | Floats,
    human: Sequence[float | None],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
) -> Corrected | None:
    """The difference estimator, whatever the scale; arguments and what is returned are those of `corrected`.

    Where the labels are a random sample of the very rows, it is narrower than Rogan and Gladen's formula, which
    asks only that the judge errs as often on rows of either kind (`benchmarks/evaluate.py` has both).
    """
    values, labels, codes = _arrays(judged, human, groups)
    if int(np.sum(~np.isnan(labels))) < MIN_LABELS:
        return None
    return _difference(values, labels, codes, confidence=confidence)


def _arrays(
    judged: Sequence[float] | Floats, human: Sequence[float | None], groups: Sequence[Hashable] | None
) -> tuple[Floats, Floats, Codes]:
    values = np.asarray(judged, dtype=np.float64)
    labels = np.array([math.nan if label is None else label for label in human], dtype=np.float64)
    return values, labels, np.arange(len(values), dtype=np.int64) if groups is None else codes_of(groups)


def _rogan_gladen(values: Floats, labels: Floats, codes: Codes, *, confidence: float) -> Corrected | None:
    """(p + spec - 1) / (sens + spec - 1) (W. J. Rogan and B. Gladen, Am. J. Epidemiol. 1978).

    The variance is that of the linearised estimator, summed by group: it holds what p, sensitivity and specificity each
    owe to chance and, since they share rows, their covariances. None where the judge is no better than chance.
    """
    good, bad = labels == 1, labels == 0
    sens, spec = float(values[good].mean()), 1 - float(values[bad].mean())
    p, youden = float(values.mean()), sens + spec - 1
    if youden < 0.1:
        return None
    theta = (p + spec - 1) / youden
    influence = (values - p) / len(values)
    influence -= theta * good * (values - sens) / good.sum()
    influence += (1 - theta) * bad * ((1 - values) - spec) / bad.sum()
    half = _half(influence / youden, labels, codes, confidence=confidence)
    return _cut("rogan-gladen", theta, half, p, labels, sens=sens, spec=spec)


def _difference(values: Floats, labels: Floats, codes: Codes, *, confidence: float) -> Corrected:
    """Mean label + weight * (judge's mean on all rows - judge's mean on labelled rows).

    The difference estimator of survey sampling, known as prediction-powered inference (Angelopoulos et al., Science
    2023); the weight in [0, 1] that makes its variance least is estimated (PPI++, arXiv 2311.01453), so that a judge
    who says nothing cannot make it worse than the labels alone.
    """
    known = ~np.isnan(labels)
    human, judge = labels[known], values[known]
    spread = float(judge.var())
    weight = (
        min(1.0, max(0.0, float(np.mean((human - human.mean()) * (judge - judge.mean()))) / spread)) if spread else 0.0
    )
    p = float(values.mean())
    theta = float(human.mean()) + weight * (p - float(judge.mean()))
    influence = weight * (values - p) / len(values)
    gap = human - weight * judge
    influence[known] += (gap - gap.mean()) / len(human)
    half = _half(influence, labels, codes, confidence=confidence)
    return _cut("difference", theta, half, p, labels)


def _half(influence: Floats, labels: Floats, codes: Codes, *, confidence: float) -> float:
    """Half of the interval: groups' sums of influence, G / (G - 1), t with one less than the labelled groups."""
    known = ~np.isnan(labels)
    labelled = len(np.unique(codes[known]))
    if labelled < 2:
        return math.inf
    sums = np.bincount(codes, weights=influence)
    variance = float(np.sum(sums**2)) * labelled / (labelled - 1)
    return t_quantile((1 + confidence) / 2, labelled - 1) * math.sqrt(variance)


def _cut(
    method: str,
    theta: float,
    half: float,
    raw: float,
    labels: Floats,
    *,
    sens: float | None = None,
    spec: float | None = None,
) -> Corrected:
    mean = min(1.0, max(0.0, theta))
    low, high = max(0.0, min(mean, theta - half)), min(1.0, max(mean, theta + half))
    count = int(np.sum(~np.isnan(labels)))
    return Corrected(method, mean, low, high, count, raw - mean, sens, spec)
