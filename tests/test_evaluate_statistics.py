"""Intervals, agreement and corrections against closed forms; how well they cover is in benchmarks/evaluate.py."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.apps.evaluate.correction import corrected
from quorate.apps.evaluate.statistics import difference_of, kappa_of, mean_of, t_quantile, wilson

shares = st.floats(0, 1, allow_nan=False)


def test_t_quantiles_are_the_tables() -> None:
    """Known quantiles of Student's t, and the normal one behind infinitely many degrees of freedom."""
    table = {1: 12.7062, 2: 4.3027, 4: 2.7764, 19: 2.0930, 99: 1.9842, math.inf: 1.9600}
    for df, quantile in table.items():
        assert t_quantile(0.975, df) == pytest.approx(quantile, abs=5e-5)


def test_wilson_is_the_textbooks() -> None:
    """8 of 10: 49.0 % to 94.3 %; 30 of 30 begins at n / (n + z^2)."""
    assert wilson(0.8, 10, z=1.959964) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    found = mean_of([1.0] * 30)
    assert (found.method, found.high) == ("wilson", 1.0) and found.low == pytest.approx(
        30 / (30 + 1.959964**2), abs=1e-6
    )


def test_equal_groups_are_the_t_interval_of_their_means() -> None:
    """With groups of one size the variance is that of the group means, with groups - 1 degrees of freedom."""
    rng = np.random.default_rng(1)
    means = rng.uniform(-0.5, 0.5, 12)
    values = np.repeat(means, 5)
    found = difference_of(values, np.repeat(np.arange(12), 5).tolist())
    half = 2.200985 * statistics.stdev(means.tolist()) / math.sqrt(12)
    assert found.df == pytest.approx(11) and found.groups == 12
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=1e-6)


def test_rows_without_groups_are_the_usual_t_interval() -> None:
    """Independent differences: m +- t s / sqrt(n)."""
    values = [0.0, 0.5, -0.25, 1.0, 0.25, 0.0]
    half = 2.570582 * statistics.stdev(values) / math.sqrt(6)
    found = difference_of(values)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=1e-6)


def test_copies_of_a_row_say_nothing_new() -> None:
    """A hundred copies of twenty rows, grouped, have the interval of the twenty; ungrouped they would look certain."""
    values = [float(i % 3 == 0) for i in range(20)]
    once, often = mean_of(values, list(range(20))), mean_of(values * 100, list(range(20)) * 100)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)
    blind = mean_of(values * 100)
    assert blind.high - blind.low < 0.3 * (often.high - often.low)


