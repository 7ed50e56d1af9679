"""Simulated panels whose truth is known: for `benchmarks.votes`.

A voter errs on an item when its number there, even on (0, 1), lies under its error rate for the item's class. With
probability s the number is one that it shares with others, else its own. For two voters that share, errors then
correlate by s_i s_j (min(p_i, p_j) - p_i p_j) / sqrt(p_i (1 - p_i) p_j (1 - p_j)): s_i s_j where the rates are equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.apps.panel import Votes, choose, effective, n_eff

HELD_OUT = 20_000


@dataclass(frozen=True)
class World:
    """Voters and traffic.

    Attributes:
        rates: error rates on items labelled false and true. Shape (2, voters).
        shares: how often a voter takes its group's number. Shape (voters,).
        groups: who shares with whom. Shape (voters,).
        prevalence: share of items labelled true.
        silent: how often a voter gives no vote. Shape (voters,).
        scored: whether votes are scores that say how sure the voter is.
        labels: how many labelled items there are to choose on.
        seed: of the draws.
    """

    rates: NDArray[np.float64]
    shares: NDArray[np.float64]
    groups: NDArray[np.int64]
    prevalence: float
    silent: NDArray[np.float64]
    scored: bool
    labels: int
    seed: int

    def votes(self, items: int, draw: np.random.Generator) -> Votes:
        n = self.rates.shape[1]
        labels = draw.random(items) < self.prevalence
        own, common = draw.random((items, n)), draw.random((items, int(self.groups.max()) + 1))
        shared = draw.random((items, n)) < self.shares
        number = np.where(shared, common[:, self.groups], own)
        rate = self.rates[labels.astype(int)]
        # How far the number is from the voter's own limit says how sure it is: near it, near one half.
        doubt = np.where(number < rate, number / (2 * rate), (number - rate) / (2 * (1 - rate)) + 0.5)
        side = np.where(labels[:, None], doubt, 1 - doubt)
        scores = side if self.scored else ((number >= rate) == labels[:, None]).astype(float)
        scores = np.where(draw.random((items, n)) < self.silent, np.nan, np.clip(scores, 0, 1))
        return Votes(tuple(f"v{j}" for j in range(n)), scores, labels, np.ones(items, dtype=bool))


def exchangeable(n: int, rho: float, error: NDArray[np.float64]) -> World:
    """Voters of one group with these error rates, the same for both classes."""
    return World(
        np.stack([error, error]), np.full(n, np.sqrt(rho)), np.zeros(n, dtype=int), 0.5, np.zeros(n), False, 0, 0
    )


def true_rho(world: World) -> float:
    """Mean error correlation over all pairs, of a world of one group and one error rate for both classes."""
    rates, found = world.rates[0], []
    for i, j in combinations(range(len(rates)), 2):
        a, b = rates[i], rates[j]
        spread = np.sqrt(a * (1 - a) * b * (1 - b))
        found.append(world.shares[i] * world.shares[j] * (min(a, b) - a * b) / spread)
    return float(np.mean(found))


def effective_panels(panels: int) -> list[dict[str, Any]]:
    """Estimates of n_eff against the truth, by panel size and number of labels; rates from 5 to 35 %."""
    rows = []
    for labels in (1_000, 5_000, 20_000):
        for n in (3, 5, 9):
            draw = np.random.default_rng(17)
            off = []
            for i in range(panels):
                same = i % 2 == 0
                error = np.full(n, draw.uniform(0.05, 0.35)) if same else draw.uniform(0.05, 0.35, n)
                world = exchangeable(n, draw.uniform(0, 0.6), error)
                found = effective(world.votes(labels, draw), rounds=0)
                off.append(found.n_eff - n_eff(n, true_rho(world)))
            size = np.abs(off)
            rows.append(
                {
                    "labels": labels,
                    "voters": n,
                    "within": float((size <= 0.3).mean()),
                    "mean_off": float(np.mean(off)),
                    "p95_off": float(np.quantile(size, 0.95)),
                }
            )
    return rows


def combiner_worlds(count: int) -> Iterator[World]:
    """Panels as they may come: 3 to 9 voters of like or unlike skill, half of them all in one group."""
    draw = np.random.default_rng(19)
    for seed in range(count):
        n = int(draw.integers(3, 10))
        middle, spread = draw.uniform(0.03, 0.35), draw.choice([0.1, 0.4, 0.8, 1.2])
        odds = np.log(middle / (1 - middle)) + draw.normal(0, spread, n)
        lean = draw.normal(0, draw.choice([0.0, 0.5, 1.0]), n)
        rates = 1 / (1 + np.exp(-np.stack([odds + lean, odds - lean])))
        several = 1 if draw.random() < 0.5 else int(draw.integers(1, n + 1))
        groups = draw.integers(0, several, n)
        shares = np.sqrt(np.clip(draw.uniform(0, 0.95) + draw.normal(0, 0.1, n), 0, 0.97))
        silent = draw.choice([0.0, 0.02, 0.1]) * draw.random(n)
        yield World(
            np.clip(rates, 0.005, 0.6),
            shares,
            groups,
            float(draw.choice([0.5, 0.3, 0.1])),
            silent,
            bool(draw.random() < 0.5),
            int(draw.integers(1_000, 3_001)),
            seed,
        )


def chosen_world(world: World) -> dict[str, Any]:
    """Choose on the world's labels and count on held-out items."""
    draw = np.random.default_rng(1_000 + world.seed)
    choice = choose(world.votes(world.labels, draw))
    held = world.votes(HELD_OUT, draw)

    def share(method: Any) -> float:
        return float((method.answers(held) == held.labels).mean())

    ways = [choice.chosen, choice.single, *choice.singles, *choice.methods]
    got, single, *others = [share(measured.method) for measured in ways]
    room = max(others[len(choice.singles) :]) - single
    return {"difference": got - single, "use_panel": choice.use_panel, "missed": max(others) - got, "room": room}
