"""Every aspect of every row, each by its own judge, all at once under one bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from quorate.apps.evaluate.grading import TEMPERATURE, candidate_prompt, template_of
from quorate.apps.evaluate.judging import (
    AspectJudge,
    CheckJudge,
    Judgement,
    Kept,
    PanelJudge,
    Seat,
    code_judge,
    panel_judge,
)
from quorate.apps.evaluate.rows import Row
from quorate.apps.evaluate.suite import JUDGED, LOCAL_CHECKS, NEEDS, AspectTable, Suite
from quorate.checks import Check, LocalModerationJudge, LocalThreatJudge
from quorate.engine import clock
from quorate.errors import BadReply, QuorateError, UsageError
from quorate.events import NO_USAGE, Usage
from quorate.journal import Journal, key_of
from quorate.models.local import Languages, LocalModeration, LocalThreat
from quorate.models.policies import Limit, Limiter
from quorate.patterns import all_of, work_off

_QUEUE = 1_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """Who can judge.

    Attributes:
        seats: models by name; an aspect that names no judge is judged by all that are not under test.
        checks: checks by name, with what versions stand behind each.
        base: the folder that paths of the suite start from.
    """

    seats: Mapping[str, Seat] = field(default_factory=dict)
    checks: Mapping[str, tuple[Check, str]] = field(default_factory=dict)
    base: Path = field(default_factory=Path)


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its answers and what was made of them.

    Attributes:
        row: with the answers that models under test wrote.
        judgements: by aspect, in the suite's order.
    """

    row: Row
    judgements: Mapping[str, Judgement]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished evaluation.

    Attributes:
        results: in the rows' order.
        versions: prompt, weights or rule of each aspect.
        judges: names of the judges of each aspect; empty where code judges.
        usage: what this run spent; what an earlier one had spent on kept grades is not in it.
        wasted: what of it went into judgements and answers that failed.
        elapsed_s: seconds this run took.
        reused: results taken from the journal.
        made: results that were made now.
    """

    results: Sequence[Result]
    versions: Mapping[str, str]
    judges: Mapping[str, tuple[str, ...]]
    usage: Usage = NO_USAGE
    wasted: Usage = NO_USAGE
    elapsed_s: float = 0.0
    reused: int = 0
    made: int = 0


async def evaluate(
    suite: Suite,
    rows: Sequence[Row],
    *,
    bench: Bench,
    journal: Journal | None = None,
    concurrency: int = 8,
    advance: Callable[[], None] = lambda: None,
) -> Outcome:
    """Judge every aspect of every row.

    Args:
        suite: the aspects.
        rows: what is judged.
        bench: who can judge.
        journal: results of an earlier run are taken from it, new ones written to it at once; failures are not kept.
        concurrency: rows under way at once, and calls to models at once.
        advance: called when a row is done.

    A cancel stops all calls; what had been finished is in the journal.

    Raises:
        ConfigError: a prompt cannot be read.
        UsageError: `concurrency` is below 1.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency: found {concurrency}, allowed is 1 or more")
    work = _Work(suite, bench, Kept(journal), concurrency)
    started_s = clock.now()
    results: dict[int, Result] = {}

    async def judged(numbered: tuple[int, Row]) -> None:
        at, row = numbered
        results[at] = await work.row(row)
        advance()

    usage = await work_off(enumerate(rows), judged, concurrency=concurrency)
    return Outcome(
        [results[at] for at in range(len(rows))],
        {name: judge.version for name, judge in work.judges.items()},
        {name: _names(judge) for name, judge in work.judges.items()},
        usage,
        work.kept.wasted,
        clock.now() - started_s,
        work.kept.reused,
        work.kept.made,
    )


def _names(judge: AspectJudge) -> tuple[str, ...]:
    return tuple(seat.name for seat in judge.seats) if isinstance(judge, PanelJudge) else ()


