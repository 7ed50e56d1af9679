"""The panel's numbers: read strictly, right by hand on small cases, near the truth on simulated ones."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.apps.panel import Votes, effective, kappa, n_eff, pairs, phi, qualities, read_votes
from quorate.errors import UsageError

T, F = True, False


def votes_of(rows: list[list[Any]], labels: list[bool | None]) -> Votes:
    lines = [
        json.dumps({"id": i, "label": label, "votes": {f"v{j}": vote for j, vote in enumerate(row)}})
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    return read_votes(lines, source="rows")


def flags(*values: bool) -> Any:
    return np.array(values, dtype=bool)


def simulated(n: int, rho: float, *, items: int, error: float, seed: int) -> Votes:
    """Voters whose errors correlate by rho: with probability sqrt(rho) each takes the item's common number."""
    draw = np.random.default_rng(seed)
    labels = draw.random(items) < 0.4
    common, own = draw.random((items, 1)), draw.random((items, n))
    number = np.where(draw.random((items, n)) < math.sqrt(rho), common, own)
    scores = ((number >= error) == labels[:, None]).astype(float)
    return Votes(tuple(f"v{j}" for j in range(n)), scores, labels, np.ones(items, dtype=bool))


# Reading.


def test_rows_are_read() -> None:
    """True, false, scores and null; a voter that a row does not name has not voted; a row may have no label."""
    lines = [
        '{"id": "a", "label": true, "votes": {"x": true, "y": 0.25}}',
        "",
        '{"id": 2, "votes": {"y": null, "z": 1}}',
    ]
    votes = read_votes(lines, source="f")
    assert votes.voters == ("x", "y", "z")
    assert np.array_equal(votes.scores, [[1, 0.25, math.nan], [math.nan, math.nan, 1]], equal_nan=True)
    assert votes.labels.tolist() == [True, False] and votes.known.tolist() == [True, False]
    assert votes.yes.tolist() == [[T, F, F], [F, F, T]]
    assert votes.wrong.tolist()[0] == [F, T, T]
    assert len(votes.labelled().labels) == 1


