"""Judges around judges: tiers, panels, windows, and turns that were refused before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from quorate.checks.conversation import Subject
from quorate.checks.verdict import Judge, Verdict
from quorate.engine import fan_out
from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Ended, Event, Failed, branch
from quorate.merges import NOTHING, Decision, Merge, Quorum, Start, Step, Undecided, Weighted


def _error(end: Failed | Cancelled) -> Exception:
    if isinstance(end, Cancelled):
        return UsageError(f"cancelled: {end.why}")
    return end.error if isinstance(end.error, Exception) else UsageError(repr(end.error))


class Worst:
    """A merge: the first flag decides; else, when all `n` have ended, a failure, an abstention, or the top score.

    For parts of one text that must all pass.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._verdicts: list[Verdict] = []
        self._error: Exception | None = None
        self._ended = 0

    def start(self) -> Step[Verdict]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[Verdict]:
        """Take a verdict."""
        match event:
            case Answered(branch=name, value=Verdict() as verdict):
                if verdict.outcome == "flag":
                    return Step(decision=Decision(verdict, f"{name} flagged", by=name), done=True)
                self._verdicts.append(verdict)
            case Failed() | Cancelled():
                self._error = _error(event)
            case _:
                return NOTHING
        self._ended += 1
        if self._ended < self._n:
            return NOTHING
        if self._error is not None:
            return Step(fail=self._error, done=True)
        worst = max(self._verdicts, key=lambda v: (v.outcome == "abstain", v.score or 0.0))
        return Step(decision=Decision(worst, "all passed or abstained"), done=True)


class Tiered:
    """A merge over tiers, cheapest first: the first verdict that is sure enough decides.

    The last tier's verdict always decides, whenever it comes; its failure only once no other tier can decide any
    more. A tier that is not sure, or fails, starts the next one at once if it still waits for its head start to be
    over.

    Args:
        branches: one for each tier, in order; the merge starts all but the first.
        sure: tells whether a tier's verdict decides alone.
        head_start_s: seconds that each tier waits for the one before it.
    """

    def __init__(
        self, branches: Sequence[Branch[Verdict]], *, sure: Callable[[Verdict], bool], head_start_s: float = 0.0
    ) -> None:
        self._branches = tuple(branches)
        self._names = [tier.name for tier in branches]
        self._sure = sure
        self._head_start_s = head_start_s
        self._ended: set[str] = set()
        self._error: Exception | None = None

    def start(self) -> Step[Verdict]:
        """Start the later tiers, each behind its head start."""
        later = enumerate(self._branches[1:], start=1)
        return Step(start=tuple(Start(tier, self._head_start_s * i) for i, tier in later))

    def feed(self, event: Event) -> Step[Verdict]:
        """Take a tier's verdict."""
        name, last = event.branch, self._names[-1]
        match event:
            case Answered(value=Verdict() as verdict):
                if name == last or self._sure(verdict):
                    return Step(decision=Decision(verdict, f"decided by {name}", by=name), done=True)
            case Failed() | Cancelled():
                if name == last:
                    self._error = _error(event)
            case Delta():
                return Step(discard=(event,))
            case _:
                return NOTHING
        self._ended.add(name)
        if self._error is not None and len(self._ended) == len(self._branches):
            return Step(fail=self._error, done=True)
        following = self._branches[self._names.index(name) + 1 :]
        waiting = following[:1] if following and following[0].name not in self._ended else ()
        return Step(start=tuple(Start(tier) for tier in waiting))


@dataclass(frozen=True, slots=True)
class Unsure:
    """Turns a pass that is not sure enough into an abstention: the middle of a cut by cost.

    Attributes:
        inner: who judges.
        pass_below: only a score below this passes.
    """

    inner: Judge
    pass_below: float

    async def judge(self, subject: Subject) -> Verdict:
        """Judge; a flag, an abstention and a pass without a score stay what they are."""
        verdict = await self.inner.judge(subject)
        if verdict.outcome != "pass" or verdict.score is None or verdict.score < self.pass_below:
            return verdict
        return verdict._replace(outcome="abstain", reason=f"not sure: {verdict.score:.2f} is not below the bound")


