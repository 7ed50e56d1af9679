"""What a table of grades can say: intervals that know which rows belong together, differences, agreement.

Pure functions of numbers. Values lie in [0, 1] where nothing else is said. A group is what rows share (their source);
rows without groups are all taken as independent. Everything is the same for any order of the rows' groups.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from quorate.stats import CONFIDENCE, beta_share

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
MIN_LABELS = 30
"""Human labels below which no correction is made: its interval would say nothing."""
MIN_OF_EACH = 8
"""Labels of either kind below which sensitivity or specificity is not worth the name."""
_HALVINGS = 80
_STEEPEST = 3.0
_UNSEEN = 0.3
"""The correlation within groups that is assumed where no value differs, and none can be seen."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and how far to trust it.

    Attributes:
        mean: of all rows.
        low: lower end of the interval.
        high: upper end.
        n: rows.
        groups: groups, or `n` where rows have none.
        df: degrees of freedom behind the interval; infinite for Wilson's.
        method: "wilson", "clustered", "score" or "none" (too little to say anything: the interval is everything).
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int
    df: float
    method: str


@lru_cache(maxsize=1 << 16)
def t_quantile(share: float, df: float) -> float:
    """The quantile of Student's t, by halving its distribution function.

    P(T > t) = I_x(df/2, 1/2) / 2 with x = df / (df + t^2) (DLMF 8.17, Abramowitz and Stegun 26.7.1).

    Args:
        share: in (0.5, 1).
        df: degrees of freedom, above 0; infinite gives the normal distribution's.
    """
    if math.isinf(df):
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1.0
    while _t_upper(high, df) > 1 - share:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _t_upper(middle, df) > 1 - share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_upper(t: float, df: float) -> float:
    return beta_share(df / (df + t * t), df / 2, b=0.5) / 2


def codes_of(groups: Sequence[Hashable]) -> Codes:
    """Number the groups 0, 1, ... in the order in which they first appear. Shape (len(groups),)."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(group, len(seen)) for group in groups], dtype=np.int64)


def wilson(mean: float, n: float, *, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 1927), for an effective number of rows `n` > 0."""
    middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(0.0, mean * (1 - mean) / n + z * z / (4 * n * n)))
    return max(0.0, min(mean, middle - half)), min(1.0, max(mean, middle + half))


# --- variance that knows its groups -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spread:
    """The variance of a mean, the degrees of freedom behind it, and the rows it amounts to where nothing varies.

    `power` says how the variance would fall with a mean nearer to 0 or 1: as (mean (1 - mean)) ** power.
    """

    variance: float
    df: float
    groups: int
    effective: float
    power: float


def _spread(values: Floats, codes: Codes) -> _Spread:
    """CR2 variance of the plain mean, with Satterthwaite's degrees of freedom.

    With m_g rows and residual sum r_g in group g, h_g = m_g / n: V = sum of r_g^2 / (1 - h_g) / n^2, which is unbiased
    for independent rows whatever the groups' sizes (Bell and McCaffrey, Survey Methodology 2002; Pustejovsky and
    Tipton, JBES 2018). Degrees of freedom (E V)^2 * 2 / Var V follow from a working model of the covariance of
    the r_g. With the model of independent rows the interval is too narrow where groups are few, unequal and
    correlated, with the correlation estimated from the data (one-way ANOVA) too wide; the mean of both is
    what covers (`benchmarks/evaluate.py`). With equal groups all three are groups - 1.
    """
    n, sizes = len(values), np.asarray(np.bincount(codes), dtype=np.float64)
    groups = len(sizes)
    share = sizes / n
    sums = np.asarray(np.bincount(codes, weights=values), dtype=np.float64)
    residual = np.bincount(codes, weights=values - values.mean())
    variance = float(np.sum(residual**2 / (1 - share)) / n**2)
    rho = _correlation(values, sums, sizes)
    df = (_satterthwaite(sizes, share, rho=0.0) + _satterthwaite(sizes, share, rho=rho)) / 2
    effective = float(n * n / np.sum(sizes * (1 + (sizes - 1) * _UNSEEN)))
    return _Spread(variance, df, groups, effective, _power(sizes, rho))


