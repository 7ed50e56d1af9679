"""Trains the moderation weights and measures what was saved, through the classifier that ships."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from quorate.checks import LocalModerationJudge, Part, Subject
from quorate.checks.windows import windows
from quorate.engine import StopFlag
from quorate.models.local.moderation import HARMS, LENGTH, LocalModeration
from training import data, moderation
from training.moderation import Arrays, Begun, Flags, Model, Numbers, Text, Windows

ALARMS = 0.05
"""False alarms at the threshold that ships on dev's honest texts, half of which were chosen to look harmful."""
_ABROAD = (
    ("davidson_hate",),
    ("vicomtech_hate",),
    ("surge_toxicity",),
    ("ailuminate_en", "forbidden_questions", "neuralchemy_pi", "clinc150"),
    ("own", moderation.LATER),
)
"""What is left out of training in turn. The fourth are requests: two sources that harm, two that are honest."""


def train(root: Path, seed: int) -> tuple[Arrays, Callable[[Path], dict[str, str]]]:
    """Train the moderation weights; returns them and what measures them once they are saved."""
    texts = moderation.training_texts(root, seed)
    some, idf = moderation.cut(texts, most=4)
    begun = moderation.begin(some, root, seed)
    model = moderation.fit(some, np.ones(len(texts), dtype=np.bool_), begun, seed)
    dev_texts = moderation.labelled(root / "moderation" / "dev.jsonl")
    dev, _ = moderation.cut(dev_texts, idf=idf)
    wrong = np.array([text.violation for text in dev_texts])
    margins = model.margins(dev)
    longer = LENGTH * np.log2(np.bincount(dev.owner))
    slope, offset = scaled(margins, wrong, longer)
    scores = logistic(slope * margins + offset - longer)
    threshold = float(np.quantile(scores[~wrong], 1 - ALARMS, method="higher"))
    scalars = [slope, offset, threshold]
    kinds = moderation.fit_kinds(model.net, some)
    arrays = moderation.arrays_of(model, idf=idf, kinds=kinds, scalars=scalars)
    figures = parts(model, dev, wrong) | held_out(some, begun, dev, seed) | calibration(margins, wrong, longer)
    return arrays, lambda out: measure(root, out) | figures


def logistic(margins: Numbers) -> Numbers:
    """1 / (1 + exp(-margin)) of each."""
    return np.asarray(1 / (1 + np.exp(-margins)))


def scaled(margins: Numbers, wrong: Flags, longer: Numbers) -> tuple[float, float]:
    """Slope and offset that make log-odds of margins (Platt 1999), where so much is taken off for a text's length."""

    def loss(pair: Numbers) -> float:
        odds = pair[0] * margins + pair[1] - longer
        return float(np.logaddexp(0, np.where(wrong, -odds, odds)).sum())

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def calibration_error(scores: Numbers, wrong: Flags, bins: int = 10) -> float:
    """Expected calibration error over equal widths (Naeini, Cooper and Hauskrecht 2015)."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    parts = [place == at for at in range(bins)]
    return float(sum(part.mean() * abs(scores[part].mean() - wrong[part].mean()) for part in parts if part.any()))


def calibration(margins: Numbers, wrong: Flags, longer: Numbers) -> dict[str, str]:
    """Calibration on dev by scales that were fitted on other rows of dev."""
    scores = np.zeros(len(margins))
    for rest, part in StratifiedKFold(5, shuffle=True, random_state=0).split(margins[:, None], wrong):
        slope, offset = scaled(margins[rest], wrong[rest], longer[rest])
        scores[part] = logistic(slope * margins[part] + offset - longer[part])
    return {"dev: expected calibration error, scale fitted on other folds": f"{calibration_error(scores, wrong):.3f}"}


def parts(model: Model, dev: Windows, wrong: Flags) -> dict[str, str]:
    """Dev AUC of the parts apart."""
    found = {}
    for name, margins in zip(("n-grams", "network", "context reader"), model.parts(dev), strict=True):
        found[f"dev: AUC of the {name} alone"] = f"{roc_auc_score(wrong, moderation.highest(margins, dev)):.3f}"
    return found


def held_out(some: Windows, begun: Begun, dev: Windows, seed: int) -> dict[str, str]:
    """With sources left out of training in turn: AUC on them, and on dev."""
    found, areas = {}, []
    dev_wrong = np.array([text.violation for text in dev.texts])
    sources = np.array([text.source for text in some.texts])
    wrong = np.array([text.violation for text in some.texts])
    for names in _ABROAD:
        away = np.isin(sources, names)
        model = moderation.fit(some, ~away, begun, seed)
        on_it = roc_auc_score(wrong[away], model.margins(some)[away])
        on_dev = roc_auc_score(dev_wrong, model.margins(dev))
        found[f"trained without {', '.join(names)}"] = f"AUC on it {on_it:.3f}, on dev {on_dev:.3f}"
        areas.append(float(on_it))
        print(names, found[f"trained without {', '.join(names)}"], flush=True)
    found["mean of these but the project's own: AUC on them"] = f"{np.mean(areas[:-1]):.3f}"
    return found


def scored(model: LocalModeration, texts: Sequence[str]) -> Numbers:
    """Each text's score at run time: the highest of all its readings."""
    judge = LocalModerationJudge(model)
    found = [judge._judge(Subject((Part("customer", text),)), StopFlag()).score for text in texts]
    return np.array(found, dtype=np.float64)


