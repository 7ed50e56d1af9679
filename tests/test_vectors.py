"""Word vectors: what they bring near, what they do with words they never saw, and that no text breaks them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import UsageError
from quorate.models.local import WEIGHTS, features
from quorate.models.local.vectors import Vectors, gram_slots

TABLE = Vectors.load()
HOSTILE = ["", " ", "\ud800", "\x00\x1b[31m\x07" * 50, "🏴" * 500, "忽略" * 3000, "a" * 200_000, "\u202e‏abc"]


def near(first: str, second: str) -> float:
    return float(TABLE.of(first) @ TABLE.of(second))


@pytest.mark.parametrize(
    ("text", "like", "unlike"),
    [
        ("where is my parcel", "my package has not arrived", "the cat sleeps on the sofa"),
        ("I want my money back", "please refund the payment", "how tall is the tower"),
        ("terminate the program", "kill the process", "murder a man"),
    ],
)
def test_texts_that_mean_the_same_are_near(text: str, like: str, unlike: str) -> None:
    """Without a word in common, what means the same is nearer than what does not."""
    assert near(text, like) > near(text, unlike) + 0.05


def test_a_misspelt_word_is_near_the_right_one() -> None:
    """A word that the table does not know is put together from its parts."""
    assert TABLE.known(["adressbookk", "address"]).tolist() == [False, True]
    assert near("warehousse", "warehouse") > near("warehousse", "kitten")


def test_telling_words_count_more_than_common_ones() -> None:
    """What a sentence is about moves its vector more than the little words in it."""
    assert near("the refund of my card", "card refund") > 0.8
    assert near("the of my", "the refund of my card") < 0.6


def test_a_text_is_the_sum_of_its_words() -> None:
    """`of`, `pooled` and `words` agree, for known and unknown words and repeats, and the result has unit length."""
    text = "The ransomwarre, the RANSOMWARE and 12 parcels parcels"
    tokens = features.words(features.normalise(text))
    total = TABLE.words(tokens).sum(axis=0)
    assert np.allclose(TABLE.of(text), total / np.linalg.norm(total), atol=1e-5)
    assert np.allclose(TABLE.of(text), TABLE.pooled(tokens))
    both = TABLE.summed([tokens, [], tokens[:2]])
    assert np.allclose(both, np.stack([TABLE.pooled(some) for some in (tokens, [], tokens[:2])]), atol=1e-6)
    assert np.linalg.norm(TABLE.of(text)) == pytest.approx(1, abs=1e-5)


@given(st.lists(st.text(st.characters(codec=None), max_size=60), max_size=12))
@settings(max_examples=150, deadline=None)
def test_no_words_break_them(tokens: list[str]) -> None:
    """Any words, even such as `features.words` never gives, have finite vectors of the right shape."""
    found = TABLE.words(tokens)
    assert found.shape == (len(tokens), TABLE.dim) and found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.isfinite(TABLE.pooled(tokens)).all()


@pytest.mark.parametrize("text", HOSTILE)
def test_odd_texts_have_unit_or_no_length(text: str) -> None:
    """Never an error, never a number that is none."""
    assert np.linalg.norm(TABLE.of(text)) == pytest.approx(1, abs=1e-4) or not TABLE.of(text).any()


def test_a_megabyte_of_unknown_words_is_read() -> None:
    """Memory is taken in batches: a whole megabyte of words that nobody knows is no different."""
    words = np.random.default_rng(0).integers(97, 123, (150_000, 6), dtype=np.uint8)
    text = b" ".join(row.tobytes() for row in words).decode()
    assert np.linalg.norm(TABLE.of(text)) == pytest.approx(1, abs=1e-4)


@given(st.lists(st.text("abcé日", min_size=1, max_size=50), min_size=1, max_size=8))
@settings(deadline=None)
def test_words_have_the_same_parts_in_any_company(tokens: list[str]) -> None:
    """A word's n-grams do not depend on the words beside it, and there is always one."""
    slots, owners = gram_slots(tokens, 512)
    for place, token in enumerate(tokens):
        alone, _ = gram_slots([token], 512)
        assert len(alone) >= 1
        assert sorted(slots[owners == place]) == sorted(alone)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("vectors.npz", "index.json"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    return tmp_path


def test_a_copy_loads_and_a_changed_one_is_refused(copied: Path) -> None:
    """Size and hash are those of the index, or nothing is read."""
    assert Vectors.load(copied).version == TABLE.version
    raw = bytearray((copied / "vectors.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copied / "vectors.npz").write_bytes(raw)
    with pytest.raises(UsageError, match=r"vectors\.npz.*sha256"):
        Vectors.load(copied)
    (copied / "vectors.npz").unlink()
    with pytest.raises(UsageError, match=r"vectors\.npz"):
        Vectors.load(copied)


def test_the_table_is_small() -> None:
    """At most 14 MB, as bytes with a scale for each row."""
    file = WEIGHTS / "vectors.npz"
    assert file.stat().st_size <= 14e6
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["rows"].dtype == arrays["grams"].dtype == np.int8
        assert (np.diff(arrays["keys"].astype(np.int64)) > 0).all()


def test_the_packages_own_are_read_once() -> None:
    assert Vectors.load() is Vectors.load()


def test_unknown_words_together_are_what_each_is_alone() -> None:
    words = ["qzxwvutty", "blorpishness", "x" * 60, "zzyqq"]
    assert np.array_equal(TABLE.words(words), np.concatenate([TABLE.words([word]) for word in words]))
