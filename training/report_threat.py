"""Trains the threat weights, with sources left out in turn to weigh the halves and to choose the threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from quorate.models.local.threat import FORMAT, LocalThreat
from quorate.models.local.vectors import Vectors
from quorate.models.local.weights import Weights
from training import context, data, lexicon, linear, measure_threat, threat
from training.measure_threat import Held
from training.threat import FOLDS, Fitted, Texts

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
OWN = (
    "own_old",
    "own_direct",
    "own_indirect",
    "own_roleplay",
    "own_honest",
    *(f"own_{name}" for name in threat.SECOND),
)
ALARMS = 0.0015
"""Share of honest texts, of sources left out of training, that the shipped threshold may flag.

Harmless sentences full of an attack's words (NotInject) are flagged some forty times as often; it was chosen in view of
these, so that at least 92 % of them pass."""


KNOTS = (0.5, 0.8)
"""Shares of the development rows below the places where log-odds are bent to be probabilities."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How much each half counts: margin = first * phrases + second * context reader + constant."""

    first: float
    second: float
    constant: float

    def __call__(self, margins: Numbers) -> Numbers:
        """One margin of two. Shape (n, 2) to (n,)."""
        return np.asarray(margins[:, 0] * self.first + margins[:, 1] * self.second + self.constant)


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the threat weights; returns them and what measures them once they are saved."""
    words = threat.make_lexicon()
    some = threat.texts(threat.training_rows(root, seed), words, most=threat.MOST)
    read = threat.begin(some, root, seed)
    parts: list[tuple[str, Texts, Numbers]] = []
    for name, (attacks, honest) in FOLDS.items():
        out = threat.left_out(some, attacks | honest)
        fitted = threat.fit(some, ~out, read, hints=words.size, seed=seed)
        judged = some.only(threat.left_out(some, attacks) | (threat.left_out(some, honest) & ~some.attack))
        parts.append((name, judged, fitted.margins(judged)))
        print(f"left out: {name}", flush=True)
    mix = weigh(parts)
    held = [
        Held.of(name, judged, linear.worst(mix(pair), judged.owner, len(judged.rows))) for name, judged, pair in parts
    ]
    fitted = threat.fit(some, np.ones(len(some.rows), dtype=np.bool_), read, hints=words.size, seed=seed)
    # A text of many windows has many chances: what its highest margin gains with the logarithm of their number.
    scalars = [mix.first, mix.second, mix.constant, *calibrated(held), float(len(lexicon.IDEAS))]
    arrays, told = tempered(packed(fitted, some, scalars, hints=words.size), root)
    return arrays, lambda out: measure_threat.measure(root, out, held) | told


def weigh(parts: list[tuple[str, Texts, Numbers]]) -> Mix:
    """How much each half counts, on texts of sources that it was not trained on."""
    mix = Mix(1.0, 0.3, 0.0)
    for _ in range(3):
        rows, answers, shares = [], [], []
        for _, judged, pair in parts:
            order = np.lexsort((-mix(pair), judged.owner))
            first = order[np.unique(judged.owner[order], return_index=True)[1]]
            rows.append(pair[first])
            answers.append(judged.attack)
            shares.append(threat.weights(judged.rows) / len(judged.rows))
        model = LogisticRegression(C=100.0).fit(
            np.concatenate(rows), np.concatenate(answers), sample_weight=np.concatenate(shares)
        )
        mix = Mix(float(model.coef_[0, 0]), float(model.coef_[0, 1]), float(model.intercept_[0]))
    return mix


def calibrated(held: list[Held]) -> list[float]:
    """Slope and offset of the probability, and the threshold, from texts of sources left out."""
    margins = np.concatenate([one.margins for one in held])
    attack = np.concatenate([one.attack for one in held])
    share = np.concatenate([one.share for one in held])
    source = np.concatenate([one.source for one in held])
    # One text in seven is an attack, as in the development rows: a probability needs a base rate.
    share = np.where(attack, share / share[attack].sum(), 6 * share / share[~attack].sum())
    model = LogisticRegression(C=100.0).fit(margins[:, None], attack, sample_weight=share * len(share))
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    # Role prompts for chatbots are nobody's message to a company, and texts of our own were written to be mistaken:
    # the former choose no threshold, the latter count as one source.
    usual = ~attack & (source != "awesome_prompts")
    share = np.where(np.char.startswith(source, "own"), share / len(OWN), share)
    cut = measure_threat.cut(margins[usual], share[usual], ALARMS)
    return [slope, offset, float(1 / (1 + np.exp(-(slope * cut + offset))))]


def tempered(arrays: Arrays, root: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays with probabilities fitted to the development rows, and how well that does on rows it has not seen.

    Even what was left out of training is nearer to it than what comes from elsewhere: probabilities fitted there are
    too sure, and not evenly, so the log-odds are bent at two places. No text changes places with another, and the
    threshold moves along, so that what is flagged stays the same.
    """
    model = LocalThreat(Weights(arrays, "threat-local-0+0"), Vectors.load())
    rows = data.rows(root / "threat" / "dev.jsonl")
    attack = np.array([row.label == "attack" for row in rows])
    scores = measure_threat.scored(model, rows)
    odds = np.log(scores / (1 - scores))
    knots = np.quantile(odds, KNOTS)
    whole = LogisticRegression(C=100.0).fit(_bent(odds, knots), attack)
    bends = whole.coef_[0]
    if (np.cumsum(bends) <= 0).any():
        raise ValueError(f"the bent curve falls somewhere: {bends}")
    scalars = np.array(arrays["scalars"], dtype=np.float64)
    slope, offset, limit = scalars[3:6]
    at = _bent(np.log([limit / (1 - limit)]), knots)
    scalars[3:6] = bends[0] * slope, bends[0] * offset + whole.intercept_[0], whole.predict_proba(at)[0, 1]
    error = measure_threat.calibration_error(_apart(_bent(odds, knots), attack), attack)
    told = {"dev: expected calibration error, curve fitted on the other half": f"{error:.3f}"}
    bent = np.stack([(knots - offset) / slope, bends[1:] * slope], axis=1)
    return {**arrays, "scalars": scalars, "bends": bent}, told


def _bent(odds: Numbers, knots: Numbers) -> Numbers:
    """Log-odds, and how far they are beyond each knot. Shape (n, 1 + number of knots)."""
    return np.c_[odds, np.maximum(odds[:, None] - knots, 0)]


def _apart(x: Numbers, attack: NDArray[np.bool_]) -> Numbers:
    """The probability of each row by a curve that was fitted to every other one. Shape (n,)."""
    found, half = np.zeros(len(x)), np.arange(len(x)) % 2 == 0
    for some in (half, ~half):
        found[~some] = LogisticRegression(C=100.0).fit(x[some], attack[some]).predict_proba(x[~some])[:, 1]
    return found


def packed(fitted: Fitted, some: Texts, scalars: list[float], *, hints: int) -> Arrays:
    """Everything that `LocalThreat` needs."""
    stems = lexicon.stems()
    found: dict[str, NDArray[np.generic]] = {
        "format": np.array([FORMAT], dtype=np.uint8),
        "scalars": np.array(scalars),
        "bends": np.zeros((0, 2)),
        "phrase_bias": np.array([fitted.bias]),
        "kinds": threat.kinds(some, hints),
        "stems": np.array(list(stems)),
        "stem_ideas": np.array(list(stems.values()), dtype=np.uint8),
    }
    for kind, table in fitted.tables.items():
        found[f"phrases_{kind}"] = table.astype(np.float16)
    for name, array in context.arrays(fitted.net).items():
        found[name] = array.astype(np.float16)
    return found
