"""One judge for each aspect: a panel of language models, a check, or code."""

import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from quorate.apps.evaluate import measures
from quorate.apps.evaluate.grading import (
    CHOICES,
    FORMAT,
    MAX_TOKENS,
    TEMPERATURE,
    Grade,
    asked,
    data_lines,
    template_of,
)
from quorate.apps.evaluate.regex import Regex
from quorate.apps.evaluate.rows import Row
from quorate.apps.evaluate.schema import Schema
from quorate.apps.evaluate.suite import AspectTable, Rule
from quorate.checks import Check, Part, Subject, Template
from quorate.engine import in_thread
from quorate.errors import QuorateError
from quorate.events import NO_USAGE, Usage
from quorate.journal import Journal, key_of
from quorate.models import Model
from quorate.models.local.vectors import Vectors
from quorate.patterns import all_of

_LONG_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Seat:
    """A model that may judge or be tested.

    Attributes:
        name: in suite and report.
        model: who is asked.
        identity: model, address and parameters: a kept grade counts only while this is the same.
    """

    name: str
    model: Model
    identity: str


@dataclass(frozen=True, slots=True)
class Vote:
    """What one judge said of one aspect of one row.

    Attributes:
        judge: its name.
        score: on the scale 0 to 1; None where it failed.
        grade: as it stood in the reply; for a pair both orders' grades.
        reason: the judge's words: untrusted text.
        error: why it failed; "" where it did not.
        disagree: the two orders of a pair led to different answers.
    """

    judge: str
    score: float | None
    grade: str = ""
    reason: str = ""
    error: str = ""
    disagree: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an aspect's judge made of a row.

    Attributes:
        score: on the scale 0 to 1; None where the judgement failed or was not made.
        error: why it failed.
        skipped: it was not made, because the row lacks what it needs and the suite says to skip such rows.
        reason: one line, untrusted text.
        votes: of the panel.
    """

    score: float | None
    error: str = ""
    skipped: bool = False
    reason: str = ""
    votes: tuple[Vote, ...] = ()


@dataclass(slots=True)
class Kept:
    """Grades that are not asked for twice: the journal, counts of what came from it, and what led to none."""

    journal: Journal | None = None
    reused: int = 0
    made: int = 0
    wasted: Usage = NO_USAGE

    async def get(self, key: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """The kept result of a key, or the one that `make` makes; what it raises is not kept."""
        if self.journal is not None:
            found = self.journal.results.get(key)
            if isinstance(found, dict):
                self.reused += 1
                return found
        result = await make()
        self.made += 1
        if self.journal is not None:
            self.journal.add(key, result)
        return result


class AspectJudge(Protocol):
    """Judges one aspect."""

    @property
    def version(self) -> str:
        """Of the prompt, the weights or the rule; stands in the report."""

    async def judge(self, row: Row) -> Judgement:
        """Judge a row that has an answer and all that the aspect needs; a failure is part of the judgement."""


def combine(scores: Sequence[float | None], rule: Rule) -> tuple[float | None, str]:
    """A panel's score, or None and why there is none. Failed judges stay in the denominator."""
    cast = [score for score in scores if score is not None]
    if 2 * len(cast) <= len(scores):
        return None, f"{len(scores) - len(cast)} of {len(scores)} judges failed"
    if rule == "majority":
        value, count = Counter(cast).most_common(1)[0]
        if 2 * count > len(scores):
            return value, ""
        return None, f"no majority: at most {count} of {len(scores)} judges agree"
    return (statistics.median(cast) if rule == "median" else statistics.fmean(cast)), ""


