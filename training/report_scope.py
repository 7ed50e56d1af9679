"""Trains the scope weights and measures them: whole companies held out, follow-ups, and with labels."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from quorate.models.local import LocalScope
from quorate.models.local.features import Floats
from quorate.models.local.follow import follow_signals
from quorate.models.local.sense import Sense
from quorate.models.local.weights import Weights
from training import data, scope, scope_labelled
from training.data import Row
from training.own import scope as own
from training.scope import DESCRIPTIONS, SAME_TRADE, Known, Shown, Texts
from training.topics import Learner

Arrays = Mapping[str, NDArray[np.generic]]
Numbers = NDArray[np.float64]
COMPANIES = tuple(DESCRIPTIONS)
PASSED_WRONG = 0.10
"""Share of out-of-scope texts that may score below `low`."""
FLAGGED_WRONG = 0.01
"""Share of in-scope texts that may score above `high`."""
KEPT = 0.96
"""Share of honest follow-ups in training that must be let in."""
_DEV = 900


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the scope weights; returns them and what measures them once they are saved."""
    texts, sense = scope.load(root), Sense.load()
    teacher = scope.learner(texts, sense, seed=seed)
    learned, topics = scope.learn(texts, COMPANIES, teacher, unseen=(), seed=seed)
    known = Known(learned, sense, scope.background(texts, sense, seed=seed), topics)
    # A fictional company is judged with what was learned from none of them.
    bare, topics = scope.learn(texts, COMPANIES, teacher, unseen=(), seed=seed, fiction=False)
    unread = Known(bare, sense, known.background, topics)
    fiction = scope.of_fiction(texts, unread, seed=seed)
    others = {name: apart(texts, known, teacher, name, seed) for name in COMPANIES}
    unwritten = {name: others[name].without(texts, teacher, name, seed=seed) for name in COMPANIES}
    of_data = {name: scope.of_data(texts, name, others[name], unwritten[name], seed=seed) for name in COMPANIES}
    every = [*fiction, *(one for some in of_data.values() for one in some)]
    held = {name: held_out(texts, name, others[name], every, seed) for name in COMPANIES}
    held |= {f"{name}, trade unknown": held_out(texts, name, unwritten[name], every, seed) for name in COMPANIES}
    held["fictional"] = held_fiction(texts, unread, every)
    platt = calibration(list(held.values()))
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    held = {name: tuple(platt.predict_proba(some[:, None])[:, 1] for some in one) for name, one in held.items()}
    low, high = bounds(list(held.values()))
    combination = scope.combine(every)
    follow = follow_weights(unread, combination, (slope, offset, low))
    scales = np.abs(known.background).max(axis=1) / 127
    arrays: Arrays = {
        "idf": learned.idf.astype(np.float16),
        "support": learned.support.astype(np.float16),
        "smalltalk": learned.smalltalk.astype(np.float16),
        "mean": combination.mean,
        "spread": combination.spread,
        "factors": combination.factors,
        "follow": follow,
        "background": np.round(known.background / scales[:, None]).astype(np.int8),
        "background_scales": scales.astype(np.float32),
        "scalars": np.array([slope, offset, low, high]),
        "probes": np.array(scope.PROBES),
        "chat": np.array(scope.CHAT),
        "foreign": np.array(own.messages("")),
        **known.topics,
    }
    apartly = {name: without(arrays, others[name], every, name) for name in COMPANIES}
    return arrays, lambda out: measure(texts, held, low, high) | scope_labelled.measure(root, texts, apartly, seed=seed)


def without(arrays: Arrays, known: Known, every: Sequence[Shown], name: str) -> Weights:
    """The weights as they would be had one company of the data, and the fictional one of its trade, not been there."""
    combination = scope.combine([one for one in every if one.company not in (name, SAME_TRADE[name])])
    changed = {
        "idf": known.learned.idf,
        "support": known.learned.support,
        "smalltalk": known.learned.smalltalk,
        "mean": combination.mean,
        "spread": combination.spread,
        "factors": combination.factors,
        **known.topics,
    }
    return Weights({**arrays, **changed}, "scope-held-0+0")


def apart(texts: Texts, known: Known, teacher: Learner, name: str, seed: int) -> Known:
    """What the other companies of the data taught, with every trace of one left out but unlabelled background."""
    others = [other for other in COMPANIES if other != name]
    learned, topics = scope.learn(texts, others, teacher, unseen=[name], seed=seed)
    return Known(learned, known.sense, known.background, topics)


def bounds(held: Sequence[tuple[Numbers, ...]]) -> tuple[float, float]:
    """Every company counts the same, however many texts it has."""
    inside = np.concatenate([evenly(np.r_[one[0], one[2]]) for one in held])
    outside = np.concatenate([evenly(one[1]) for one in held])
    high = float(np.quantile(inside, 1 - FLAGGED_WRONG))
    return min(float(np.quantile(outside, PASSED_WRONG)), high), high


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


def held_out(texts: Texts, name: str, known: Known, every: Sequence[Shown], seed: int) -> tuple[Numbers, ...]:
    """Dev margins of a company that nothing was learned from: in scope, out of scope, small talk, own messages."""
    combination = scope.combine([one for one in every if one.company not in (name, SAME_TRADE[name])])
    evidence = known.evidence(*scope.brought(texts, name, setup=(12, 50), seed=seed))
    rng = random.Random(seed)
    mine = [row for row in texts.dev if row.company == name]
    inside = data.sampled([row for row in mine if row.label == "in_scope"], _DEV, rng)
    outside = data.sampled([row for row in mine if row.label == "out_of_scope"], _DEV, rng)
    chat = data.sampled(texts.smalltalk[1::2], 400, rng)
    new = [Row(text, "in_scope", "own") for text in (*own.messages(name), *own.new_messages(name, "figure"))]
    return tuple(combination.margins(evidence, rows) for rows in (inside, outside, chat, new))