def _correlation(values: Floats, sums: Floats, sizes: Floats) -> float:
    """The intraclass correlation by one-way analysis of variance, cut to [0, 1] (Donner, Int. Stat. Rev. 1986)."""
    n, groups = len(values), len(sizes)
    if n == groups:
        return 0.0
    between = (float(np.sum(sums**2 / sizes)) - float(values.sum()) ** 2 / n) / (groups - 1)
    within = (float(np.sum(values**2)) - float(np.sum(sums**2 / sizes))) / (n - groups)
    size = (n - float(np.sum(sizes**2)) / n) / (groups - 1)
    total = between + (size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 1e-12 else 0.0


def _satterthwaite(sizes: Floats, share: Floats, *, rho: float) -> float:
    """(tr C)^2 / tr C^2 for the covariance C of the scaled residual sums, in time linear in the groups.

    C = D - u w' - w u' + T w w', where v_g = m_g (1 + (m_g - 1) rho) is the variance of a group's sum, T their total,
    a_g = (1 - h_g)^(-1/2), u = a v, w = a h, and D has a^2 v on its diagonal.
    """
    v = sizes * (1 + (sizes - 1) * rho)
    total = float(v.sum())
    a = 1 / np.sqrt(1 - share)
    u, w, d = a * v, a * share, a * a * v
    uu, ww, uw = float(u @ u), float(w @ w), float(u @ w)
    trace = float(d.sum()) - 2 * uw + total * ww
    off = 2 * uu * ww + 2 * uw * uw + total * total * ww * ww - 4 * total * uw * ww
    cross = float(np.sum(d * (total * w * w - 2 * u * w)))
    square = float(d @ d) + off + 2 * cross
    return max(1.0, trace * trace / square) if square > 0 else 1.0


def _power(sizes: Floats, rho: float) -> float:
    """How the estimated variance of a mean follows the mean: 1 for independent rows, as Wilson's interval has it.

    In correlated groups a sample that has missed the bad groups has too high a mean and too small a variance, more so
    than a share of independent rows: for Dirichlet-multinomial groups the slope of the variance over the mean is
    n K3 / K2^2 times that of mean (1 - mean), with K2 the sum of m (1 + (m - 1) rho) and K3 that of
    m (1 + 3 (m - 1) rho + 2 (m - 1)(m - 2) rho^2 / (1 + rho)) over the groups' sizes m (their second and third
    cumulants over those of one row; 2 / (1 + rho) for large equal groups). Half of the way there is taken: rho and the
    variance are estimated from the same few groups, and all of it covers too much (`benchmarks/evaluate.py`).
    """
    second = float(np.sum(sizes * (1 + (sizes - 1) * rho)))
    third = float(np.sum(sizes * (1 + 3 * (sizes - 1) * rho + 2 * (sizes - 1) * (sizes - 2) * rho * rho / (1 + rho))))
    return min(_STEEPEST, max(1.0, (1 + float(sizes.sum()) * third / second**2) / 2))


def _end(mean: float, variance: float, *, t: float, power: float, side: float) -> float:
    """The farthest mean towards `side` (0 or 1) that a score test with this variance function does not reject."""
    room, inside, outside = mean * (1 - mean), mean, side
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if (mean - middle) ** 2 <= t * t * variance * (middle * (1 - middle) / room) ** power:
            inside = middle
        else:
            outside = middle
    return inside


def _grouped(n: int, groups: Sequence[Hashable] | None) -> Codes:
    return np.arange(n, dtype=np.int64) if groups is None else codes_of(groups)


def mean_of(
    values: Sequence[float] | Floats, groups: Sequence[Hashable] | None = None, *, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of values in [0, 1] with its interval.

    Independent yes-or-no values get Wilson's interval. All others get a score interval too: the means mu with
    (m - mu)^2 <= t^2 V (mu (1 - mu) / (m (1 - m)))^p, where V is the clustered variance, t Student's quantile and p the
    power of `_power`. For p = 1 this is Wilson's with the effective number of rows m (1 - m) / V (as Dean and Pagano,
    J. Survey Stat. Methodol. 2015, find best for survey shares). It stays in [0, 1] and covers for skewed aspects,
    where m +- t sqrt(V) does not. Where no value differs from another, V says nothing, and a correlation of 0.3
    within groups is assumed.

    Args:
        values: shape (n,).
        groups: what each row belongs to; None takes all rows as independent.
        confidence: of the interval.
    """
    array = np.asarray(values, dtype=np.float64)
    n, side = len(array), (1 + confidence) / 2
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0, 0, math.nan, "none")
    mean = min(1.0, max(0.0, float(array.mean())))
    codes = _grouped(n, groups)
    count = int(codes.max()) + 1
    if count == n and bool(np.all((array == 0) | (array == 1))):
        low, high = wilson(mean, n, z=t_quantile(side, math.inf))
        return Estimate(mean, low, high, n, n, math.inf, "wilson")
    if count < 2:
        return Estimate(mean, 0.0, 1.0, n, count, math.nan, "none")
    spread = _spread(array, codes)
    t, room = t_quantile(side, round(spread.df, 3)), mean * (1 - mean)
    if spread.variance > 1e-15 and room > 0:
        low = _end(mean, spread.variance, t=t, power=spread.power, side=0.0)
        high = _end(mean, spread.variance, t=t, power=spread.power, side=1.0)
    else:
        low, high = wilson(mean, spread.effective, z=t)
    return Estimate(mean, low, high, n, count, spread.df, "score" if count == n else "clustered")


def difference_of(
    differences: Sequence[float] | Floats,
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The mean of paired differences in [-1, 1] with its interval m +- t sqrt(V), V and t as in `mean_of`.

    Pairing takes out what both systems find hard (Miller, "Adding error bars to evals", arXiv 2411.00640,
    section 4). Where nothing differs, the ends are Wilson's bound of the share of rows that might.
    """
    array = np.asarray(differences, dtype=np.float64)
    n, side = len(array), (1 + confidence) / 2
    codes = _grouped(n, groups)
    count = int(codes.max()) + 1 if n else 0
    if count < 2:
        return Estimate(float(array.mean()) if n else math.nan, -1.0, 1.0, n, count, math.nan, "none")
    mean, spread = float(array.mean()), _spread(array, codes)
    half = t_quantile(side, round(spread.df, 3)) * math.sqrt(spread.variance)
    if spread.variance <= 1e-15:
        half = wilson(0.0, spread.effective, z=t_quantile(side, math.inf))[1]
    method = "score" if count == n else "clustered"
    return Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half), n, count, spread.df, method)


