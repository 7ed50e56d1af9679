"""Trains the moderation classifier: a linear model, a network over word vectors, and one that reads them in context."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from quorate.checks.windows import windows
from quorate.models.local import features
from quorate.models.local.context import LONGEST
from quorate.models.local.features import Floats, Lexicon
from quorate.models.local.moderation import HARMS
from quorate.models.local.vectors import Vectors
from training import context, data, encoder
from training.context import Begun
from training.data import Matrix
from training.own import moderation as own
from training.own import rows

SHARES = (0.25, 0.25, 0.5)
"""Of the margin that is the linear model's, the network's and the context reader's."""
STRENGTH = 4.0
"""Inverse strength of the linear model's L2 penalty."""
WIDTH = 48
NETS = 2
"""Networks, each from its own random start, whose mean counts; they ship as one."""
ROUNDS = 5
LATER = "own_later"
"""Source of the project's texts that look alike and differ in what is meant. The network learns from them; n-grams
cannot tell them apart, and rank other sources worse after them."""
_BATCH = 64
_MOST = 4
"""Windows of a training text that count, evenly taken."""
_RATE, _DECAY = 2e-3, 0.05
# Half of what this source calls offensive is talk among friends in a dialect that its labellers misread.
_OVERLABELLED = 0.4
_HARM_OF = {
    "offensive_language": "harassment",
    "toxic": "harassment",
    "defamation": "harassment",
    "weapons": "illicit",
    "privacy": "illicit",
    "sexual/minors": "sexual",
    "sexual_crime": "sexual",
}
Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Text:
    """One labelled text; `harm` is one of `HARMS` or "none"."""

    text: str
    violation: bool
    harm: str
    source: str
    weight: float = 1.0


def labelled(path: Path) -> list[Text]:
    """The rows of a file of the moderation set."""
    found = []
    for line in filter(None, path.read_text("utf-8").split("\n")):
        row = json.loads(line)
        named = (row["meta"].get("categories") or ["none"])[0]
        weight = _OVERLABELLED if named == "offensive_language" else 1.0
        harm = _HARM_OF.get(named, named)
        found.append(Text(row["text"], row["label"] == "violation", harm, row["source"], weight))
    return found


def training_texts(root: Path, seed: int) -> list[Text]:
    """The moderation set, honest prompts and documents of the threat set, and the project's own texts."""
    found = labelled(root / "moderation" / "train.jsonl")
    for row in data.rows(root / "threat" / "train.jsonl"):
        if row.label == "benign" and row.source in ("neuralchemy_pi", "bipia_train"):
            found.append(Text(row.text, False, "none", row.source))
    for source, some in (("own", own.texts(seed)), (LATER, own.later())):
        found += [Text(one.text, one.label == "violation", one.category, source) for one in some]
    honest = rows.read(Path(own.__file__).parent / "honest.jsonl")
    found += [Text(one.text, False, "none", "own") for one in honest]
    return found


@dataclass(frozen=True, slots=True)
class Windows:
    """Texts as windows.

    Attributes:
        texts: whose they are.
        owner: the text's place for each window. Shape (windows,).
        parts: the windows.
        x: n-grams of the windows, tf-idf. Shape (windows, features.SIZE).
        tokens: numbers of the windows' words in `table`, 0 for none. Shape (windows, LONGEST).
        table: the words' vectors, the first of them for none. Shape (words + 1, dim).
    """

    texts: Sequence[Text]
    owner: NDArray[np.int64]
    parts: Sequence[str]
    x: Matrix
    tokens: NDArray[np.int64]
    table: Floats

    @property
    def violation(self) -> Flags:
        """Whether the window's text is a violation. Shape (windows,)."""
        return np.array([text.violation for text in self.texts])[self.owner]

    @property
    def weight(self) -> Floats:
        """What a window counts: its text's weight, shared among its windows. Shape (windows,)."""
        sizes = np.bincount(self.owner)
        each = np.array([text.weight for text in self.texts], dtype=np.float32)
        return np.asarray((each / sizes)[self.owner], dtype=np.float32)


def cut(texts: Sequence[Text], *, idf: Floats | None = None, most: int | None = None) -> tuple[Windows, Floats]:
    """Cut texts into the windows that the judge will see; also gives the n-grams' idf, learned if there is none."""
    owner: list[int] = []
    every: list[str] = []
    empty = Lexicon({}, 0)
    for number, text in enumerate(texts):
        parts = [window.text for window in windows(text.text, limit=10**6)]
        if most is not None and len(parts) > most:
            parts = [parts[at] for at in np.linspace(0, len(parts) - 1, most).astype(int)]
        owner += [number] * len(parts)
        every += parts
    counted = [data.counted(part, empty) for part in every]
    words = [features.words(features.normalise(part))[:LONGEST] for part in every]
    idf = data.inverse_frequencies(counted) if idf is None else idf
    x = data.matrix(counted, idf, hints=0, hint_value=0.0)
    known: dict[str, int] = {}
    tokens = np.zeros((len(words), LONGEST), dtype=np.int64)
    for number, some in enumerate(words):
        tokens[number, : len(some)] = [known.setdefault(word, len(known) + 1) for word in some]
    vectors = Vectors.load()
    table = np.concatenate([np.zeros((1, vectors.dim), np.float32), vectors.words(list(known))])
    return Windows(texts, np.array(owner), every, x, tokens, table), idf


