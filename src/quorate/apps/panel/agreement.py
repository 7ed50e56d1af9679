"""How good each voter is, which mistakes they share, and how many independent votes that leaves. Pure numpy."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from quorate.apps.panel.table import Flags, Scores, Votes
from quorate.stats import CONFIDENCE, Interval, interval

ROUNDS = 500


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one voter is; every share with its Clopper-Pearson interval.

    Attributes:
        voter: its name.
        error: share of all labelled items that it did not get right; an item it gave no vote on is one of them.
        false_alarms: share of the items labelled false that it said yes to.
        misses: share of the items labelled true that it did not say yes to.
        silent: share of all labelled items on which it gave no vote.
    """

    voter: str
    error: float
    error_interval: Interval
    false_alarms: float
    false_alarms_interval: Interval
    misses: float
    misses_interval: Interval
    silent: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two voters.

    Attributes:
        first: one's name.
        second: the other's.
        agreement: share of the items both voted on where they said the same.
        kappa: Cohen's; None where it is not defined.
        prevalence: mean share of yes in their votes on those items. Near 0 or 1 kappa is low even where both agree.
        error_correlation: phi of their errors on the labelled items; None where one of them made none, or only errors.
        both: how many items both voted on.
    """

    first: str
    second: str
    agreement: float | None
    kappa: float | None
    prevalence: float | None
    error_correlation: float | None
    both: int


@dataclass(frozen=True, slots=True)
class Effective:
    """How many independent voters a panel is worth.

    Attributes:
        rho: mean error correlation over the pairs that have one; 0 where none has.
        rho_interval: by bootstrap over items.
        n: how many voters there are.
        n_eff: n / (1 + (n - 1) rho), rho taken as at least 0.
        n_eff_interval: by bootstrap over items.
        pairs: how many pairs have a correlation.
    """

    rho: float
    rho_interval: Interval
    n: int
    n_eff: float
    n_eff_interval: Interval
    pairs: int


def n_eff(n: int, rho: float) -> float:
    """The effective number of independent votes, n / (1 + (n - 1) rho); rho is taken into [0, 1].

    The variance of a mean of n equally correlated votes is that of n_eff independent ones (Kish, "Survey Sampling",
    1965, section 5.4). Negative correlations, which would give more than n, are read as none.
    """
    return n / (1 + (n - 1) * min(1.0, max(0.0, rho)))


def phi(first: Flags, second: Flags) -> float | None:
    """The correlation of two yes/no variables (Pearson's, on 0 and 1); None where one does not vary."""
    if not len(first) or first.all() or second.all() or not first.any() or not second.any():
        return None
    a, b = first.mean(), second.mean()
    return float(((first & second).mean() - a * b) / math.sqrt(a * (1 - a) * b * (1 - b)))


def kappa(first: Flags, second: Flags) -> float | None:
    """Agreement beyond chance, (p_o - p_e) / (1 - p_e); None where chance alone explains all.

    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 1960.
    """
    if not len(first):
        return None
    seen = (first == second).mean()
    by_chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return None if by_chance == 1 else float((seen - by_chance) / (1 - by_chance))


def qualities(votes: Votes) -> list[Quality]:
    """Each voter's error rates on the labelled items."""
    known = votes.labelled()
    yes, wrong, given, labels = known.yes, known.wrong, known.given, known.labels
    rows, bad = len(labels), int(labels.sum())
    good = rows - bad
    made = []
    for j, voter in enumerate(votes.voters):
        errors = int(wrong[:, j].sum())
        alarms, misses = int(yes[~labels, j].sum()), int((~yes[labels, j]).sum())
        made.append(
            Quality(
                voter,
                errors / max(rows, 1),
                interval(errors, rows),
                alarms / max(good, 1),
                interval(alarms, good),
                misses / max(bad, 1),
                interval(misses, bad),
                float((~given[:, j]).mean()) if rows else 0.0,
            )
        )
    return made


def pairs(votes: Votes) -> list[Pair]:
    """Agreement of every two voters on all items, and their error correlation on the labelled ones."""
    yes, given, wrong, known = votes.yes, votes.given, votes.wrong, votes.known
    made = []
    for i, j in combinations(range(len(votes.voters)), 2):
        both = given[:, i] & given[:, j]
        a, b = yes[both, i], yes[both, j]
        labelled = both & known
        made.append(
            Pair(
                votes.voters[i],
                votes.voters[j],
                float((a == b).mean()) if len(a) else None,
                kappa(a, b),
                float((a.mean() + b.mean()) / 2) if len(a) else None,
                phi(wrong[labelled, i], wrong[labelled, j]),
                int(both.sum()),
            )
        )
    return made


def effective(votes: Votes, *, rounds: int = ROUNDS, seed: int = 0) -> Effective:
    """The panel's n_eff on its labelled items, with a bootstrap interval.

    Args:
        votes: of at least one voter.
        rounds: of the bootstrap; items are drawn anew with replacement.
        seed: of its draws; the same seed gives the same interval.
    """
    known = votes.labelled()
    n, rows = len(votes.voters), len(known.labels)
    given = known.given.astype(np.float64)
    wrong = known.wrong * given
    rho, used = _mean_phi(given, wrong, np.ones(rows))
    draw = np.random.default_rng(seed)
    # The percentile interval of the draws, first of which is the sample itself.
    drawn = [rho]
    for _ in range(rounds if used else 0):
        counts = np.bincount(draw.integers(0, rows, rows), minlength=rows)
        drawn.append(_mean_phi(given, wrong, counts.astype(np.float64))[0])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Effective(rho, Interval(low, high), n, n_eff(n, rho), Interval(n_eff(n, high), n_eff(n, low)), used)


def _mean_phi(given: Scores, wrong: Scores, counts: Scores) -> tuple[float, int]:
    """Mean phi over the pairs that have one, each item counted so often; and how many pairs have one.

    Args:
        given: 1 where a vote was given. Shape (items, voters).
        wrong: 1 where one was given and is not right. Shape (items, voters).
        counts: shape (items,).
    """
    weighted = wrong * counts[:, None]
    size = (given * counts[:, None]).T @ given
    mine, both = weighted.T @ given, weighted.T @ wrong  # Errors of the row's voter where both voted; of both.
    spread = mine * (size - mine) * mine.T * (size - mine.T)
    pair = np.triu(spread > 0.5, k=1)  # All are whole numbers.
    used = int(pair.sum())
    values = (both * size - mine * mine.T)[pair] / np.sqrt(spread[pair])
    return float(values.mean()) if used else 0.0, used
