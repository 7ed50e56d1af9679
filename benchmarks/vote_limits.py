"""How near the voting rules are to what any rule could reach: `python -m benchmarks.vote_limits [--panels 300]`.

`adaptive`: the fewest votes at 99 % agreement with the full vote, by a rule made for that very mix of questions
(dynamic programming over all counts), which `Adaptive`, made for none in particular, cannot beat.

`n_eff`: how often nine voters' effective number is within 0.3 of the truth with 1,000 labels: by the mean correlation
of pairs, which `quorate panel` uses and which assumes nothing, and by likelihood with the law of these worlds known.
"""

import argparse
import math

import numpy as np

from benchmarks.vote_worlds import exchangeable
from benchmarks.votes import CAP, _same
from quorate.apps.panel import effective, n_eff
from quorate.merges import UNDECIDED

Counts = tuple[int, int]


def surest(counts: Counts, s: float) -> float:
    """How probable the likeliest outcome of the full vote is."""
    return max(_same(counts, value, s) for value in (True, False, UNDECIDED))


def best_rule(s: float, price: float, sure: dict[Counts, float]) -> tuple[float, float]:
    """Votes and agreement of the rule that spends least where a disagreement costs `price` votes."""
    found: dict[Counts, tuple[float, float]] = {}
    for votes in range(CAP, -1, -1):
        for yes in range(votes + 1):
            counts = (yes, votes - yes)
            found[counts] = (0.0, sure[counts])
            if votes < CAP:
                chance = (yes + s) / (votes + 2 * s)
                one, other = found[yes + 1, votes - yes], found[yes, votes - yes + 1]
                more = 1 + chance * one[0] + (1 - chance) * other[0]
                agreed = chance * one[1] + (1 - chance) * other[1]
                if votes == 0 or more + price * (1 - agreed) < price * (1 - sure[counts]):
                    found[counts] = (more, agreed)
    return found[0, 0]


def adaptive(s: float, at: float = 0.99) -> float:
    """How many times fewer votes than all the best rule needs; between two rules one is drawn by lot."""
    sure = {(yes, votes - yes): surest((yes, votes - yes), s) for votes in range(CAP + 1) for yes in range(votes + 1)}
    rules = sorted({best_rule(s, float(price), sure) for price in range(20, 1000, 5)})
    below = max(rule for rule in rules if rule[1] < at)
    above = min(rule for rule in rules if rule[1] >= at)
    share = (at - below[1]) / (above[1] - below[1])
    return CAP / (below[0] + share * (above[0] - below[0]))


def likelihood(panels: int, voters: int = 9, labels: int = 1_000) -> dict[str, float]:
    """Share of panels within 0.3, by pairs and by the likeliest world on a fine grid; one error rate a panel."""
    draw = np.random.default_rng(23)
    share, error = np.meshgrid(np.linspace(0, 0.8, 161), np.linspace(0.02, 0.42, 201), indexing="ij")
    wrong = np.arange(voters + 1)
    ways = np.array([math.comb(voters, int(k)) for k in wrong])

    def binomial(rate: np.ndarray) -> np.ndarray:
        return ways * rate[..., None] ** wrong * (1 - rate[..., None]) ** (voters - wrong)

    law = error[..., None] * binomial(share + (1 - share) * error) + (1 - error[..., None]) * binomial(
        (1 - share) * error
    )
    logs = np.log(np.maximum(law, 1e-300))
    hits = {"by pairs": 0, "by likelihood": 0}
    for _ in range(panels):
        rate, rho = draw.uniform(0.05, 0.35), draw.uniform(0, 0.6)
        votes = exchangeable(voters, rho, np.full(voters, rate)).votes(labels, draw)
        counts = np.bincount(votes.wrong.sum(1), minlength=voters + 1)
        likeliest = float(share.ravel()[(logs @ counts).argmax()]) ** 2
        truth = n_eff(voters, rho)
        hits["by pairs"] += abs(effective(votes, rounds=0).n_eff - truth) <= 0.3
        hits["by likelihood"] += abs(n_eff(voters, likeliest) - truth) <= 0.3
    return {name: count / panels for name, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=1_000)
    args = parser.parse_args()
    for mix, s in (("easy", 0.2), ("mid", 0.5), ("flat", 1.0)):
        print(f"adaptive, {mix} mix: at best {adaptive(s):.2f}x fewer votes at 99 % agreement")
    for name, within in likelihood(args.panels).items():
        print(f"n_eff of nine voters, 1,000 labels, {name}: within 0.3 in {within:.1%}")


if __name__ == "__main__":
    main()
