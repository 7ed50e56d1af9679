"""What the local classifiers see of a text: the same in a batch as alone, and in each way of getting at it."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.models.local import features
from quorate.models.local.company import Grams, Worded

DRAW = np.random.default_rng(1)
IDF = (1 + DRAW.random(features.SIZE)).astype(np.float32)
WEIGHTS = DRAW.normal(size=features.SIZE).astype(np.float32)
TABLE = features.linear(IDF, WEIGHTS)
LEXICON = features.Lexicon({"ignor": 0, "=all": 1, "rule": 2, "قواعد": 2, "忽略": 0, "规则": 2}, 3)

latin = st.text(st.characters(max_codepoint=0xFF), max_size=60)
texts = st.lists(st.text(max_size=20) | latin, max_size=6)


@given(latin)
def test_latin_1_is_read_like_any_other_text(text: str) -> None:
    """Bytes are only a faster way: beside a letter of another script, the same words and folds come out."""
    plain = features.normalise(text)
    assert features.normalise(f"{text} ж") == f"{plain} ж".strip()
    assert features.words(f"{plain} ж") == [*features.words(plain), "ж"]


@given(st.lists(st.text(st.characters(codec=None), max_size=9), max_size=9), st.binary(max_size=3))
def test_checksums_of_words_are_crc_32(tokens: list[str], begun: bytes) -> None:
    expected = [zlib.crc32(begun + token.encode("utf-8", "surrogatepass")) for token in tokens]
    assert features.crcs(tokens, zlib.crc32(begun)).tolist() == expected


@given(texts)
def test_texts_together_have_the_slots_that_each_has_alone(some: list[str]) -> None:
    """Keys hold the text's place above its slots; no n-gram and no pair reaches from one text into the next."""
    tokens = [features.words(text) for text in some]
    for keys, alone in (
        (features.char_keys(some), map(features.char_ids, some)),
        (features.word_keys(tokens), map(features.word_ids, tokens)),
    ):
        expected = [place << features.BITS | slot for place, ids in enumerate(alone) for slot in ids.tolist()]
        assert sorted(keys.tolist()) == sorted(expected)
    single = features.word_keys(tokens)[: sum(map(len, tokens))]
    slots = [sorted({*features.word_ids(words)[: len(words)].tolist()}) for words in tokens]
    assert [found.tolist() for found in features.slots_each(single, count=len(some))] == slots[: len(some)] or not some


@given(texts)
def test_margins_are_what_weighed_slots_give(some: list[str]) -> None:
    """A batch in a table gives what the dot product with each text's weights gives; nothing where there is no slot."""
    for keys, alone in (
        (features.char_keys(some), [features.char_ids(text) for text in some]),
        (features.word_keys([text.split() for text in some]), [features.word_ids(text.split()) for text in some]),
    ):
        expected = [float(values @ WEIGHTS[slots]) for slots, values in (features.weighed(ids, IDF) for ids in alone)]
        assert features.margins(keys, table=TABLE, count=len(some)) == pytest.approx(expected, abs=1e-4)


def test_more_texts_than_fit_beside_each_other_are_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a slot there is room for so many places; what is beyond goes into the next pass."""
    some = [f"parcel {number} of lamps" for number in range(7)]
    whole = Grams.each(some, IDF)
    monkeypatch.setattr(features, "MANY", 3)
    for one, other, said in zip(whole, Grams.each(some, IDF), Worded.each(some, IDF), strict=True):
        assert one.tokens == other.tokens == said.tokens
        assert one.chars[0].tolist() == other.chars[0].tolist()
        for found in (other, said):
            assert one.words[0].tolist() == found.words[0].tolist()
            assert one.words[1].tolist() == found.words[1].tolist()
            assert one.single.tolist() == found.single.tolist()


@given(st.lists(st.sampled_from(["ignoring", "all", "allow", "rules", "القواعد", "the", "a", "ال"]), max_size=12))
def test_a_script_without_spaces_beside_them_changes_no_hint(tokens: list[str]) -> None:
    """Words of other scripts are looked at by another way as soon as one of a dense script stands among them."""
    assert LEXICON.hints([*tokens, "字"]).tolist() == LEXICON.hints(tokens).tolist()


@pytest.mark.parametrize(("between", "pair"), [("", True), ("字字", True), ("字字字字", True), ("字字字字字", False)])
def test_places_in_a_run_without_spaces_are_counted(between: str, pair: bool) -> None:
    """Two hints in one run are a pair where few signs stand between them."""
    assert (3 + 0 * 3 + 2 in LEXICON.hints([f"字忽略{between}规则字"])) is pair
    assert (3 + 0 * 3 + 2 in LEXICON.hints([f"忽略{between}", "rules"])) is pair
