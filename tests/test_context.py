"""The reader of words in their context: its numpy says what the plain formulas say, and neighbours count."""

import math

import numpy as np
import pytest

from quorate.models.local.context import HEADS, LONGEST, PREFIX, Context, Reader, summary

DIM, WIDTH, WIDE, HIDDEN, LAYERS = 10, 8 * HEADS, 24, 6, 3


def drawn(seed: int) -> dict[str, np.ndarray]:
    """Arrays of a small reader, large enough that every part shows in the result."""
    rng = np.random.default_rng(seed)
    shapes = {"project": (DIM, WIDTH), "gain": (WIDTH,), "hidden": (2 * WIDTH, HIDDEN), "out": (HIDDEN,)}
    for number in range(LAYERS):
        shapes |= {f"ask{number}": (WIDTH, 3 * WIDTH), f"tell{number}": (WIDTH, WIDTH)}
        shapes |= {f"widen{number}": (WIDTH, WIDE), f"narrow{number}": (WIDE, WIDTH)}
    biases = {f"{name}_bias": (1 if name == "out" else shape[-1],) for name, shape in shapes.items()}
    every = {**shapes, **biases, "places": (LONGEST, WIDTH)}
    return {f"{PREFIX}{name}": rng.normal(size=shape, scale=0.4).astype(np.float32) for name, shape in every.items()}


def plain(arrays: dict[str, np.ndarray], vectors: np.ndarray) -> float:
    """The margin word by word and head by head, in 64 bits."""
    given = {name.removeprefix(PREFIX): array.astype(np.float64) for name, array in arrays.items()}

    def normal(row: np.ndarray) -> np.ndarray:
        return (row - row.mean()) / math.sqrt(row.var() + 1e-5)

    def through(row: np.ndarray, name: str) -> np.ndarray:
        return row @ given[name] + given[f"{name}_bias"]

    words = [through(row, "project") + given["places"][at] for at, row in enumerate(vectors)]
    size = WIDTH // HEADS
    for number in range(LAYERS):
        asked = [through(normal(word), f"ask{number}") for word in words]
        for at, word in enumerate(list(words)):
            told = []
            for low in range(0, WIDTH, size):
                question = asked[at][low : low + size]
                shares = np.exp([question @ one[WIDTH + low : WIDTH + low + size] for one in asked])
                answers = [one[2 * WIDTH + low : 2 * WIDTH + low + size] for one in asked]
                told.append(sum(share * one for share, one in zip(shares / shares.sum(), answers, strict=True)))
            words[at] = word + through(np.concatenate(told), f"tell{number}")
        for at, word in enumerate(words):
            wide = np.maximum(through(normal(word), f"widen{number}"), 0)
            words[at] = word + through(wide, f"narrow{number}")
    last = np.array([normal(word) * given["gain"] + given["gain_bias"] for word in words])
    hidden = np.maximum(through(np.concatenate([last.mean(axis=0), last.max(axis=0)]), "hidden"), 0)
    return float(through(hidden, "out")[0])


@pytest.mark.parametrize("count", [1, 2, 17, LONGEST])
def test_it_says_what_the_formulas_say(count: int) -> None:
    """Attention, layers, places and what stands on them, for one word and for as many as it reads."""
    arrays = drawn(count)
    vectors = np.random.default_rng(1).normal(size=(count, DIM)).astype(np.float32)
    assert Context(arrays).margin(vectors) == pytest.approx(plain(arrays, vectors), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("layers", [1, 2])
def test_it_has_as_many_layers_as_its_arrays(layers: int) -> None:
    """Those of a layer that is not there are not missed, and a layer that is there counts."""
    arrays = drawn(5)
    fewer = {name: array for name, array in arrays.items() if not any(str(at) in name for at in range(layers, LAYERS))}
    vectors = np.random.default_rng(6).normal(size=(7, DIM)).astype(np.float32)
    assert summary(Reader(fewer).read(vectors[None])).shape == (1, 2 * WIDTH)
    assert not np.allclose(Reader(fewer).read(vectors[None]), Reader(arrays).read(vectors[None]), atol=1e-2)


def test_order_and_neighbours_count() -> None:
    """The same words in another order, or beside another word, are another reading."""
    reader = Context(drawn(3))
    vectors = np.random.default_rng(2).normal(size=(9, DIM)).astype(np.float32)
    other = vectors.copy()
    other[4] = -other[4]
    assert abs(reader.margin(vectors) - reader.margin(vectors[::-1])) > 1e-3
    assert abs(reader.margin(vectors) - reader.margin(other)) > 1e-3


def test_large_numbers_stay_finite() -> None:
    """Word vectors far longer than any that it learned from give no infinity and no nan."""
    vectors = np.full((LONGEST, DIM), 1e6, dtype=np.float32)
    assert math.isfinite(Context(drawn(4)).margin(vectors))
