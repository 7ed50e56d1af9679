"""The cells of `benchmarks.evaluate`, all worlds of a cell at once: `python -m benchmarks.evaluate_cells`.

Much faster than a `mean_of` for each world, so that chance can be made small. The formulas are written once more,
over arrays; the first worlds of every cell go through `mean_of` and `difference_of` too, and must come to the same.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from benchmarks.evaluate import ASPECTS, CORRELATIONS, HARD, HIGH, LOW, SHAPES, SIZES, Array, sizes_of
from quorate.apps.evaluate.statistics import difference_of, mean_of, t_quantile

CHECKED = 2
_GRID = np.unique(np.concatenate([np.linspace(1, 20, 400), np.linspace(20, 200, 400), np.linspace(200, 3000, 200)]))
_QUANTILES = np.array([t_quantile(0.975, df) for df in _GRID])


@dataclass
class Worlds:
    """Counts of each value in each source of each world, shape (worlds, sources, values), and the sources' sizes."""

    counts: Array
    values: Array
    sizes: Array


def drawn(rng: np.random.Generator, job: tuple[str, str, int, int, float], worlds: int) -> tuple[Worlds, float]:
    aspect, kind, n, groups, rho = job
    shares, values = {**ASPECTS, **HARD}[aspect]
    sizes = np.stack([sizes_of(rng, n, groups, SIZES[kind]) for _ in range(worlds)])
    chance = np.tile(shares, (worlds, groups, 1))
    if rho > 0:
        gammas = np.maximum(rng.standard_gamma(chance * (1 - rho) / rho), 1e-300)
        chance = gammas / gammas.sum(-1, keepdims=True)
    counts = rng.multinomial(sizes, chance).astype(float)
    return Worlds(counts, np.array(values), sizes.astype(float)), float(np.dot(shares, values))


def freedom(sizes: Array, share: Array, rho: Array) -> Array:
    v = sizes * (1 + (sizes - 1) * rho[:, None])
    total, a = v.sum(1), 1 / np.sqrt(1 - share)
    u, w, d = a * v, a * share, a * a * v
    uu, ww, uw = (u * u).sum(1), (w * w).sum(1), (u * w).sum(1)
    trace = d.sum(1) - 2 * uw + total * ww
    off = 2 * uu * ww + 2 * uw * uw + total**2 * ww * ww - 4 * total * uw * ww
    cross = (d * (total[:, None] * w * w - 2 * u * w)).sum(1)
    return np.maximum(1, trace * trace / ((d * d).sum(1) + off + 2 * cross))


def ends(given: Worlds) -> tuple[Array, Array]:
    """Both ends of every world's interval."""
    sizes, n = given.sizes, given.sizes.sum(1)
    groups = sizes.shape[1]
    sums, squares = given.counts @ given.values, given.counts @ given.values**2
    mean, share = sums.sum(1) / n, sizes / n[:, None]
    variance = ((sums - mean[:, None] * sizes) ** 2 / (1 - share)).sum(1) / n**2
    within_sources = (sums**2 / sizes).sum(1)
    between = (within_sources - sums.sum(1) ** 2 / n) / (groups - 1)
    within = (squares.sum(1) - within_sources) / np.maximum(n - groups, 1)
    total = between + ((n - (sizes**2).sum(1) / n) / (groups - 1) - 1) * within
    rho = np.where(total > 1e-12, np.clip((between - within) / np.maximum(total, 1e-12), 0, 1), 0)
    t = np.interp((freedom(sizes, share, 0 * rho) + freedom(sizes, share, rho)) / 2, _GRID, _QUANTILES)
    unseen = n * n / (sizes * (1 + (sizes - 1) * 0.3)).sum(1)
    if given.values.min() < 0:
        none = 1.959964**2 / unseen / (1 + 1.959964**2 / unseen)
        half = np.where(variance > 1e-15, t * np.sqrt(variance), none)
        return np.maximum(mean - half, -1), np.minimum(mean + half, 1)
    r = rho[:, None]
    second = (sizes * (1 + (sizes - 1) * r)).sum(1)
    third = (sizes * (1 + 3 * (sizes - 1) * r + 2 * (sizes - 1) * (sizes - 2) * r * r / (1 + r))).sum(1)
    power = np.clip((1 + n * third / second**2) / 2, 1, 3)
    seen = (variance > 1e-15) & (mean * (1 - mean) > 0)
    room = np.where(seen, mean * (1 - mean), 1.0)
    variance = np.where(seen, variance, 1 / unseen)  # With room 1 and power 1 below, Wilson's for a mean of 0 or 1.
    power = np.where(seen, power, 1.0)
    found = []
    for side in (0.0, 1.0):
        inside, outside = mean.copy(), np.full_like(mean, side)
        for _ in range(60):
            middle = (inside + outside) / 2
            held = (mean - middle) ** 2 <= t * t * variance * (middle * (1 - middle) / room) ** power
            inside, outside = np.where(held, middle, inside), np.where(held, outside, middle)
        found.append(inside)
    return found[0], found[1]


def held_against_the_product(given: Worlds, low: Array, high: Array) -> None:
    for world in range(CHECKED):
        rows = np.repeat(np.tile(given.values, given.sizes.shape[1]), given.counts[world].astype(int).ravel())
        codes = np.repeat(np.arange(given.sizes.shape[1]), given.sizes[world].astype(int)).tolist()
        found = (difference_of if given.values.min() < 0 else mean_of)(rows, codes)
        assert abs(found.low - low[world]) < 2e-4 and abs(found.high - high[world]) < 2e-4, (found, low, high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    for name, aspects in (("the 360 cells", ASPECTS), ("hard aspects", HARD)):
        coverage = {}
        for job in ((a, k, n, g, r) for a in aspects for k in SIZES for n, g in SHAPES for r in CORRELATIONS):
            rng = np.random.default_rng([args.seed, *map(ord, job[0] + job[1]), job[2], job[3], round(job[4] * 100)])
            given, truth = drawn(rng, job, args.worlds)
            low, high = ends(given)
            held_against_the_product(given, low, high)
            coverage[job] = float(((low <= truth) & (truth <= high)).mean())
        values = np.array(list(coverage.values()))
        inside = int(((values >= LOW) & (values <= HIGH)).sum())
        told = f"{inside} of {len(values)} in {LOW:.1%}-{HIGH:.1%}, {values.min():.1%} to {values.max():.1%}"
        print(f"{name}: {told}, mean {values.mean():.2%}")
        for job, share in coverage.items():
            if not LOW <= share <= HIGH:
                print(f"  {share:.1%}  {job[0]}, {job[1]} sizes, {job[2]} rows, {job[3]} sources, correlation {job[4]}")


if __name__ == "__main__":
    main()
