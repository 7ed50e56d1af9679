"""Fits the threat classifier's network with torch; `quorate.models.local.phrases.Network` runs it without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from quorate.models.local import features
from quorate.models.local.features import Floats, Lexicon
from quorate.models.local.phrases import LONGEST, TAPS
from quorate.models.local.vectors import Vectors

Numbers = NDArray[np.float64]
Tokens = NDArray[np.int32]
WIDTH = 64
HIDDEN = 48
EPOCHS = 5
EXAMPLES = 9000
"""Windows drawn in an epoch."""
BATCH = 64
RATE = 2e-3
DECAY = 0.02
SPLICED = 0.35
"""Share of windows that get a piece of an honest one before or behind them, as attacks in long texts have."""
DROPPED = 0.15
SMOOTHING = 0.03
_REACH = max(taps[-1] for taps in TAPS)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of all windows: their vectors and the ideas they hint at, by number; 0 is no word."""

    vectors: Floats
    ideas: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Example:
    """One text: its windows as numbers of words, whether it attacks, and how likely it is drawn."""

    windows: list[Tokens]
    attack: bool
    share: float


class Vocabulary:
    """Gives numbers to words as they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}

    def tokens(self, window: str) -> Tokens:
        """The numbers of a window's words."""
        words = features.words(features.normalise(window))[:LONGEST]
        return np.array([self._numbers.setdefault(word, len(self._numbers)) for word in words] or [0], dtype=np.int32)

    def words(self, table: Vectors, lexicon: Lexicon) -> Words:
        """What the network knows about every word met so far."""
        names = list(self._numbers)
        vectors = np.zeros((len(names), table.dim), dtype=np.float32)
        for low in range(1, len(names), 2000):
            vectors[low : low + 2000] = table.words(names[low : low + 2000])
        ideas = np.array([0, *(lexicon.idea(name) for name in names[1:])], dtype=np.int64)
        return Words(vectors, ideas)