def test_rows_without_groups_have_wilsons_interval_of_their_effective_number() -> None:
    """Independent grades: Wilson's score interval with m (1 - m) / V rows and Student's t."""
    values = [0.0, 0.25, 0.5, 1.0, 1.0, 0.75, 1.0, 1.0]
    found, mean = mean_of(values), statistics.fmean(values)
    variance = statistics.variance(values) / len(values)
    expected = wilson(mean, mean * (1 - mean) / variance, z=t_quantile(0.975, 7))
    assert found.method == "score" and (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_groups_that_hang_together_reach_farther_towards_the_bad_ones() -> None:
    """A good mean of few correlated groups has a longer lower arm than Wilson's interval with the same variance."""
    values = [1.0] * 170 + ([1.0] * 5 + [0.0] * 5) * 3
    groups = [row // 10 for row in range(200)]
    found = mean_of(values, groups)
    sums = np.array(values).reshape(20, 10).sum(1)
    variance = float(np.var(sums, ddof=1)) / 20 / 100
    low, high = wilson(found.mean, found.mean * (1 - found.mean) / variance, z=t_quantile(0.975, 19))
    assert found.low < low and found.high < high


@pytest.mark.parametrize(
    ("shares", "values"), [([0.04, 0.03, 0.03, 0.2, 0.7], [0, 0.25, 0.5, 0.75, 1]), ([0.2, 0.8], [0, 1])]
)
def test_intervals_of_correlated_groups_cover(shares: list[float], values: list[float]) -> None:
    """20 sources of 50 rows, correlation 0.3, a skewed aspect: 95 % of 1,000 worlds, give or take 2 points."""
    rng, truth = np.random.default_rng(11), float(np.dot(shares, values))
    covered = 0
    for _ in range(1000):
        chance = rng.dirichlet(np.array(shares) * 0.7 / 0.3, 20)
        rows = np.repeat(np.tile(values, 20), rng.multinomial(50, chance).ravel())
        found = mean_of(rows, np.repeat(np.arange(20), 50).tolist())
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_too_little_says_so() -> None:
    """No row, or one source only: the interval is everything."""
    assert (mean_of([]).low, mean_of([]).high, mean_of([]).method) == (0.0, 1.0, "none")
    assert (mean_of([0.2, 0.4], ["a", "a"]).low, mean_of([0.2, 0.4], ["a", "a"]).high) == (0.0, 1.0)
    assert (difference_of([0.1], ["a"]).low, difference_of([0.1], ["a"]).high) == (-1.0, 1.0)


def test_no_difference_seen_is_not_no_difference() -> None:
    """Where nothing changed the ends are what might have been missed, and shrink with the rows."""
    few, many = difference_of([0.0] * 10), difference_of([0.0] * 1000)
    assert few.low < -0.2 and few.high > 0.2 and 0 < many.high < 0.005


@given(st.lists(st.tuples(shares, st.integers(0, 5)), min_size=1, max_size=60))
def test_an_interval_holds_its_mean(rows: list[tuple[float, int]]) -> None:
    """For any values and groups: 0 <= low <= mean <= high <= 1."""
    for groups in (None, [group for _, group in rows]):
        found = mean_of([value for value, _ in rows], groups)
        assert 0 <= found.low <= found.mean + 1e-12 and found.mean - 1e-12 <= found.high <= 1
        assert found.n == len(rows)


@given(st.lists(st.tuples(shares, st.integers(0, 5)), min_size=2, max_size=40), st.randoms())
def test_names_of_groups_do_not_matter(rows: list[tuple[float, int]], random: object) -> None:
    """Groups renamed give the same interval."""
    values = [value for value, _ in rows]
    one = mean_of(values, [group for _, group in rows])
    assert mean_of(values, [f"source {7 * group}" for _, group in rows]) == one


# --- agreement ------------------------------------------------------------------------------------


def test_kappa_is_cohens() -> None:
    """The example of two readers and 50 proposals: 0.7 agreement, kappa 0.4."""
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = kappa_of(first, second, grades=2)
    assert found.agreement == pytest.approx(0.7) and found.kappa == pytest.approx(0.4)
    assert found.low is not None and found.high is not None and 0.1 < found.low < 0.4 < found.high < 0.7
    assert found.shares == ((0.5, 0.4), (0.5, 0.6))


def test_weighted_kappa_forgives_what_is_near() -> None:
    """On five grades a miss by one costs less than a miss by four."""
    truth = [0, 1, 2, 3, 4] * 10
    near = [min(4, grade + 1) for grade in truth]
    far = [4 - grade for grade in truth]
    close, other = kappa_of(near, truth, grades=5).kappa, kappa_of(far, truth, grades=5).kappa
    assert close is not None and other is not None and close > 0.6 > 0 > other


def test_kappa_without_variety_is_undefined() -> None:
    """Everything one grade: agreement is whole and kappa unknown, not 1."""
    found = kappa_of([1] * 20, [1] * 20, grades=2)
    assert found.agreement == 1 and found.kappa is None
    assert kappa_of([], [], grades=2).kappa is None


# --- correction -----------------------------------------------------------------------------------


def test_rogan_gladen_is_its_formula() -> None:
    """(p + spec - 1) / (sens + spec - 1), with sensitivity and specificity from the labelled rows."""
    human = [1.0] * 40 + [0.0] * 20
    judge = [1.0] * 36 + [0.0] * 4 + [1.0] * 5 + [0.0] * 15
    rest = [1.0] * 70 + [0.0] * 30
    found = corrected(judge + rest, [*human, *[None] * 100])
    p = (36 + 5 + 70) / 160
    assert found is not None and found.method == "rogan-gladen" and found.labels == 60
    assert found.mean == pytest.approx((p + 0.75 - 1) / (0.9 + 0.75 - 1))
    assert (found.sensitivity, found.specificity) == pytest.approx((0.9, 0.75))
    assert found.bias == pytest.approx(p - found.mean) and found.low < found.mean < found.high


def test_all_labelled_is_what_people_say() -> None:
    """Where people graded every row, the corrected mean is theirs, by either method."""
    rng = np.random.default_rng(3)
    human = (rng.random(80) < 0.6).astype(float)
    flipped = np.where(rng.random(80) < 0.2, 1 - human, human)
    graded = np.clip(human * 0.8 + rng.random(80) * 0.2, 0, 1)
    for judge in (flipped, graded):
        found = corrected(judge, human.tolist())
        assert found is not None and found.mean == pytest.approx(human.mean())


def test_a_judge_worse_than_chance_is_not_inverted() -> None:
    """Rogan-Gladen is left out where it would divide by nothing; the labels alone decide."""
    rng = np.random.default_rng(4)
    human = [float(x) for x in rng.random(200) < 0.7]
    judge = [float(x) for x in rng.random(200) < 0.5]
    found = corrected(judge, [*human[:100], *[None] * 100])
    assert found is not None and found.method == "difference"
    assert found.low < 0.7 < found.high


def test_few_labels_correct_nothing() -> None:
    """Below thirty labels there is no correction."""
    assert corrected([1.0] * 50, [1.0] * 29 + [None] * 21) is None


def test_a_biased_judge_is_put_right() -> None:
    """A judge 9 points too kind, 200 labels of 1,000: on average over 200 worlds within 1 point."""
    rng = np.random.default_rng(5)
    off = []
    for _ in range(200):
        human = (rng.random(1000) < 0.7).astype(float)
        judge = (rng.random(1000) < np.where(human == 1, 1.0, 0.3)).astype(float)
        known = set(rng.permutation(1000)[:200].tolist())
        found = corrected(judge, [float(h) if i in known else None for i, h in enumerate(human)])
        assert found is not None
        off.append(found.mean - 0.7)
    assert abs(statistics.fmean(off)) < 0.01
