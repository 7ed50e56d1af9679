"""Teaches a small transformer what a sentence encoder, and a classifier over it, say of windows.

First the transformer learns, without any label, what the encoder says of texts. Then either small networks learn the
labels from what it reads (`crowned`; threat), or it learns, from such networks over what the encoder says, how likely
each text is bad, on texts without labels too (`fit`; moderation; after Hinton, Vinyals and Dean 2015, "Distilling the
knowledge in a neural network"). What runs is `quorate.models.local.context`.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from quorate.models.local import features
from quorate.models.local.context import HEADS, LONGEST, PREFIX
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors
from training import data

HIDDEN = 64
PIECES = 45_000
"""Pieces of training texts, of 1 to `_PIECE` words, that are shown beside them."""
QUESTIONS = 8000
"""Texts of each file of the scope set that are shown, without their labels."""
ROUNDS, LAST_ROUNDS = 4, 3
TEACHERS = 2
_HEAD = 128
_PIECE = 14
_BATCH = 128
_SHOWN = 320
_RATE, _LAST_RATE = 2e-3, 1e-3

Flags = NDArray[np.bool_]
Places = NDArray[np.intp]
Say = Callable[[list[str]], Floats]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a transformer: numbers that say a word, numbers between its layers' two linear maps, and layers."""

    width: int = 128
    wide: int = 384
    layers: int = 3


@dataclass(frozen=True, slots=True)
class Lesson:
    """Texts that the transformer learns from, those with labels first.

    Attributes:
        tokens: numbers of each text's words in `table`, 1 word at least; 0 is no word.
        table: the words' vectors, the first of them for none. Shape (words + 1, dim).
        said: what the encoder says of each text. Shape (texts, numbers).
        source: where each text is from; "" if from no source that is ever left out.
        labelled: how many of the texts have labels.
    """

    tokens: list[NDArray[np.int64]]
    table: Floats
    said: Floats
    source: NDArray[np.str_]
    labelled: int


def lesson(
    windows: Sequence[str], sources: NDArray[np.str_], root: Path, seed: int, say: Say, *, questions: int = QUESTIONS
) -> Lesson:
    """The windows of the labelled texts, pieces of them, and questions of the scope set, and what is said of them."""
    rng = random.Random(seed)
    texts, whose = list(windows), list(sources)
    for _ in range(PIECES):
        at = rng.randrange(len(windows))
        words = windows[at].split()
        size = rng.randint(1, min(len(words), _PIECE)) if words else 0
        low = rng.randint(0, len(words) - size)
        texts.append(" ".join(words[low : low + size]))
        whose.append(sources[at])
    for name in ("train", "neutral_smalltalk"):
        some = sorted({row.text[:_SHOWN] for row in data.rows(root / "scope" / f"{name}.jsonl")})
        texts += rng.sample(some, min(questions, len(some)))
        whose += [""] * (len(texts) - len(whose))
    tokens, table = numbered(texts)
    return Lesson(tokens, table, say(texts), np.array(whose), len(windows))


def numbered(texts: Sequence[str]) -> tuple[list[NDArray[np.int64]], Floats]:
    """Numbers of the words of each text, and the words' vectors. Shape of these (words + 1, dim)."""
    known: dict[str, int] = {}
    tokens = []
    for text in texts:
        words = features.words(features.normalise(text))[:LONGEST]
        tokens.append(np.array([known.setdefault(word, len(known) + 1) for word in words] or [0], dtype=np.int64))
    table = Vectors.load()
    rows, names = [np.zeros((1, table.dim), np.float32)], list(known)
    rows += [table.words(names[low : low + 2000]) for low in range(0, len(names), 2000)]
    return tokens, np.concatenate(rows)


