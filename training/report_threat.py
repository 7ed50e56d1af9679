"""Trains the threat weights and measures what was saved, through the classifier that ships."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from quorate.models.local import LocalThreat
from training import data, lexicon, threat
from training.data import Row
from training.threat import CATEGORIES, Bags

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
ALARMS = 0.01
_OTHER_HONEST = 0.002
"""False alarms allowed on honest support questions, which are nearly all that a front door sees."""


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the threat weights; returns them and what measures them once they are saved."""
    words = threat.make_lexicon()
    rows = threat.training_rows(root, seed)
    train_bags = threat.bags(rows, words, most=12)
    idf = data.inverse_frequencies(train_bags.windows)
    x = data.matrix(train_bags.windows, idf, hints=words.size, hint_value=threat.HINT)
    everything = np.ones(len(rows), dtype=np.bool_)
    model = threat.fit(x, train_bags, keep=everything)
    dev = data.rows(root / "threat" / "dev.jsonl")
    dev_bags = threat.bags(dev, words)
    dev_x = data.matrix(dev_bags.windows, idf, hints=words.size, hint_value=threat.HINT)
    margins = threat.bag_scores(model, dev_x, dev_bags)
    platt = LogisticRegression(C=100.0).fit(margins[:, None], dev_bags.attack)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    cut = float(np.quantile(margins[~dev_bags.attack], 1 - ALARMS, method="higher"))
    threshold = 1 / (1 + np.exp(-(slope * cut + offset)))
    weights = model.coef_[0]
    scalars = [float(model.intercept_[0]), slope, offset, threshold, len(lexicon.IDEAS)]
    stems = lexicon.stems()
    arrays: Arrays = {
        "idf": idf.astype(np.float16),
        "slots": weights[: len(idf)].astype(np.float16),
        "hints": (weights[len(idf) :] * threat.HINT).astype(np.float32),
        "kinds": kinds(train_bags, words.size),
        "scalars": np.array(scalars),
        "stems": np.array(list(stems)),
        "stem_ideas": np.array(list(stems.values()), dtype=np.uint8),
    }
    unseen = held_out(x, train_bags, dev_x, dev_bags)
    return arrays, lambda out: measure(root, out, unseen)


def kinds(some: Bags, size: int) -> NDArray[np.float32]:
    """Weights of each category over hints, the bias last. Shape (len(CATEGORIES), size + 1)."""
    rows = [at for at in range(len(some.windows)) if some.attack[some.owner[at]]]
    x = np.zeros((len(rows), size), dtype=np.float32)
    for number, at in enumerate(rows):
        x[number, some.windows[at].hints] = 1
    answers = [CATEGORIES.index(some.category[some.owner[at]]) for at in rows]
    model = LogisticRegression(C=0.3, max_iter=100).fit(x, answers)
    return np.asarray(np.c_[model.coef_, model.intercept_], dtype=np.float32)


def held_out(x: data.Matrix, some: Bags, dev_x: data.Matrix, dev: Bags) -> dict[str, str]:
    """With each training source left out: AUC on dev, and on that source where it has both labels."""
    found = {}
    sources = np.array(some.source)
    for source in ("neuralchemy_pi", "itw_jailbreak", "bipia_train", "awesome_prompts", "own"):
        model = threat.fit(x, some, keep=sources != source)
        margins = threat.bag_scores(model, dev_x, dev)
        line = f"dev AUC {threat.auc(margins, dev.attack):.3f}"
        mine = sources == source
        own = threat.bag_scores(model, x, some)
        honest = (~some.attack) & ((sources == "banking77") | (sources == "clinc150") | mine)
        judged = (mine & some.attack) | honest
        if (mine & some.attack).any():
            line += f", on it (against honest rows) {threat.auc(own[judged], some.attack[judged]):.3f}"
        found[source] = line
    return found


def scored(model: LocalThreat, rows: list[Row]) -> Numbers:
    """Each row's score at run time: the highest of its readings' windows'."""
    return np.array([max((model.score(part).score for part in data.bag(row.text)), default=0.0) for row in rows])


def measure(root: Path, out: Path, unseen: dict[str, str]) -> dict[str, str]:
    """All figures of the model card, from the saved weights."""
    model = LocalThreat.load(out)
    figures = {"version": model.version, "threshold": f"{model.threshold:.3f}"}
    for name in ("dev", "dev_insource"):
        rows = data.rows(root / "threat" / f"{name}.jsonl")
        scores = scored(model, rows)
        attack = np.array([row.label == "attack" for row in rows])
        figures[f"{name}: AUC"] = f"{threat.auc(scores, attack):.3f}"
        figures[f"{name}: recall at 1 % false alarms"] = f"{data.recall_at(scores, attack, alarms=0.01):.3f}"
        figures[f"{name}: recall at the threshold"] = f"{np.mean(scores[attack] > model.threshold):.3f}"
        for source in sorted({row.source for row in rows if row.label == "benign"}):
            mine = np.array([row.source == source and row.label == "benign" for row in rows])
            alarms = int(np.sum(scores[mine] > model.threshold))
            figures[f"{name}: false alarms on {source}"] = f"{alarms} of {int(mine.sum())}"
    scope = [row for row in data.rows(root / "scope" / "dev.jsonl") if row.label == "in_scope"]
    scores = scored(model, scope)
    figures["support questions (scope dev): false alarms"] = f"{int(np.sum(scores > model.threshold))} of {len(scope)}"
    harmful = scored(model, data.rows(root / "threat" / "harmful_not_attack.jsonl"))
    figures["harmful requests without attack, flagged"] = f"{np.mean(harmful > model.threshold):.3f}"
    figures |= {f"trained without {source}": line for source, line in unseen.items()}
    figures["time per window of 320 characters"] = f"{milliseconds(model):.2f} ms"
    return figures


def milliseconds(model: LocalThreat) -> float:
    """Median time of one window, on this machine."""
    text = ("Hello, I would like to know whether my order has left the warehouse yet, thank you. " * 4)[:320]
    times = []
    for _ in range(200):
        start = time.perf_counter()
        model.score(text)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000
