"""Whether a message goes on with what was said before, or drifts off behind a legitimate opener."""

import math
from collections.abc import Sequence

import numpy as np

from quorate.models.local import features
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors

FOLLOWS = ("alone", "length", "refers", "tasks", "likeness", "covered", "brought", "asked")
"""What `follow_signals` gives, in this order."""

_REFERS = frozenset(
    features.words(
        "it its that this these those they them then there one ones same else again still instead yet already both"
        " either too mine yours you your we our my i me he she his her"
    )
)
_TASKS = frozenset(
    features.words(
        "write compose code program script poem story essay song translate explain summarise summarize recommend"
        " draft invent generate create design pretend roleplay act play tell teach solve list name convert plan"
        " recipe joke poetry lyrics homework python javascript sql regex function calculate rank describe imagine"
        " simulate debug continue prove who history invented capital favourite"
    )
)
_OPENS = frozenset(
    features.words("ok okay thanks thank great good fine cool nice perfect and also now next right sure")
)
_WIDEST = 8.0


def follow_signals(text: str, context: str, *, alone: float, vectors: Vectors) -> Floats:
    """The evidence that a message drifts off, in the order of `FOLLOWS`. Shape (len(FOLLOWS),).

    Args:
        text: the message.
        context: the exchange that it follows.
        alone: how far out of scope it is when nothing comes before it, in log-odds.
        vectors: the word vectors.
    """
    tokens = features.words(features.normalise(text))[:400]
    before = features.words(features.normalise(context))[-200:]
    said = [token for token in tokens if token not in _OPENS]
    own, theirs = vectors.words(said), vectors.words(before)
    lengths = np.asarray(np.linalg.norm(own, axis=1), dtype=np.float32)
    others = np.asarray(np.linalg.norm(theirs, axis=1), dtype=np.float32)
    brought, covered = 0.0, 1.0
    if said and before:
        near = (_unit(own, lengths) @ _unit(theirs, others).T).max(axis=1)
        weight = float(lengths.sum()) or 1.0
        covered = float(lengths @ near) / weight
        # Long vectors are rare words. What is rare and unlike all that was said is a topic of its own.
        brought = float((lengths * np.maximum(0.7 - near, 0.0)).sum()) / (float(others.mean()) or 1.0)
    return np.array(
        [
            max(-_WIDEST, min(_WIDEST, alone)),
            math.log1p(len(tokens)),
            _share(said, _REFERS),
            min(sum(token in _TASKS for token in tokens), 3),
            float(vectors.pooled(said) @ vectors.pooled(before)),
            covered,
            math.log1p(brought),
            float("?" in text),
        ],
        dtype=np.float32,
    )


def _unit(rows: Floats, lengths: Floats) -> Floats:
    return np.asarray(rows / np.maximum(lengths, 1e-9)[:, None], dtype=np.float32)


def _share(tokens: Sequence[str], known: frozenset[str]) -> float:
    return sum(token in known for token in tokens) / len(tokens) if tokens else 1.0