class Net(nn.Module):
    """`quorate.models.local.moderation.Reader` and what stands on it, for training.

    Args:
        table: vectors of words, the first of them for none. Shape (words + 1, dim).
        width: numbers that each of the three parts gives.
    """

    def __init__(self, table: Floats, width: int = WIDTH) -> None:
        super().__init__()
        self.scale = float(1 / np.linalg.norm(table[1:], axis=1).mean())
        self.table = torch.from_numpy(table * np.float32(self.scale))
        self.project = nn.Linear(table.shape[1], width)
        self.single = nn.Linear(width, width)
        self.triple = nn.Conv1d(width, width, 3, padding=1)
        self.whole = nn.Linear(table.shape[1], width)
        self.out = nn.Linear(3 * width, 1)
        self.drop = nn.Dropout(0.4)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """What `Reader.read` gives, for many windows. Shape (windows, 3 * width)."""
        here = tokens > 0
        if self.training:
            here = here & (torch.rand(tokens.shape) > 0.1)
        mask = here.float()
        # A word that stands in many places of a batch is looked up once.
        kinds, places = torch.unique(tokens, return_inverse=True)
        words = functional.embedding(places, torch.relu(self.project(self.table[kinds]))) * mask[..., None]
        single = torch.relu(self.single(words)) * mask[..., None]
        padded, taps = functional.pad(words, (0, 0, 1, 1)), self.triple.weight
        rows_ = padded[:, :-2] @ taps[:, :, 0].T + padded[:, 1:-1] @ taps[:, :, 1].T + padded[:, 2:] @ taps[:, :, 2].T
        triple = torch.relu(rows_ + self.triple.bias) * mask[..., None]
        total = functional.embedding_bag(tokens, self.table, mode="sum", per_sample_weights=mask)
        meaning = functional.normalize(total, dim=1) * 8
        return torch.cat([single.amax(dim=1), triple.amax(dim=1), torch.relu(self.whole(meaning))], dim=1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-odds of a violation. Shape (windows,)."""
        found: torch.Tensor = self.out(self.drop(self.read(tokens)))
        return found[:, 0]


def joined(nets: Sequence[Net]) -> Net:
    """One network that gives the mean of several that read the same words."""
    made = Net(nets[0].table.numpy() / np.float32(nets[0].scale), width=len(nets) * WIDTH)
    with torch.no_grad():
        for name in ("project", "whole", "single", "triple"):
            bias = torch.cat([getattr(net, name).bias for net in nets])
            getattr(made, name).bias.copy_(bias)
        made.project.weight.copy_(torch.cat([net.project.weight for net in nets]))
        made.whole.weight.copy_(torch.cat([net.whole.weight for net in nets]))
        made.single.weight.copy_(torch.block_diag(*(net.single.weight for net in nets)))
        for tap in range(3):
            made.triple.weight[:, :, tap] = torch.block_diag(*(net.triple.weight[:, :, tap] for net in nets))
        out = torch.cat([net.out.weight.reshape(3, WIDTH) for net in nets], dim=1)
        made.out.weight.copy_(out.reshape(1, -1) / len(nets))
        made.out.bias.copy_(torch.stack([net.out.bias for net in nets]).mean(dim=0))
    return made.eval()


def _batches(some: Windows, chosen: NDArray[np.intp], rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Windows of about the same length together, in random order."""
    lengths = (some.tokens > 0).sum(axis=1)
    order = rng.permutation(chosen)
    stretches = [order[at : at + 20 * _BATCH] for at in range(0, len(order), 20 * _BATCH)]
    found = []
    for stretch in stretches:
        ordered = stretch[np.argsort(lengths[stretch], kind="stable")]
        found += [ordered[at : at + _BATCH] for at in range(0, len(ordered), _BATCH)]
    return [found[at] for at in rng.permutation(len(found))]


def fit_network(some: Windows, chosen: NDArray[np.intp], seed: int) -> Net:
    """Fit the network on the chosen windows; the word vectors stay as they are."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    net = Net(some.table)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    plans = [_batches(some, chosen, rng) for _ in range(ROUNDS)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2 * _RATE, total_steps=sum(map(len, plans)))
    wanted = torch.from_numpy(some.violation.astype(np.float32))
    weight = torch.from_numpy(some.weight)
    lengths = (some.tokens > 0).sum(axis=1)
    for plan in plans:
        for batch in plan:
            width = max(int(lengths[batch].max()), 1)
            found = net(torch.from_numpy(some.tokens[batch][:, :width]))
            loss = functional.binary_cross_entropy_with_logits(found, wanted[batch], weight=weight[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def seen(net: Net, some: Windows, table: Floats) -> Floats:
    """What the network reads of every window. Shape (windows, 3 * width)."""
    net.table = torch.from_numpy(table * np.float32(net.scale))
    lengths = (some.tokens > 0).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    found = np.zeros((len(order), net.out.in_features), dtype=np.float32)
    with torch.no_grad():
        for at in range(0, len(order), 128):
            part = order[at : at + 128]
            width = max(int(lengths[part].max()), 1)
            found[part] = net.read(torch.from_numpy(some.tokens[part][:, :width])).numpy()
    return found


def meanings(some: Windows) -> Floats:
    """The sum of each window's vectors, of unit length. Shape (windows, dim)."""
    total = np.stack([some.table[tokens[tokens > 0]].sum(axis=0) for tokens in some.tokens])
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def fit_linear(some: Windows, chosen: NDArray[np.intp]) -> LogisticRegression:
    """Fit the linear model on the chosen windows."""
    model = LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=30, tol=1e-2, random_state=0)
    return model.fit(some.x[chosen], some.violation[chosen], sample_weight=some.weight[chosen])


