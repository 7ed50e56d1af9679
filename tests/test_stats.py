"""Bounds, certified thresholds and cuts by cost, against exact arithmetic and brute force."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.stats import (
    GRID,
    Costs,
    Cut,
    Sample,
    at_or_above,
    best_cut,
    beta_share,
    certified,
    chow_cut,
    compare_cuts,
    cost_of,
    fixed_sequence,
    highest_clear,
    interval,
    loosest,
    most_hits,
    rows_needed,
    upper_bound,
)

scores = st.lists(st.floats(0, 1), max_size=60).map(sorted)
confidences = st.sampled_from([0.5, 0.9, 0.95, 0.975, 0.99])


def at_most(hits: int, n: int, p: float) -> Fraction:
    """P(X <= hits) of a binomial, exactly."""
    share = Fraction(p)
    return sum((math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits + 1)), Fraction(0))


# --- Clopper-Pearson -----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.data(), confidences)
def test_the_upper_bound_is_where_so_few_hits_are_as_rare_as_stated(n: int, data: st.DataObject, sure: float) -> None:
    """At the bound, the exact chance of so few hits is 1 - confidence; all of n hits bound nothing."""
    hits = data.draw(st.integers(0, n))
    bound = upper_bound(hits, n, confidence=sure)
    if hits == n:
        assert bound == 1.0
    else:
        assert float(at_most(hits, n, bound)) == pytest.approx(1 - sure, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.floats(1e-6, 1 - 1e-6))
def test_the_beta_function_is_the_binomial_tail(hits: int, more: int, p: float) -> None:
    """I_p(k + 1, n - k) is one minus the chance of at most k hits."""
    exact = 1 - at_most(hits, hits + more, p)
    assert beta_share(p, hits + 1, b=more) == pytest.approx(float(exact), rel=1e-9, abs=1e-13)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.data(), confidences)
def test_bounds_are_monotone_and_hold_what_was_seen(n: int, data: st.DataObject, sure: float) -> None:
    """More hits, or more confidence, raise the bound; more rows of the same share lower it; the share lies inside."""
    hits = data.draw(st.integers(0, n - 1))
    bound = upper_bound(hits, n, confidence=sure)
    assert hits / n <= bound <= upper_bound(hits + 1, n, confidence=sure)
    assert bound <= upper_bound(hits, n, confidence=(1 + sure) / 2)
    assert upper_bound(2 * hits, 2 * n, confidence=sure) <= bound or sure == 0.5
    both = interval(hits, n, confidence=sure)
    assert 0 <= both.low <= hits / n <= both.high <= 1


def test_known_values() -> None:
    """299 rows certify 1 % at 95 %, 598 half a percent, 2,995 a thousandth; one fewer does not; no rows, no bound."""
    for target, needed in ((0.01, 299), (0.005, 598), (0.001, 2995)):
        assert rows_needed(target) == needed
        assert most_hits(needed, target=target) == 0 and most_hits(needed - 1, target=target) == -1
    assert (interval(0, 0).low, interval(0, 0).high) == (0.0, 1.0)
    # R: binom.test(5, 10)$conf.int
    assert interval(5, 10).low == pytest.approx(0.1870860, abs=1e-7)
    assert interval(5, 10).high == pytest.approx(0.8129140, abs=1e-7)
    assert upper_bound(500_000, 1_000_000) == pytest.approx(0.5008230, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 3000), st.floats(0.0005, 0.6), confidences)
def test_certified_is_the_bound_under_the_target(hits: int, n: int, target: float, sure: float) -> None:
    """The quick test says what the bound says, and `most_hits` is its last yes."""
    bound = upper_bound(min(hits, n), n, confidence=sure)
    if abs(bound - target) > 1e-9:
        assert certified(min(hits, n), n, target=target, confidence=sure) == (bound <= target)
    most = most_hits(n, target=target, confidence=sure)
    assert most == -1 or certified(most, n, target=target, confidence=sure)
    assert not certified(most + 1, n, target=target, confidence=sure)


# --- thresholds with a promise -------------------------------------------------------------------


@given(st.lists(st.booleans()))
def test_a_fixed_sequence_ends_at_its_first_failure(passed: list[bool]) -> None:
    """Whatever passes behind the first failure is not looked at."""
    seen: list[bool] = []

    def walk() -> object:
        for one in passed:
            seen.append(one)
            yield one

    count = fixed_sequence(walk())  # type: ignore[arg-type]
    assert all(passed[:count]) and (count == len(passed) or not passed[count])
    assert len(seen) == min(count + 1, len(passed))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=20, max_size=400).map(sorted), st.sampled_from([0.02, 0.05, 0.2]))
def test_the_loosest_threshold_is_certified_and_so_is_every_stricter_one(honest: list[float], target: float) -> None:
    """All thresholds from the strictest to the chosen are certified, and the next looser one is not."""
    chosen = loosest(honest, target=target)
    passed = [certified(at_or_above(honest, t), len(honest), target=target) for t in GRID]
    if chosen is None:
        assert not passed[-1]
        return
    at = GRID.index(chosen)
    assert all(passed[at:]) and (at == 0 or not passed[at - 1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=20, max_size=400).map(sorted), st.sampled_from([0.02, 0.05, 0.2]))
def test_the_clear_bound_mirrors_the_threshold(violating: list[float], target: float) -> None:
    """Below the chosen bound lie certifiably few, and below the next higher one too many."""
    chosen = highest_clear(violating, target=target)
    passed = [certified(sum(s < t for s in violating), len(violating), target=target) for t in GRID]
    if chosen is None:
        assert not passed[0]
        return
    at = GRID.index(chosen)
    assert all(passed[: at + 1]) and (at + 1 == len(GRID) or not passed[at + 1])


def test_too_few_rows_certify_nothing() -> None:
    """298 honest rows without a false alarm do not certify 1 %; 299 do."""
    assert loosest([0.0] * 298, target=0.01) is None
    assert loosest([0.0] * 299, target=0.01) == GRID[0]


def test_the_promise_is_kept() -> None:
    """Over 2,000 samples the true false-alarm rate exceeds the target in at most 5 % (a fixed seed, honest ~ Beta)."""
    draw = np.random.default_rng(11)
    for n, target in ((299, 0.01), (500, 0.01), (400, 0.05)):
        broken = 0
        for _ in range(2000):
            honest = np.sort(draw.random(n) ** 3).tolist()
            chosen = loosest(honest, target=target)
            # Of scores u ** 3, the share 1 - t ** (1/3) lies above t.
            broken += chosen is not None and 1 - chosen ** (1 / 3) > target
        assert broken / 2000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000), (n, target, broken)


# --- cuts by cost --------------------------------------------------------------------------------

prices = st.floats(0.01, 100)


@given(prices, prices, prices, st.floats(0, 1))
def test_the_formula_costs_least_at_every_probability(alarm: float, miss: float, human: float, p: float) -> None:
    """At any calibrated probability, no other act is cheaper than the one the cut says."""
    cut = chow_cut(Costs(alarm, miss, human))
    act = (1 - p) * alarm if p >= cut.flag else p * miss if p < cut.passing else human
    assert 0 <= cut.passing <= cut.flag <= 1
    assert act <= min((1 - p) * alarm, p * miss, human) * (1 + 1e-9) + 1e-9


@settings(max_examples=40, deadline=None)
@given(scores, scores, prices, prices, prices, st.floats(0.01, 0.99))
def test_the_best_cut_costs_least(
    honest: list[float], violating: list[float], alarm: float, miss: float, human: float, share: float
) -> None:
    """No pair of a coarse grid, nor the formula's rounded to it, costs less than the cut chosen."""
    if not honest or not violating:
        return
    costs, sample = Costs(alarm, miss, human), Sample(honest, violating, share)
    cost = cost_of(sample, best_cut(sample, costs=costs), costs=costs)
    for low, high in product(GRID[::90], repeat=2):
        if low <= high:
            assert cost <= cost_of(sample, Cut(low, high), costs=costs) + 1e-6 * (alarm + miss)