@dataclass(frozen=True, slots=True)
class Tiers:
    """Asks cheap judges beside, or a little before, dear ones.

    Attributes:
        judges: names and judges, cheapest first.
        clear_below: a tier's score below this passes at once; 0 lets no early tier pass anything alone.
        flag_alone: whether a flag of an early tier decides at once.
        abstain_decides: whether an abstention of an early tier decides, instead of asking the next.
        head_start_s: seconds that each tier gets before the next is asked.
    """

    judges: tuple[tuple[str, Judge], ...]
    clear_below: float = 0.0
    flag_alone: bool = True
    abstain_decides: bool = False
    head_start_s: float = 0.0

    def _sure(self, verdict: Verdict) -> bool:
        match verdict.outcome:
            case "flag":
                return self.flag_alone
            case "abstain":
                return self.abstain_decides
            case "pass":
                return verdict.score is not None and verdict.score < self.clear_below

    async def judge(self, subject: Subject) -> Verdict:
        """Ask the tiers; the first that is sure decides and the others are cancelled."""
        branches = [branch(name, partial(judge.judge, subject), timeout_s=None) for name, judge in self.judges]
        merge = Tiered(branches, sure=self._sure, head_start_s=self.head_start_s)
        async with fan_out(branches[:1], merge, timeout_s=None) as run:
            return (await run.decided()).value


