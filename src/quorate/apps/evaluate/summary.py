"""From judgements to figures: the report as data, the same bytes for the same judgements in whatever order."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from quorate.apps.evaluate.correction import Corrected, corrected, difference
from quorate.apps.evaluate.judging import Judgement, Vote
from quorate.apps.evaluate.runner import Outcome, Result
from quorate.apps.evaluate.statistics import MIN_LABELS, Agreement, Estimate, kappa_of, mean_of
from quorate.apps.evaluate.suite import AspectTable, Suite

SCHEMA = "quorate.evaluation/1"
SCORES = "quorate.scores/1"
_DIGITS = 6
Groups = Sequence[Hashable] | None


def groups_of(sources: Sequence[str | None], ids: Sequence[str | int]) -> Groups:
    """What rows share: their source. A row without one stands for itself; None where no row names one."""
    if all(source is None for source in sources):
        return None
    pairs = zip(sources, ids, strict=True)
    return [("row", one) if source is None else ("source", source) for source, one in pairs]


def summarise(suite: Suite, outcome: Outcome, *, bad: Sequence[str] = ()) -> dict[str, Any]:
    """The report. Times and costs are not in it, so that it is the same for every run over the same judgements.

    Args:
        suite: what was asked.
        outcome: what came back.
        bad: a sentence for each line of the input that could not be read.
    """
    results = outcome.results
    aspects = {
        name: _aspect(name, table, results)
        | {"version": outcome.versions.get(name, ""), "judges": list(outcome.judges.get(name, ()))}
        for name, table in suite.aspects.items()
    }
    sources = {result.row.source for result in results if result.row.source is not None}
    return {
        "schema": SCHEMA,
        "suite": suite.name,
        "rows": len(results),
        "sources": len(sources),
        "bad_lines": list(bad),
        "overall": _overall(suite, results),
        "aspects": aspects,
        "failures": _failures(suite, results),
    }


def scores(suite: Suite, outcome: Outcome) -> list[dict[str, Any]]:
    """A line for each row: what `compare` reads, and whoever wants to look closer."""
    return [
        {
            "id": result.row.id,
            "source": result.row.source,
            "scores": {
                name: "skipped" if judgement.skipped else rounded(judgement.score)
                for name, judgement in result.judgements.items()
            },
        }
        for result in outcome.results
    ]


def rounded(value: float | None) -> float | None:
    """Six digits, and None for what is no number: the same text on every machine."""
    return None if value is None or math.isnan(value) or math.isinf(value) else round(value, _DIGITS) + 0.0


def estimate_as_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate with rounded figures."""
    told = {key: rounded(value) if isinstance(value, float) else value for key, value in asdict(estimate).items()}
    return {**told, "mean": rounded(estimate.mean)}


def _aspect(name: str, table: AspectTable, results: Sequence[Result]) -> dict[str, Any]:
    asked = [result for result in results if not result.judgements[name].skipped]
    judged = [result.judgements[name] for result in asked]
    values = [0.0 if judgement.score is None else judgement.score for judgement in judged]
    groups = groups_of([result.row.source for result in asked], [result.row.id for result in asked])
    failed = sum(judgement.score is None for judgement in judged)
    estimate = mean_of(values, groups)
    out: dict[str, Any] = {
        "kind": table.kind,
        "scale": list(table.bounds) if table.grades is not None else [0, 1],
        "grades": table.grades,
        "weight": table.weight,
        "threshold": table.threshold,
        **estimate_as_json(estimate),
        "failed": failed,
        "skipped": len(results) - len(asked),
        "mean_if_failed_were_best": rounded((sum(values) + failed) / len(values)) if values else None,
        "passed": sum(judgement.score is not None and judgement.score >= table.threshold for judgement in judged),
        "distribution": _distribution(table, judged),
        "human": _human(name, table, asked, groups),
        "corrected": None,
    }
    if table.kind == "pairwise":
        out["order"] = _order(judged)
    panel = _panel(table, judged)
    if panel:
        out["panel"] = panel
    labels = [_label(name, table, result) for result in asked]
    fixed = corrected(values, labels, groups=groups) if any(label is not None for label in labels) else None
    if fixed is not None:
        also = difference(values, labels, groups=groups) if fixed.method == "rogan-gladen" else None
        told = None if also is None else {key: rounded(getattr(also, key)) for key in ("mean", "low", "high")}
        out["corrected"] = {**_corrected_as_json(fixed), "difference": told}
    return out


def _label(name: str, table: AspectTable, result: Result) -> float | None:
    grade = result.row.human.get(name)
    low, high = table.bounds
    return None if grade is None else (grade - low) / (high - low)


def _distribution(table: AspectTable, judged: Sequence[Judgement]) -> list[list[float]]:
    """Pairs of score and count, ascending; continuous scores in ten bins named by their lower ends."""
    found = [judgement.score for judgement in judged if judgement.score is not None]
    if table.grades is None:
        found = [min(9, int(score * 10)) / 10 for score in found]
    return [[round(score, _DIGITS), count] for score, count in sorted(Counter(found).items())]


def _steps(score: float, grades: int) -> int:
    return min(grades - 1, max(0, round(score * (grades - 1))))


