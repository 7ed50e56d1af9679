"""Combining and choosing: what rules answer, what is learned, and when one voter alone is told to be enough."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.panel import Votes, choose, fit_log_odds, fit_logistic, methods, paired
from quorate.apps.panel.combining import at_least, combined, singles, weighted
from quorate.errors import UsageError
from quorate.events import Answered, Failed
from quorate.merges import UNDECIDED, Combination, Merge, Quorum, Stacked, Weighted
from strategies import play
from test_agreement import simulated, votes_of

T, F = True, False
rows_of = st.lists(
    st.lists(st.one_of(st.none(), st.booleans(), st.sampled_from((0.2, 0.5, 0.9))), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
)


def merged(merge: Merge[Any], row: list[Any], *, flag: bool = False) -> int:
    """What the engine's rule makes of a row, in the report's words: 1, 0, or -1 for undecided."""
    ends: list[Any] = []
    for j, vote in enumerate(row):
        value = vote >= 0.5 if flag and vote is not None else vote
        ends.append(Failed(f"v{j}", 0, ValueError()) if vote is None else Answered(f"v{j}", 0, value))
    decision = play(merge, ends)[-1].decision
    assert decision is not None
    return -1 if decision.value is UNDECIDED else int(decision.value)


@settings(deadline=None)
@given(rows_of, st.data())
def test_the_report_counts_as_the_engine_decides(rows: list[list[Any]], data: st.DataObject) -> None:
    """k of n, weighted and stacked give in the report what their merges give in a run, missing votes included."""
    votes = votes_of([[T, T, T], *rows], [T] * (len(rows) + 1)).at(np.arange(1, len(rows) + 1))
    k = data.draw(st.integers(1, 3))
    assert at_least(k, 3).answers(votes).tolist() == [merged(Quorum(k, 3), row, flag=True) for row in rows]
    some = st.lists(st.sampled_from((-1.5, -0.25, 0.5, 2.0)), min_size=3, max_size=3)
    weights = dict(zip(votes.voters, data.draw(some), strict=True))
    centres = dict.fromkeys(votes.voters, 0.25)
    for cut in (None, 0.5):
        rule = Combination(data.draw(st.sampled_from((-1.0, 0.0, 0.5))), weights, centres, cut)
        got = combined("x", votes.voters, combination=rule).answers(votes).tolist()
        assert got == [merged(Stacked(rule), row) for row in rows]


def test_weights_are_log_odds_of_accuracies() -> None:
    """A better voter weighs more, one below chance nothing; the merge with these weights decides the same."""
    rows = [[label, label if i % 10 else not label, not label] for i, label in enumerate([T, F] * 100)]
    votes = votes_of(rows, [T, F] * 100)
    rule = weighted(votes)
    assert rule is not None and rule.weights is not None
    first, second, third = rule.weights.values()
    assert first > second > third == 0
    assert rule.answers(votes).tolist() == [merged(Weighted(rule.weights), row, flag=True) for row in rows]
    assert weighted(votes_of([[F, F]] * 50, [T] * 50)) is None


def test_logistic_finds_the_weights_that_made_the_labels() -> None:
    """On data of a known logistic law the weights are found within their error; at the optimum the slope is none."""
    draw = np.random.default_rng(0)
    scores = draw.random((20_000, 3))
    odds = -1.0 + scores @ [3.0, 0.0, -2.0]
    labels = draw.random(20_000) < 1 / (1 + np.exp(-odds))
    votes = Votes(("a", "b", "c"), scores, labels, np.ones(20_000, dtype=bool))
    found = fit_logistic(votes)
    assert found.intercept == pytest.approx(-1.0, abs=0.15)
    assert list(found.weights.values()) == pytest.approx([3.0, 0.0, -2.0], abs=0.15)
    weights = np.array(list(found.weights.values()))
    slope = scores.T @ (1 / (1 + np.exp(-(found.intercept + scores @ weights))) - labels) + weights
    assert np.abs(slope).max() < 1e-3


def test_logistic_keeps_its_head() -> None:
    """A perfect voter has a finite weight; copies share it; a constant one has none."""
    labels = [T, F] * 200
    found = fit_logistic(votes_of([[label, label, T] for label in labels], labels))
    first, second, third = found.weights.values()
    assert first == pytest.approx(second) and 0 < first < 50
    assert third == pytest.approx(0, abs=1e-6)
    assert math.isfinite(found.intercept)


def test_log_odds_are_discounted_for_copies() -> None:
    """Five copies of a voter say no more than the one: the evidence of all of them is that of one vote."""
    labels = [T, F] * 50
    said = [label if i % 5 else not label for i, label in enumerate(labels)]
    one = fit_log_odds(votes_of([[vote] for vote in said], labels))
    five = fit_log_odds(votes_of([[vote] * 5 for vote in said], labels), shrink=50)
    assert sum(five.weights.values()) == pytest.approx(one.weights["v0"], rel=0.01)


def test_methods_by_number_of_labels() -> None:
    """Stacking from 300 labels on, log-odds with fewer, neither where labels never vary, nothing for one voter."""
    names = lambda votes: [method.name for method in methods(votes)]  # noqa: E731
    panel = simulated(3, 0.2, items=300, error=0.2, seed=0)
    every = ["1 of 3", "majority (2 of 3)", "3 of 3", "weighted"]
    assert names(panel) == [*every, "stacked"]
    assert names(panel.at(np.arange(299))) == [*every, "log-odds"]
    assert names(panel.at(panel.labels)) == every
    assert names(simulated(1, 0.0, items=50, error=0.2, seed=0)) == []


def test_paired_by_hand() -> None:
    """The difference of the cells that disagree; its interval holds it and widens with disagreement."""
    first, second = np.array([T] * 90 + [F] * 10), np.array([T] * 85 + [F] * 15)
    found = paired(first, second)
    assert found.gain == pytest.approx(0.05) and found.low < 0.05 < found.high
    same = paired(first, first)
    assert same.gain == 0 and same.low == pytest.approx(-same.high)
    apart = paired(first, ~first)
    assert apart.gain == pytest.approx(0.8) and -1 <= apart.low < apart.high <= 1


def test_paired_covers() -> None:
    """About 95 % of its intervals hold the true difference, on a few hundred items with few disagreements."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(1000):
        both = draw.random(300) < 0.9
        first, second = both & (draw.random(300) < 0.97), both & (draw.random(300) < 0.95)
        found = paired(first, second)
        held += found.low <= 0.9 * 0.02 <= found.high
    assert 930 <= held <= 980


