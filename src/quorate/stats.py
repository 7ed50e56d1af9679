"""What a threshold can promise, from labelled scores alone: exact bounds, certified thresholds, cuts by cost.

Pure functions of numbers. A score is flagged when it is at or above a threshold; all shares lie in [0, 1], and a
confidence is the share of samples in which a statement made in this way is true.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_HALVINGS = 60
_TINY = 1e-300


def _grid() -> tuple[float, ...]:
    steps = (1.0 / (1.0 + math.exp(-x / 50)) for x in range(-600, 601))
    return tuple(sorted({round(step, 6) for step in steps} | {1.0}))


GRID = _grid()
"""The thresholds that are tried, ascending: even steps of log-odds, chosen without any data."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a share."""

    low: float
    high: float


def beta_share(x: float, a: float, *, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for positive a and b.

    By the continued fraction DLMF 8.17.22, evaluated with the modified method of Lentz.
    """
    if not 0.0 < x < 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):  # There the fraction of the other side converges faster.
        return 1.0 - beta_share(1.0 - x, b, b=a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 1_000_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _nonzero(1.0 + numerator * d)
            c = _nonzero(1.0 + numerator / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return min(1.0, math.exp(log_front) * fraction / a)


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def upper_bound(hits: int, n: int, *, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper Clopper-Pearson bound of a share of which `hits` of `n` were seen; 1 where n is 0.

    The largest p for which `hits` or fewer are not rarer than 1 - confidence (Clopper and Pearson, "The use of
    confidence or fiducial limits", Biometrika 1934). Right for every sample size, and a little too careful.
    """
    if hits >= n:
        return 1.0
    low, high = hits / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if beta_share(middle, hits + 1, b=n - hits) < confidence:
            low = middle
        else:
            high = middle
    return high


def interval(hits: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided Clopper-Pearson interval; (0, 1) where n is 0."""
    side = (1 + confidence) / 2
    return Interval(1.0 - upper_bound(n - hits, n, confidence=side), upper_bound(hits, n, confidence=side))


def certified(hits: int, n: int, *, target: float, confidence: float = CONFIDENCE) -> bool:
    """Whether the upper bound lies at or under a target; the same as comparing `upper_bound`, without its search."""
    return hits < n and beta_share(target, hits + 1, b=n - hits) >= confidence


def most_hits(n: int, *, target: float, confidence: float = CONFIDENCE) -> int:
    """The most hits in n with which a target is still certified; -1 where even none are too few rows."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        if certified(middle, n, target=target, confidence=confidence):
            low = middle
        else:
            high = middle
    return low


def rows_needed(target: float, *, confidence: float = CONFIDENCE) -> int:
    """The fewest rows that can certify a share under a target, with no hit among them: 299 for 1 % at 95 %."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-target) - 1e-9)


def fixed_sequence(passed: Iterable[bool]) -> int:
    """How many tests pass before the first that fails; no test behind it is looked at.

    Each test may use the whole 1 - confidence: the first false hypothesis of a fixed order is the only one that can
    be certified wrongly first (Angelopoulos et al., "Learn then Test", arXiv 2110.01052, section 2.3).
    """
    return sum(1 for _ in takewhile(bool, passed))


def at_or_above(ordered: Sequence[float], threshold: float) -> int:
    """How many of the ascending scores are flagged by a threshold."""
    return len(ordered) - bisect_left(ordered, threshold)


def loosest(honest: Sequence[float], *, target: float, confidence: float = CONFIDENCE) -> float | None:
    """The lowest threshold of `GRID` that is certified to flag at most a target share of honest texts.

    Walks from strict to loose and stops at the first failure, so the promise "false alarms <= target" of what it
    returns is broken for at most 1 - confidence of all samples.

    Args:
        honest: ascending scores of honest texts, a random sample of those that will come.
        target: the share of false alarms that is allowed.
        confidence: of the promise.

    Returns:
        The threshold, or None where not even the strictest is certified.
    """
    room = most_hits(len(honest), target=target, confidence=confidence)
    count = fixed_sequence(at_or_above(honest, threshold) <= room for threshold in reversed(GRID))
    return GRID[-count] if count else None


def highest_clear(violating: Sequence[float], *, target: float, confidence: float = CONFIDENCE) -> float | None:
    """The highest bound of `GRID` below which at most a target share of violating texts is certified to lie.

    Args and promise are those of `loosest`, the other way round. None where not even the lowest is certified.
    """
    room = most_hits(len(violating), target=target, confidence=confidence)
    count = fixed_sequence(bisect_left(violating, bound) <= room for bound in GRID)
    return GRID[count - 1] if count else None


# --- cuts by cost ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """What mistakes and a person's look cost, all in the same unit, each above 0."""

    false_alarm: float
    miss: float
    human: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Flag from `flag` on; pass below `passing`; ask a person in between. Equal ends leave nothing in between."""

    passing: float
    flag: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled scores, both ascending, and the share of violations in the traffic that they stand for."""

    honest: Sequence[float]
    violating: Sequence[float]
    share: float


def chow_cut(costs: Costs) -> Cut:
    """The cut of least expected cost on calibrated probabilities p, by Bayes' rule.

    Passing costs p * miss, flagging (1 - p) * false_alarm, asking `human`: pass below human / miss, flag above
    1 - human / false_alarm (Chow, "On optimum recognition error and reject tradeoff", IEEE Trans. Inf. Theory 1970).
    Where a person costs more than either mistake is worth, one threshold false_alarm / (false_alarm + miss) is left.
    """
    passing, flag = costs.human / costs.miss, 1.0 - costs.human / costs.false_alarm
    if passing < flag:
        return Cut(passing, flag)
    alone = costs.false_alarm / (costs.false_alarm + costs.miss)
    return Cut(alone, alone)


def cost_of(sample: Sample, cut: Cut, *, costs: Costs) -> float:
    """The mean cost of a message under a cut."""
    flagged = [at_or_above(scores, cut.flag) / (len(scores) or 1) for scores in (sample.honest, sample.violating)]
    below = min(cut.passing, cut.flag)
    kept = [bisect_left(scores, below) / (len(scores) or 1) for scores in (sample.honest, sample.violating)]
    weights = (1.0 - sample.share, sample.share)
    asked = sum(w * max(0.0, 1.0 - f - k) for w, f, k in zip(weights, flagged, kept, strict=True) if w)
    return weights[0] * flagged[0] * costs.false_alarm + weights[1] * kept[1] * costs.miss + asked * costs.human


def best_cut(sample: Sample, *, costs: Costs) -> Cut:
    """The cut of `GRID` that costs least on the sample itself; of several, the one nearest to `chow_cut`."""
    honest, violating = _steps(sample.honest), _steps(sample.violating)
    return _best(1 - honest, 1 - violating, sample.share, costs=costs)


def _steps(scores: Sequence[float]) -> NDArray[np.float64]:
    """Share of scores below each bound of the grid. Shape (len(GRID),)."""
    return np.searchsorted(np.asarray(scores, dtype=np.float64), GRID, side="left") / max(len(scores), 1)


def _best(honest_at: NDArray[np.float64], violating_at: NDArray[np.float64], share: float, *, costs: Costs) -> Cut:
    """The best cut where these shares lie at or above each bound of the grid. Shape of both (len(GRID),)."""
    all_at = (1 - share) * honest_at + share * violating_at
    passed = costs.miss * share * (1 - violating_at) - costs.human * (1 - all_at)
    flagged = costs.false_alarm * (1 - share) * honest_at - costs.human * all_at
    near = chow_cut(costs)
    grid = np.asarray(GRID)
    # Scores below bound i pass, from bound j >= i on they flag; nearness only settles ties.
    passed = passed + 1e-9 * costs.miss * np.abs(grid - near.passing)
    flagged = flagged + 1e-9 * costs.false_alarm * np.abs(grid - near.flag)
    first = np.minimum.accumulate(passed)
    j = int(np.argmin(first + flagged))
    i = int(np.argmin(passed[: j + 1]))
    return Cut(GRID[i], GRID[j])


@dataclass(frozen=True, slots=True)
class CostReport:
    """How two cuts compare.

    Attributes:
        formula: `chow_cut`'s.
        formula_cost: its mean cost on the sample.
        best: `best_cut`'s.
        best_cost: its mean cost on the sample it was chosen on, which flatters it.
        best_interval: bootstrap interval of what a cut so chosen costs on rows it was not chosen on.
        saving: bootstrap interval of what it saves there beside the formula; above 0 it is really better.
    """

    formula: Cut
    formula_cost: float
    best: Cut
    best_cost: float
    best_interval: Interval
    saving: Interval

    @property
    def chosen(self) -> Cut:
        """The formula's cut, unless the data's own is better on rows it was not chosen on."""
        return self.best if self.saving.low > 0 else self.formula


def compare_cuts(sample: Sample, *, costs: Costs, rounds: int = 500, seed: int = 0) -> CostReport:
    """Compare the formula's cut with the best one of the data.

    Each round draws both classes anew with replacement, chooses a cut there, and counts what both cuts cost on the
    rows that were not drawn (Efron and Tibshirani, "Improvements on cross-validation", JASA 1997).

    Args:
        sample: at least two scores of each class.
        costs: of the mistakes.
        rounds: of the bootstrap.
        seed: of its draws; the same seed gives the same report.
    """
    draw = np.random.default_rng(seed)
    classes = [np.searchsorted(GRID, np.asarray(scores), side="right") for scores in (sample.honest, sample.violating)]
    formula, best = chow_cut(costs), best_cut(sample, costs=costs)
    arrays = [np.asarray(scores, dtype=np.float64) for scores in (sample.honest, sample.violating)]
    chosen_costs, savings = [], []
    for _ in range(rounds):
        inside, outside = [], []
        for bins, scores in zip(classes, arrays, strict=True):
            times = np.bincount(draw.integers(0, len(bins), len(bins)), minlength=len(bins))
            counts = np.bincount(bins, weights=times, minlength=len(GRID) + 1)
            inside.append(counts[::-1].cumsum()[::-1][1:] / len(bins))
            outside.append(scores[times == 0].tolist())
        if not all(outside):
            continue
        cut = _best(inside[0], inside[1], sample.share, costs=costs)
        rest = Sample(outside[0], outside[1], sample.share)
        chosen_costs.append(cost_of(rest, cut, costs=costs))
        savings.append(cost_of(rest, formula, costs=costs) - chosen_costs[-1])
    return CostReport(
        formula,
        cost_of(sample, formula, costs=costs),
        best,
        cost_of(sample, best, costs=costs),
        _middle(chosen_costs),
        _middle(savings),
    )


def _middle(values: list[float], confidence: float = CONFIDENCE) -> Interval:
    if not values:
        return Interval(-math.inf, math.inf)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Interval(low, high)