class _Work:
    """The judges of a suite, and what each row goes through."""

    def __init__(self, suite: Suite, bench: Bench, kept: Kept, concurrency: int) -> None:
        limiter = Limiter(max_running=concurrency, max_queued=_QUEUE)
        self.kept = kept
        self._suite = suite
        self._seats = {name: replace(seat, model=Limit(seat.model, limiter)) for name, seat in bench.seats.items()}
        self._bench = bench
        prompt = suite.answers.prompt
        self._template = template_of("candidate", str(bench.base / prompt) if prompt is not None else None)
        self.judges = {name: self._judge(table) for name, table in suite.aspects.items()}

    def _judge(self, table: AspectTable) -> AspectJudge:
        if table.kind in JUDGED:
            return panel_judge(table, self._chosen(table), base=self._bench.base, kept=self.kept)
        if table.kind != "check":
            return code_judge(table)
        name = table.check or ""
        check, version = self._bench.checks[name] if name in self._bench.checks else _local(name)
        return CheckJudge(check, version, self.kept)

    def _chosen(self, table: AspectTable) -> list[Seat]:
        """The judges an aspect names, or else all; a model under test judges itself only where nobody else can."""
        tested = (self._suite.answers.model, self._suite.answers.other)
        others = [name for name in self._seats if name not in tested]
        return [self._seats[name] for name in table.judges or others or self._seats]

    async def row(self, row: Row) -> Result:
        """Get the row's answers, then judge all of its aspects at once."""
        row, error = await self._answered(row)
        if error:
            return Result(row, {name: Judgement(None, error) for name in self.judges})
        judgements, _ = await all_of({name: partial(self._aspect, row, name) for name in self.judges})
        return Result(row, judgements)

    async def _aspect(self, row: Row, name: str) -> Judgement:
        table = self._suite.aspects[name]
        lacking = [need for need in NEEDS.get(table.kind, ()) if not getattr(row, need) and getattr(row, need) != ""]
        if lacking:
            why = f"the row has no {lacking[0]}"
            return Judgement(None, skipped=True, reason=why) if table.on_missing == "skip" else Judgement(None, why)
        return await self.judges[name].judge(row)

    async def _answered(self, row: Row) -> tuple[Row, str]:
        """The row with its answers, and why one is missing."""
        answers = self._suite.answers
        if row.answer is None:
            if answers.model is None:
                return row, "no answer: the row has none, and the suite names no model to write one"
            try:
                row = row.having(answer=await self._written(self._seats[answers.model], row))
            except QuorateError as error:
                return row, f"no answer: {type(error).__name__}: {error}"
        if row.other is None and answers.other is not None:
            try:
                row = row.having(other=await self._written(self._seats[answers.other], row))
            except QuorateError as error:
                return row, f"no other answer: {type(error).__name__}: {error}"
        return row, ""

    async def _written(self, seat: Seat, row: Row) -> str:
        limit = self._suite.answers.max_tokens
        key = key_of(
            "answer", seat.identity, self._template.version, limit, TEMPERATURE, row.id, row.input, row.sources
        )

        async def make() -> dict[str, Any]:
            reply = await seat.model.complete(candidate_prompt(self._template, row, max_tokens=limit))
            if not reply.text.strip():
                self.kept.wasted += reply.usage
                raise BadReply(f"{reply.model}: the answer is empty")
            return {"answer": reply.text}

        return str((await self.kept.get(key, make))["answer"])


def _local(name: str) -> tuple[Check, str]:
    """A check that comes with the package."""
    if name not in LOCAL_CHECKS:
        raise UsageError(f"check: found {name!r}, which is not there")
    foreign = Languages.load().foreign
    if name == "moderation":
        moderation = LocalModeration.load()
        return Check(name, "", LocalModerationJudge(moderation, None, foreign)), moderation.version
    threat = LocalThreat.load()
    return Check(name, "", LocalThreatJudge(threat, None, foreign)), threat.version
