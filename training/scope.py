"""Learns how to tell a company's matters from others, over the data's companies and over fictional ones.

A company is described in a sentence, has a help centre (here: articles of our own, and names of intents with a few
training questions each) and some example questions. What is learned over the others has to carry over to it.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression

from quorate.models.local import features
from quorate.models.local.company import Learned
from quorate.models.local.features import Floats
from quorate.models.local.scope import EVIDENCE, Evidence
from quorate.models.local.sense import Sense
from quorate.models.local.topics import TOPICAL, Topics
from training import data
from training.articles import ARTICLES
from training.data import Counted, Row
from training.honest import CHAT, HONEST, HONEST_TASKS, OPENERS
from training.own import scope as own
from training.texts import written
from training.topics import Learner

DESCRIPTIONS = {
    "bank": "A retail bank: accounts, cards, payments, transfers, cash, fees, credit cards, fraud.",
    "travel": "A travel agency: flights, hotels, car rental, luggage, visas and vaccines, travel advice, time zones,"
    " exchange rates; hotel stay questions.",
    "shop": "An online shop: orders, delivery, returns and refunds, invoices and payment, account, newsletter,"
    " complaints, stock.",
}
Arrays = Mapping[str, NDArray[np.generic]]
_DOMAINS = {"bank": ("banking", "credit_cards"), "travel": ("travel",), "shop": ()}
PROBES = tuple(text for text in HONEST_TASKS if "{" not in text)
"""Texts of this project that no company's support is for; they stand in the weights."""
CENTRES = 1024
"""How many vectors the background has."""
SAME_TRADE = {"bank": "lindenmoor", "travel": "tern-travel", "shop": "fable-and-spine"}
"""Which fictional company is of the trade of which of the data's; both are held out together."""
_OFTEN = 2
"""How often each fictional text stands among the data's, of which there are many more."""
_FICTION = 0.2
"""What a fictional company counts, as it has a twentieth of the texts."""
_SETUPS = ((12, 50), (12, 0), (4, 25))
"""Intents in the help centre and examples that a company brings; a small help centre has to be judged well too."""


_WRITTEN = 0.65
"""What a company of the data counts with the topics of its trade; the rest, as one of a trade nobody wrote about."""
_TOPICAL = -0.9
"""Factors of what is said of topics are at most this: they hold for new wordings, which the data has too few of."""
_FOREIGN = 1000
"""How many texts of the data that are no company's matter stand beside the topics'."""
_COMPANIES = ("banking", "credit_cards", "travel")
"""Domains of the data that are some company's matter."""


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


def learner(texts: Texts, sense: Sense, *, seed: int) -> Learner:
    """What learns topics, with texts of the data that are about none."""
    belongs = {row.text for row in texts.train if row.label == "in_scope"}
    foreign = {
        row.text[:400]
        for row in texts.train
        if row.text not in belongs and row.domain not in _COMPANIES and row.source not in ("banking77", "bitext_cs_8k")
    }
    return Learner(sense, random.Random(seed).sample(sorted(foreign), _FOREIGN))


def learn_topics(
    texts: Texts, idf: Floats, teacher: Learner, *, unseen: str = "", without: str = "", seed: int
) -> Arrays:
    """The topics in view of a way of weighing words.

    Args:
        texts: the rows.
        idf: how rare a slot is. Shape (features.SIZE,).
        teacher: see `learner`.
        unseen: a company of the data from which, and from the fictional one of its trade, nothing is learned.
        without: a trade that nobody wrote about.
        seed: of the samples.
    """
    known = {
        name: [brought(texts, name, setup=setup, seed=seed) for setup in _SETUPS]
        for name in DESCRIPTIONS
        if name != unseen
    }
    fiction = {
        one.name: [(one.description, one.help, one.questions[::2])]
        for one in own.companies()
        if one.name != SAME_TRADE.get(unseen)
    }
    return teacher.learn(idf, known | fiction, without=without)