def held_fiction(texts: Texts, known: Known, every: Sequence[Shown]) -> tuple[Numbers, ...]:
    """The same of the fictional companies, each left out of the combination in turn.

    Out of scope are its own texts near to the trade, and texts that no support is for.
    """
    found: tuple[list[Numbers], ...] = ([], [], [], [])
    chat = data.sampled(texts.smalltalk[1::2], 20, random.Random(1))
    foreign = [Row(text, "out_of_scope", "own") for text in own.messages("")[::8]]
    for one in own.companies():
        combination = scope.combine([some for some in every if some.company != one.name])
        evidence = known.evidence(one.description, one.help, one.questions[::2])
        inside = [Row(text, "in_scope", "own") for text in one.questions[1::2]]
        outside = [Row(text, "out_of_scope", "own") for text in one.near] + foreign
        for part, rows in zip(found, (inside, outside, chat, inside), strict=True):
            part.append(combination.margins(evidence, rows))
    return tuple(np.concatenate(part) for part in found)


def follow_rows(
    known: Known, combination: scope.Combination, part: str, calibrated: tuple[float, float, float]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Evidence that second messages drift off, and which do. Shapes (n, len(FOLLOWS)) and (n,)."""
    slope, offset, low = calibrated
    said = own.dialogues(part)
    rows, answers = [], []
    for one in own.companies():
        mine = [turn for turn in said if turn.company == one.name]
        evidence = known.evidence(one.description, one.help, one.questions)
        margins = combination.margins(evidence, [Row(turn.text, "", "own") for turn in mine]) if mine else []
        for turn, margin in zip(mine, margins, strict=True):
            alone = slope * float(margin) + offset - float(np.log(low / (1 - low)))
            rows.append(follow_signals(turn.text, turn.context, alone=alone, vectors=known.sense.words))
            answers.append(turn.drifts)
    return np.array(rows), np.array(answers)


def follow_weights(known: Known, combination: scope.Combination, calibrated: tuple[float, float, float]) -> Floats:
    """Logistic weights over `FOLLOWS`; zero stands where `KEPT` of the honest follow-ups lie below it."""
    x, answers = follow_rows(known, combination, "train", calibrated)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.5).fit((x - mean) / spread, answers)
    factors = fitted.coef_[0] / spread
    bias = -float(np.quantile(x[~answers] @ factors, KEPT))
    return np.asarray(np.r_[factors, bias], dtype=np.float32)


def measure(texts: Texts, held: Mapping[str, tuple[Numbers, ...]], low: float, high: float) -> dict[str, str]:
    """All figures of the setting without labels."""
    figures = {"low": f"{low:.3f}", "high": f"{high:.3f}"}
    for name, (inside, outside, chat, new) in held.items():
        figures[f"{name}, held out: AUC"] = f"{area(inside, outside):.3f}"
        if name.split(",")[0] in COMPANIES:
            figures[f"{name}, held out: AUC, our own messages in scope"] = f"{area(new, outside):.3f}"
        let = np.mean(inside < np.quantile(outside, 0.05)), np.mean(new < np.quantile(outside, 0.05))
        figures[f"{name}, held out: let in at 5 % false accepts, dev / our own messages"] = (
            f"{let[0]:.3f} / {let[1]:.3f}"
        )
        for label, some in (("in scope", inside), ("out of scope", outside), ("small talk", chat)):
            shares = np.mean(some < low), np.mean((some >= low) & (some <= high)), np.mean(some > high)
            figures[f"{name}, held out: {label} passed / unsure / flagged"] = " / ".join(
                f"{share:.3f}" for share in shares
            )
    return figures | turns() | times()


def area(inside: Numbers, outside: Numbers) -> float:
    """AUC of scores in and out of scope."""
    return float(roc_auc_score(np.r_[np.zeros(len(inside)), np.ones(len(outside))], np.r_[inside, outside]))


def turns() -> dict[str, str]:
    """Second messages of companies whose conversations nothing was learned from, through the classifier itself."""
    let: dict[bool, list[bool]] = {True: [], False: []}
    for one in own.companies():
        model = LocalScope.fit(description=one.description, sections=one.help, examples=one.questions)
        for turn in own.dialogues("figure"):
            if turn.company == one.name:
                let[turn.drifts].append(model.score(turn.text, context=turn.context).score <= model.low)
    return {
        f"drift refused or unsure ({len(let[True])} conversations)": f"{1 - np.mean(let[True]):.3f}",
        f"honest follow-ups let in ({len(let[False])} conversations)": f"{np.mean(let[False]):.3f}",
    }


def times() -> dict[str, str]:
    """How long fitting and judging take."""
    sections = ["Delivery takes three to five days. " * 5] * 42
    start = time.perf_counter()
    model = LocalScope.fit(description="A shop.", sections=sections, examples=["Where is my parcel?"] * 50)
    figures = {
        "version": model.version.split("+")[1],
        "time to fit 42 sections": f"{time.perf_counter() - start:.2f} s",
    }
    text = ("hello I would like to know whether my order has left the warehouse yet and thank you " * 4)[:320]
    taken = []
    for _ in range(50):
        start = time.perf_counter()
        model.score(text)
        taken.append((time.perf_counter() - start) * 1000)
    return figures | {"time per message of 320 characters, p50": f"{np.median(taken):.2f} ms"}