class _Layer(nn.Module):
    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.tell = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, words: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        rows, count, width = words.shape
        asked = self.ask(self.first(words)).view(rows, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        told = functional.scaled_dot_product_attention(asked[0], asked[1], asked[2], attn_mask=here)
        words = words + self.tell(told.transpose(1, 2).reshape(rows, count, width))
        found: torch.Tensor = words + self.narrow(torch.relu(self.widen(self.second(words))))
        return found


class Net(nn.Module):
    """`quorate.models.local.context.Reader` and what stands on it, for training.

    Args:
        table: vectors of words, the first of them for none. Shape (words + 1, dim).
        said: numbers that the encoder gives.
        shape: of the transformer.
    """

    def __init__(self, table: Floats, said: int, shape: Shape = Shape()) -> None:
        super().__init__()
        self.scale = float(1 / np.linalg.norm(table[1:], axis=1).mean())
        self.show(table)
        self.width = width = shape.width
        self.project = nn.Linear(table.shape[1], width)
        self.places = nn.Parameter(torch.randn(LONGEST, width) * 0.02)
        self.layers = nn.ModuleList(_Layer(width, shape.wide) for _ in range(shape.layers))
        self.last = nn.LayerNorm(width)
        self.told = nn.Linear(2 * width, said)
        self.hidden, self.out = nn.Linear(2 * width, HIDDEN), nn.Linear(HIDDEN, 1)

    def show(self, table: Floats) -> None:
        """Read words of another table from now on."""
        self.table = torch.from_numpy(table * np.float32(self.scale))

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """The mean and the highest of what the words of many windows say. Shape (windows, 2 * width)."""
        here = tokens > 0
        if self.training:
            here = here & (torch.rand(tokens.shape) > 0.05)
        # A text without a word is read as one word of no meaning.
        here[:, 0] = True
        kinds, places = torch.unique(tokens, return_inverse=True)
        words = functional.embedding(places, self.project(self.table[kinds])) + self.places[: tokens.shape[1]]
        for layer in self.layers:
            words = layer(words, here[:, None, None, :])
        words, mask = self.last(words), here[..., None]
        mean = (words * mask).sum(1) / mask.sum(1)
        return torch.cat([mean, words.masked_fill(~mask, -9.0).amax(1)], dim=1)

    def margin(self, read: torch.Tensor) -> torch.Tensor:
        """Log-odds that a window is bad, from what was read. Shape (windows,)."""
        found: torch.Tensor = self.out(torch.relu(self.hidden(read)))
        return found[:, 0]


@dataclass(frozen=True, slots=True)
class Begun:
    """What the transformer learns from, and what it is before it learns of labels."""

    lesson: Lesson
    net: Net


def begin(windows: Sequence[str], sources: NDArray[np.str_], root: Path, seed: int, say: Say) -> Begun:
    """A net that knows what the encoder says of the windows of labelled texts and of other texts; no label.

    Each number that the encoder says counts the same: they have mean 0 and variance 1 in the lesson.
    """
    some = lesson(windows, sources, root, seed, say)
    said = (some.said - some.said.mean(axis=0)) / (some.said.std(axis=0) + 1e-5)
    some = replace(some, said=said)
    return Begun(some, shown(some, Shape(), seed=seed))


def shown(some: Lesson, shape: Shape, *, rounds: int = ROUNDS, seed: int) -> Net:
    """A net that learned what the encoder says of all texts of a lesson."""
    torch.manual_seed(seed)
    net = Net(some.table, some.said.shape[1], shape)
    _learn(net, some, np.arange(len(some.tokens)), rate=_RATE, rounds=rounds, seed=seed, wanted=None)
    return net


class Head(nn.Module):
    """A small network over what was read of a text; gives its log-odds of being bad."""

    def __init__(self, read: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(read, _HEAD), nn.Linear(_HEAD, 1)

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        """Log-odds. Shape (texts,)."""
        some = functional.dropout(read, 0.25, self.training)
        some = functional.dropout(torch.relu(self.hidden(some)), 0.5, self.training)
        found: torch.Tensor = self.out(some)[:, 0]
        return found

    def margins(self, read: Floats) -> Floats:
        """Log-odds of texts of which so much was read. Shape (texts, numbers) to (texts,)."""
        with torch.no_grad():
            found: Floats = self(torch.from_numpy(read)).numpy()
        return found


def taught(read: Floats, wrong: Flags, weight: Floats, seed: int) -> Head:
    """A network that learned the labels of windows from what was read of them.

    Args:
        read: each number with mean 0 and variance 1. Shape (windows, numbers).
        wrong: whether each window is bad. Shape (windows,).
        weight: what each counts. Shape (windows,).
        seed: for its start and the order of windows.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    head = Head(read.shape[1])
    x, answers = torch.from_numpy(read), torch.from_numpy(wrong.astype(np.float32))
    share = torch.from_numpy(weight)
    rounds, batch = 8, 256
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=rounds * -(-len(x) // batch))
    for some in (some for _ in range(rounds) for some in torch.randperm(len(x)).split(batch)):
        loss = functional.binary_cross_entropy_with_logits(head(x[some]), answers[some], weight=share[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head.eval()


def seen(net: Net, tokens: Sequence[NDArray[np.int64]]) -> Floats:
    """What the net reads of each window. Shape (len(tokens), 2 * width)."""
    order = np.argsort([len(row) for row in tokens], kind="stable")
    found = np.zeros((len(tokens), 2 * net.width), dtype=np.float32)
    with torch.no_grad():
        for low in range(0, len(order), _BATCH):
            some = order[low : low + _BATCH]
            found[some] = net.read(padded([tokens[at] for at in some])).numpy()
    return found


def crowned(net: Net, heads: Sequence[Head], centre: Floats, spread: Floats) -> Net:
    """The net with heads on it, whose margins' mean is its own.

    Args:
        net: a net; it is not changed.
        heads: learned from what it reads, less the centre, by the spread.
        centre: mean of what it reads. Shape (2 * width,).
        spread: deviation of what it reads. Shape (2 * width,).
    """
    found = copy.deepcopy(net)
    hidden = torch.cat([head.hidden.weight for head in heads]) / torch.from_numpy(spread)
    bias = torch.cat([head.hidden.bias for head in heads]) - hidden @ torch.from_numpy(centre)
    out = torch.cat([head.out.weight for head in heads], dim=1) / len(heads)
    found.hidden, found.out = nn.Linear(*hidden.T.shape), nn.Linear(len(bias), 1)
    with torch.no_grad():
        for layer, weight, constant in (
            (found.hidden, hidden, bias),
            (found.out, out, torch.stack([head.out.bias for head in heads]).mean(dim=0)),
        ):
            layer.weight.copy_(weight)
            layer.bias.copy_(constant)
    return found


def fit(begun: Begun, keep: Flags, teachers: Sequence[Head], seed: int) -> Net:
    """A net that says what teachers say who learned the labels of the windows in `keep`.

    Args:
        begun: what `begin` gave; it is not changed.
        keep: labelled windows to learn from; of sources without any such no piece is shown either.
        teachers: from `taught`; the mean of their log-odds is what is learned.
        seed: for the order of texts.
    """
    some = begun.lesson
    torch.manual_seed(seed)
    net = Net(some.table, some.said.shape[1])
    net.load_state_dict(begun.net.state_dict())
    chosen = np.flatnonzero(keep)
    shown = np.flatnonzero(np.isin(some.source, np.unique(some.source[chosen])) | (some.source == ""))
    shown = np.concatenate([chosen, shown[shown >= some.labelled]])
    wanted = np.mean([teacher.margins(some.said) for teacher in teachers], axis=0, dtype=np.float32)
    _learn(net, some, shown, rate=_LAST_RATE, rounds=LAST_ROUNDS, seed=seed, wanted=wanted)
    return net


def _learn(
    net: Net, some: Lesson, shown: Places, *, rate: float, rounds: int, seed: int, wanted: Floats | None
) -> None:
    """Fit to what the encoder says, and to the log-odds that are wanted, if any."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    lengths = np.array([len(tokens) for tokens in some.tokens])
    plans = [list(_batches(shown, lengths, rng)) for _ in range(rounds)]
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=sum(map(len, plans)), pct_start=0.1)
    net.train()
    for batch in (batch for plan in plans for batch in plan):
        read = net.read(padded([some.tokens[at] for at in batch]))
        loss = functional.mse_loss(net.told(read), torch.from_numpy(some.said[batch]))
        if wanted is not None:
            odds, told = net.margin(read), torch.from_numpy(wanted[batch])
            loss = 0.3 * loss + 0.5 * functional.smooth_l1_loss(odds, told)
            loss = loss + 2 * functional.binary_cross_entropy_with_logits(odds, torch.sigmoid(told))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    net.eval()


def _batches(shown: Places, lengths: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Places]:
    """Texts of about the same length together, in random order."""
    order = rng.permutation(shown)
    found = []
    for low in range(0, len(order), 24 * _BATCH):
        some = order[low : low + 24 * _BATCH]
        some = some[np.argsort(lengths[some], kind="stable")]
        found += [some[at : at + _BATCH] for at in range(0, len(some), _BATCH)]
    return (found[at] for at in rng.permutation(len(found)))


def padded(rows: Sequence[NDArray[np.int64]]) -> torch.Tensor:
    """The rows side by side, 0 where a row has ended. Shape (len(rows), the longest)."""
    found = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for at, row in enumerate(rows):
        found[at, : len(row)] = torch.from_numpy(row)
    return found


def margins(net: Net, tokens: Sequence[NDArray[np.int64]], table: Floats) -> Floats:
    """Log-odds of each window, whose words have the vectors of this table. Shape (len(tokens),)."""
    net.show(table)
    with torch.no_grad():
        found: Floats = net.margin(torch.from_numpy(seen(net, tokens))).numpy()
    return found


def arrays(net: Net, *, heads: bool = True) -> dict[str, Floats]:
    """The weights as `Context`, or without heads `Reader`, takes and names them.

    Scales, gains and their biases are folded into what they act on.
    """
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {
        "project": (net.project.weight.T * net.scale, net.project.bias),
        "gain": (net.last.weight, net.last.bias),
    }
    if heads:
        pairs |= {"hidden": (net.hidden.weight.T, net.hidden.bias), "out": (net.out.weight[0], net.out.bias)}
    for number, layer in enumerate(net.layers):
        ask, bias = _folded(layer.first, layer.ask)
        size = torch.ones(3 * net.width)
        size[: net.width] = (net.width // HEADS) ** -0.5
        pairs[f"ask{number}"] = ask * size, bias * size
        pairs[f"tell{number}"] = layer.tell.weight.T, layer.tell.bias
        pairs[f"widen{number}"] = _folded(layer.second, layer.widen)
        pairs[f"narrow{number}"] = layer.narrow.weight.T, layer.narrow.bias
    found = {"places": _plain(net.places)}
    for name, (weight, bias) in pairs.items():
        found[name], found[f"{name}_bias"] = _plain(weight), _plain(bias)
    return {f"{PREFIX}{name}": array for name, array in found.items()}


def _folded(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    weight = layer.weight.T
    return norm.weight[:, None] * weight, norm.bias @ weight + layer.bias


def _plain(tensor: torch.Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