def learn(
    texts: Texts, companies: Sequence[str], teacher: Learner, *, unseen: Sequence[str], seed: int, fiction: bool = True
) -> tuple[Learned, Arrays]:
    """What is learned in general from some companies, with every trace of the unseen ones left out; and its topics.

    Args:
        texts: the rows.
        companies: of the data.
        teacher: see `learner`.
        unseen: companies of the data whose domains, and fictional ones of their trades, are left out.
        seed: of the samples.
        fiction: whether the fictional companies' texts are learned from.
    """
    rng = random.Random(seed)
    hidden = {domain for name in unseen for domain in _DOMAINS[name]}
    belongs = {row.text for row in texts.train if row.label == "in_scope"}
    ours = [Row(text.text, "in_scope", "own") for text in written(seed) if text.category == "none"]
    positive: list[Row] = []
    for name in companies:
        inside = [row for row in texts.train if row.company == name and row.label == "in_scope"]
        positive += data.sampled(inside, 2500, rng)
    if "shop" in companies:
        wanted = tuple(template.split("{")[0] for template in (*HONEST, *OPENERS) if not template.startswith("{"))
        positive += [row for row in ours if row.text not in PROBES and row.text.startswith(wanted)]
    outside = {
        row.text: row
        for row in texts.train
        if row.label == "out_of_scope" and row.text not in belongs and row.domain not in hidden
    }
    negative = data.sampled(list(outside.values()), 7000, rng)
    # The other half of the small talk is for the combination, which would trust what it has seen too much.
    chat = data.sampled(texts.smalltalk[::2], 2000, rng)
    chat += [Row(text, "neutral", "own") for text in CHAT] * 6
    if fiction:
        made = [one for one in own.companies() if one.name not in {SAME_TRADE[name] for name in unseen}]
        drifts = [turn.text for turn in own.dialogues("train") if turn.drifts]
        positive += [Row(text, "in_scope", "own") for one in made for text in one.questions] * _OFTEN
        negative += [Row(text, "out_of_scope", "own") for one in made for text in one.near] * _OFTEN
        negative += [Row(text, "out_of_scope", "own") for text in drifts] * _OFTEN
    idf = data.inverse_frequencies(plain(row.text[:1500]) for row in (*positive, *negative, *chat))
    support, smalltalk = fit_linear(positive, negative, idf), fit_linear(chat, (*positive, *negative[:4000]), idf)
    topics = learn_topics(texts, idf, teacher, unseen="".join(unseen[:1]), seed=seed)
    return Learned(idf, support, smalltalk, Topics(topics)), topics


def background(texts: Texts, sense: Sense, *, seed: int, without: str = "") -> Floats:
    """Centres of what people ask assistants about, whoever it is the business of. Shape (CENTRES, sense.dim).

    Args:
        texts: the rows; their labels are not looked at.
        sense: what texts mean.
        seed: of the clustering.
        without: a company whose own matters are left out.
    """
    hidden = {row.text for row in texts.train if row.company == without and row.label == "in_scope"}
    found = np.stack([sense.of(text[:1500]) for text in sorted({row.text for row in texts.train} - hidden)])
    found = found[np.linalg.norm(found, axis=1) > 0]
    fitted = MiniBatchKMeans(CENTRES, random_state=seed, batch_size=4096, n_init=1, max_iter=30).fit(found)
    centres = np.asarray(fitted.cluster_centers_, dtype=np.float32)
    return centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True, slots=True)
class Known:
    """What evidence rests on.

    Attributes:
        learned: what the words of other companies taught.
        sense: what texts mean.
        background: see `background`.
        topics: the arrays that the topics were made from.
    """

    learned: Learned
    sense: Sense
    background: Floats
    topics: Arrays

    def without(self, texts: Texts, teacher: Learner, name: str, *, seed: int) -> "Known":
        """The same had nobody written about the trade of a company of the data."""
        topics = learn_topics(texts, self.learned.idf, teacher, unseen=name, without=name, seed=seed)
        return replace(self, learned=replace(self.learned, topics=Topics(topics)), topics=topics)

    def evidence(self, description: str, sections: Sequence[str], examples: Sequence[str]) -> Evidence:
        """The evidence of one company."""
        return Evidence(self.learned, self.sense, self.background, texts=(description, sections, examples))


def brought(texts: Texts, name: str, *, setup: tuple[int, int], seed: int) -> tuple[str, list[str], list[str]]:
    """A company as it would come: its description, a help centre with some training questions, and examples."""
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
    return DESCRIPTIONS[name], sections, [row.text for row in data.sampled(inside, setup[1], rng)]