@dataclass(frozen=True, slots=True)
class Panel:
    """Several judges vote; `k` flags of all of them are a flag.

    Attributes:
        judges: names and judges.
        k: flags needed. Failures and abstentions stay among the voters: where they could have tipped the vote,
            the panel fails if a voter failed, and abstains if all of the missing did.
        weights: by name; then the side with more weight wins, and `k` says nothing.
    """

    judges: tuple[tuple[str, Judge], ...]
    k: int
    weights: Mapping[str, float] | None = None

    @classmethod
    def of(cls, judges: Sequence[tuple[str, Judge]], *, k: int | None, weights: Mapping[str, float | None]) -> "Panel":
        """A panel as a config describes it.

        Args:
            judges: names and judges; a name may stand there several times.
            k: flags needed; None takes more than half.
            weights: of the voters that have a name of their own; where none has a weight, `k` counts heads.
        """
        listed = [name for name, _ in judges]
        names = [
            name if name in weights and listed.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(listed, 1)
        ]
        given = {name: weights.get(of) for name, of in zip(names, listed, strict=True)}
        weighted = {name: weight or 1.0 for name, weight in given.items()} if any(given.values()) else None
        seated = tuple((name, judge) for name, (_, judge) in zip(names, judges, strict=True))
        return cls(seated, k or len(seated) // 2 + 1, weighted)

    def rule(self, n: int) -> Merge[Any]:
        """The rule over `n` votes that are True, False or None."""
        return Quorum(self.k, n) if self.weights is None else Weighted(self.weights)

    async def judge(self, subject: Subject) -> Verdict:
        """Take the vote; it ends as soon as it is settled. The score is the mean of the votes that were cast.

        Raises:
            RunFailed: too many voters failed; what that means is the check's `on_error`, never its `on_abstain`.
        """
        branches = [branch(name, partial(judge.judge, subject), timeout_s=None) for name, judge in self.judges]
        async with fan_out(branches, Ballot(self.rule(len(branches)), len(branches)), timeout_s=None) as run:
            decision = await run.decided()
            cast = [end.value for end in run.ended.values() if isinstance(end, Answered)]
            broken = [f"{name}: {end.error}" for name, end in run.ended.items() if isinstance(end, Failed)]
        if isinstance(decision.value, Undecided) and broken:
            raise RunFailed(f"the panel is {decision.why} ({'; '.join(broken)})")
        return _summed(decision, cast)


class Ballot:
    """A merge: verdicts as votes for a rule, a flag True, a pass False, an abstention None.

    It waits for everybody before it is undecided: whether a missing voter failed or abstained then makes a
    difference, and must not depend on who was first.

    Args:
        rule: decides from the votes.
        n: voters.
    """

    def __init__(self, rule: Merge[Any], n: int) -> None:
        self._rule = rule
        self._pending = n
        self._undecided: Step[Any] | None = None

    def start(self) -> Step[Any]:
        """Start as the rule does."""
        return self._rule.start()

    def feed(self, event: Event) -> Step[Any]:
        """Hand a vote to the rule."""
        self._pending -= isinstance(event, Ended)
        if isinstance(event, Answered) and isinstance(event.value, Verdict):
            event = replace(event, value=_flagged(event.value))
        if self._undecided is None:
            step = self._rule.feed(event)
            if step.decision is None or not isinstance(step.decision.value, Undecided):
                return step
            self._undecided = step
        return NOTHING if self._pending else self._undecided


def _flagged(verdict: Verdict) -> bool | None:
    return None if verdict.outcome == "abstain" else verdict.outcome == "flag"


def _summed(decision: Decision[bool | Undecided], cast: list[Verdict]) -> Verdict:
    scores = [verdict.score for verdict in cast if verdict.score is not None]
    score = sum(scores) / len(scores) if scores else None
    flagged = [verdict for verdict in cast if verdict.outcome == "flag"]
    models = "+".join(verdict.model for verdict in cast)
    versions = "+".join(verdict.version for verdict in cast)
    if decision.value is True:
        return Verdict("flag", score, flagged[0].category, flagged[0].reason, models, versions)
    if decision.value is False:
        return Verdict("pass", score, "none", decision.why, models, versions)
    return Verdict("abstain", score, "none", decision.why, models, versions)


@dataclass(frozen=True, slots=True)
class AfterRefusal:
    """Judges a conversation in which the client replays turns that were refused before.

    A refused turn is not refused again by itself: the answerer does not see it. It counts for what it adds to
    the new text, so an attack split over both is still found: the text is flagged when what is new is flagged, or
    when everything together is and the refused turns alone are not; an abstention is read the same way.
    """

    inner: Judge

    async def judge(self, subject: Subject) -> Verdict:
        """Judge; without refused turns this is the inner judge alone."""
        old = tuple(part for part in subject.parts if part.refused)
        new = tuple(part for part in subject.parts if not part.refused)
        if not old or not new:
            return await self.inner.judge(subject)
        shares = {"new": new, "together": subject.parts, "refused": old}
        calls: list[Branch[Any]] = [
            branch(name, partial(self.inner.judge, replace(subject, parts=parts)), timeout_s=None)
            for name, parts in shares.items()
        ]
        async with fan_out(calls, _Seam(), timeout_s=None) as run:
            return (await run.decided()).value


class _Seam:
    """A merge over "new", "together" and "refused": see `AfterRefusal`.

    A failure decides only when nothing can be flagged any more. Not knowing the refused turns makes it stricter, so
    their failure alone is none.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Verdict] = {}
        self._errors: dict[str, Exception] = {}

    def start(self) -> Step[Verdict]:
        return NOTHING

    def feed(self, event: Event) -> Step[Verdict]:
        match event:
            case Answered(branch=name, value=Verdict() as verdict):
                self._seen[name] = verdict
            case Failed(branch=name) | Cancelled(branch=name):
                self._errors[name] = _error(event)
            case _:
                return NOTHING
        return self._settle()

    def _settle(self) -> Step[Verdict]:
        new, together = self._seen.get("new"), self._seen.get("together")
        ended = self._seen.keys() | self._errors.keys()
        if new is not None and new.outcome == "flag":
            return Step(decision=Decision(new, "new text flagged", by="new"), done=True)
        if together is not None and self._rank("together") > self._rank("new"):
            if "refused" not in ended:
                return NOTHING
            across = self._rank("together") > self._rank("refused")
            if across and (together.outcome == "flag" or new is not None):
                why = f"{together.outcome} across the turns"
                return Step(decision=Decision(together, why, by="together"), done=True)
        if not {"new", "together"} <= ended:
            return NOTHING
        if new is None or together is None:
            return Step(fail=self._errors.get("new") or self._errors["together"], done=True)
        return Step(decision=Decision(new, "nothing across the turns", by="new"), done=True)

    def _rank(self, name: str) -> int:
        verdict = self._seen.get(name)
        return ("pass", "abstain", "flag").index(verdict.outcome) if verdict is not None else 0
