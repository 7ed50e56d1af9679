"""Logistic models fitted in numpy alone: sparse or dense rows, a limited-memory quasi-Newton method, and calibration.

The method is L-BFGS (Nocedal 1980) with a backtracking line search (Armijo 1966).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quorate.models.local.features import Floats, Ids

Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]
Loss = Callable[[Numbers], tuple[float, Numbers]]

_MEMORY = 8
_STEPS = 60
_ENOUGH = 1e-5
"""A step that lowers the loss by a smaller share than this is the last one."""


class Rows(Protocol):
    """A table of rows that can be weighed by columns, and whose columns can be weighed by rows."""

    width: int

    def weighed(self, factors: Numbers) -> Numbers:
        """The product of every row with one factor for each column. Shape (number of rows,)."""

    def summed(self, weights: Numbers) -> Numbers:
        """The sum of the rows, each with its weight. Shape (width,)."""


class Dense:
    """Rows as one array. Shape (n, width)."""

    def __init__(self, rows: Floats | Numbers) -> None:
        self._rows = rows.astype(np.float64)
        self.width = rows.shape[1]

    def weighed(self, factors: Numbers) -> Numbers:
        """See `Rows`."""
        return np.asarray(self._rows @ factors)

    def summed(self, weights: Numbers) -> Numbers:
        """See `Rows`."""
        return np.asarray(weights @ self._rows)


class Sparse:
    """Rows of slots and values. Only slots that occur become columns.

    Attributes:
        slots: which slot each column stands for, sorted.
    """

    def __init__(self, rows: Sequence[tuple[Ids, Floats]]) -> None:
        sizes = [len(row[0]) for row in rows]
        every = np.concatenate([row[0] for row in rows]) if rows else np.zeros(0, np.uint32)
        self.slots, self._columns = np.unique(every, return_inverse=True)
        self._values = np.concatenate([row[1] for row in rows]) if rows else np.zeros(0, np.float32)
        self._owners = np.repeat(np.arange(len(rows)), sizes)
        self._count = len(rows)
        self.width = len(self.slots)

    def weighed(self, factors: Numbers) -> Numbers:
        """See `Rows`."""
        summed = np.bincount(self._owners, weights=factors[self._columns] * self._values, minlength=self._count)
        return np.asarray(summed, dtype=np.float64)

    def summed(self, weights: Numbers) -> Numbers:
        """See `Rows`."""
        summed = np.bincount(self._columns, weights=weights[self._owners] * self._values, minlength=self.width)
        return np.asarray(summed, dtype=np.float64)


def logistic_fit(
    rows: Rows,
    answers: Truths,
    *,
    weights: Numbers,
    penalty: float,
    toward: Numbers | None = None,
    floor: float = -np.inf,
) -> Numbers:
    """Factors and bias of the logistic model with the least penalised loss.

    Args:
        rows: what is known of each text.
        answers: what is to be told. Shape (number of rows,).
        weights: how much each row counts; need not sum to one. Same shape.
        penalty: half of it times the squared distance of the factors from `toward` is added to the mean loss.
        toward: where the factors are drawn to; nothing draws the bias. Zeros without it.
        floor: no factor falls below this.

    Returns:
        Shape (rows.width + 1,); the bias comes last.
    """
    signs = np.where(answers, 1.0, -1.0)
    share = weights / weights.sum()
    centre = np.zeros(rows.width) if toward is None else toward

    def loss(found: Numbers) -> tuple[float, Numbers]:
        margins = signs * (rows.weighed(found[:-1]) + found[-1])
        pull = -signs * share / (1.0 + np.exp(np.clip(margins, -500, 500)))
        away = found[:-1] - centre
        value = float(share @ np.logaddexp(0.0, -margins)) + penalty / 2 * float(away @ away)
        return value, np.r_[rows.summed(pull) + penalty * away, pull.sum()]

    return minimised(loss, np.r_[centre, 0.0], floor=np.r_[np.full(rows.width, floor), -np.inf])


def minimised(loss: Loss, start: Numbers, *, floor: Numbers) -> Numbers:
    """Where a smooth convex function is least, above a floor for each coordinate."""
    at = np.maximum(start, floor)
    value, slope = loss(at)
    steps: list[tuple[Numbers, Numbers]] = []
    for _ in range(_STEPS):
        free = (at > floor) | (slope < 0)
        way = -_bent(np.where(free, slope, 0.0), steps)
        way = np.where(free, way, 0.0)
        if float(way @ slope) >= 0:
            steps, way = [], np.where(free, -slope, 0.0)
        length = 1.0
        while True:
            there = np.maximum(at + length * way, floor)
            lower, steeper = loss(there)
            if lower <= value + 1e-4 * float(slope @ (there - at)):
                break
            length /= 2
            if length < 1e-10:
                return at
        moved, turned = there - at, steeper - slope
        if float(moved @ turned) > 1e-12:
            steps = [*steps[1 - _MEMORY :], (moved, turned)]
        done = value - lower <= _ENOUGH * max(abs(value), 1e-9)
        at, value, slope = there, lower, steeper
        if done:
            break
    return at


def _bent(slope: Numbers, steps: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """The slope times the inverse curvature that the last steps tell of (the two-loop recursion)."""
    bent, kept = slope.copy(), []
    for moved, turned in reversed(steps):
        share = float(moved @ bent) / float(moved @ turned)
        bent -= share * turned
        kept.append(share)
    if steps:
        moved, turned = steps[-1]
        bent *= float(moved @ turned) / float(turned @ turned)
    for (moved, turned), share in zip(steps, reversed(kept), strict=True):
        bent += (share - float(turned @ bent) / float(moved @ turned)) * moved
    return bent


def balanced(answers: Truths) -> Numbers:
    """Weights under which both answers count the same. Shape (len(answers),)."""
    yes = max(float(answers.mean()), 1e-9)
    return np.where(answers, 0.5 / yes, 0.5 / max(1.0 - yes, 1e-9))


def rank_area(scores: Numbers, answers: Truths) -> float:
    """Area under the ROC curve: how often a yes scores above a no, ties counted half. 0.5 where one is missing."""
    yes, no = int(answers.sum()), int((~answers).sum())
    if not yes or not no:
        return 0.5
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[answers].sum() - yes * (yes + 1) / 2) / (yes * no))


def calibration_error(scores: Numbers, answers: Truths, *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Naeini, Cooper and Hauskrecht 2015)."""
    if not len(scores):
        return 0.0
    at = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(at, minlength=bins)
    gaps = np.abs(np.bincount(at, weights=scores - answers, minlength=bins))
    return float(gaps[counts > 0].sum() / len(scores))
