"""`python -m training.vectors --data ../shared/data --out src/quorate/weights` boils an encoder down to a table.

It takes all-MiniLM-L6-v2 as a package (it works offline) and wordfreq's English word list. The other programs of this
folder only read the table, so this one runs seldom, and before them.
"""

import argparse
import random
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from quorate.models.local import features
from quorate.models.local.features import Floats
from quorate.models.local.vectors import Keys, gram_slots
from training.data import Matrix, rows
from training.encoder import encoded
from training.saving import save

WORDS = 45_000
"""Entries of the table, most frequent first."""
LEARNED = 70_000
"""Words that the n-grams are learned from: the table's and rarer ones."""
DIM = 256
RARE = 1e-2
"""The a of a / (a + p(word)), the weight of a word of frequency p; chosen on dev among 1e-4 to 1e-2."""
GRAMS = 8192
NEAR = 1.0
"""How strongly a word keeps to what the encoder says of it alone, against what it does in sentences (ridge)."""
SENTENCES = {"moderation": 6000, "threat": 3500, "scope": 3500}
"""Beginnings of training texts, without their labels, that show what words do in sentences."""
_SHOWN = 160
_ROUNDS = 25
RIDGE = 0.3
SEED = 1
_UNKNOWN = 0.7
"""What a word made of its parts counts beside a rare one of the table: it is more often wrong."""
_NUMBERS = ("7", "25", "340", "2019", "48213", "730154")

Named: TypeAlias = dict[str, tuple[str, float]]


def vocabulary(count: int) -> Named:
    """Normalised words with one spelling and the frequency of each, most frequent first."""
    from wordfreq import top_n_list, word_frequency

    found: Named = {}
    for word in top_n_list("en", 2 * count):
        parts = features.words(features.normalise(word))
        if len(parts) != 1 or "0" in parts[0]:
            continue
        spelling, frequency = found.get(parts[0], (word, 0.0))
        found[parts[0]] = (spelling, frequency + float(word_frequency(word, "en")))
        if len(found) >= count:
            break
    for number in _NUMBERS:
        found[features.normalise(number)] = (number, 1e-3)
    return dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0])))


def sentences(root: Path, seed: int) -> list[str]:
    """Beginnings of texts of all training sets; labels are not looked at."""
    rng = random.Random(seed)
    found: list[str] = []
    for name, count in SENTENCES.items():
        texts = sorted({row.text[:_SHOWN] for row in rows(root / name / "train.jsonl")})
        rng.shuffle(texts)
        found += texts[:count]
    return found


def directions(vectors: Floats, dim: int) -> Floats:
    """The `dim` directions of the greatest variance. Shape (numbers of a vector, dim)."""
    centred = vectors - vectors.mean(axis=0)
    kept = np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1][:, ::-1][:, :dim]
    # An eigenvector's sign is a toss-up; the largest number of each is made positive.
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(dim)])
    return np.asarray(kept, dtype=np.float32)


def fitted(shares: Matrix, start: Floats, target: Floats) -> tuple[float, Floats]:
    """Word vectors whose weighted means come nearest to what the encoder says of whole sentences.

    Least squares with a ridge towards the start, by conjugate gradients, all numbers of a vector at once. Shares go by
    rarity although the start has it in its lengths already: words that are common in the sentences come out longer
    than rarity alone would make them, and domain words ("order", "card") longest. Weighing once instead was measured
    and is no better (`docs/cards/vectors.md`).

    Args:
        shares: each word's share of a sentence. Shape (sentences, words).
        start: the words' weighted vectors. Shape (words, dim).
        target: the sentences' vectors, centred and turned. Shape (sentences, dim).

    Returns:
        The factor that brings the start to the sentences' scale, and the vectors.
    """
    means = shares @ start
    factor = float((means * target).sum() / (means * means).sum())
    rest = shares.T @ (target - factor * means)
    change, step, size = np.zeros_like(start), rest.copy(), (rest * rest).sum(axis=0)
    for _ in range(_ROUNDS):
        turned = shares.T @ (shares @ step) + NEAR * step
        length = size / np.maximum((step * turned).sum(axis=0), 1e-12)
        change += length * step
        rest -= length * turned
        last, size = size, (rest * rest).sum(axis=0)
        step = rest + size / np.maximum(last, 1e-12) * step
    return factor, np.asarray(factor * start + change, dtype=np.float32)


