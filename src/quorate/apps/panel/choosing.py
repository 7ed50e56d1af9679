"""Is the panel worth its price? A combiner chosen against the best single voter, without flattering either."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.apps.panel.combining import Method, methods, singles
from quorate.apps.panel.table import Flags, Votes
from quorate.errors import UsageError
from quorate.stats import CONFIDENCE, Interval, interval

FOLDS = 5
LEAST_ROWS = 20
_Z = 1.959963984540054  # The 97.5 % point of the normal distribution.


@dataclass(frozen=True, slots=True)
class Paired:
    """What one way gains over another on the same items: a difference of shares, with a 95 % interval."""

    gain: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A way to answer, on items it was not fitted to.

    Attributes:
        method: fitted to all labelled items.
        error: share of items not answered right, by cross-validation; undecided is not right.
        error_interval: Clopper-Pearson.
        undecided: share of items without an answer.
        gain: right answers it gains over the best single voter.
    """

    method: Method
    error: float
    error_interval: Interval
    undecided: float
    gain: Paired


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use.

    Attributes:
        chosen: the panel's rule, or one voter alone.
        use_panel: whether it is the panel's.
        panel: the best rule of the panel.
        single: the best voter.
        gain: the less sure of two gains: of choosing a rule over choosing a voter, both choices made on other items
            than those counted, and of `panel` over `single`.
        least_gain: what the gain had to exceed.
        singles: all voters, in their order.
        methods: all rules.
        rows: labelled items.
    """

    chosen: Measured
    use_panel: bool
    panel: Measured | None
    single: Measured
    gain: Paired
    least_gain: float
    singles: tuple[Measured, ...]
    methods: tuple[Measured, ...]
    rows: int


def paired(first: Flags, second: Flags) -> Paired:
    """The difference of two shares on the same items, and its interval.

    Wald's interval with half an item added to each of the four cells (Agresti and Min, "Simple improved confidence
    intervals for comparing matched proportions", Statistics in Medicine 2005).

    Args:
        first: shape (items,).
        second: shape (items,), of the same items; at least one.
    """
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    b, c, size = only_first + 0.5, only_second + 0.5, n + 2
    middle = (b - c) / size
    half = _Z * math.sqrt(max(0.0, b + c - (b - c) ** 2 / size)) / size
    return Paired((only_first - only_second) / n, max(-1.0, middle - half), min(1.0, middle + half))


def choose(votes: Votes, *, least_gain: float = 0.0, folds: int = FOLDS, seed: int = 0) -> Choice:
    """Choose a rule for the panel or one voter alone.

    In each fold the best rule and the best voter are chosen, and rules fitted, on the other folds, and both are counted
    on this one: so neither the choosing nor the fitting flatters. The panel is chosen only where the interval of that
    gain, and of the chosen rule's own, lies above `least_gain`. Classes are spread evenly over the folds.

    Args:
        votes: items without a label are passed over.
        least_gain: the share of right answers that the panel must gain to be worth its price.
        folds: of the cross-validation.
        seed: of the folds.

    Raises:
        UsageError: there are under 20 labelled items.
    """
    known = votes.labelled()
    rows = len(known.labels)
    if rows < LEAST_ROWS:
        raise UsageError(f"a panel is measured on {LEAST_ROWS} labelled items or more, got {rows}")
    alone, rules = singles(known), methods(known)
    fold = _folds(known.labels, folds, seed)
    right = np.zeros((rows, len(alone) + len(rules)), dtype=bool)
    open_ = np.zeros_like(right)
    by_rule, by_voter = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    keys = [_key(method) for method in (*alone, *rules)]
    for i in range(folds):
        here = fold == i
        train, test = known.at(~here), known.at(here)
        fitted = {_key(method): method for method in (*alone, *methods(train))}
        shares = {key: float(_right(method, train)[0].mean()) for key, method in fitted.items()}
        column = {key: _right(method, test) for key, method in fitted.items()}
        for j, key in enumerate(keys):
            # A rule that this fold's labels do not allow to be fitted is right about nothing there.
            if key in column:
                right[here, j], open_[here, j] = column[key]
        by_voter[here] = column[_best(alone, shares)][0]
        if rules:
            by_rule[here] = column[_best(rules, shares)][0]
    best = int(np.argmax([right[:, j].mean() for j in range(len(alone))]))
    measured = [
        _measured(method, right[:, j], open_[:, j], right[:, best]) for j, method in enumerate((*alone, *rules))
    ]
    everywhere = {_key(method): float(_right(method, known)[0].mean()) for method in (*alone, *rules)}
    single = measured[keys.index(_best(alone, everywhere))]
    panel = measured[keys.index(_best(rules, everywhere))] if rules else None
    none = Paired(0.0, 0.0, 0.0)
    # Choosing anew in each fold punishes the voter's choice too where voters are near-copies: the rule must hold alone.
    gain = none if panel is None else min(paired(by_rule, by_voter), panel.gain, key=lambda one: one.low)
    use_panel = panel is not None and gain.low > least_gain
    chosen = panel if panel is not None and use_panel else single
    n = len(alone)
    return Choice(chosen, use_panel, panel, single, gain, least_gain, tuple(measured[:n]), tuple(measured[n:]), rows)


def _right(method: Method, votes: Votes) -> tuple[Flags, Flags]:
    answers = method.answers(votes)
    return np.asarray(answers == votes.labels), np.asarray(answers == -1)


def _key(method: Method) -> tuple[int, str]:
    """What tells methods apart: a voter may carry a rule's name, but costs less."""
    return method.voters, method.name


def _best(candidates: Sequence[Method], shares: dict[tuple[int, str], float]) -> tuple[int, str]:
    """The candidate with the highest share, of several the first; one without a share is none."""
    return max((_key(method) for method in candidates), key=lambda key: shares.get(key, -1.0))


def _measured(method: Method, right: Flags, undecided: Flags, single: Flags) -> Measured:
    wrong = int((~right).sum())
    return Measured(
        method,
        wrong / len(right),
        interval(wrong, len(right), confidence=CONFIDENCE),
        float(undecided.mean()),
        paired(right, single),
    )


def _folds(labels: Flags, folds: int, seed: int) -> NDArray[np.int64]:
    """Which fold each item is in. Shape (items,)."""
    draw = np.random.default_rng(seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    for side in (labels, ~labels):
        rows = draw.permutation(np.flatnonzero(side))
        fold[rows] = np.arange(len(rows)) % folds
    return fold