# Choosing.


def test_independent_voters_are_worth_a_panel() -> None:
    """Five voters that err alone beat the best of them, and it says so."""
    choice = choose(simulated(5, 0.0, items=1000, error=0.2, seed=1))
    assert choice.use_panel and choice.chosen is choice.panel and choice.gain.low > 0
    assert choice.rows == 1000 and len(choice.singles) == 5
    assert choice.chosen.error < choice.single.error


def test_copies_are_not() -> None:
    """Five voters that err together are one: use one alone."""
    choice = choose(simulated(5, 0.97, items=1000, error=0.2, seed=1))
    assert not choice.use_panel and choice.chosen is choice.single
    assert choice.chosen.method.voters == 1 and choice.gain.low <= 0


def test_one_good_voter_among_bad_ones() -> None:
    """It names the voter that is good."""
    panel = simulated(4, 0.0, items=600, error=0.4, seed=2)
    scores = panel.scores.copy()
    scores[:, 2] = panel.labels ^ (np.random.default_rng(0).random(600) < 0.02)
    choice = choose(Votes(panel.voters, scores, panel.labels, panel.known))
    assert choice.single.method.name == "v2"
    assert choice.chosen.error < 0.05


def test_the_price_can_be_set() -> None:
    """A gain that is sure but small does not pay a high price."""
    panel = simulated(5, 0.0, items=1000, error=0.2, seed=1)
    assert not choose(panel, least_gain=0.5).use_panel


def test_names_are_only_names() -> None:
    """A voter may be called like a rule, or like another thing that is printed."""
    panel = simulated(3, 0.97, items=400, error=0.2, seed=4)
    renamed = Votes(("stacked", "weighted", "2 of 3"), panel.scores, panel.labels, panel.known)
    one, other = choose(panel), choose(renamed)
    assert one.gain == other.gain
    assert [m.error for m in one.methods] == [m.error for m in other.methods]
    assert other.chosen.method.voters == 1


def test_too_few_labels_choose_nothing() -> None:
    """Under twenty labelled items there is no choice to be made."""
    with pytest.raises(UsageError, match="20 labelled items or more, got 19"):
        choose(simulated(3, 0.0, items=19, error=0.2, seed=0))


@pytest.mark.parametrize("items", [20, 40])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_rare_labels_are_handled(items: int, share: float) -> None:
    """Folds in which one class is missing, or all labels are the same, are no error."""
    panel = simulated(3, 0.3, items=items, error=0.3, seed=1)
    labels = np.arange(items) < share * items
    choice = choose(Votes(panel.voters, panel.scores, labels, panel.known))
    assert 0 <= choice.chosen.error <= 1


def test_a_single_voter_is_chosen_alone() -> None:
    """One voter is no panel."""
    choice = choose(simulated(1, 0.0, items=100, error=0.2, seed=0))
    assert choice.panel is None and not choice.use_panel and choice.methods == ()
    assert [method.name for method in singles(simulated(1, 0.0, items=1, error=0.2, seed=0))] == ["v0"]
