"""`python -m training.sense --data ../shared/data --out src/quorate/weights` teaches one layer what an encoder says.

It reads the word vectors (`training.vectors`) and is read by the scope check (`training.scope`), so it runs after the
one and before the other. What runs is `quorate.models.local.sense.Sense`.
"""

import argparse
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from quorate.models.local import features
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Vectors
from training import context, data, encoder
from training.own import scope as own
from training.saving import save

SHAPE = context.Shape(width=128, wide=256, layers=1)
DIM = 128
"""Directions that are kept: three quarters of the variance of the encoder's vectors, nine tenths of words' sums."""
ROUNDS = 8
COMMENTS = 6000
"""Texts of the moderation set among those that are shown."""
SEED = 7
_SHOWN, _QUESTION = 320, 400


def texts(root: Path) -> list[str]:
    """Questions, small talk, help centres and comments, without their labels; each once."""
    scope = {row.text[:_QUESTION] for row in data.rows(root / "scope" / "train.jsonl")}
    scope |= {row.text for row in data.rows(root / "scope" / "neutral_smalltalk.jsonl")}
    scope |= {text for one in own.topics() for text in one.texts}
    scope |= {text for one in own.companies() for text in (*one.help, *one.questions, *one.near)}
    comments = [row.text[:_SHOWN] for row in data.rows(root / "moderation" / "train.jsonl")]
    scope |= set(random.Random(1).sample(comments, COMMENTS))
    return sorted(text for text in scope if text.strip())


def directions(rows: Floats) -> Floats:
    """The `DIM` directions in which rows are largest. Shape (numbers, DIM)."""
    turned = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :DIM]
    return np.ascontiguousarray(turned, dtype=np.float32)


def turn(shown: list[str]) -> Floats:
    """What keeps of the sums of words' vectors what matters most among texts. Shape (Vectors.dim, DIM)."""
    return directions(Vectors.load().summed([features.words(features.normalise(text)) for text in shown]))


def main() -> None:
    """Encode, reduce, teach, save."""
    parser = argparse.ArgumentParser(prog="python -m training.sense", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled rows")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    shown = texts(arguments.data)
    nobody = np.full(len(shown), "")
    lesson = context.lesson(shown, nobody, arguments.data, SEED, partial(encoder.encoded, half=True), questions=0)
    said = lesson.said - lesson.said.mean(axis=0)
    said = said @ directions(said)
    net = context.shown(replace(lesson, said=said / said.std()), SHAPE, rounds=ROUNDS, seed=SEED)
    arrays = context.arrays(net, heads=False)
    arrays |= {"tell": net.told.weight.detach().numpy().T, "tell_bias": net.told.bias.detach().numpy()}
    arrays["turn"] = turn(shown)
    save(arguments.out, "sense", {name: array.astype(np.float16) for name, array in arrays.items()})


if __name__ == "__main__":
    main()