@given(scores, scores, st.floats(0, 1), st.floats(0, 1))
def test_the_cost_is_the_mean_over_rows(honest: list[float], violating: list[float], one: float, two: float) -> None:
    """Counting row by row gives the same."""
    if not honest or not violating:
        return
    low, high = sorted((one, two))
    costs = Costs(3.0, 7.0, 0.5)

    def mean(rows: list[float], flagged: float, passed: float) -> float:
        return sum(flagged if s >= high else passed if s < low else 0.5 for s in rows) / len(rows)

    want = 0.75 * mean(honest, 3.0, 0.0) + 0.25 * mean(violating, 0.0, 7.0)
    assert cost_of(Sample(honest, violating, 0.25), Cut(low, high), costs=costs) == pytest.approx(want, abs=1e-9)


def test_the_data_overrules_the_formula_only_where_it_is_surely_better() -> None:
    """On calibrated scores the formula stays; where scores are far from probabilities the data's own cut is taken."""
    draw = np.random.default_rng(5)
    p = draw.beta(0.4, 1.6, 4000)
    bad = draw.random(4000) < p
    costs = Costs(5.0, 20.0, 1.0)
    honest, violating = np.sort(p[~bad]).tolist(), np.sort(p[bad]).tolist()
    report = compare_cuts(Sample(honest, violating, float(bad.mean())), costs=costs, rounds=100)
    assert report.chosen == report.formula == chow_cut(costs)
    squeezed = Sample([s / 50 for s in honest], [s / 50 for s in violating], float(bad.mean()))
    again = compare_cuts(squeezed, costs=costs, rounds=100)
    assert again.chosen == again.best and again.best_cost < again.formula_cost
    assert again == compare_cuts(squeezed, costs=costs, rounds=100)
    assert again.best_interval.low <= again.best_cost * 1.1
