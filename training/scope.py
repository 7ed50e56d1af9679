"""Trains and measures the scope classifier with whole companies held out, in the setting of a real company.

A company is described in a sentence, has a help centre (here: the names of intents with a few training questions each)
and fifty example questions. What is learned over the other companies has to carry over to it.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from quorate.models.local import features
from quorate.models.local.company import SIGNALS, Company, Learned
from quorate.models.local.features import Floats
from training import data
from training.articles import ARTICLES
from training.data import Counted, Row
from training.honest import CHAT, HONEST, HONEST_TASKS, OPENERS
from training.texts import written

DESCRIPTIONS = {
    "bank": "A retail bank: accounts, cards, payments, transfers, cash, fees, credit cards, fraud.",
    "travel": "A travel agency: flights, hotels, car rental, luggage, visas and vaccines, travel advice, time zones,"
    " exchange rates; hotel stay questions.",
    "shop": "An online shop: orders, delivery, returns and refunds, invoices and payment, account, newsletter,"
    " complaints, stock.",
}
_DOMAINS = {"bank": ("banking", "credit_cards"), "travel": ("travel",), "shop": ()}
PROBES = tuple(text for text in HONEST_TASKS if "{" not in text)
"""Texts of this project that no company's support is for; they stand in the weights."""
_SETUPS = ((12, 50), (12, 0), (4, 25))
"""Intents in the help centre and examples that a company brings; a small help centre has to be judged well too."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The rows of the scope task.

    Attributes:
        train: rows to learn from.
        dev: rows to measure on.
        smalltalk: greetings, thanks, questions about the bot.
    """

    train: list[Row]
    dev: list[Row]
    smalltalk: list[Row]


def load(root: Path) -> Texts:
    """Read all rows; duplicates over companies stay, as they are labelled per company."""
    scope = root / "scope"
    return Texts(*(data.rows(scope / f"{name}.jsonl") for name in ("train", "dev", "neutral_smalltalk")))


@cache
def plain(text: str) -> Counted:
    """The slots that a company sees: characters of the text, words by their stems, no hints."""
    flat = features.normalise(text)
    tokens = features.stemmed(features.words(flat))
    return Counted(features.char_ids(flat), features.word_ids(tokens), np.zeros(0, np.uint32))


def fit_linear(positive: Sequence[Row], negative: Sequence[Row], idf: Floats) -> Floats:
    """Logistic weights of one kind of text against others, the bias last. Shape (SIZE + 1,)."""
    x = data.matrix([plain(row.text[:1500]) for row in (*positive, *negative)], idf, hints=0, hint_value=0.0)
    y = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    model = LogisticRegression(C=4.0, class_weight="balanced", max_iter=60, tol=1e-3).fit(x, y)
    return np.asarray(np.r_[model.coef_[0], model.intercept_].astype(np.float16), dtype=np.float32)


def learn(texts: Texts, companies: Sequence[str], *, unseen: Sequence[str], seed: int) -> Learned:
    """What is learned in general from some companies, with every trace of the unseen ones left out."""
    rng = random.Random(seed)
    hidden = {domain for name in unseen for domain in _DOMAINS[name]}
    belongs = {row.text for row in texts.train if row.label == "in_scope"}
    own = [Row(text.text, "in_scope", "own") for text in written(seed) if text.category == "none"]
    positive: list[Row] = []
    for name in companies:
        inside = [row for row in texts.train if row.company == name and row.label == "in_scope"]
        positive += data.sampled(inside, 2500, rng)
    if "shop" in companies:
        wanted = tuple(template.split("{")[0] for template in (*HONEST, *OPENERS) if not template.startswith("{"))
        positive += [row for row in own if row.text not in PROBES and row.text.startswith(wanted)]
    outside = {
        row.text: row
        for row in texts.train
        if row.label == "out_of_scope" and row.text not in belongs and row.domain not in hidden
    }
    negative = data.sampled(list(outside.values()), 7000, rng)
    # The other half of the small talk is for the combination, which would trust what it has seen too much.
    chat = data.sampled(texts.smalltalk[::2], 2000, rng)
    chat += [Row(text, "neutral", "own") for text in CHAT] * 6
    idf = data.inverse_frequencies(plain(row.text[:1500]) for row in (*positive, *negative, *chat))
    return Learned(idf, fit_linear(positive, negative, idf), fit_linear(chat, (*positive, *negative[:4000]), idf))


