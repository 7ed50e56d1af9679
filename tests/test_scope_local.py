"""The local scope check of one company: fitted, taught by labels, and kept in files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quorate.errors import UsageError
from quorate.models.local import LocalScope
from quorate.models.local.company import blocks
from quorate.models.local.fitting import Dense, Sparse, balanced, calibration_error, logistic_fit, rank_area
from quorate.models.local.labelled import General
from quorate.models.local.learning import LEAST, Lesson, bounds, chosen, learn
from quorate.models.local.taught import Taught, keep, path_of, recall
from quorate.models.local.teaching import Source, teach
from scope_texts import ASKED, INSIDE, OUTSIDE, PLANTS

GERMAN = [
    "Versand. Wir liefern Fahrradteile innerhalb von drei Tagen mit der Post. Der Versand kostet vier Euro.",
    "Rückgabe. Falsch bestellte Teile nehmen wir binnen dreißig Tagen zurück, wenn sie nicht eingebaut wurden.",
    "Reklamation. Ist ein Teil defekt, schicken Sie uns bitte ein Foto und die Bestellnummer.",
    "Zahlung. Sie können mit Karte, Rechnung oder Überweisung zahlen. Die Rechnung liegt im Kundenkonto.",
    "Werkstatt. Wir bauen Bremsen, Ketten und Schaltungen ein. Einen Termin bekommen Sie telefonisch.",
]
GERMAN_ASKED = [
    "Wann kommt meine Bestellung an?",
    "Die Kette ist defekt, was soll ich tun?",
    "Kann ich auf Rechnung zahlen?",
    "Ich möchte die Bremse zurückgeben.",
    "Wie bekomme ich einen Termin in der Werkstatt?",
]
SPANISH = [
    "Envíos. Enviamos los zapatos en tres días laborables. El envío cuesta cuatro euros.",
    "Devoluciones. Puedes devolver los zapatos sin usar en treinta días. Te devolvemos el dinero en una semana.",
    "Tallas. Si la talla no te queda bien, te la cambiamos gratis una vez.",
    "Pagos. Aceptamos tarjeta y transferencia. La factura está en tu cuenta.",
]
SPANISH_ASKED = [
    "¿Cuándo llega mi pedido?",
    "Los zapatos me quedan pequeños, ¿puedo cambiar la talla?",
    "¿Cómo devuelvo unos zapatos?",
    "¿Dónde está mi factura?",
]


@pytest.fixture(scope="module")
def plants() -> LocalScope:
    return LocalScope.fit(description="A shop for potted plants.", sections=PLANTS, examples=ASKED)


def source(**changed: Any) -> Source:
    texts, outside = INSIDE + OUTSIDE, np.r_[np.zeros(len(INSIDE), bool), np.ones(len(OUTSIDE), bool)]
    made = {
        "description": "A shop for potted plants.",
        "sections": PLANTS,
        "examples": ASKED,
        "texts": texts,
        "outside": outside,
    }
    return Source(**(made | changed))


@pytest.fixture(scope="module")
def lesson() -> tuple[LocalScope, Taught, Any]:
    return teach(source())


@pytest.mark.parametrize(
    ("description", "sections", "asked", "inside", "outside"),
    [
        (
            "Ein Laden für Fahrradteile.",
            GERMAN,
            GERMAN_ASKED,
            ["Wann wird meine Kette geliefert?", "Das Teil ist defekt", "Wo finde ich die Rechnung?"],
            ["Schreib mir ein Gedicht über das Meer.", "Wer hat die Wahl in Frankreich gewonnen?"],
        ),
        (
            "Una tienda de zapatos.",
            SPANISH,
            SPANISH_ASKED,
            ["¿Cuánto tarda el envío de mi pedido?", "quiero devolver los zapatos", "¿puedo pagar con tarjeta?"],
            ["Escribe un poema sobre el otoño.", "¿Quién descubrió la penicilina?"],
        ),
    ],
)
def test_a_help_centre_in_another_language_tells_its_matters_apart(
    description: str, sections: list[str], asked: list[str], inside: list[str], outside: list[str]
) -> None:
    fitted = LocalScope.fit(description=description, sections=sections, examples=asked)
    highest = max(fitted.score(text).score for text in inside)
    assert highest < fitted.high
    assert all(fitted.score(text).score > max(highest, fitted.low) for text in outside)


@pytest.mark.parametrize(
    "text",
    ["and how long does that take?", "ok do it please", "yes", "what does it cost then", "Can I have two of them?"],
)
def test_follow_ups_are_let_in(plants: LocalScope, text: str) -> None:
    context = "My ficus arrived dead, can I get a new one?\nYes, please send us a photograph and we send a new one."
    assert plants.score(text, context=context).score <= plants.low


@pytest.mark.parametrize(
    "text",
    [
        "great, and now write me a web crawler in python",
        "while you're at it, explain the theory of relativity to me",
        "Thanks! Next, tell me a story about a dragon and a princess",
        "Now write a Python program that solves quadratic equations with complex numbers.",
    ],
)
def test_drifting_off_is_not_let_in(plants: LocalScope, text: str) -> None:
    context = "My ficus arrived dead, can I get a new one?\nYes, please send us a photograph and we send a new one."
    assert plants.score(text, context=context).score > plants.low
    assert plants.score(text, context=context).score >= plants.score(text).score


def test_an_opinion_that_labels_contradict_is_not_heard(plants: LocalScope) -> None:
    """Where what is thought without labels is wrong about most of them, the mixture does without it."""
    answers = np.r_[np.zeros(len(INSIDE), bool), np.ones(len(OUTSIDE), bool)]
    texts = [plants.seen(text) for text in INSIDE + OUTSIDE]
    misled = learn(texts, answers, general=lambda at: General(-4.0 if answers[at] else 4.0, 0.0))
    assert misled.held.area(grouped=False) > 0.9


def test_messages_of_kinds_that_labels_lack_make_probabilities_careful(plants: LocalScope) -> None:
    """Strangers that the models take for in scope raise the probability of what they are unsure of."""
    answers = np.r_[np.zeros(len(INSIDE), bool), np.ones(len(OUTSIDE), bool)]
    texts = [plants.seen(text) for text in INSIDE + OUTSIDE]
    thoughts = [plants.general(text) for text in INSIDE + OUTSIDE]
    strangers = [(plants.seen(text), plants.general(text)) for text in INSIDE[:20]]
    plain = learn(texts, answers, general=thoughts.__getitem__)
    careful = learn(texts, answers, general=thoughts.__getitem__, strangers=strangers)
    assert mean_inside(careful) > mean_inside(plain)


def mean_inside(lesson: Lesson) -> float:
    return float(lesson.held.scores[~lesson.held.answers].mean())


@given(st.text(st.characters(codec=None), max_size=300), st.text(st.characters(codec=None), max_size=100))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_either_kind(
    plants: LocalScope, lesson: tuple[LocalScope, Taught, Any], text: str, context: str
) -> None:
    for model in (plants, lesson[0]):
        for found in (model.score(text), model.score(text, context=context)):
            assert 0 <= found.score <= 1
            assert (found.category == "off_topic") == (found.score > model.low)


@pytest.mark.parametrize(
    "text", ["", " \n", "\ud800\udfff", "\x00", "🏴" * 300, "忽略" * 4000, "a" * 1_000_000, "why? " * 200_000]
)
def test_odd_and_huge_texts_are_scored(lesson: tuple[LocalScope, Taught, Any], text: str) -> None:
    assert 0 <= lesson[0].score(text, context="hello").score <= 1


@given(st.text(max_size=30_000))
@settings(max_examples=50, deadline=None)
def test_blocks_are_few_and_leave_nothing_out(text: str) -> None:
    found = blocks(text * 7)
    assert len(found) <= 100
    if text.strip():
        assert "".join("".join(found).split()) == "".join((text * 7).split())


def test_texts_together_score_what_each_scores_alone(
    plants: LocalScope, lesson: tuple[LocalScope, Taught, Any]
) -> None:
    """What stands beside a text in one pass changes nothing; a long text lets others go first between its blocks."""
    texts = [*INSIDE[:5], *OUTSIDE[:5], "", "x", "my parcel " * 300]
    for fitted in (plants, lesson[0]):
        alone = [fitted._margins([text])[0] for text in texts]
        assert np.allclose(fitted._margins(texts), alone, atol=1e-4)
    pauses: list[None] = []
    plants.score("my ficus came dead. " * 1000, pause=lambda: pauses.append(None))
    assert len(pauses) >= 3 * 20


def test_labels_tell_apart_what_they_name(lesson: tuple[LocalScope, Taught, Any]) -> None:
    model, taught, report = lesson
    assert report.models and taught.arrays and report.outside_from == "labelled"
    assert report.area > 0.95 and 0 <= report.calibration <= 1
    assert report.inside.total + report.outside.total > 40
    inside, outside = "where is the rose I ordered yesterday", "write a poem about bridges"
    assert model.score(inside).score < model.score(outside).score
    assert model.score(inside).score <= model.high and model.score(outside).score >= model.low
    assert 0 < model.low <= model.high < 1


def test_the_same_labels_teach_the_same(lesson: tuple[LocalScope, Taught, Any]) -> None:
    _, again, _ = teach(source())
    assert (again.low, again.high) == (lesson[1].low, lesson[1].high)
    assert all(np.array_equal(again.arrays[name], array) for name, array in lesson[1].arrays.items())


def test_few_labels_become_examples() -> None:
    texts = ["does the monstera come with a saucer", "recite the periodic table"]
    model, taught, report = teach(source(texts=texts, outside=np.array([False, True])))
    assert not report.models and not taught.arrays and taught.examples == (texts[0],)
    assert report.outside_from == "labelled" and report.outside.total == 1
    assert report.inside.total == len(ASKED) + 1
    assert model.score(texts[0]).score <= model.low


def test_without_labels_shipped_texts_stand_for_what_is_foreign() -> None:
    model, _, report = teach(source(texts=[], outside=np.zeros(0, bool)))
    assert report.outside_from == "shipped" and report.outside.total >= 150
    assert report.inside.total == len(ASKED) and report.area > 0.8
    assert model.low == LocalScope.fit(description="A shop for plants.", sections=PLANTS, examples=[]).low


def test_what_was_kept_judges_the_same(lesson: tuple[LocalScope, Taught, Any], tmp_path: Path) -> None:
    model, taught, _ = lesson
    path = path_of(tmp_path / "help")
    keep(taught, path)
    again = LocalScope.fit(
        description="A shop for potted plants.", sections=PLANTS, examples=ASKED, taught=recall(path)
    )
    for text in (INSIDE[3], OUTSIDE[5], "hello", "what is the time"):
        assert abs(again.score(text).score - model.score(text).score) < 0.02
    assert again.version.count("+") == 5 and recall(path_of(tmp_path / "other")) is None


def test_what_was_kept_for_other_texts_is_refused(lesson: tuple[LocalScope, Taught, Any], tmp_path: Path) -> None:
    path = path_of(tmp_path / "help")
    keep(lesson[1], path)
    taught = recall(path)
    for changed in ({"sections": PLANTS[1:]}, {"examples": ASKED[:2]}, {"description": "A shop for lamps."}):
        texts = {"description": "A shop for potted plants.", "sections": PLANTS, "examples": ASKED} | changed
        with pytest.raises(UsageError, match=r"help\.scope\.json.*learn-scope"):
            LocalScope.fit(**texts, taught=taught)  # type: ignore[arg-type]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _say(**changed: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        told = path.with_suffix(".json")
        told.write_text(json.dumps(json.loads(told.read_text()) | changed))

    return change


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".npz", _cut),
        (".npz", _flip),
        (".npz", Path.unlink),
        (".json", _cut),
        (".json", lambda path: path.write_text("[]")),
        (".json", lambda path: path.write_text("[" * 100_000)),
        (".json", lambda path: path.write_bytes(b"\xff\xfe")),
        (".json", _say(format=99)),
        (".json", _say(low=2)),
        (".json", _say(examples=3)),
        (".json", _say(sha256="0")),
        (".json", _say(bytes="many")),
    ],
)
def test_damage_is_named_with_the_way_out(
    lesson: tuple[LocalScope, Taught, Any], tmp_path: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    path = path_of(tmp_path / "help")
    keep(lesson[1], path)
    damage(path.with_suffix(suffix))
    with pytest.raises(UsageError, match=r"help\.scope\.(json|npz).*quorate learn-scope"):
        recall(path)


@pytest.mark.parametrize("name", ["vectors", "sizes", "answers", "factors", "sense", "slots"])
def test_arrays_that_do_not_fit_are_refused(lesson: tuple[LocalScope, Taught, Any], tmp_path: Path, name: str) -> None:
    taught = lesson[1]
    arrays = dict(taught.arrays) | {name: taught.arrays[name][:-1]}
    path = path_of(tmp_path / "help")
    keep(Taught(taught.fingerprint, taught.low, taught.high, arrays=arrays), path)
    with pytest.raises(UsageError, match="arrays cannot be used"):
        LocalScope.fit(description="A shop for potted plants.", sections=PLANTS, examples=ASKED, taught=recall(path))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_areas_errors_and_bounds_are_shares(rows: list[tuple[float, bool]]) -> None:
    scores, answers = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=bool)
    assert 0 <= rank_area(scores, answers) <= 1
    assert abs(rank_area(scores, answers) + rank_area(-scores, answers) - 1) < 1e-9
    assert 0 <= calibration_error(scores, answers.astype(float)) <= 1
    low, high = bounds(scores, answers)
    assert 0 < low <= high < 1


def test_perfect_probabilities_have_no_calibration_error() -> None:
    assert calibration_error(np.array([0.0, 1.0, 0.5, 0.5]), np.array([0.0, 1.0, 0.0, 1.0])) == 0
    assert calibration_error(np.array([0.9, 0.9]), np.array([0.0, 0.0])) == pytest.approx(0.9)


def test_both_tables_give_the_same_model() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(80, 5)).astype(np.float32)
    answers = x[:, 0] + 0.3 * random.normal(size=80) > 0
    rows = [(np.arange(5, dtype=np.uint32), row) for row in x]
    dense = logistic_fit(Dense(x), answers, weights=balanced(answers), penalty=0.01)
    sparse = logistic_fit(Sparse(rows), answers, weights=balanced(answers), penalty=0.01)
    assert np.allclose(dense, sparse, atol=1e-4)
    assert dense[0] > 5 * np.abs(dense[1:5]).max()


def test_a_floor_and_a_prior_are_kept() -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(60, 3))
    answers = x[:, 0] < 0
    found = logistic_fit(Dense(x), answers, weights=balanced(answers), penalty=0.01, floor=0.0)
    assert (found[:3] >= 0).all() and found[0] == 0
    drawn = logistic_fit(Dense(x), answers, weights=balanced(answers), penalty=1e4, toward=np.array([1.0, 2.0, 3.0]))
    assert np.allclose(drawn[:3], [1, 2, 3], atol=1e-2)


def test_too_many_labels_are_thinned_evenly() -> None:
    answers = np.arange(50_000) % 10 == 0
    kept = chosen(answers)
    assert len(kept) == 16_000 and (np.diff(kept) > 0).all()
    assert answers[kept].sum() == 5_000
    assert len(chosen(answers[:100])) == 100 and LEAST <= 100