@dataclass(frozen=True, slots=True)
class Model:
    """All parts of the classifier."""

    linear: LogisticRegression
    net: Net
    context: context.Net

    def parts(self, some: Windows) -> Numbers:
        """The margins of each window, by part. Shape (3, windows)."""
        with torch.no_grad():
            network = self.net.out(torch.from_numpy(seen(self.net, some, some.table)))[:, 0].numpy()
        told = context.margins(self.context, *context.numbered(some.parts))
        return np.stack([self.linear.decision_function(some.x), network, told])

    def margins(self, some: Windows) -> Numbers:
        """The margin of each text: its highest window's, before any length is taken off. Shape (texts,)."""
        return highest(np.array(SHARES) @ self.parts(some), some)


def highest(margins: Numbers, some: Windows) -> Numbers:
    """The highest of each text's windows' margins. Shape (texts,)."""
    best = np.full(len(some.texts), -np.inf)
    np.maximum.at(best, some.owner, margins)
    return best


def begin(some: Windows, root: Path, seed: int) -> Begun:
    """Show the context reader what the sentence encoder says of the windows and of other texts."""
    sources = np.array([text.source for text in some.texts])
    return context.begin(some.parts, sources[some.owner], root, seed, partial(encoder.encoded, half=True))


def fit(some: Windows, keep: Flags, begun: Begun, seed: int) -> Model:
    """Fit all parts on the texts in `keep`, the linear one without those of the source `LATER`."""
    plain = keep & np.array([text.source != LATER for text in some.texts])
    chosen = keep[some.owner]
    nets = [fit_network(some, np.flatnonzero(chosen), seed + number) for number in range(NETS)]
    said, wrong, weight = begun.lesson.said[: len(chosen)][chosen], some.violation[chosen], some.weight[chosen]
    teachers = [context.taught(said, wrong, weight, seed + number) for number in range(context.TEACHERS)]
    told = context.fit(begun, chosen, teachers, seed)
    return Model(fit_linear(some, np.flatnonzero(plain[some.owner])), joined(nets), told)


def fit_kinds(net: Net, some: Windows) -> Floats:
    """Weights of each harm over what the network reads and the meaning. Shape (len(HARMS), 3 * width + dim + 1).

    The bias comes last. Harms count by the root of their number of rows, between each text alike and each harm alike.
    """
    harms = np.array([text.harm for text in some.texts])[some.owner]
    chosen = np.flatnonzero(np.isin(harms, HARMS))
    read = np.c_[seen(net, some, some.table)[chosen], meanings(some)[chosen]]
    answers = np.array([HARMS.index(harm) for harm in harms[chosen]])
    share = 1 / np.sqrt(np.bincount(answers, minlength=len(HARMS)))[answers]
    model = LogisticRegression(C=0.3, max_iter=1000).fit(read, answers, sample_weight=share / share.mean())
    return np.asarray(np.c_[model.coef_, model.intercept_], dtype=np.float32)


def arrays_of(
    model: Model, *, idf: Floats, kinds: Floats, scalars: Sequence[float]
) -> Mapping[str, NDArray[np.generic]]:
    """The arrays that ship; `scalars` are slope, offset and threshold."""
    net = model.net
    layers = {"project": net.project, "single": net.single, "whole": net.whole}
    arrays: dict[str, NDArray[np.generic]] = {
        "idf": idf.astype(np.float16),
        "slots": model.linear.coef_[0].astype(np.float16),
        "kinds": kinds,
        "scale": np.array([net.scale], dtype=np.float32),
        "triple": net.triple.weight.detach().numpy().transpose(2, 1, 0).copy(),
        "triple_bias": net.triple.bias.detach().numpy(),
        "out": np.append(net.out.weight.detach().numpy()[0], net.out.bias.detach().numpy()),
        "scalars": np.array([model.linear.intercept_[0], *SHARES, *scalars]),
    }
    for name, array in context.arrays(model.context).items():
        arrays[name] = array.astype(np.float16)
    for name, layer in layers.items():
        arrays[name] = layer.weight.detach().numpy().T.copy()
        arrays[f"{name}_bias"] = layer.bias.detach().numpy()
    return arrays