@dataclass(slots=True)
class PanelJudge:
    """One language model, or several that vote.

    Attributes:
        table: the aspect.
        seats: who is asked; each gets the same prompt.
        template: the prompt.
        kept: grades of an earlier run.
    """

    table: AspectTable
    seats: Sequence[Seat]
    template: Template
    kept: Kept = field(default_factory=Kept)

    @property
    def version(self) -> str:
        """Of the prompt."""
        return self.template.version

    @property
    def rule(self) -> Rule:
        """How votes become one score: as the suite says, or a majority on two grades and the median on more."""
        return self.table.rule or ("majority" if self.table.grades == 2 else "median")

    async def judge(self, row: Row) -> Judgement:
        """Ask all judges at once."""
        ask = self._pair if self.table.kind == "pairwise" else self._one
        given, timeline = await all_of({seat.name: partial(ask, seat, row) for seat in self.seats})
        votes = tuple(given.values())
        for vote in votes:
            span = timeline[vote.judge]
            self.kept.wasted += span.usage if vote.error else span.waste
        score, why = combine([vote.score for vote in votes], self.rule)
        if score is None:
            return Judgement(None, votes[0].error if len(votes) == 1 else why, votes=votes)
        near = min((v for v in votes if v.score is not None), key=lambda v: abs((v.score or 0.0) - score))
        return Judgement(score, reason=near.reason, votes=votes)

    async def _one(self, seat: Seat, row: Row) -> Vote:
        low, high = self.table.bounds
        grades = tuple(str(grade) for grade in range(low, high + 1))
        try:
            grade = await self._grade(seat, row, answers=(("answer", row.answer or ""),), grades=grades)
        except QuorateError as error:
            return Vote(seat.name, None, error=_told(error))
        return Vote(seat.name, (int(grade.value) - low) / (high - low), grade.value, grade.reason)

    async def _pair(self, seat: Seat, row: Row) -> Vote:
        """Ask in both orders at once; only an answer preferred in both wins, all else is a tie."""
        pair = (row.answer or "", row.other or "")
        orders = {"given": pair, "swapped": pair[::-1]}
        grades, _ = await all_of(
            {name: partial(self._ordered, seat, row, texts=texts) for name, texts in orders.items()}
        )
        given, swapped = grades["given"], grades["swapped"]
        if not isinstance(given, Grade) or not isinstance(swapped, Grade):
            broken = given if isinstance(given, QuorateError) else swapped
            return Vote(seat.name, None, error=_told(broken))
        first = {"FIRST": 1.0, "SECOND": 0.0, "TIE": 0.5}
        one, other = first[given.value], 1 - first[swapped.value]
        score = one if one == other else 0.5
        return Vote(seat.name, score, f"{given.value} {swapped.value}", given.reason, disagree=one != other)

    async def _ordered(self, seat: Seat, row: Row, *, texts: tuple[str, str]) -> Grade | QuorateError:
        answers = (("first answer", texts[0]), ("second answer", texts[1]))
        try:
            return await self._grade(seat, row, answers=answers, grades=CHOICES)
        except QuorateError as error:
            return error

    async def _grade(
        self, seat: Seat, row: Row, *, answers: tuple[tuple[str, str], ...], grades: tuple[str, ...]
    ) -> Grade:
        table = self.table
        judged = [row.id, row.input, row.reference, row.sources, answers]
        asked_as = [FORMAT, self.template.version, table.criterion, grades, TEMPERATURE, MAX_TOKENS]

        async def make() -> dict[str, Any]:
            lines = data_lines(row, answers=answers)
            grade, reply = await asked(seat.model, self.template, lines=lines, criterion=table.criterion, grades=grades)
            return {"grade": grade.value, "reason": grade.reason, "model": reply.model}

        found = await self.kept.get(key_of("grade", seat.identity, asked_as, judged), make)
        return Grade(str(found["grade"]), str(found["reason"]))