def _human(name: str, table: AspectTable, asked: Sequence[Result], groups: Groups) -> dict[str, Any] | None:
    """Agreement with people on the rows that both graded; continuous scores are read as passed or not."""
    at = [i for i, result in enumerate(asked) if name in result.row.human]
    if not at:
        return None
    both = [i for i in at if asked[i].judgements[name].score is not None]
    grades = table.grades or 2
    judge, human = [], []
    for i in both:
        score, label = asked[i].judgements[name].score or 0.0, _label(name, table, asked[i]) or 0.0
        if table.grades is None:
            score, label = float(score >= table.threshold), float(label >= table.threshold)
        judge.append(_steps(score, grades))
        human.append(_steps(label, grades))
    found = kappa_of(judge, human, grades=grades, groups=None if groups is None else [groups[i] for i in both])
    return {"labels": len(at), "needed": MIN_LABELS, **_agreement_as_json(found)}


def _agreement_as_json(found: Agreement) -> dict[str, Any]:
    return {
        "compared": found.n,
        "agreement": rounded(found.agreement),
        "kappa": rounded(found.kappa),
        "kappa_low": rounded(found.low),
        "kappa_high": rounded(found.high),
        "shares": [[rounded(judge), rounded(human)] for judge, human in found.shares],
    }


def _corrected_as_json(found: Corrected) -> dict[str, Any]:
    return {key: rounded(value) if isinstance(value, float) else value for key, value in asdict(found).items()}


def _order(judged: Sequence[Judgement]) -> dict[str, Any]:
    """How often a judge changed its mind with the order: all of it counts as ties."""
    votes = [vote for judgement in judged for vote in judgement.votes if vote.score is not None]
    firsts = sum(vote.grade == "FIRST FIRST" for vote in votes)
    seconds = sum(vote.grade == "SECOND SECOND" for vote in votes)
    changed = sum(vote.disagree for vote in votes)
    return {
        "asked": len(votes),
        "changed": changed,
        "changed_share": rounded(changed / len(votes)) if votes else None,
        "always_first": firsts,
        "always_second": seconds,
        "wins": sum(judgement.score == 1.0 for judgement in judged),
        "losses": sum(judgement.score == 0.0 for judgement in judged),
        "ties": sum(judgement.score is not None and 0 < judgement.score < 1 for judgement in judged),
    }


def _panel(table: AspectTable, judged: Sequence[Judgement]) -> dict[str, Any] | None:
    """Each judge's mean and failures, and how well each two agree."""
    names = list(dict.fromkeys(vote.judge for judgement in judged for vote in judgement.votes))
    if len(names) < 2:
        return None
    by_judge: dict[str, list[Vote]] = {name: [] for name in names}
    for judgement in judged:
        for vote in judgement.votes:
            by_judge[vote.judge].append(vote)
    grades = table.grades or 2
    pairs = []
    for one, other in combinations(names, 2):
        scored = [
            (_steps(a.score, grades), _steps(b.score, grades))
            for a, b in zip(by_judge[one], by_judge[other], strict=True)
            if a.score is not None and b.score is not None
        ]
        found = kappa_of([a for a, _ in scored], [b for _, b in scored], grades=grades)
        pairs.append({"judges": [one, other], **_agreement_as_json(found)})
    return {
        "judges": {
            name: {
                "mean": rounded(sum(vote.score or 0.0 for vote in votes) / len(votes)),
                "failed": sum(vote.score is None for vote in votes),
            }
            for name, votes in by_judge.items()
        },
        "pairs": pairs,
    }


def _overall(suite: Suite, results: Sequence[Result]) -> dict[str, Any]:
    """The weighted mean of a row's aspects, averaged over rows, so that its interval knows they belong together."""
    values, kept = [], []
    for result in results:
        parts = [
            (suite.aspects[name].weight, judgement.score or 0.0)
            for name, judgement in result.judgements.items()
            if not judgement.skipped
        ]
        total = sum(weight for weight, _ in parts)
        if total > 0:
            values.append(sum(weight * score for weight, score in parts) / total)
            kept.append(result)
    groups = groups_of([result.row.source for result in kept], [result.row.id for result in kept])
    return estimate_as_json(mean_of(values, groups))


def _failures(suite: Suite, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows with an aspect below its threshold or a failed judgement, those that fail most first."""
    found: list[tuple[int, int, dict[str, Any]]] = []
    for at, result in enumerate(results):
        wrong = {
            name: _judgement(judgement)
            for name, judgement in result.judgements.items()
            if not judgement.skipped and (judgement.score is None or judgement.score < suite.aspects[name].threshold)
        }
        if wrong:
            row = result.row
            texts: Mapping[str, Any] = {"input": row.input, "answer": row.answer, "reference": row.reference}
            told = {"id": row.id, "line": row.number, "source": row.source, **texts, "aspects": wrong}
            found.append((-len(wrong), at, told))
    return [told for _, _, told in sorted(found, key=lambda one: one[:2])]


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "score": rounded(judgement.score),
        "error": judgement.error,
        "reason": judgement.reason,
        "votes": [
            {"judge": vote.judge, "grade": vote.grade, "reason": vote.reason, "error": vote.error}
            for vote in judgement.votes
        ],
    }
