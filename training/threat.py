"""Gathers the threat classifier's training texts, and fits both of its halves, whole or with sources left out."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from quorate.models.local.features import Floats, Lexicon
from quorate.models.local.phrases import Phrases
from training import context, data, encoder, lexicon, linear
from training.data import Row
from training.own import direct, indirect, roleplay
from training.own.rows import Row as Own
from training.own.rows import read
from training.texts import disguised, written

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
CATEGORIES = ("injection", "jailbreak", "prompt_extraction", "obfuscation", "indirect")
MOST = 14
"""Windows of one training text."""
HEADS = 3
"""Networks over what the context reader sees whose margins are averaged."""
LOOKS = 2
"""Rounds in which such a network learns: first from every window of an attack, then from those that look like one."""
GENERATED = 3000
"""Texts taken of each generator of our own: more of one mould teach the mould."""
_OTHERS = 700
"""Texts taken of each source that is no prompt at all."""

# Groups whose "attacks" are plain questions or shell commands, out of their conversation or tool.
_NOT_ATTACKS = frozenset(("control", "crescendo", "multi_turn", "model_fingerprinting", "many_shot"))
# The second batch attacks by hints that are one in their place only: at full weight they cost recall on other sources.
_HINTING = 0.3
_WEAK_GROUPS = frozenset(("adversarial", "encoding", "code_execution", "training_extraction"))
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
SECOND = ("secrets", "override", "jailbreak", "content", "formats", "assistants")
"""Files of texts of our own that were written later and apart from the first; `honest` goes with them."""
_PROSE = ("davidson_hate", "vicomtech_hate", "surge_toxicity")

FOLDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "neuralchemy": (frozenset(("neuralchemy_pi",)), frozenset(("clinc150",))),
    "in-the-wild jailbreaks": (frozenset(("itw_jailbreak",)), frozenset(("awesome_prompts", "vicomtech_hate"))),
    "BIPIA": (frozenset(("bipia_train",)), frozenset(("bitext_cs_8k", "davidson_hate"))),
    "own, direct": (frozenset(("own_direct",)), frozenset(("banking77",))),
    "own, in content": (frozenset(("own_indirect",)), frozenset(("surge_toxicity",))),
    "own, role-play": (frozenset(("own_roleplay",)), frozenset(("own_old",))),
    "own, second batch": (frozenset(f"own_{name}" for name in SECOND), frozenset(("own_honest",))),
}
"""What is left out at a time: a source of attacks with its honest texts, and sources of other honest texts."""


def make_lexicon() -> Lexicon:
    """The lexicon with the stems of `training.lexicon`."""
    return Lexicon(lexicon.stems(), len(lexicon.IDEAS))


def training_rows(root: Path, seed: int) -> list[Row]:
    """The public rows without what is no attack by itself, other people's prose, and all texts of our own."""
    rng = random.Random(seed)
    kept = [
        row
        for row in data.rows(root / "threat" / "train.jsonl")
        if row.label == "benign" or row.group not in _NOT_ATTACKS
    ]
    prose = data.rows(root / "moderation" / "train.jsonl")
    for source in _PROSE:
        mine = [Row(row.text, "benign", source, source) for row in prose if row.source == source]
        kept += data.sampled(mine, _OTHERS, rng)
    for text in written(seed):
        label = "benign" if text.category == "none" else "attack"
        kept.append(Row(text.text, label, "own_old", text.category, family=f"old {text.category}"))
    kept += own_rows(seed)
    short = [row for row in kept if len(row.text) < 600]
    attacks = [row for row in short if row.label == "attack" and row.source.startswith(("own", "neuralchemy"))]
    honest = [row for row in short if row.label == "benign"]
    for row in data.sampled(attacks, 700, rng) + data.sampled(honest, 900, rng):
        kept.append(Row(disguised(row.text, rng), row.label, row.source, row.group, family=row.family))
    unique = {row.text: row for row in reversed(kept)}
    return list(reversed(unique.values()))


def own_rows(seed: int) -> list[Row]:
    """The texts of `training.own`: those written one by one, and those of its generators."""
    folder = Path(__file__).parent / "own"
    rng = random.Random(seed)
    found: list[tuple[str, Own]] = []
    for name, module in (("direct", direct), ("indirect", indirect), ("roleplay", roleplay)):
        written_by_hand = read(folder / f"{name}.jsonl")
        made = module.rows(seed)
        some = [*written_by_hand, *rng.sample(made, min(GENERATED, len(made)))]
        found += [(name, row) for row in some]
    for name in (*SECOND, "honest"):
        found += [(name, row) for row in read(folder / f"{name}.jsonl")]
    return [Row(row.text, row.label, f"own_{name}", row.category, family=f"{name} {row.family}") for name, row in found]