def pretend(texts: Texts, name: str, learned: Learned, *, setup: tuple[int, int], seed: int) -> Company:
    """A company as it would come: a help centre made of some training questions, and examples."""
    rng = random.Random(f"{seed} {name} {setup}")
    inside = [row for row in texts.train if row.company == name and row.label == "in_scope"]
    by_intent: dict[str, list[Row]] = defaultdict(list)
    for row in inside:
        by_intent[row.intent].append(row)
    sections = []
    for intent in rng.sample(sorted(by_intent), min(setup[0], len(by_intent))):
        asked = " ".join(row.text for row in data.sampled(by_intent[intent], 5, rng))
        sections.append(f"{intent.replace('_', ' ')}. {asked}")
    sections += ARTICLES[name]
    examples = [row.text for row in data.sampled(inside, setup[1], rng)]
    return Company(learned, description=DESCRIPTIONS[name], sections=sections, examples=examples)


def signals(company: Company, rows: Sequence[Row]) -> Floats:
    """The company's evidence about each row. Shape (len(rows), len(SIGNALS))."""
    return np.array([company.signals(row.text) for row in rows])


@dataclass(frozen=True, slots=True)
class Combination:
    """A logistic model over signals.

    Attributes:
        mean: subtracted from the signals. Shape (len(SIGNALS),).
        spread: what they are divided by. Same shape.
        factors: their weights. Same shape.
    """

    mean: Floats
    spread: Floats
    factors: Floats

    def margins(self, company: Company, rows: Sequence[Row]) -> NDArray[np.float64]:
        """How foreign each row is to a company, counted from the median of the probes. Shape (len(rows),)."""
        probes = [Row(text, "out_of_scope", "own") for text in PROBES]
        raw = ((signals(company, [*probes, *rows]) - self.mean) / self.spread) @ self.factors
        return np.asarray(raw[len(probes) :] - np.median(raw[: len(probes)]), dtype=np.float64)


def combine(texts: Texts, companies: Sequence[str], *, unseen: Sequence[str], seed: int) -> Combination:
    """Learn the combination; each company is judged with what the others taught."""
    rng = random.Random(seed)
    evidence, answers, weights = [], [], []
    for name in companies:
        others = [other for other in companies if other != name]
        learned = learn(texts, others, unseen=[name, *unseen], seed=seed)
        rows = sample(texts.train, name, rng)
        chat = data.sampled(texts.smalltalk[1::2], 250, rng)
        for setup in _SETUPS:
            company = pretend(texts, name, learned, setup=setup, seed=seed)
            evidence.append(signals(company, [*rows, *chat]))
            answers += [row.label == "out_of_scope" for row in rows] + [False] * len(chat)
            weights += [1.0] * len(rows) + [2.0] * len(chat)
    x = np.concatenate(evidence)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    factors = constrained((x - mean) / spread, np.array(answers), np.array(weights))
    return Combination(mean, spread, factors[:-1].astype(np.float32))


def constrained(
    x: Floats, answers: NDArray[np.bool_], weights: NDArray[np.float64], *, penalty: float = 0.01
) -> NDArray[np.float64]:
    """Logistic weights whose signs are known beforehand, the bias last: likeness never speaks for "out of scope".

    Three companies are too few to learn that from, and a wrong sign does the most harm on a fourth one.
    """
    known = [(None, 0.0)] * (len(SIGNALS) - 2) + [(0.0, None), (None, None), (None, None)]
    signs = np.where(answers, 1.0, -1.0)
    share = weights / weights.sum()
    wide = np.c_[x, np.ones(len(x))].astype(np.float64)

    def loss(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (wide @ factors)
        pull = -signs * share / (1 + np.exp(margins))
        shrunk = np.r_[factors[:-1], 0.0]
        value = float(share @ np.logaddexp(0, -margins) + penalty / 2 * shrunk @ shrunk)
        return value, wide.T @ pull + penalty * shrunk

    found = minimize(loss, np.zeros(wide.shape[1]), jac=True, bounds=known, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64)


def sample(rows: Sequence[Row], name: str, rng: random.Random, *, size: int = 900) -> list[Row]:
    """As many rows in scope as out of it, of one company."""
    mine = [row for row in rows if row.company == name]
    inside = [row for row in mine if row.label == "in_scope"]
    outside = [row for row in mine if row.label == "out_of_scope"]
    return data.sampled(inside, size, rng) + data.sampled(outside, size, rng)
