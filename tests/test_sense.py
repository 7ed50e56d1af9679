"""What texts mean: words' sums beside what is read in them, in one vector of unit length."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import UsageError
from quorate.models.local import WEIGHTS, features
from quorate.models.local.context import LONGEST
from quorate.models.local.sense import Sense

SENSE = Sense.load()


def words(text: str) -> list[str]:
    return features.words(features.normalise(text))


@given(st.lists(st.text(st.characters(codec=None), max_size=80), max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_text_has_a_vector_of_unit_length_or_no_word(texts: list[str]) -> None:
    tokens = [words(text) for text in texts]
    found = SENSE.each(tokens)
    assert found.shape == (len(texts), SENSE.dim) and np.isfinite(found).all()
    for some, row, text in zip(tokens, found, texts, strict=True):
        assert float(row @ row) == pytest.approx(1.0 if some else 0.0, abs=1e-4)
        assert np.allclose(row, SENSE.of(text), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("my parcel never turned up", "the package has not been delivered", "how do i bake bread"),
        ("somebody used my card without asking", "fraudulent charge on my account", "what time does the museum open"),
        ("can i get my money back", "how does a refund work", "does the hotel have a pool"),
    ],
)
def test_the_same_in_other_words_is_near(text: str, near: str, far: str) -> None:
    assert SENSE.of(text) @ SENSE.of(near) > SENSE.of(text) @ SENSE.of(far) + 0.1


def test_what_is_read_knows_what_the_words_sum_does_not() -> None:
    text, near, far = "my parcel never turned up", "the package has not been delivered", "how do i bake bread"
    summed = SENSE.words.of
    assert summed(text) @ summed(near) < summed(text) @ summed(far)
    assert SENSE.of(text) @ SENSE.of(near) > SENSE.of(text) @ SENSE.of(far)


def test_stretches_are_read_where_they_stand() -> None:
    """A sentence has another meaning in its text than alone, but not by much; the whole is what it is by itself."""
    whole = words("Hello there. The lamp does not work any more. Can you send me a new one?")
    part = words("Can you send me a new one?")
    found = SENSE.parts([whole, part, part])
    assert np.allclose(found[0], SENSE.each([whole])[0], atol=1e-5)
    assert np.allclose(found[1], found[2])
    alone = SENSE.each([part])[0]
    assert not np.allclose(found[1], alone, atol=1e-3) and found[1] @ alone > 0.7
    assert found[1] @ found[1] == pytest.approx(1.0, abs=1e-4)


def test_what_stands_nowhere_in_the_text_is_read_alone() -> None:
    """Behind the words that are read of a long text, or not in it at all, or without a word."""
    late, other = words("where is my parcel today"), words("what does a new card cost")
    whole = ["lamp"] * LONGEST + late
    found = SENSE.parts([whole, late, other, []])
    assert np.allclose(found[1:3], SENSE.each([late, other]), atol=1e-5)
    assert not found[3].any()
    assert np.allclose(SENSE.parts([[], late])[1], SENSE.each([late])[0], atol=1e-5)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("sense.npz", "index.json"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    return tmp_path


def test_weights_are_read_from_a_directory_and_checked(copied: Path) -> None:
    assert Sense.load(copied).version == SENSE.version and Sense.load() is SENSE
    raw = bytearray((copied / "sense.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copied / "sense.npz").write_bytes(raw)
    with pytest.raises(UsageError, match=r"sense\.npz.*reinstall quorate"):
        Sense.load(copied)
    (copied / "sense.npz").unlink()
    with pytest.raises(UsageError, match=r"sense\.npz"):
        Sense.load(copied)
