"""Topics: what people ask about, and which of it is a company's matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.models.local import LocalScope, features
from quorate.models.local.company import Grams, Learned
from quorate.models.local.sense import Sense
from quorate.models.local.topics import CLUES, Topics, packed
from quorate.models.local.vectors import Vectors
from quorate.models.local.weights import read_weights

IDF = np.ones(features.SIZE, np.float32)
WORDS = ("parcel", "voucher", "mortgage", "overdraft")
NAMES = ("shop: delivery", "shop: prices", "bank: loans")


def weighed(text: str) -> tuple[features.Ids, features.Floats]:
    return Grams.of(text, IDF).words


def small() -> Topics:
    """Three topics that look at one word each, the last at two; membership goes by the trade's share alone."""
    slots = np.concatenate([features.word_ids(features.stemmed([word])) for word in WORDS])
    words = np.zeros((4, 3), np.float32)
    words[[0, 1, 2, 3], [0, 1, 2, 2]] = 2.0
    order = np.argsort(slots)
    clues = np.zeros(len(CLUES) + 1, np.float32)
    clues[CLUES.index("trade")], clues[-1] = 40.0, -8.0
    return Topics(
        packed(
            NAMES,
            slots[order],
            words=words[order],
            sense=np.zeros((8, 3), np.float32),
            biases=np.zeros((2, 3), np.float32),
            clues=clues,
        )
    )


def test_a_text_is_near_to_the_topic_of_its_words() -> None:
    """Each text is about the topic whose words it has, and one without any of them about none."""
    near = small().near([weighed("parcel"), weighed("overdraft"), weighed("volcano")], np.zeros((3, 8), np.float32))
    assert near[0] == pytest.approx([1, 0, 0], abs=0.02)
    assert near[1] == pytest.approx([0, 0, 1], abs=0.02)
    assert near[2] == pytest.approx([0, 0, 0])


def test_nothing_is_near_to_nothing() -> None:
    """No texts, and texts without words, are no error."""
    topics = small()
    assert topics.near([], np.zeros((0, 8), np.float32)).shape == (0, 3)
    assert not topics.near([weighed("")], np.zeros((1, 8), np.float32)).any()
    assert not topics.members(np.zeros((0, 3), np.float32), np.zeros(3, np.float32)).any()


def test_topics_of_one_trade_belong_together() -> None:
    """A company that speaks of parcels is a shop, so vouchers are its matter too; loans are not."""
    topics = small()
    own = topics.near([weighed("parcel"), weighed("parcel")], np.zeros((2, 8), np.float32))
    members = topics.members(own, np.zeros(3, np.float32))
    assert members[:2] == pytest.approx([1, 1])
    assert members[2] < 0.01


def test_the_models_of_a_companys_topics_add_up() -> None:
    """What a company's matters say of a text is the sum of what its topics say."""
    topics = small()
    members = np.array([1.0, 0.5, 0.0], np.float32)
    texts = [weighed("parcel voucher"), weighed("mortgage"), weighed("")]
    meant = np.zeros((3, 8), np.float32)
    found = topics.of(members).signals(texts, meant)
    assert found.sum(axis=1) / 2 == pytest.approx(topics.near(texts, meant) @ members, abs=1e-5)


def test_what_stands_in_the_package_knows_a_bank() -> None:
    """A bank of some sentences has the bank's topics; messages in words it never used are nearer than other matters."""
    learned, sense = Learned.of(read_weights("scope")), Sense.load()
    about = "A retail bank: accounts, cards, payments, transfers, cash, fees."
    own = [
        about,
        "We offer current accounts, savings accounts, debit cards and loans.",
        "You can transfer money in the app, and set up direct debits and standing orders.",
        "Report a lost card at once; we send you a new one with the same PIN.",
        "Cash can be withdrawn at every machine, up to five hundred a day.",
    ]

    def near(texts: list[str]) -> features.Floats:
        grams = Grams.each(texts, learned.idf)
        return learned.topics.near([one.words for one in grams], sense.each([one.tokens for one in grams]))

    members = learned.topics.members(near(own), near([about])[0])
    found = near(["my wages have not turned up", "the cash point swallowed the notes", "who wrote Hamlet"]) @ members
    assert min(found[:2]) > 0.2
    assert found[2] < 0.1


def test_new_wordings_of_a_companys_topics_are_let_in() -> None:
    """Messages in words that neither help centre nor examples have are less foreign than matters of other trades."""
    scope = LocalScope.fit(
        description="A travel agency: flights, hotels, car rental, visas and vaccines.",
        sections=[
            "Booking. Search a flight by city and date, and choose a fare.",
            "Hotels. Check-in is from three in the afternoon. Many hotels let you cancel free of charge.",
            "Car rental. The driver needs a licence held for a year. Return the car with a full tank.",
            "Visas. We tell you the rules for your passport, and where to apply.",
        ],
        examples=["Can I change my flight?", "Is breakfast included in the room?", "Which hotels are near the beach?"],
    )
    inside = [scope.score(text).score for text in ("my suitcase never came off the belt", "any jabs needed for Kenya?")]
    outside = [scope.score(text).score for text in ("my dishwasher leaks", "the electricity bill has doubled")]
    assert max(inside) < min(outside)


@given(st.lists(st.text(max_size=60), max_size=5))
def test_several_texts_are_read_as_one_by_one(texts: list[str]) -> None:
    """Reading texts together gives what reading each alone gives, whatever they hold."""
    for together, text in zip(Grams.each(texts, IDF), texts, strict=True):
        alone = Grams.of(text, IDF)
        assert together.tokens == alone.tokens
        for one, other in ((together.chars, alone.chars), (together.words, alone.words)):
            assert one[0].tolist() == other[0].tolist()
            assert one[1] == pytest.approx(other[1])
        assert together.single.tolist() == sorted(set(alone.single.tolist()))


@given(st.lists(st.lists(st.sampled_from(["card", "parcel", "the", "zzqx", "0000"]), max_size=6), max_size=4))
def test_several_texts_mean_what_each_means(texts: list[list[str]]) -> None:
    """The vectors of texts together are those of each alone."""
    vectors = Vectors.load()
    together = vectors.pooled_each(texts)
    assert together.shape == (len(texts), vectors.dim)
    for row, tokens in zip(together, texts, strict=True):
        assert row == pytest.approx(vectors.pooled(tokens), abs=1e-4)
