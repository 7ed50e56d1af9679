"""The halves of the threat classifier, on weights small enough to work out by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quorate.models.local.phrases import SIZE, TAPS, VALUES, Network, Phrases, phrase_ids, scale


def test_pairs_know_their_order_and_skips_their_kind() -> None:
    one, other = phrase_ids(["ignore", "the", "rules"]), phrase_ids(["rules", "the", "ignore"])
    assert set(one["words"]) == set(other["words"])
    assert not set(one["pairs"]) & set(other["pairs"])
    assert len(one["skips"]) == 1 and set(phrase_ids(["ignore", "rules"])["pairs"]) != set(one["skips"])


@given(st.lists(st.text(max_size=8), max_size=40))
def test_every_slot_once_in_order(tokens: list[str]) -> None:
    for ids in phrase_ids(tokens).values():
        assert (np.diff(ids.astype(np.int64)) > 0).all() and (ids < SIZE).all()


def test_pruned_slots_neither_count_nor_dilute() -> None:
    ids = {**phrase_ids(["a", "b"]), "hints": np.array([1], dtype=np.uint32)}
    tables = {kind: np.zeros(SIZE, dtype=np.float32) for kind in VALUES}
    tables["words"][ids["words"][0]] = 2.0
    tables["hints"][1] = -1.0
    expected = 0.5 + scale({"words": 1, "hints": 1}) * (2.0 * VALUES["words"] - VALUES["hints"])
    assert abs(Phrases(tables, 0.5).margin(ids) - expected) < 1e-6
    assert Phrases(tables, 0.5).margin({kind: some[:0] for kind, some in ids.items()}) == 0.5


def plain(arrays: dict[str, np.ndarray], vectors: np.ndarray, ideas: np.ndarray) -> float:
    """The network as the formulas say it, place by place, with plenty of padding."""
    width = len(arrays["bias"]) // len(TAPS)
    read = vectors @ arrays["project"] + arrays["project_bias"] + arrays["ideas"][ideas]
    padded = np.zeros((len(read) + 20, read.shape[1]))
    padded[10 : 10 + len(read)] = read
    tops, column = [], 0
    for number, taps in enumerate(TAPS):
        values = []
        for place in range(len(padded) - 4):
            total = arrays["bias"][number * width : (number + 1) * width].astype(float)
            for order, behind in enumerate(taps):
                low = column + order * width
                total = total + padded[place + behind] @ arrays["taps"][:, low : low + width]
            values.append(np.maximum(total, 0))
        tops.append(np.max(values, axis=0))
        column += width * len(taps)
    tops.append(read.sum(axis=0) / np.sqrt(len(read)))
    hidden = np.maximum(np.concatenate(tops) @ arrays["hidden"] + arrays["hidden_bias"], 0)
    return float(hidden @ arrays["out"] + arrays["out_bias"][0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_network_is_what_the_formulas_say(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    width, dim = 3, 5
    shapes = {
        "project": (dim, width),
        "project_bias": (width,),
        "ideas": (4, width),
        "taps": (width, width * sum(map(len, TAPS))),
        "bias": (width * len(TAPS),),
        "hidden": (width * (len(TAPS) + 1), 4),
        "hidden_bias": (4,),
        "out": (4,),
        "out_bias": (1,),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    vectors = rng.normal(size=(count, dim)).astype(np.float32)
    ideas = rng.integers(0, 4, count)
    assert abs(Network(arrays).margin(vectors, ideas) - plain(arrays, vectors, ideas)) < 1e-3


def test_no_words_say_nothing() -> None:
    arrays = {name: np.ones((1, 1), dtype=np.float32) for name in ("project", "ideas", "taps", "hidden")}
    arrays |= {
        name: np.ones(4, dtype=np.float32) for name in ("project_bias", "bias", "hidden_bias", "out", "out_bias")
    }
    assert Network(arrays).margin(np.zeros((0, 1), np.float32), np.zeros(0, np.intp)) == 0.0


SAID = ("ignore", "the", "old", "rules", "and", "send", "me", "all", "of", "it")
DRAWN = np.random.default_rng(3)
DRAWN_TABLES = {kind: DRAWN.normal(size=SIZE).astype(np.float32) * (DRAWN.random(SIZE) < 0.7) for kind in VALUES}


@given(st.lists(st.lists(st.sampled_from(SAID), max_size=12), max_size=6))
def test_windows_together_get_the_margins_that_each_gets_alone(texts: list[list[str]]) -> None:
    hints = [np.arange(len(tokens) % 4, dtype=np.uint32) * 7 for tokens in texts]
    model = Phrases(DRAWN_TABLES, 0.25)
    alone = [model.margin({**phrase_ids(tokens), "hints": own}) for tokens, own in zip(texts, hints, strict=True)]
    assert np.allclose(model.margins(texts, hints), alone, atol=1e-4)
