"""Rules that turn a panel's votes into one answer, some of them learned from labels. Pure numpy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.apps.panel.agreement import effective
from quorate.apps.panel.table import CUT, Flags, Scores, Votes
from quorate.merges import Combination

STACKING = 300
"""Labels from which stacking is tried; with fewer, log-odds with shrunken error rates."""

RIDGE = 1.0
SHRINK = 10.0
_STEPS = 50
_NEAR = 1e-9
Answers = NDArray[np.int8]
"""Shape (items,): 1 yes, 0 no, -1 undecided, which is never right."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to combine votes.

    Attributes:
        name: as it stands in the report.
        answers: gives an answer for each item.
        voters: how many voters each item costs, all of them asked.
        combination: the learned weights, for `quorate.Stacked`; None for other rules.
        weights: the voters' weights, for `quorate.Weighted`; None for other rules.
    """

    name: str
    answers: Callable[[Votes], Answers]
    voters: int
    combination: Combination | None = None
    weights: Mapping[str, float] | None = None


def singles(votes: Votes) -> list[Method]:
    """Each voter alone."""
    return [_single(j, voter) for j, voter in enumerate(votes.voters)]


def _single(j: int, voter: str) -> Method:
    def answers(votes: Votes) -> Answers:
        return np.where(votes.given[:, j], votes.yes[:, j], -1).astype(np.int8)

    return Method(voter, answers, 1)


def at_least(k: int, n: int) -> Method:
    """Yes with k of n, no where k can not be met, as `quorate.Quorum` has it. More than half of n is the majority."""

    def answers(votes: Votes) -> Answers:
        yes = votes.yes.sum(axis=1)
        no = (votes.given & ~votes.yes).sum(axis=1)
        return np.where(yes >= k, 1, np.where(no >= n - k + 1, 0, -1)).astype(np.int8)

    return Method(f"majority ({k} of {n})" if k == n // 2 + 1 else f"{k} of {n}", answers, n)


def weighted(votes: Votes, *, shrink: float = SHRINK) -> Method | None:
    """A vote with the log-odds of each voter's accuracy for weights, as `quorate.Weighted` has it.

    Accuracies are those of the votes given, pulled to their common mean by `shrink` items; a voter below chance gets no
    weight. None where all are. Args as in `fit_log_odds`.
    """
    seen = votes.given.sum(axis=0)
    right = seen - (votes.wrong & votes.given).sum(axis=0)
    pooled = (right.sum() + 1) / (seen.sum() + 2)
    accuracy = (right + shrink * pooled) / (seen + shrink)
    weights = np.maximum(0.0, np.log(accuracy / (1 - accuracy)))
    if not weights.any():
        return None

    def answers(votes: Votes) -> Answers:
        lead = votes.yes @ weights - (votes.given & ~votes.yes) @ weights
        missing = (~votes.given) @ weights
        return np.where(np.abs(lead) > missing, lead > 0, -1).astype(np.int8)

    named = dict(zip(votes.voters, weights.tolist(), strict=True))
    return Method("weighted", answers, len(votes.voters), weights=named)


def combined(name: str, voters: Sequence[str], *, combination: Combination) -> Method:
    """A learned combination, as `quorate.Stacked` has it."""
    weights = np.array([combination.weights[voter] for voter in voters])
    centres = np.array([combination.centres[voter] for voter in voters])

    def answers(votes: Votes) -> Answers:
        values = votes.scores if combination.cut is None else np.where(votes.given, votes.yes, np.nan)
        odds = combination.intercept + np.where(votes.given, values, centres) @ weights
        voted = votes.given.any(axis=1) & (odds != 0)
        return np.where(voted, odds > 0, -1).astype(np.int8)

    return Method(name, answers, len(voters), combination)


def fit_logistic(votes: Votes, *, ridge: float = RIDGE) -> Combination:
    """Stacking: logistic regression of the label on the scores, weights held small by a ridge penalty.

    Minimises the log loss plus ridge / 2 times the squared weights, the intercept free, by Newton's method (Wolpert,
    "Stacked generalization", Neural Networks 1992; le Cessie and van Houwelingen, "Ridge estimators in logistic
    regression", Applied Statistics 1992). A missing vote is its voter's mean.

    Args:
        votes: labelled items of both classes.
        ridge: above 0.
    """
    centres = _centres(votes.scores)
    x = np.where(votes.given, votes.scores, centres) - centres
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    target = votes.labels.astype(np.float64)
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = _NEAR
    beta = np.zeros(x.shape[1])
    loss = _loss(beta, x, target, penalty)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        slope = x.T @ (p - target) + penalty * beta
        curve = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step, size = np.linalg.solve(curve, slope), 1.0
        while size > _NEAR and (new := _loss(beta - size * step, x, target, penalty)) > loss:
            size /= 2
        beta, gained, loss = beta - size * step, loss - new, new
        if gained < _NEAR:
            break
    weights = beta[1:]
    return _combination(votes, float(beta[0] - weights @ centres), weights, centres, cut=None)


def _loss(beta: Scores, x: Scores, target: Scores, penalty: Scores) -> float:
    odds = x @ beta
    return float(np.logaddexp(0, odds).sum() - target @ odds + 0.5 * (penalty * beta**2).sum())


def fit_log_odds(votes: Votes, *, shrink: float = SHRINK) -> Combination:
    """Naive Bayes over yes/no votes, for few labels: error rates are shrunken, the evidence discounted by n_eff.

    Each vote adds the logarithm of how much likelier it is on a true item than on a false one (Nitzan and Paroush,
    1982). A voter's rates are pulled to those of all voters by `shrink` items of prior weight (an empirical Beta
    prior); the sum is multiplied by n_eff / n, since votes that share their mistakes are no n votes. The prior odds
    are those of the labels.

    Args:
        votes: labelled items of both classes.
        shrink: items of prior weight, above 0.
    """
    yes, given, labels = votes.yes.astype(np.float64), votes.given, votes.labels
    rates = []
    for side in (labels, ~labels):
        seen, hits = given[side].sum(axis=0), yes[side].sum(axis=0)
        pooled = (hits.sum() + 1) / (seen.sum() + 2)
        rates.append((hits + shrink * pooled) / (seen + shrink))
    true, false = rates
    discount = effective(votes, rounds=0).n_eff / len(votes.voters)
    for_yes = discount * np.log(true / false)
    for_no = discount * np.log((1 - true) / (1 - false))
    prior = math.log((labels.sum() + 1) / ((~labels).sum() + 1))
    centres = _centres(np.where(given, yes, np.nan))
    return _combination(votes, prior + float(for_no.sum()), for_yes - for_no, centres, cut=CUT)


def _centres(values: Scores) -> Scores:
    """Each voter's mean vote, 0.5 where it gave none. Shape (voters,)."""
    seen = ~np.isnan(values)
    sums = np.nansum(values, axis=0)
    return np.asarray(np.where(seen.any(axis=0), sums / np.maximum(seen.sum(axis=0), 1), 0.5))


def _combination(votes: Votes, intercept: float, weights: Scores, centres: Scores, *, cut: float | None) -> Combination:
    return Combination(
        intercept,
        dict(zip(votes.voters, weights.tolist(), strict=True)),
        dict(zip(votes.voters, centres.tolist(), strict=True)),
        cut,
    )


def methods(votes: Votes) -> list[Method]:
    """Every way to combine the panel that its labels allow, fitted to them; not the voters alone.

    k of n for every k; votes weighted by accuracy; stacking from 300 labels on, log-odds with fewer, neither of these
    two where the labels are all the same.

    Args:
        votes: labelled items only.
    """
    n = len(votes.voters)
    if n < 2:
        return []
    found = [at_least(k, n) for k in range(1, n + 1)]
    by_weight = weighted(votes)
    if by_weight is not None:
        found.append(by_weight)
    if _both(votes.labels):
        if len(votes.labels) >= STACKING:
            found.append(combined("stacked", votes.voters, combination=fit_logistic(votes)))
        else:
            found.append(combined("log-odds", votes.voters, combination=fit_log_odds(votes)))
    return found


def _both(labels: Flags) -> bool:
    return bool(labels.any() and not labels.all())
