"""Fits the scope of one company from all that it has, and says how well that went; what `learn-scope` runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError
from quorate.models.local.fitting import Numbers, Truths, rank_area
from quorate.models.local.labelled import General
from quorate.models.local.learning import LEAST, chosen, learn
from quorate.models.local.scope import LocalScope
from quorate.models.local.taught import Taught

_FOLDS = 5
_MOST_EXAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Source:
    """What a company has.

    Attributes:
        description: what it does.
        sections: its help centre.
        examples: questions its customers ask.
        texts: labelled messages, each once.
        outside: which of them are out of scope. Shape (len(texts),).
    """

    description: str
    sections: Sequence[str]
    examples: Sequence[str]
    texts: Sequence[str]
    outside: Truths


@dataclass(frozen=True, slots=True)
class Shares:
    """How many held-out messages passed, were unsure, and were flagged."""

    passed: int
    unsure: int
    flagged: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.passed + self.unsure + self.flagged


@dataclass(frozen=True, slots=True)
class Report:
    """Cross-validated figures.

    Attributes:
        area: area under the ROC curve, or None where one class is missing.
        area_groups: the same where whole groups of alike messages were held out; None without enough labels.
        calibration: expected calibration error; None without enough labels.
        inside: in-scope messages held out.
        outside: out-of-scope messages held out.
        outside_from: "labelled" or "shipped": whose the out-of-scope messages are.
        models: whether labels taught models of their own.
    """

    area: float | None
    area_groups: float | None
    calibration: float | None
    inside: Shares
    outside: Shares
    outside_from: str
    models: bool


def teach(source: Source) -> tuple[LocalScope, Taught, Report]:
    """Fit and measure; takes seconds.

    Returns:
        The scope as it will judge, what is to be kept, and cross-validated figures.

    Raises:
        UsageError: there is nothing to learn from.
    """
    inside = [text for text, outside in zip(source.texts, source.outside, strict=True) if not outside]
    outside = [text for text, foreign in zip(source.texts, source.outside, strict=True) if foreign]
    if min(len(inside), len(outside)) >= LEAST:
        scope = _fitted(source, source.examples)
        return scope, *by_models(scope, source.texts, outside=source.outside)
    extra = tuple(inside[:_MOST_EXAMPLES])
    scope = _fitted(source, [*source.examples, *extra])
    taught = Taught(
        fingerprint=_fitted(source, source.examples).fingerprint, low=scope.low, high=scope.high, examples=extra
    )
    known = [*dict.fromkeys((*source.examples, *extra))]
    seen, foreign = _held_examples(source, known), outside or scope.outsiders
    others = np.array([scope.score(text).score for text in foreign])
    area = None
    if len(seen) and len(others):
        area = rank_area(np.r_[seen, others], np.r_[np.zeros(len(seen), bool), np.ones(len(others), bool)])
    report = Report(
        area,
        None,
        None,
        _shares(seen, scope),
        _shares(others, scope),
        "labelled" if outside else "shipped",
        models=False,
    )
    return scope, taught, report


def by_models(scope: LocalScope, messages: Sequence[str], *, outside: Truths) -> tuple[Taught, Report]:
    """Fit models to labelled messages; the scope judges with them afterwards.

    Args:
        scope: fitted to the company.
        messages: at least `LEAST` of either class.
        outside: which are out of scope. Shape (len(messages),).
    """
    kept = chosen(outside)
    # Nobody labels greetings; without them the models would take them for foreign. The help centre's own sentences
    # are in scope in another voice than the labelled messages have.
    texts = [*(messages[at] for at in kept), *scope.own[:_MOST_EXAMPLES]]
    answers = np.r_[outside[kept], np.zeros(len(texts) - len(kept), bool)]
    margins: dict[int, General] = {}

    def general(at: int) -> General:
        if at not in margins:
            margins[at] = scope.general(texts[at][:2000])
        return margins[at]

    strangers = [(scope.seen(text), scope.general(text)) for text in scope.outsiders]
    lesson = learn([scope.seen(text[:2000]) for text in texts], answers, general=general, strangers=strangers)
    taught = Taught(fingerprint=scope.fingerprint, low=lesson.low, high=lesson.high, arrays=lesson.arrays)
    held = lesson.held
    report = Report(
        held.area(grouped=False),
        held.area(grouped=True),
        held.calibration,
        _shares(held.scores[~held.answers], taught),
        _shares(held.scores[held.answers], taught),
        "labelled",
        models=True,
    )
    scope.take(taught)
    return taught, report


def described(taught: Taught, *, made_from: dict[str, object], figures: dict[str, object]) -> Taught:
    """The same with what people want to read about it."""
    return replace(taught, made_from=made_from, figures=figures)


def _fitted(source: Source, examples: Sequence[str]) -> LocalScope:
    return LocalScope.fit(description=source.description, sections=source.sections, examples=examples)


def _held_examples(source: Source, known: Sequence[str]) -> Numbers:
    """Each example's score by a scope that was fitted without it and a fifth of the others. Shape (len(known),)."""
    scores = np.zeros(len(known))
    for fold in range(min(_FOLDS, len(known))):
        places: NDArray[np.intp] = np.arange(fold, len(known), _FOLDS)
        rest = [text for at, text in enumerate(known) if at % _FOLDS != fold]
        try:
            scope = _fitted(source, rest)
        except UsageError:  # Nothing but this fold was there to learn from.
            scores[places] = 1.0
            continue
        scores[places] = [scope.score(known[at]).score for at in places]
    return scores


def _shares(scores: Numbers, bounds: LocalScope | Taught) -> Shares:
    passed, flagged = int((scores <= bounds.low).sum()), int((scores >= bounds.high).sum())
    return Shares(passed, len(scores) - passed - flagged, flagged)