class _Tops(torch.autograd.Function):
    """The highest value of each convolution over all places of a row. Shape (rows, len(TAPS) * WIDTH).

    The gradient goes through the highest places alone, so it is gathered there: half the time of `nn.Conv1d` and a max.
    """

    @staticmethod
    def forward(ctx: Any, read: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
        """Of words, shape (rows, places, WIDTH), and the taps side by side, shape (WIDTH, taps * WIDTH)."""
        rows, places, width = read.shape
        seen = (read.reshape(rows * places, width) @ taps).view(rows, places, -1)
        tops, where, at = [], [], 0
        for offsets in TAPS:
            low, high = at, at + len(offsets)
            count = places - offsets[-1]
            pieces = [
                seen[:, offset : offset + count, tap * width : (tap + 1) * width]
                for offset, tap in zip(offsets, range(low, high), strict=True)
            ]
            best, place = sum(pieces[1:], pieces[0]).max(1)
            tops.append(best)
            where.append(place)
            at = high
        ctx.save_for_backward(read, taps, *where)
        return torch.cat(tops, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of the words and of the taps."""
        read, taps, *where = ctx.saved_tensors
        rows, places, width = read.shape
        flat = read.reshape(rows * places, width)
        first = (torch.arange(rows) * places)[:, None]
        back, learned, at = torch.zeros_like(flat), [], 0
        for number, offsets in enumerate(TAPS):
            grad = grads[0][:, number * width : (number + 1) * width, None]
            for offset in offsets:
                chosen = (first + where[number] + offset).reshape(-1)
                learned.append((flat[chosen].view(rows, width, width) * grad).sum(0).T)
                back.index_add_(0, chosen, (grad * taps[:, at * width : (at + 1) * width].T).reshape(-1, width))
                at += 1
        return back.view_as(read), torch.cat(learned, 1)


class Net(nn.Module):
    """The network; numbers of words in, log-odds out."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(words.vectors))
        self.register_buffer("ideas_of", torch.from_numpy(words.ideas))
        self.project = nn.Linear(words.vectors.shape[1], WIDTH)
        self.ideas = nn.Embedding(int(words.ideas.max()) + 1, WIDTH)
        nn.init.normal_(self.ideas.weight, std=0.1)
        bounds = [(WIDTH * len(taps)) ** -0.5 for taps in TAPS for _ in taps]
        self.taps = nn.Parameter(torch.cat([torch.empty(WIDTH, WIDTH).uniform_(-one, one) for one in bounds], 1))
        self.bias = nn.Parameter(torch.zeros(len(TAPS) * WIDTH))
        self.hidden = nn.Linear((len(TAPS) + 1) * WIDTH, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)
        self.few, self.many = nn.Dropout(0.2), nn.Dropout(0.35)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-odds of each row. Shape (rows,)."""
        kinds, places = torch.unique(tokens, return_inverse=True)
        known = (kinds != 0)[:, None]
        ideas = self.ideas_of[kinds]
        hinted = torch.where((ideas != 0)[:, None], self.ideas(ideas), 0.0)
        table = self.few(torch.where(known, self.project(self.vectors[kinds]) + hinted, 0.0))
        read = functional.embedding(places, table)
        count = (tokens != 0).sum(1, keepdim=True).clamp(min=1)
        tops = torch.relu(_Tops.apply(read, self.taps) + self.bias)  # type: ignore[no-untyped-call]
        seen = torch.cat([tops, read.sum(1) / count.sqrt()], 1)
        found: torch.Tensor = self.out(self.many(torch.relu(self.hidden(self.many(seen)))))
        return found.squeeze(1)


def padded(rows: Sequence[Tokens]) -> torch.Tensor:
    """The rows side by side, with places of no word before and behind: a convolution may stand on any of its taps."""
    made = np.zeros((len(rows), max(map(len, rows)) + 2 * _REACH + 1), dtype=np.int64)
    for number, row in enumerate(rows):
        made[number, _REACH : _REACH + len(row)] = row
    return torch.from_numpy(made)


@torch.no_grad()
def margins(net: Net, rows: Sequence[Tokens]) -> Numbers:
    """Log-odds of many windows. Shape (len(rows),)."""
    net.eval()
    order = np.argsort([len(row) for row in rows], kind="stable")
    found = np.zeros(len(rows))
    for low in range(0, len(order), 256):
        some = order[low : low + 256]
        found[some] = net(padded([rows[at] for at in some])).numpy()
    return found


def fit(words: Words, examples: Sequence[Example], seed: int) -> Net:
    """Fit on texts drawn by their shares. Of an attack's windows mostly the one that looks most like one is shown."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    net = Net(words)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (EXAMPLES // BATCH) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.15)
    share = np.array([one.share for one in examples])
    honest = [one.windows for one in examples if not one.attack]
    best: dict[int, int] = {}
    for epoch in range(EPOCHS):
        if epoch:
            best = _best(net, examples)
        drawn = rng.choice(len(examples), size=EXAMPLES // BATCH * BATCH, p=share / share.sum())
        net.train()
        for batch in _batches(drawn, examples, rng):
            rows = [_shown(examples[at], best.get(at), honest, rng) for at in batch]
            wanted = torch.tensor([float(examples[at].attack) for at in batch]) * (1 - 2 * SMOOTHING) + SMOOTHING
            loss = functional.binary_cross_entropy_with_logits(net(padded(rows)), wanted)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return net


def _batches(drawn: NDArray[np.int64], examples: Sequence[Example], rng: np.random.Generator) -> list[list[int]]:
    """Texts of about the same length together, the batches in random order."""
    found: list[list[int]] = []
    for low in range(0, len(drawn), BATCH * 16):
        some = drawn[low : low + BATCH * 16]
        order = np.argsort([len(examples[at].windows[0]) for at in some], kind="stable")
        found += [some[order[at : at + BATCH]].tolist() for at in range(0, len(some), BATCH)]
    rng.shuffle(found)  # type: ignore[arg-type]
    return found


def _best(net: Net, examples: Sequence[Example]) -> dict[int, int]:
    """The window of each attack of several that looks most like one."""
    several = [at for at, one in enumerate(examples) if one.attack and len(one.windows) > 1]
    scores = margins(net, [window for at in several for window in examples[at].windows])
    found, low = {}, 0
    for at in several:
        high = low + len(examples[at].windows)
        found[at] = int(np.argmax(scores[low:high]))
        low = high
    return found


def _shown(one: Example, best: int | None, honest: Sequence[list[Tokens]], rng: np.random.Generator) -> Tokens:
    """A window as the network gets to see it: spliced, with words left out."""
    told = best is not None and rng.random() < 0.85
    window = one.windows[best if told and best is not None else int(rng.integers(len(one.windows)))]
    if rng.random() < SPLICED and len(window) < LONGEST - 26:
        other = honest[int(rng.integers(len(honest)))]
        piece = other[int(rng.integers(len(other)))][: int(rng.integers(3, LONGEST - len(window)))]
        window = np.concatenate([piece, window] if rng.random() < 0.5 else [window, piece])
    if rng.random() < 0.6:
        kept = rng.random(len(window)) >= DROPPED
        window = window[kept] if kept.any() else window
    return window[:LONGEST]


def arrays(net: Net) -> dict[str, Floats]:
    """The weights as `quorate.models.local.phrases.Network` takes them."""

    def plain(tensor: torch.Tensor) -> Floats:
        return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)

    ideas = plain(net.ideas.weight)
    ideas[0] = 0.0
    return {
        "project": plain(net.project.weight).T.copy(),
        "project_bias": plain(net.project.bias),
        "ideas": ideas,
        "taps": plain(net.taps),
        "bias": plain(net.bias),
        "hidden": plain(net.hidden.weight).T.copy(),
        "hidden_bias": plain(net.hidden.bias),
        "out": plain(net.out.weight)[0],
        "out_bias": plain(net.out.bias),
    }