def test_rows_of_moderate_are_read() -> None:
    """A flag is a yes, a pass a no; an abstention, a failure and a cut vote are no vote. Nobody votes twice."""
    said = ("flag", "pass", "abstain", "error", "cancelled")
    votes = [{"voter": outcome, "outcome": outcome, "score": 0.9, "reason": "x"} for outcome in said]
    read = read_votes([json.dumps({"id": 1, "label": True, "votes": votes})], source="f")
    assert read.voters == said
    assert np.array_equal(read.scores, [[1, 0, math.nan, math.nan, math.nan]], equal_nan=True)
    for bad in ([votes[0], votes[0]], [7], [{"outcome": "flag"}]):
        with pytest.raises(UsageError, match='line 1: "votes": found'):
            read_votes([json.dumps({"id": 1, "votes": bad})], source="f")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not an object"),
        ('{"label": true, "votes": {}}', '"id": found null'),
        ('{"id": true, "label": true, "votes": {}}', '"id": found true'),
        ('{"id": 1, "label": "yes", "votes": {}}', '"label": found "yes"'),
        ('{"id": 1, "label": 1, "votes": {}}', '"label": found 1'),
        ('{"id": 1, "label": true, "votes": [1]}', '"votes": found 1'),
        ('{"id": 1, "label": true, "votes": {"a": 2}}', '"votes", "a": found 2'),
        ('{"id": 1, "label": true, "votes": {"a": NaN}}', '"votes", "a": found NaN'),
        ('{"id": 1, "label": true, "votes": {"a": "true"}}', '"votes", "a": found "true"'),
        ('{"id": 1, "label": true, "votes": {"a": true, "a": false}}', "twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: str, told: str) -> None:
    """File, line and field of every row that cannot be used; nothing is measured of such a file."""
    good = '{"id": 9, "label": true, "votes": {"a": true}}'
    with pytest.raises(UsageError) as error:
        read_votes([good, line], source="f.jsonl")
    assert str(error.value).startswith("f.jsonl: line 2: ") and told in str(error.value)


def test_all_wrong_lines_are_told_up_to_twenty() -> None:
    """Mistakes come together, an id stands once, and an empty file is one."""
    with pytest.raises(UsageError) as error:
        read_votes(["x"] * 25, source="f")
    assert str(error.value).count("is not JSON") == 20 and str(error.value).endswith("f: and 5 more lines")
    row = '{"id": 1, "votes": {"a": 1}}'
    with pytest.raises(UsageError, match=r"line 2: \"id\": 1 stands in line 1 already"):
        read_votes([row, row], source="f")
    for lines in ([], ['{"id": 1, "votes": {}}']):
        with pytest.raises(UsageError, match="no row has a vote"):
            read_votes(lines, source="f")
    many = json.dumps({"id": 1, "votes": {str(i): True for i in range(65)}})
    with pytest.raises(UsageError, match="65 voters"):
        read_votes([many], source="f")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Nothing that can stand in a line breaks the reader in another way than a sentence about it."""
    try:
        read_votes([json.dumps({"id": 1, "label": True, "votes": value})], source="f")
    except UsageError as error:
        assert str(error).startswith("f: ")


# By hand.


def test_phi_by_hand() -> None:
    """One for the same, minus one for the opposite, none where one does not vary."""
    assert phi(flags(T, F, T, F), flags(T, F, T, F)) == pytest.approx(1)
    assert phi(flags(T, F, T, F), flags(F, T, F, T)) == pytest.approx(-1)
    assert phi(flags(T, T, F, F), flags(T, F, T, F)) == pytest.approx(0)
    assert phi(flags(T, T), flags(T, F)) is None and phi(flags(), flags()) is None


def test_kappa_by_hand() -> None:
    """Cohen's own formula: 20 of 50 both yes, 15 both no, 5 and 10 apart: 0.4."""
    first = flags(*[T] * 25, *[F] * 25)
    second = flags(*[T] * 20, *[F] * 5, *[T] * 10, *[F] * 15)
    assert kappa(first, second) == pytest.approx(0.4)
    assert kappa(flags(T, T), flags(T, T)) is None and kappa(flags(), flags()) is None


def test_agreement_can_be_high_and_kappa_nothing() -> None:
    """Two voters that nearly always say no agree by chance; the share of yes that is shown says why."""
    rows = [[T, F], [F, T], *[[F, F]] * 98]
    [pair] = pairs(votes_of(rows, [None] * 100))
    assert pair.agreement == pytest.approx(0.98) and pair.prevalence == pytest.approx(0.01)
    assert pair.kappa == pytest.approx(-0.0101, abs=1e-3)
    assert pair.error_correlation is None and pair.both == 100


def test_n_eff_by_hand() -> None:
    """Nine voters at correlation 0.44 are worth two; a negative correlation makes nobody more than himself."""
    assert n_eff(9, 0.4375) == pytest.approx(2)
    assert n_eff(5, 0) == n_eff(5, -0.2) == 5
    assert n_eff(5, 1) == n_eff(5, 1.2) == 1
    assert n_eff(1, 0.3) == 1


def test_errors_alarms_and_misses() -> None:
    """A vote not given is an error and, on a true item, a miss; shares come with exact intervals."""
    rows = [[T], [T], [F], [None], [F], [T], [None], [F]]
    [row] = qualities(votes_of(rows, [T, T, T, T, F, F, F, None]))
    assert (row.error, row.misses, row.false_alarms, row.silent) == (4 / 7, 2 / 4, 1 / 3, 2 / 7)
    assert row.error_interval.low < 4 / 7 < row.error_interval.high
    assert row.misses_interval.low == pytest.approx(0.0676, abs=1e-4)  # Clopper and Pearson, 2 of 4.


def test_missing_votes_are_left_out_of_pairs() -> None:
    """A pair is compared on what both voted on."""
    rows = [[T, T], [F, F], [None, T], [T, None]]
    [pair] = pairs(votes_of(rows, [T] * 4))
    assert (pair.both, pair.agreement, pair.kappa) == (2, 1.0, 1.0)
    [apart] = pairs(votes_of([[None, T], [T, None]], [T, F]))
    assert (apart.both, apart.agreement, apart.kappa, apart.prevalence) == (0, None, None, None)


# On simulated panels.


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("n", [3, 5, 9])
def test_n_eff_is_near_the_truth(n: int, rho: float) -> None:
    """Within 0.3 of n / (1 + (n - 1) rho), and the interval holds it."""
    found = effective(simulated(n, rho, items=6_000, error=0.2, seed=n), rounds=200)
    assert abs(found.n_eff - n_eff(n, rho)) < 0.3
    assert found.n_eff_interval.low <= n_eff(n, rho) <= found.n_eff_interval.high
    assert found.n_eff_interval.low <= found.n_eff <= found.n_eff_interval.high
    assert (found.n, found.pairs) == (n, n * (n - 1) // 2)


def test_the_bootstrap_is_the_same_each_time() -> None:
    """The same seed gives the same interval, another seed another."""
    votes = simulated(4, 0.3, items=300, error=0.2, seed=1)
    assert effective(votes, rounds=100) == effective(votes, rounds=100)
    assert effective(votes, rounds=100) != effective(votes, rounds=100, seed=1)


def test_voters_without_errors_have_no_correlation() -> None:
    """Nothing is made up where a voter never errs: pairs without a correlation are left out, and none may be left."""
    found = effective(votes_of([[T, T], [F, F]] * 20, [T, F] * 20))
    assert (found.pairs, found.rho, found.n_eff) == (0, 0.0, 2.0)
    alone = effective(votes_of([[T], [F]] * 20, [T, T] * 20))
    assert (alone.n, alone.n_eff, alone.pairs) == (1, 1.0, 0)


def test_the_mean_is_that_of_the_pairs() -> None:
    """With missing votes too, rho is the mean of what `pairs` shows."""
    votes = simulated(4, 0.3, items=500, error=0.3, seed=3)
    scores = np.where(np.random.default_rng(0).random(votes.scores.shape) < 0.2, math.nan, votes.scores)
    votes = Votes(votes.voters, scores, votes.labels, votes.known)
    shown = [pair.error_correlation for pair in pairs(votes)]
    assert effective(votes, rounds=0).rho == pytest.approx(np.mean([x for x in shown if x is not None]))
