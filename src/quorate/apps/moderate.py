"""Moderation: is this content appropriate? Several evaluators read it at once and vote.

The evaluators become branches of one run under a rule; the run ends at the vote that settles it, and who has not
answered by then is cancelled. This file turns its ends into an outcome that people and programs can read.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

from quorate.apps.frontdoor import SUBJECTS, Source
from quorate.checks import AfterRefusal, Check, Conversation, Judge, LocalModerationJudge, Panel, Subject, Verdict
from quorate.checks.conversation import Origin
from quorate.checks.panel import Ballot
from quorate.engine import Timeline, fan_out
from quorate.errors import UsageError
from quorate.events import Answered, Branch, Cancelled, Ended, Failed, Usage
from quorate.merges import EvaluateAll, Merge, Quorum
from quorate.models.local import Languages, LocalModeration

Said = Verdict | bool | None
Evaluator = Check | Judge | Callable[[str], Awaitable[Said]]
Rule = Callable[[int], Merge[Any]]
VoteOutcome = Literal["pass", "flag", "abstain", "error", "cancelled"]
QUESTION = "Is the content appropriate?"
OTHER = "other"
"""Category of a flag whose evaluator names none."""


class Vote(NamedTuple):
    """One evaluator's vote; fields as in `Verdict`, with "error" and "cancelled" for evaluators without a verdict.

    `reason` and `category` may come from a model, or quote what was judged: untrusted text.
    """

    voter: str
    outcome: VoteOutcome
    score: float | None
    category: str
    reason: str
    model: str
    version: str
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class Moderation:
    """What became of one text.

    Attributes:
        flagged: True or False; None where the vote is undecided, since evaluators abstained or failed.
        score: mean of the scores of the votes that were cast; None where none has one. Votes that came too late to
            matter were cut, so it depends on who was fast; compare it between texts only after `evaluate_all`.
        categories: of a flagged text, what the flagging votes named, each with the highest score it was named with.
        votes: one for each evaluator, in their order.
        why: a few words for people.
        decided_by: the evaluator whose vote settled it.
        timeline: who ran when, what it cost and what of that was wasted.
    """

    flagged: bool | None
    score: float | None
    categories: Mapping[str, float | None]
    votes: tuple[Vote, ...]
    why: str
    decided_by: str | None
    timeline: Timeline

    @property
    def usage(self) -> Usage:
        """What it cost."""
        return self.timeline.usage


@dataclass(frozen=True, slots=True)
class _Asked:
    """A judge made of an async function."""

    name: str
    ask: Callable[[str], Awaitable[Said]]

    async def judge(self, subject: Subject) -> Verdict:
        said = await self.ask(subject.text)
        if isinstance(said, Verdict):
            return said
        if said is not None and not isinstance(said, bool):
            raise UsageError(f"{self.name}: an evaluator returns a Verdict, True, False or None, not {type(said)}")
        outcome: Literal["pass", "flag", "abstain"] = "abstain" if said is None else "flag" if said else "pass"
        return Verdict(outcome, None, OTHER if said else "none", "", self.name, self.name)


class Moderator:
    """Evaluators and a rule, for any number of texts.

    Args:
        evaluators: by name: checks, judges, or async functions of the text that return True (flag), False, None
            (abstain) or a `Verdict`. Without any, the local classifier alone, which needs no key.
        rule: how many flags make a flag, or what makes a merge over True, False and None of the number of evaluators,
            such as `Majority` or `lambda n: Weighted({...})`. By default more than half of all evaluators; one that
            failed or abstained counts for neither side.
        trusted: origins that nobody needs to read, as in `Policy`.

    Raises:
        UsageError: a mapping without an evaluator, or more flags asked for than there are evaluators.
    """

    def __init__(
        self,
        evaluators: Mapping[str, Evaluator] | None = None,
        rule: int | Rule | None = None,
        *,
        trusted: frozenset[Origin] = frozenset(),
    ) -> None:
        given = {"local": local_evaluator()} if evaluators is None else evaluators
        if not given:
            raise UsageError("moderation needs at least one evaluator")
        self.checks = {name: _check(name, evaluator) for name, evaluator in given.items()}
        if wrong := [name for name, check in self.checks.items() if check.kind not in SUBJECTS]:
            raise UsageError(f"{wrong[0]}: a check of kind output judges answers; give it the kind moderation")
        n = len(self.checks)
        k = n // 2 + 1 if rule is None else rule
        if isinstance(k, int) and not 1 <= k <= n:
            raise UsageError(f"rule: found {k} flags, allowed are 1 to {n}, as there are {n} evaluators")
        self._rule: Rule = k if callable(k) else partial(Quorum, k)
        self._trusted = trusted

    @classmethod
    def of(cls, check: Check, *, trusted: frozenset[Origin] = frozenset()) -> "Moderator":
        """The voters and the rule of a check that has a panel; any other check is an evaluator by itself."""
        judge = check.judge.inner if isinstance(check.judge, AfterRefusal) else check.judge
        if not isinstance(judge, Panel):
            return cls({check.id: replace(check, judge=judge)}, trusted=trusted)
        voters = {name: replace(check, judge=voter) for name, voter in judge.judges}
        return cls(voters, judge.rule, trusted=trusted)

    async def moderate(self, text: Source, *, evaluate_all: bool = False) -> Moderation:
        """Ask all evaluators at once; the vote ends, and cancels the others, as soon as it is settled.

        Args:
            text: a text, or messages in the chat completions shape.
            evaluate_all: let every evaluator finish, for tuning and audit; the outcome stays the same.

        Raises:
            UsageError: the text has no readable form.
        """
        conversation = Conversation.of(text)
        kinds = {check.kind for check in self.checks.values()}
        subjects = {kind: SUBJECTS[kind](conversation, self._trusted) for kind in kinds}
        branches = [
            Branch(name, partial(check.run, subjects[check.kind]), check.timeout_s)
            for name, check in self.checks.items()
        ]
        merge: Merge[Any] = Ballot(self._rule(len(branches)), len(branches))
        if evaluate_all:
            merge = EvaluateAll(merge, self.checks)
        async with fan_out(branches, merge, timeout_s=None) as run:
            decision = await run.decided()
            if evaluate_all:
                await run.finished()
        votes = tuple(_vote(name, run.ended[name], run.timeline) for name in self.checks)
        flagged = decision.value if isinstance(decision.value, bool) else None
        scores = [vote.score for vote in votes if vote.score is not None]
        score = sum(scores) / len(scores) if scores else None
        return Moderation(
            flagged, score, _named(votes) if flagged else {}, votes, decision.why, decision.by, run.timeline
        )


async def moderate(
    text: Source, evaluators: Mapping[str, Evaluator] | None = None, *, rule: int | Rule | None = None
) -> Moderation:
    """Is this text appropriate? Arguments and errors are those of `Moderator`, which is cheaper for many texts.

    Example:
        `(await moderate("You are all wonderful.")).flagged` is False.
    """
    return await Moderator(evaluators, rule).moderate(text)


@lru_cache(maxsize=1)
def local_evaluator() -> LocalModerationJudge:
    """The local classifier with its own threshold: no key, no network; abstains from other languages than English.

    Raises:
        UsageError: its weights are missing or not the ones that came with the package.
    """
    return LocalModerationJudge(LocalModeration.load(), None, Languages.load().foreign)


def _check(name: str, evaluator: Evaluator) -> Check:
    if isinstance(evaluator, Check):
        return evaluator
    judge = evaluator if hasattr(evaluator, "judge") else _Asked(name, evaluator)
    return Check(name, QUESTION, judge, kind="moderation")


def _vote(name: str, end: Ended, timeline: Timeline) -> Vote:
    span = timeline[name]
    elapsed_ms = 1000 * ((span.ended_s or 0.0) - span.started_s) if span.started_s is not None else 0.0
    match end:
        case Answered(value=v):
            score = v.score if v.outcome != "abstain" else None
            return Vote(name, v.outcome, score, v.category, v.reason, v.model, v.version, elapsed_ms)
        case Failed(error=error):
            return Vote(name, "error", None, "none", str(error) or type(error).__name__, "", "", elapsed_ms)
        case Cancelled(why=why):
            return Vote(name, "cancelled", None, "none", why, "", "", elapsed_ms)


def _named(votes: tuple[Vote, ...]) -> dict[str, float | None]:
    named: dict[str, float | None] = {}
    for vote in votes:
        if vote.outcome == "flag":
            category = OTHER if vote.category == "none" else vote.category
            scores = [score for score in (named.get(category), vote.score) if score is not None]
            named[category] = max(scores, default=None)
    return named
