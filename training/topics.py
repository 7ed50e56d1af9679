"""Learns what each topic is asked about like, and which topics are a company's matter."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.linear_model import LogisticRegression

from quorate.models.local import features
from quorate.models.local.company import Grams, sentences
from quorate.models.local.features import Floats
from quorate.models.local.sense import Sense
from quorate.models.local.topics import CLUES, Topics, packed
from training.own import scope as own

MATTERS: dict[str, tuple[str, ...]] = {
    "bank": ("bank",),
    "travel": ("travel",),
    "shop": ("shop",),
    "brook-mobile": ("telecom",),
    "oakshield": ("insurance",),
    "ironleaf": ("gym and sport clubs",),
    "marquee": ("streaming and games",),
    "ladle": ("restaurant and food delivery",),
    "voltaire-energy": ("energy",),
    "tern-travel": ("travel",),
    "harbour-rooms": ("travel: at the hotel", "travel: hotels to book"),
    "pedalo": ("travel: car rental",),
    "whitecliff-dental": ("health",),
    "taskfern": ("software and web hosting support",),
    "nimbus-hosting": ("software and web hosting support",),
    "fable-and-spine": ("shop",),
    "lindenmoor": ("bank",),
    "swiftcrate": ("parcels", "shop: where is my order", "shop: delivery options", "shop: delivery went wrong"),
    "paws-pantry": ("shop",),
    "open-quill": ("library and education providers",),
    "gasket-garage": ("cars",),
    "cedar-library": ("library and education providers",),
    "stagedoor": ("events and tickets",),
    "green-cross": ("health",),
    "keystone-homes": ("property and renting",),
}
"""The trades or topics of every company that training knows."""
_RIDGE = 1.0
_FOREIGN = 0.5
"""What a text of the data, which is of no topic, counts beside a written one."""
_TELLING = 3

Texts = tuple[str, Sequence[str], Sequence[str]]
Numbers = NDArray[np.float64]


class Learner:
    """Learns topics, once for every way of weighing words and every trade that is to stay unknown.

    Args:
        sense: what texts mean.
        foreign: texts of the data that are no company's matter.
    """

    def __init__(self, sense: Sense, foreign: Sequence[str]) -> None:
        self._sense, self._foreign = sense, foreign

    def learn(
        self, idf: Floats, companies: Mapping[str, Sequence[Texts]], *, without: str = ""
    ) -> dict[str, NDArray[np.generic]]:
        """The arrays for `Topics`.

        Args:
            idf: how rare a slot is. Shape (features.SIZE,).
            companies: texts of companies to learn membership from, by name.
            without: a trade that nobody wrote about.
        """
        topics = [one for one in own.topics() if one.trade != without]
        names = [one.name for one in topics]
        texts = [text for one in topics for text in one.texts] + list(self._foreign)
        whose = np.repeat(np.arange(len(topics)), [len(one.texts) for one in topics])
        about = np.zeros((len(texts), len(topics)))
        about[np.arange(len(whose)), whose] = 1.0
        weights = np.r_[np.ones(len(whose)), np.full(len(self._foreign), _FOREIGN)]
        grams = [Grams.of(text, idf) for text in texts]
        table = _table([one.words for one in grams])
        slots = np.unique(table.indices)
        small = table[:, slots]
        words, word_bias = _by_texts(small, about, weights)
        sense, sense_bias = _by_columns(self._sense.each([one.tokens for one in grams]), about, weights)
        models = {"words": words, "sense": sense, "biases": np.stack([word_bias, sense_bias])}
        blank = Topics(packed(names, slots, **models, clues=np.zeros(len(CLUES) + 1, np.float32)))
        clues = self._membership(blank, idf, companies)
        return packed(names, slots, **models, clues=clues)

    def _membership(self, topics: Topics, idf: Floats, companies: Mapping[str, Sequence[Texts]]) -> Floats:
        """Factors of `CLUES`, the bias last."""
        rows, answers = [], []
        for name, setups in companies.items():
            for description, sections, examples in setups:
                parts = dict.fromkeys(
                    (*examples, description, *(part for text in sections for part in sentences(text)))
                )
                grams = [one for one in (Grams.of(text, idf) for text in parts) if len(one.tokens) >= _TELLING]
                near = topics.near([one.words for one in grams], self._sense.each([one.tokens for one in grams]))
                told = Grams.of(description, idf)
                rows.append(topics.clues(near, topics.near([told.words], self._sense.each([told.tokens]))[0]))
                answers += [
                    topic in MATTERS[name] or topic.partition(": ")[0] in MATTERS[name] for topic in topics.names
                ]
        x = np.concatenate(rows)
        mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        model = LogisticRegression(C=1.0).fit((x - mean) / spread, np.array(answers))
        factors = model.coef_[0] / spread
        return np.asarray(np.r_[factors, model.intercept_[0] - factors @ mean], dtype=np.float32)


def _table(rows: Sequence[tuple[NDArray[np.uint32], Floats]]) -> sp.csr_matrix:
    ends = np.cumsum([0, *(len(slots) for slots, _ in rows)])
    columns = np.concatenate([slots for slots, _ in rows]).astype(np.int64)
    values = np.concatenate([values for _, values in rows])
    return sp.csr_matrix((values, columns, ends), shape=(len(rows), features.SIZE))


def _by_texts(rows: sp.csr_matrix, about: Numbers, weights: Numbers) -> tuple[Floats, Floats]:
    """Ridge regression by way of the texts' kernel, where there are more columns than texts; weights, then biases.

    A constant column beside the others is a bias that is drawn to nought as they are.
    """
    wide = np.asarray((rows @ rows.T).todense(), dtype=np.float32) + 1.0
    wide[np.diag_indices_from(wide)] += (_RIDGE / weights).astype(np.float32)
    found = cho_solve(cho_factor(wide, overwrite_a=True), about.astype(np.float32))
    return np.asarray(rows.T @ found, dtype=np.float32), found.sum(axis=0).astype(np.float32)


def _by_columns(rows: Floats, about: Numbers, weights: Numbers) -> tuple[Floats, Floats]:
    """The same where there are fewer columns than texts."""
    wide = np.c_[rows, np.ones(len(rows))].astype(np.float64)
    weighed = wide * weights[:, None]
    found = np.linalg.solve(weighed.T @ wide + _RIDGE * np.eye(wide.shape[1]), weighed.T @ about)
    return found[:-1].astype(np.float32), found[-1].astype(np.float32)
