"""Trains the scope weights and measures them with each company held out."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from quorate.models.local import LocalScope
from training import data, scope
from training.scope import DESCRIPTIONS, Texts

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
COMPANIES = tuple(DESCRIPTIONS)
PASSED_WRONG = 0.10
"""Share of out-of-scope texts that may score below `low`."""
FLAGGED_WRONG = 0.01
"""Share of in-scope texts that may score above `high`."""


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the scope weights; returns them and what measures them once they are saved."""
    texts = scope.load(root)
    held: dict[str, tuple[Numbers, ...]] = {name: held_out(texts, name, seed) for name in COMPANIES}
    platt = calibration(list(held.values()))
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    held = {name: tuple(platt.predict_proba(some[:, None])[:, 1] for some in one) for name, one in held.items()}
    # Every company counts the same, however many texts it has.
    inside = np.concatenate([evenly(np.r_[one[0], one[2]]) for one in held.values()])
    outside = np.concatenate([evenly(one[1]) for one in held.values()])
    high = float(np.quantile(inside, 1 - FLAGGED_WRONG))
    low = min(float(np.quantile(outside, PASSED_WRONG)), high)
    learned = scope.learn(texts, COMPANIES, unseen=(), seed=seed)
    combination = scope.combine(texts, COMPANIES, unseen=(), seed=seed)
    arrays: Arrays = {
        "idf": learned.idf.astype(np.float16),
        "support": learned.support.astype(np.float16),
        "smalltalk": learned.smalltalk.astype(np.float16),
        "mean": combination.mean,
        "spread": combination.spread,
        "factors": combination.factors,
        "scalars": np.array([slope, offset, low, high]),
        "probes": np.array(scope.PROBES),
    }
    return arrays, lambda out: measure(out, held, low, high)


def evenly(some: Numbers) -> Numbers:
    """A thousand quantiles, which stand for the values whatever their number."""
    return np.quantile(some, np.linspace(0, 1, 1000))


def calibration(held: Sequence[tuple[Numbers, ...]]) -> LogisticRegression:
    """Platt scaling of held-out margins: as many texts in scope (a fifth of them small talk) as out of it."""
    margins = [evenly(part) for one in held for part in (one[0], one[1], one[2])]
    weights = [np.full(1000, weight) for _ in held for weight in (0.8, 1.0, 0.2)]
    answers = [np.full(1000, answer) for _ in held for answer in (0, 1, 0)]
    return LogisticRegression(C=100.0).fit(
        np.concatenate(margins)[:, None], np.concatenate(answers), sample_weight=np.concatenate(weights)
    )


def held_out(texts: Texts, name: str, seed: int) -> tuple[Numbers, ...]:
    """Dev margins of a company that nothing was learned from: in scope, out of scope, small talk."""
    others = [other for other in COMPANIES if other != name]
    learned = scope.learn(texts, others, unseen=[name], seed=seed)
    combination = scope.combine(texts, others, unseen=[name], seed=seed)
    company = scope.pretend(texts, name, learned, setup=(12, 50), seed=seed)
    inside = [row for row in texts.dev if row.company == name and row.label == "in_scope"]
    outside = [row for row in texts.dev if row.company == name and row.label == "out_of_scope"]
    chat = data.sampled(texts.smalltalk[1::2], 400, random.Random(seed))
    return tuple(combination.margins(company, rows) for rows in (inside, outside, chat))


def measure(out: Path, held: Mapping[str, tuple[Numbers, ...]], low: float, high: float) -> dict[str, str]:
    """All figures of the model card."""
    figures = {"low": f"{low:.3f}", "high": f"{high:.3f}"}
    for name, (inside, outside, chat) in held.items():
        scores = np.r_[inside, outside]
        answers = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        figures[f"{name}, held out: AUC"] = f"{roc_auc_score(answers, scores):.3f}"
        for label, some in (("in scope", inside), ("out of scope", outside), ("small talk", chat)):
            shares = np.mean(some < low), np.mean((some >= low) & (some <= high)), np.mean(some > high)
            figures[f"{name}, held out: {label} passed / unsure / flagged"] = " / ".join(
                f"{share:.3f}" for share in shares
            )
    sections = ["Delivery takes three to five days. " * 5] * 42
    start = time.perf_counter()
    model = LocalScope.fit(description="A shop.", sections=sections, examples=["Where is my parcel?"] * 50)
    figures["version"] = model.version.rsplit("+", 1)[0]
    figures["time to fit 42 sections"] = f"{time.perf_counter() - start:.2f} s"
    text = ("hello I would like to know whether my order has left the warehouse yet and thank you " * 4)[:320]
    start = time.perf_counter()
    for _ in range(50):
        model.score(text)
    figures["time per message of 320 characters"] = f"{(time.perf_counter() - start) * 20:.2f} ms"
    return figures
