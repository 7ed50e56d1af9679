"""Measures the scope classifier with labelled messages: on sources, intents and wordings that the labels lack."""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from quorate.models.local import LocalScope
from quorate.models.local.company import Learned
from quorate.models.local.fitting import calibration_error
from quorate.models.local.scope import Evidence
from quorate.models.local.sense import Sense
from quorate.models.local.teaching import by_models
from quorate.models.local.weights import Weights, read_weights
from training import data, scope
from training.data import Row
from training.own import scope as own
from training.scope import Texts

_MOST = 600
_BANKS = (("banking77", "clinc150"), ("clinc150", "banking77"))


@dataclass(frozen=True, slots=True)
class Case:
    """What is learned from, and sets of in-scope messages that are each told from one set of others.

    Attributes:
        name: for the card.
        company: of the data, or "" for the task of CLINC150.
        train: labelled rows.
        inside: in-scope rows by what they are.
        outside: out-of-scope rows.
        written: out-of-scope messages of our own.
    """

    name: str
    company: str
    train: list[Row]
    inside: Mapping[str, list[Row]]
    outside: list[Row]
    written: list[Row] = field(default_factory=list)


def cases(root: Path, texts: Texts) -> Iterator[Case]:
    """All that is measured."""
    for name in scope.DESCRIPTIONS:
        train = [row for row in texts.train if row.company == name]
        dev = [row for row in texts.dev if row.company == name]
        inside = [row for row in dev if row.label == "in_scope"]
        outside = [row for row in dev if row.label == "out_of_scope"]
        new = [Row(text, "in_scope", "own") for text in (*own.messages(name), *own.new_messages(name, "figure"))]
        foreign = [Row(text, "out_of_scope", "own") for text in own.new_messages("", "figure")]
        yield Case(name, name, train, {"dev": inside, "our own messages": new}, outside, foreign)
        intents = sorted({row.intent for row in train if row.label == "in_scope"})
        random.Random(1).shuffle(intents)
        hidden = set(intents[::3])
        known = [row for row in train if row.label != "in_scope" or row.intent not in hidden]
        fresh = [row for row in inside if row.intent in hidden]
        if fresh and name == "travel":
            yield Case(f"{name}, a third of intents unseen", name, known, {"those intents": fresh}, outside)
        for seen, unseen in _BANKS if name == "bank" else ():
            known = [row for row in train if row.label != "in_scope" or row.source == seen]
            fresh = [row for row in inside if row.source == unseen]
            yield Case(f"{name}, in scope from {seen} alone", name, known, {unseen: fresh}, outside)
    yield clinc(root, texts)


def clinc(root: Path, texts: Texts) -> Case:
    """The task of CLINC150 with what the data has of it: all intents in scope, those of no intent out of it."""
    parts: dict[str, list[Row]] = {"train": [], "dev": []}
    for part, rows in (("train", texts.train), ("dev", texts.dev)):
        unique = {row.text: row for row in rows if row.source == "clinc150"}
        parts[part] += [
            Row(row.text, "out_of_scope" if row.domain == "oos" else "in_scope", "clinc150") for row in unique.values()
        ]
    for line in (root / "scope" / "neutral_smalltalk.jsonl").read_text("utf-8").splitlines():
        raw = json.loads(line)
        part = "dev" if raw["meta"]["official_split"] == "test" else "train"
        parts[part].append(Row(raw["text"], "in_scope", "clinc150"))
    inside = [row for row in parts["dev"] if row.label == "in_scope"]
    return Case(
        "CLINC150", "", parts["train"], {"dev": inside}, [row for row in parts["dev"] if row.label == "out_of_scope"]
    )


def fitted(case: Case, weights: Weights, sense: Sense, *, seed: int) -> LocalScope:
    """A scope for the case, before labels: articles of our own and fifty of its training questions."""
    learned = Learned.of(weights)
    background = weights.numbers("background") * weights.numbers("background_scales")[:, None]
    inside = [row for row in case.train if row.label == "in_scope"]
    examples = [row.text for row in data.sampled(inside, 50, random.Random(seed))]
    description = scope.DESCRIPTIONS.get(case.company, "An assistant for everyday matters.")
    sections = scope.ARTICLES.get(case.company, [])
    evidence = Evidence(learned, sense, background, texts=(description, sections, examples))
    return LocalScope(weights, sense, evidence, fingerprint="0" * 64)


def measure(root: Path, texts: Texts, apart: Mapping[str, Weights], *, seed: int) -> dict[str, str]:
    """All figures of the setting with labels; the shipped weights are those without the case's company."""
    sense, shipped = Sense.load(), read_weights("scope")
    figures: dict[str, str] = {}
    for case in cases(root, texts):
        model = fitted(case, apart.get(case.company, shipped), sense, seed=seed)
        rng = random.Random(seed)
        outside = data.sampled(case.outside, _MOST, rng)
        inside = {name: data.sampled(rows, _MOST, rng) for name, rows in case.inside.items()}
        # The setting without labels, with the same help centre and examples.
        before = {name: area(scores(model, rows), scores(model, outside)) for name, rows in inside.items()}
        start = time.perf_counter()
        answers = np.array([row.label == "out_of_scope" for row in case.train])
        by_models(model, [row.text for row in case.train], outside=answers)
        taken = time.perf_counter() - start
        out, written = scores(model, outside), scores(model, case.written)
        for name, rows in inside.items():
            told = f"labels, {case.name}: {name}"
            found = scores(model, rows)
            figures |= {f"{told}: {key}": value for key, value in against(found, out).items()}
            if len(written):
                figures |= {
                    f"{told} against ours out of scope: {key}": value for key, value in against(found, written).items()
                }
            figures[f"{told}: AUC without the labels"] = f"{before[name]:.3f}"
        if "dev" in inside:
            both = np.r_[scores(model, inside["dev"]), out]
            truth = np.r_[np.zeros(len(inside["dev"])), np.ones(len(out))]
            figures[f"labels, {case.name}: calibration error on dev"] = f"{calibration_error(both, truth):.3f}"
            figures[f"labels, {case.name}: reliability on dev"] = curve(both, truth)
            figures[f"labels, {case.name}: {len(answers)} rows learned in"] = f"{taken:.0f} s"
        print({key: value for key, value in figures.items() if f"labels, {case.name}:" in key}, flush=True)
    return figures


def scores(model: LocalScope, rows: Sequence[Row]) -> NDArray[np.float64]:
    """The classifier's probabilities. Shape (len(rows),)."""
    return np.array([model.score(row.text).score for row in rows])


def area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """AUC of scores in and out of scope."""
    return float(roc_auc_score(np.r_[np.zeros(len(inside)), np.ones(len(outside))], np.r_[inside, outside]))


def against(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> dict[str, str]:
    """How well two sets of scores are apart."""
    return {
        f"AUC ({len(inside)} in, {len(outside)} out)": f"{area(inside, outside):.3f}",
        "let in at 5 % false accepts": f"{np.mean(inside < np.quantile(outside, 0.05)):.3f}",
        "found out of scope at 5 % in-scope loss": f"{np.mean(outside > np.quantile(inside, 0.95)):.3f}",
    }


def curve(found: NDArray[np.float64], truth: NDArray[np.float64]) -> str:
    """Share out of scope in five bins of the probability, with how many fell there."""
    at = np.minimum((found * 5).astype(int), 4)
    told = []
    for place in range(5):
        some = at == place
        share = f"{truth[some].mean():.2f}" if some.any() else "none"
        told.append(f"{place * 20}-{place * 20 + 20} %: {share} of {int(some.sum())}")
    return "; ".join(told)