@dataclass(slots=True)
class CheckJudge:
    """A check of the config, or a local one, over the answer: 1 where it passes, 0 where it flags.

    An abstention is a failed judgement: undecided never reads as a pass.
    """

    check: Check
    version: str
    kept: Kept = field(default_factory=Kept)

    async def judge(self, row: Row) -> Judgement:
        """Run the check."""
        key = key_of("check", self.check.id, self.version, row.id, row.answer)
        try:
            found = await self.kept.get(key, partial(self._run, row.answer or ""))
        except QuorateError as error:
            return Judgement(None, _told(error))
        return Judgement(1.0 if found["outcome"] == "pass" else 0.0, reason=str(found["reason"]))

    async def _run(self, answer: str) -> dict[str, Any]:
        verdict = await self.check.run(Subject((Part("customer", answer),)))
        if verdict.outcome == "abstain":
            raise _Undecided(f"the check is undecided: {verdict.reason}")
        return {"outcome": verdict.outcome, "reason": f"{verdict.category}: {verdict.reason}"}


class _Undecided(QuorateError):
    """A check abstained."""


@dataclass(frozen=True, slots=True)
class CodeJudge:
    """A rule in code: from a row to a score and a reason. Long texts are read in a thread."""

    version: str
    rule: Callable[[Row], tuple[float, str]]

    async def judge(self, row: Row) -> Judgement:
        """Apply the rule."""
        if len(row.answer or "") + len(row.reference or "") <= _LONG_CHARS:
            score, reason = self.rule(row)
        else:
            score, reason = await in_thread(lambda _stop: self.rule(row), lane="long")
        return Judgement(score, reason=reason)


def code_judge(table: AspectTable) -> CodeJudge:
    """The judge of an aspect that needs no model: exact, regex, schema or similarity."""
    match table.kind:
        case "exact":
            return CodeJudge("exact", partial(_exact, table))
        case "regex":
            return CodeJudge("regex", partial(_regex, table, Regex(table.pattern or "", whole=table.whole)))
        case "schema":
            return CodeJudge("schema", partial(_schema, Schema(table.schema_)))
        case _:
            if table.measure == "meaning":
                vectors = Vectors.load()
                return CodeJudge(vectors.version, partial(_meaning, vectors))
            return CodeJudge(table.measure, partial(_likeness, table.measure))


def _exact(table: AspectTable, row: Row) -> tuple[float, str]:
    texts = [
        measures.plain(text or "", ignore_case=table.ignore_case, ignore_space=table.ignore_space)
        for text in (row.answer, row.reference)
    ]
    same = texts[0] == texts[1]
    return float(same), "the same as the reference" if same else "differs from the reference"


def _regex(table: AspectTable, pattern: Regex, row: Row) -> tuple[float, str]:
    found = pattern.found_in(row.answer or "")
    return float(found is table.wanted), f"the pattern {'matches' if found else 'does not match'}"


def _schema(schema: Schema, row: Row) -> tuple[float, str]:
    problem = schema.problem(row.answer or "")
    return float(problem is None), problem or "follows the schema"


def _likeness(measure: str, row: Row) -> tuple[float, str]:
    answer, reference = measures.tokens(row.answer or ""), measures.tokens(row.reference or "")
    score = (measures.rouge_l if measure == "rouge-l" else measures.f1)(answer, reference)
    cut = " (of the first words only)" if max(len(answer), len(reference)) == measures.MAX_TOKENS else ""
    return score, f"{measure} with the reference{cut}"


def _meaning(vectors: Vectors, row: Row) -> tuple[float, str]:
    one, other = vectors.of(row.answer or ""), vectors.of(row.reference or "")
    return min(1.0, max(0.0, round(float(one @ other), 6))), "cosine of the word vectors"


def _told(error: object) -> str:
    return f"{type(error).__name__.lstrip('_')}: {error}"


def panel_judge(table: AspectTable, seats: Sequence[Seat], *, base: Path, kept: Kept) -> PanelJudge:
    """The judge of an aspect that language models answer.

    Raises:
        ConfigError: its prompt cannot be read.
    """
    prompt = str(base / table.prompt) if table.prompt is not None else None
    return PanelJudge(table, seats, template_of(table.kind, prompt), kept)