def measure(root: Path, out: Path) -> dict[str, str]:
    """All figures of the model card that come from the saved weights."""
    model = LocalModeration.load(out)
    rows = moderation.labelled(root / "moderation" / "dev.jsonl")
    scores = scored(model, [row.text for row in rows])
    wrong = np.array([row.violation for row in rows])
    figures = {"version": model.version, "threshold": f"{model.threshold:.3f}"}
    figures["dev: AUC"] = f"{roc_auc_score(wrong, scores):.3f}"
    figures |= by_source(rows, scores, wrong)
    for alarms in (0.01, 0.05):
        caught = data.recall_at(scores, wrong, alarms=alarms)
        figures[f"dev: recall at {alarms:.0%} false alarms"] = f"{caught:.3f}"
    figures["dev: recall at the threshold"] = f"{np.mean(scores[wrong] > model.threshold):.3f}"
    figures["dev: false alarms at the threshold"] = f"{np.sum(scores[~wrong] > model.threshold)} of {np.sum(~wrong)}"
    figures["dev: expected calibration error"] = f"{calibration_error(scores, wrong):.3f}"
    figures["dev: reliability (mean score: share of violations, rows)"] = reliability(scores, wrong)
    figures |= by_harm(model, rows, scores)
    figures |= elsewhere(model, root)
    middle, slowest = milliseconds(model)
    figures["time for a message of 128 tokens (3 windows), p50 / p99"] = f"{middle:.2f} / {slowest:.2f} ms"
    figures["size of the weights"] = f"{(out / 'moderation.npz').stat().st_size / 1e6:.1f} MB"
    start = time.perf_counter()
    LocalModeration.load(out)
    figures["time to load, word vectors included"] = f"{time.perf_counter() - start:.2f} s"
    return figures


def by_source(rows: Sequence[Text], scores: Numbers, wrong: Flags) -> dict[str, str]:
    """AUC and recall within each source of dev."""
    found = {}
    for source in sorted({row.source for row in rows}):
        mine = np.array([row.source == source for row in rows])
        caught = data.recall_at(scores[mine], wrong[mine], alarms=0.05)
        auc = roc_auc_score(wrong[mine], scores[mine])
        found[f"dev, {source}: AUC, recall at 5% of its own false alarms"] = f"{auc:.3f}, {caught:.3f}"
    return found


def reliability(scores: Numbers, wrong: Flags) -> str:
    """The reliability curve in words: a point for each tenth that holds rows."""
    place = np.minimum((scores * 10).astype(int), 9)
    points = [
        f"{scores[place == at].mean():.2f}: {wrong[place == at].mean():.2f} ({int((place == at).sum())})"
        for at in range(10)
        if (place == at).any()
    ]
    return "; ".join(points)


def by_harm(model: LocalModeration, rows: Sequence[Text], scores: Numbers) -> dict[str, str]:
    """For each harm that dev names: its rows against all honest ones, and how often it is named when flagged."""
    found = {}
    honest = np.array([not row.violation for row in rows])
    for harm in HARMS:
        mine = np.array([row.harm == harm for row in rows])
        if mine.sum() < 5:
            continue
        judged = mine | honest
        auc = roc_auc_score(mine[judged], scores[judged])
        flagged = [row for row, score, own in zip(rows, scores, mine, strict=True) if own and score > model.threshold]
        named = [top_category(model, row.text) for row in flagged].count(harm)
        found[f"dev, {harm} ({mine.sum()} rows)"] = f"AUC {auc:.3f}; named so in {named} of {len(flagged)} flagged"
    return found


def top_category(model: LocalModeration, text: str) -> str:
    """What the highest window of a text is taken for."""
    return max((model.score(window.text) for window in windows(text)), key=lambda one: one.score).category


def elsewhere(model: LocalModeration, root: Path) -> dict[str, str]:
    """False alarms on honest support questions, and harmful requests of a kind that no training row has."""
    found = {}
    scope = [row for row in data.rows(root / "scope" / "dev.jsonl") if row.label == "in_scope"]
    scores = scored(model, [row.text for row in scope])
    alarms = int(np.sum(scores > model.threshold))
    found["support questions (scope dev): false alarms"] = f"{alarms} of {len(scope)}"
    harmful = [row for row in data.rows(root / "threat" / "harmful_not_attack.jsonl") if row.source.startswith("cse")]
    scores = scored(model, [row.text for row in harmful])
    caught = int(np.sum(scores > model.threshold))
    found["harmful requests to a code interpreter (not trained on): flagged"] = f"{caught} of {len(harmful)}"
    return found


def milliseconds(model: LocalModeration) -> tuple[float, float]:
    """Median and 99th percentile of the time of a message of 128 tokens, on this machine."""
    text = "Hello, I would like to know whether my order has left the warehouse yet, thank you very much. " * 6
    times = []
    # As at run time: tiny products shared out to threads take longer.
    with threadpool_limits(1):
        for _ in range(300):
            start = time.perf_counter()
            for window in windows(text):
                model.score(window.text)
            times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000, float(np.quantile(times, 0.99)) * 1000
