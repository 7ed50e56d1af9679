"""Trains the threat weights, with sources left out in turn to weigh the halves and to choose the threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from quorate.models.local.threat import FORMAT
from quorate.models.local.vectors import Vectors
from training import lexicon, linear, measure_threat, network, threat
from training.measure_threat import Held
from training.threat import FOLDS, Fitted, Texts

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
OWN = ("own_old", "own_direct", "own_indirect", "own_roleplay")
ALARMS = 0.007
"""Share of honest texts, of sources left out of training, that the shipped threshold may flag."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How much each half counts: margin = first * phrases + second * network + constant."""

    first: float
    second: float
    constant: float

    def __call__(self, margins: Numbers) -> Numbers:
        """One margin of two. Shape (n, 2) to (n,)."""
        return np.asarray(margins[:, 0] * self.first + margins[:, 1] * self.second + self.constant)


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the threat weights; returns them and what measures them once they are saved."""
    words, known = threat.make_lexicon(), network.Vocabulary()
    some = threat.texts(threat.training_rows(root, seed), words, known, most=threat.MOST)
    table = known.words(Vectors.load(), words)
    parts: list[tuple[str, Texts, Numbers]] = []
    for name, (attacks, honest) in FOLDS.items():
        out = threat.left_out(some, attacks | honest)
        fitted = threat.fit(some.only(~out), table, hints=words.size, seed=seed, networks=1)
        judged = some.only(threat.left_out(some, attacks) | (threat.left_out(some, honest) & ~some.attack))
        parts.append((name, judged, fitted.margins(judged)))
        print(f"left out: {name}", flush=True)
    mix = weigh(parts)
    held = [
        Held.of(name, judged, linear.worst(mix(pair), judged.owner, len(judged.rows))) for name, judged, pair in parts
    ]
    fitted = threat.fit(some, table, hints=words.size, seed=seed)
    # A text of many windows has many chances: what its highest margin gains with the logarithm of their number.
    scalars = [mix.first, mix.second, mix.constant, *calibrated(held), float(len(lexicon.IDEAS))]
    arrays = packed(fitted, some, scalars, hints=words.size)
    return arrays, lambda out: measure_threat.measure(root, out, held)


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


def packed(fitted: Fitted, some: Texts, scalars: list[float], *, hints: int) -> Arrays:
    """Everything that `LocalThreat` needs."""
    stems = lexicon.stems()
    found: dict[str, NDArray[np.generic]] = {
        "format": np.array([FORMAT], dtype=np.uint8),
        "scalars": np.array(scalars),
        "phrase_bias": np.array([fitted.bias]),
        "kinds": threat.kinds(some, hints),
        "stems": np.array(list(stems)),
        "stem_ideas": np.array(list(stems.values()), dtype=np.uint8),
        "networks": np.array([len(fitted.nets)], dtype=np.uint8),
    }
    for kind, table in fitted.tables.items():
        found[f"phrases_{kind}"] = table.astype(np.float16)
    for number, net in enumerate(fitted.nets):
        for name, array in network.arrays(net).items():
            found[f"network{number}_{name}"] = array.astype(np.float16)
    return found