def signals(evidence: Evidence, rows: Sequence[Row]) -> Floats:
    """A company's evidence about each row. Shape (len(rows), len(EVIDENCE))."""
    if not rows:
        return np.zeros((0, len(EVIDENCE)))
    grams = evidence.read([row.text[:1500] for row in rows])
    return evidence.signals(grams, evidence.meant(grams)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Shown:
    """A company's evidence about labelled texts, to learn the combination from.

    Attributes:
        company: whose.
        rows: the evidence. Shape (n, len(EVIDENCE)).
        answers: which texts are out of scope. Shape (n,).
        weights: how much each counts. Shape (n,).
    """

    company: str
    rows: Floats
    answers: NDArray[np.bool_]
    weights: NDArray[np.float64]


def shown(company: str, evidence: Evidence, rows: Sequence[Row], chat: Sequence[Row], weight: float) -> Shown:
    """Both classes of a company's rows count the same, small talk (in scope) a seventh of either."""
    outside = np.array([row.label == "out_of_scope" for row in rows])
    share = np.where(outside, 0.5 / max(outside.sum(), 1), 0.5 / max((~outside).sum(), 1))
    weights = np.r_[share, np.full(len(chat), 0.15 / max(len(chat), 1))] * weight
    answers = np.r_[outside, np.zeros(len(chat), bool)]
    return Shown(company, signals(evidence, [*rows, *chat]), answers, weights)


def of_data(texts: Texts, name: str, known: Known, unwritten: Known, *, seed: int) -> list[Shown]:
    """One of the data's companies, with a large and with a small help centre, its trade written about or not."""
    rng = random.Random(f"{seed} {name}")
    rows = sample(texts.train, name, rng, size=450)
    chat = data.sampled(texts.smalltalk[1::2], 120, rng)
    found = []
    for setup in _SETUPS:
        company = brought(texts, name, setup=setup, seed=seed)
        found.append(shown(name, known.evidence(*company), rows, chat, _WRITTEN))
        found.append(shown(name, unwritten.evidence(*company), rows, chat, 1 - _WRITTEN))
    return found


def of_fiction(texts: Texts, known: Known, *, seed: int) -> list[Shown]:
    """The fictional companies, with half of their questions as examples."""
    rng = random.Random(seed)
    everyone, said = own.companies(), own.dialogues("train")
    found = []
    for one in everyone:
        evidence = known.evidence(one.description, one.help, one.questions[::2])
        asked = [Row(text, "in_scope", "own") for text in one.questions[1::2]]
        foreign = [*one.near, *(turn.text for turn in said if turn.drifts and turn.company == one.name)]
        foreign += [text for other in everyone if other != one for text in rng.sample(other.questions, 2)]
        rows = asked + [Row(text, "out_of_scope", "own") for text in foreign]
        chat = data.sampled(texts.smalltalk[1::2], 30, rng)
        found.append(shown(one.name, evidence, rows, chat, _FICTION))
    return found


@dataclass(frozen=True, slots=True)
class Combination:
    """A logistic model over the evidence.

    Attributes:
        mean: subtracted from the evidence. Shape (len(EVIDENCE),).
        spread: what it is divided by. Same shape.
        factors: its weights. Same shape.
    """

    mean: Floats
    spread: Floats
    factors: Floats

    def margins(self, evidence: Evidence, rows: Sequence[Row]) -> NDArray[np.float64]:
        """How foreign each row is to a company, counted from the median of the probes. Shape (len(rows),)."""
        probes = [Row(text, "out_of_scope", "own") for text in PROBES]
        raw = ((signals(evidence, [*probes, *rows]) - self.mean) / self.spread) @ self.factors
        return np.asarray(raw[len(probes) :] - np.median(raw[: len(probes)]), dtype=np.float64)


def combine(some: Sequence[Shown]) -> Combination:
    """Learn the combination; each company was judged with what the others taught."""
    x = np.concatenate([one.rows for one in some])
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    answers, weights = np.concatenate([one.answers for one in some]), np.concatenate([one.weights for one in some])
    factors = constrained((x - mean) / spread, answers, weights)
    return Combination(mean, spread, factors[:-1].astype(np.float32))


def constrained(
    x: Floats, answers: NDArray[np.bool_], weights: NDArray[np.float64], *, penalty: float = 0.01
) -> NDArray[np.float64]:
    """Logistic weights whose signs are known beforehand, the bias last: likeness never speaks for "out of scope".

    Few companies are too few to learn that from, and a wrong sign does the most harm on the next one.
    """
    against = {"unknown", "meant_elsewhere", "meant_strangest"}
    bounds = dict.fromkeys(against, (0.0, None)) | {"length": (None, None)}
    bounds |= dict.fromkeys(TOPICAL, (None, _TOPICAL))
    known = [bounds.get(name, (None, 0.0)) for name in EVIDENCE] + [(None, None)]
    signs = np.where(answers, 1.0, -1.0)
    share = weights / weights.sum()
    wide = np.c_[x, np.ones(len(x))].astype(np.float64)

    def loss(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (wide @ factors)
        pull = -signs * share / (1 + np.exp(margins))
        shrunk = np.r_[factors[:-1], 0.0]
        value = float(share @ np.logaddexp(0, -margins) + penalty / 2 * shrunk @ shrunk)
        return value, wide.T @ pull + penalty * shrunk

    start = np.array([min(0.0, high or 0.0) for _, high in known])
    found = minimize(loss, start, jac=True, bounds=known, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64)


def sample(rows: Sequence[Row], name: str, rng: random.Random, *, size: int = 900) -> list[Row]:
    """As many rows in scope as out of it, of one company."""
    mine = [row for row in rows if row.company == name]
    inside = [row for row in mine if row.label == "in_scope"]
    outside = [row for row in mine if row.label == "out_of_scope"]
    return data.sampled(inside, size, rng) + data.sampled(outside, size, rng)