def shares_of(texts: list[str], places: dict[str, int], rarity: Floats) -> Matrix:
    """Each known word's share of each text, by rarity. Shape (len(texts), len(rarity))."""
    owners, found = [], []
    for number, text in enumerate(texts):
        known = [places[token] for token in features.words(features.normalise(text)) if token in places]
        owners += [number] * len(known)
        found += known
    weight = rarity[found]
    total = np.bincount(owners, weights=weight, minlength=len(texts))
    values = (weight / total[owners]).astype(np.float32)
    return sp.csr_matrix((values, (owners, found)), shape=(len(texts), len(rarity)))


def parts(words: list[str], vectors: Floats) -> Floats:
    """Vectors of character n-grams whose mean comes nearest to the words' vectors (ridge). Shape (GRAMS, dim)."""
    slots, owners = gram_slots(words, GRAMS)
    sizes = np.bincount(owners, minlength=len(words))
    x = sp.csr_matrix((1.0 / sizes[owners], (owners, slots)), shape=(len(words), GRAMS))
    inner = (x.T @ x).toarray() + RIDGE * np.eye(GRAMS)
    return np.asarray(np.linalg.solve(inner, x.T @ vectors), dtype=np.float32)


def bytes_of(vectors: Floats) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Each row as signed bytes and a scale. Shapes as `vectors`, and (len(vectors),)."""
    scales = np.maximum(np.abs(vectors).max(axis=1) / 127, 1e-4).astype(np.float16)
    rows = np.rint(vectors / scales.astype(np.float32)[:, None]).clip(-127, 127)
    return rows.astype(np.int8), scales


def keys_of(words: list[str]) -> Keys:
    """The words' hashes, as at run time. Shape (len(words),)."""
    return np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint32)


def table(named: Named, vectors: Floats, texts: list[str], said: Floats) -> dict[str, NDArray[np.generic]]:
    """The arrays that ship.

    Args:
        named: the vocabulary.
        vectors: what the encoder says of each word. Shape (len(named), 384).
        texts: sentences.
        said: what the encoder says of each sentence. Shape (len(texts), 384).
    """
    words = list(named)
    frequency = np.array([named[word][1] for word in words], dtype=np.float32)
    rarity = RARE / (RARE + frequency)
    kept = directions(vectors, DIM)
    turned = (vectors - vectors.mean(axis=0)) @ kept
    shipped = words[:WORDS]
    shares = shares_of(texts, {word: place for place, word in enumerate(shipped)}, rarity[:WORDS])
    factor, fit = fitted(shares, (turned * rarity[:, None])[:WORDS], (said - said.mean(axis=0)) @ kept)
    grams = parts(words, turned) * factor * _UNKNOWN
    keys, first = np.unique(keys_of(shipped), return_index=True)
    rows_, scales = bytes_of(fit[first])
    gram_rows, gram_scales = bytes_of(grams)
    return {"keys": keys, "rows": rows_, "scales": scales, "grams": gram_rows, "gram_scales": gram_scales}


def main() -> None:
    """Encode, reduce, fit, save."""
    parser = argparse.ArgumentParser(prog="python -m training.vectors", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled rows")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    named, texts = vocabulary(LEARNED), sentences(arguments.data, SEED)
    spelled = encoded([spelling for spelling, _ in named.values()])
    save(arguments.out, "vectors", table(named, spelled, texts, encoded(texts)))


if __name__ == "__main__":
    main()
