"""Trains and measures the threat classifier. Texts are bags of windows: a bag is as bad as its worst window."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from quorate.models.local.features import Floats, Lexicon
from training import data, lexicon
from training.data import Counted, Matrix, Row
from training.texts import disguised, written

HINT = 0.6
STRENGTH = 8.0
"""Inverse strength of the L2 penalty."""
CATEGORIES = ("injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect")

# Groups whose "attacks" are plain questions or shell commands, out of their conversation or tool.
_NOT_ATTACKS = frozenset(("control", "crescendo", "multi_turn", "model_fingerprinting", "many_shot"))
_GROUPS = {
    "jailbreak": "jailbreak",
    "itw_jailbreak": "jailbreak",
    "persona_replacement": "jailbreak",
    "prompt_extraction": "prompt_extraction",
    "system_extraction": "prompt_extraction",
    "prompt_leak": "prompt_extraction",
    "encoding": "obfuscation",
    "encoding_obfuscation": "obfuscation",
    "indirect_injection": "indirect",
    "rag_poisoning": "indirect",
    "payload_injection": "indirect",
}
# How much one text of a source counts.
_WEIGHTS = {"own": 2.0, "bipia_train": 0.3, "awesome_prompts": 3.0}
_WEAK_GROUPS = frozenset(("adversarial", "encoding", "code_execution", "training_extraction"))


@dataclass(frozen=True, slots=True)
class Bags:
    """Texts as bags of windows.

    Attributes:
        windows: features of all windows, text by text.
        owner: the text's number for each window. Shape (len(windows),).
        attack: whether a text is an attack. Shape (number of texts,).
        weight: what a text counts. Shape (number of texts,).
        source: a text's source.
        category: a text's category.
    """

    windows: list[Counted]
    owner: NDArray[np.int64]
    attack: NDArray[np.bool_]
    weight: Floats
    source: list[str]
    category: list[str]


def make_lexicon() -> Lexicon:
    """The lexicon with the stems of `training.lexicon`."""
    return Lexicon(lexicon.stems(), len(lexicon.IDEAS))


def training_rows(root: Path, seed: int) -> list[Row]:
    """The public rows without what is no attack by itself, the project's own texts, and disguised copies."""
    rng = random.Random(seed)
    kept = [
        row
        for row in data.rows(root / "threat" / "train.jsonl")
        if row.label == "benign" or row.group not in _NOT_ATTACKS
    ]
    for text in written(seed):
        label = "benign" if text.category == "none" else "attack"
        kept.append(Row(text.text, label, "own", text.category))
    short = [row for row in kept if len(row.text) < 600]
    attacks = [row for row in short if row.label == "attack" and row.source in ("own", "neuralchemy_pi")]
    honest = [row for row in short if row.label == "benign"]
    for row in data.sampled(attacks, 700, rng) + data.sampled(honest, 900, rng):
        kept.append(Row(disguised(row.text, rng), row.label, row.source, row.group))
    return kept


def bags(rows: Sequence[Row], words: Lexicon, *, most: int | None = None) -> Bags:
    """The rows' windows, with features."""
    found: list[Counted] = []
    owner: list[int] = []
    for number, row in enumerate(rows):
        parts = data.bag(row.text, most=most)
        found += [data.counted(part, words) for part in parts]
        owner += [number] * len(parts)
    weight = [_WEIGHTS.get(row.source, 1.0) * (0.2 if row.group in _WEAK_GROUPS else 1.0) for row in rows]
    return Bags(
        found,
        np.array(owner),
        np.array([row.label == "attack" for row in rows]),
        np.array(weight, dtype=np.float32),
        [row.source for row in rows],
        [_GROUPS.get(row.group, row.group if row.group in CATEGORIES else "injection") for row in rows],
    )


def worst(margins: NDArray[np.float64], owner: NDArray[np.int64], texts: int) -> NDArray[np.float64]:
    """The highest margin of each text's windows. Shape (texts,)."""
    best = np.full(texts, -np.inf)
    np.maximum.at(best, owner, margins)
    return best


def fit(x: Matrix, some: Bags, *, keep: NDArray[np.bool_], strength: float = STRENGTH) -> LogisticRegression:
    """Fit on the texts in `keep`: first every window of an attack counts, then only those that look like one."""
    texts = len(some.attack)
    inside = keep[some.owner]
    positive = some.attack[some.owner]
    chosen = inside.copy()
    model = LogisticRegression(C=strength, solver="lbfgs", max_iter=60, tol=1e-3)
    for _ in range(3):
        sizes = np.bincount(some.owner[chosen], minlength=texts)
        share = some.weight / np.where(some.attack, np.maximum(sizes, 1), np.sqrt(np.maximum(sizes, 1)))
        model.fit(x[chosen], positive[chosen], sample_weight=share[some.owner][chosen])
        margins = model.decision_function(x)
        top = worst(margins, some.owner, texts)[some.owner]
        chosen = inside & (~positive | (margins >= top - 1e-9) | (margins > 1.0))
    return model


def bag_scores(model: LogisticRegression, x: Matrix, some: Bags) -> NDArray[np.float64]:
    """The margin of each text: of its worst window."""
    return worst(model.decision_function(x), some.owner, len(some.attack))


def auc(scores: NDArray[np.float64], attack: NDArray[np.bool_]) -> float:
    """Area under the ROC curve."""
    return float(roc_auc_score(attack, scores))