# --- agreement ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two raters agree on the same rows.

    Attributes:
        n: rows rated by both.
        agreement: share of rows with the same grade.
        kappa: Cohen's, weighted by squared distance where there are more than two grades; None where both raters
            gave one and the same grade throughout, and chance explains everything.
        low: lower end of its interval, None where there is none.
        high: upper end.
        shares: for each grade, the share of rows in which either rater gave it: what kappa depends on.
    """

    n: int
    agreement: float
    kappa: float | None
    low: float | None
    high: float | None
    shares: tuple[tuple[float, float], ...]


def kappa_of(
    first: Sequence[int],
    second: Sequence[int],
    *,
    grades: int,
    groups: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
) -> Agreement:
    """Cohen's kappa, 1 - sum(w o) / sum(w e), with a jackknife interval that leaves out one group at a time.

    J. Cohen, Psychol. Bull. 1968: o are observed and e expected shares of each pair of grades, w the disagreement.

    Args:
        first: grades as numbers 0 to grades - 1, shape (n,).
        second: the other rater's.
        grades: how many grades the scale has.
        groups: what each row belongs to.
        confidence: of the interval.
    """
    n = len(first)
    if n == 0:
        return Agreement(0, math.nan, None, None, None, ())
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    table = np.bincount(a * grades + b, minlength=grades * grades).astype(np.float64).reshape(1, grades, grades)
    codes = _grouped(n, groups)
    count = int(codes.max()) + 1
    kappa = float(_kappas(table)[0])
    shares = tuple(zip((table[0].sum(1) / n).tolist(), (table[0].sum(0) / n).tolist(), strict=True))
    same = float(np.trace(table[0])) / n
    if math.isnan(kappa) or count < 2:
        return Agreement(n, same, None if math.isnan(kappa) else kappa, None, None, shares)
    cells = codes * grades * grades + a * grades + b
    each = np.bincount(cells, minlength=count * grades * grades).astype(np.float64).reshape(count, grades, grades)
    left_out = _kappas(table - each)
    left_out = np.where(np.isnan(left_out), kappa, left_out)
    error = math.sqrt((count - 1) / count * float(np.sum((left_out - left_out.mean()) ** 2)))
    half = t_quantile((1 + confidence) / 2, count - 1) * error
    return Agreement(n, same, kappa, max(-1.0, kappa - half), min(1.0, kappa + half), shares)


def _kappas(tables: Floats) -> Floats:
    """Kappa of each table. Shape (k, grades, grades) to (k,); not a number where only one grade was ever given."""
    grades = tables.shape[1]
    place = np.arange(grades, dtype=np.float64)
    weight = (place[:, None] - place[None, :]) ** 2
    total = tables.sum((1, 2))
    expected = tables.sum(2)[:, :, None] * tables.sum(1)[:, None, :] / np.maximum(total, 1)[:, None, None]
    observed, chance = (tables * weight).sum((1, 2)), (expected * weight).sum((1, 2))
    return np.asarray(np.where(chance > 0, 1 - observed / np.where(chance > 0, chance, 1), np.nan))