def category(row: Row) -> str:
    """Which kind of attack a row is."""
    return _GROUPS.get(row.group, row.group if row.group in CATEGORIES else "injection")


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows, their windows, and what occurs in these, text by text."""

    rows: list[Row]
    parts: list[list[str]]
    windows: list[list[linear.Slots]]

    def only(self, keep: Flags) -> "Texts":
        """The texts in `keep`."""
        some = np.flatnonzero(keep)
        return Texts(*([many[at] for at in some] for many in (self.rows, self.parts, self.windows)))

    @property
    def owner(self) -> NDArray[np.int64]:
        """The number of the text that each window is of."""
        return np.array([at for at, windows in enumerate(self.windows) for _ in windows])

    @property
    def attack(self) -> Flags:
        """Whether each text is an attack."""
        return np.array([row.label == "attack" for row in self.rows])

    @property
    def source(self) -> NDArray[np.str_]:
        """The source of each text."""
        return np.array([row.source for row in self.rows])


def texts(rows: Sequence[Row], words: Lexicon, *, most: int | None = None) -> Texts:
    """The rows with their windows."""
    cut = [data.bag(row.text, most=most) for row in rows]
    return Texts(list(rows), cut, [[linear.slots(window, words) for window in parts] for parts in cut])


@dataclass(frozen=True, slots=True)
class Read:
    """What the context reader sees of every window, by itself and as heads take it. Shape (windows, numbers) each."""

    net: context.Net
    scaled: Floats
    centre: Floats
    spread: Floats


def begin(some: Texts, root: Path, seed: int) -> Read:
    """Show the context reader what the sentence encoder says of the windows and of other texts, then let it read."""
    windows = [part for parts in some.parts for part in parts]
    begun = context.begin(windows, some.source[some.owner], root, seed, encoder.read)
    read = context.seen(begun.net, begun.lesson.tokens[: begun.lesson.labelled])
    centre, spread = read.mean(axis=0), read.std(axis=0) + np.float32(1e-5)
    return Read(begun.net, (read - centre) / spread, centre, spread)


def weights(rows: Sequence[Row]) -> Numbers:
    """What each text counts: a source by the square root of its size, attacks and honest texts the same in all."""
    attack = np.array([row.label == "attack" for row in rows])
    sizes = Counter((row.source, row.label) for row in rows)
    found = np.array([sizes[row.source, row.label] ** -0.5 * _doubt(row) for row in rows])
    for label in (attack, ~attack):
        found[label] *= len(rows) / 2 / found[label].sum()
    return found


def _doubt(row: Row) -> float:
    if row.label == "attack" and row.source.removeprefix("own_") in SECOND:
        return _HINTING
    return 0.3 if row.group in _WEAK_GROUPS else 1.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """Both halves."""

    tables: dict[str, Floats]
    bias: float
    net: context.Net

    def margins(self, some: Texts) -> Numbers:
        """Both halves' margins of every window, text by text. Shape (number of windows, 2)."""
        model = Phrases(self.tables, self.bias)
        phrases = np.array([model.margin(window) for windows in some.windows for window in windows])
        numbered = context.numbered([part for parts in some.parts for part in parts])
        return np.stack([phrases, context.margins(self.net, *numbered)], axis=1)


def fit(some: Texts, keep: Flags, read: Read, *, hints: int, seed: int) -> Fitted:
    """Fit both halves on the texts in `keep`."""
    kept = some.only(keep)
    flat = [window for windows in kept.windows for window in windows]
    names = [row.family or row.source for row in kept.rows]
    bags = linear.Bags(flat, kept.owner, kept.attack, weights(kept.rows), names)
    tables, bias = linear.fit(bags, hints)
    heads = [_head(bags, read.scaled[keep[some.owner]], seed + number) for number in range(HEADS)]
    return Fitted(tables, bias, context.crowned(read.net, heads, read.centre, read.spread))


def _head(bags: linear.Bags, read: Floats, seed: int) -> context.Head:
    """A head that learned from the windows of the bags, of which so much was read. Shape (windows, numbers)."""
    chosen = np.ones(len(read), dtype=np.bool_)
    for _ in range(LOOKS):
        wrong, share = bags.attack[bags.owner][chosen], bags.shares(chosen)
        head = context.taught(read[chosen], wrong, share.astype(np.float32), seed)
        chosen = bags.telling(head.margins(read))
    return head


def left_out(some: Texts, names: Collection[str]) -> Flags:
    """Which texts are of the named sources."""
    return np.isin(some.source, list(names))


def auc(scores: Numbers, attack: Flags, weight: Numbers | None = None) -> float:
    """Area under the ROC curve."""
    return float(roc_auc_score(attack, scores, sample_weight=weight))


def kinds(some: Texts, size: int) -> Floats:
    """Weights of each category over hints, the bias last. Shape (len(CATEGORIES), size + 1)."""
    chosen = [(window, row) for windows, row in zip(some.windows, some.rows, strict=True) for window in windows]
    chosen = [(window, row) for window, row in chosen if row.label == "attack"]
    x = np.zeros((len(chosen), size), dtype=np.float32)
    for number, (window, _) in enumerate(chosen):
        x[number, window["hints"]] = 1
    answers = [CATEGORIES.index(category(row)) for _, row in chosen]
    # Sums of several threads end in other last digits than those of one.
    with threadpool_limits(1):
        model = LogisticRegression(C=0.3, max_iter=60, tol=1e-3).fit(x, answers)
    return np.asarray(np.c_[model.coef_, model.intercept_], dtype=np.float32)
