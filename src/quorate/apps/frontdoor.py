"""The front door of a support bot: checks beside the answer, the answer held until all of them pass.

One message's way: the conversation is cut into what each check must read (`checks.conversation`), the checks and
the answerer become branches of one run under `Guarded` (or `Veto` where nothing is to be answered), and this file
turns the run's ends into a decision that people and programs can read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self, get_args

from quorate.apps.answer import Answer, Answerer, SaidReader, Whole, read_answer, read_deltas
from quorate.apps.decision import Decision, Policy, Refusals, Row
from quorate.checks import (
    Check,
    Conversation,
    Subject,
    Verdict,
    moderation_subject,
    ruling,
    scope_subject,
    threat_subject,
)
from quorate.checks.conversation import Origin, output_subject
from quorate.checks.verdict import CheckKind, CheckMode
from quorate.engine import Run, fan_out, size_of
from quorate.errors import UsageError
from quorate.events import Answered, Branch, Cancelled, Context, Failed
from quorate.merges import (
    ON_ERROR,
    Admission,
    Afterwards,
    EvaluateAll,
    Guarded,
    Merge,
    Observed,
    OutputGuards,
    Ruling,
    Veto,
)

__all__ = [
    "ANSWER",
    "NONE",
    "RESERVED",
    "SUBJECTS",
    "Decision",
    "FrontDoor",
    "Policy",
    "Refusals",
    "Response",
    "Row",
    "Source",
]

ANSWER = "answer"
RESERVED = frozenset((ANSWER, "deadline"))
"""What no check can be named, because `decided_by` and timelines use it."""
Source = str | Conversation | Sequence[Mapping[str, Any]]
NONE: Mapping[str, Verdict] = MappingProxyType({})


SUBJECTS: Mapping[CheckKind, Callable[[Conversation, frozenset[Origin]], Subject]] = {
    "scope": lambda conversation, _trusted: scope_subject(conversation),
    "threat": threat_subject,
    "moderation": moderation_subject,
}
"""What a check of each kind reads."""


class FrontDoor:
    """Screens conversations and, with an answerer, answers them.

    Args:
        checks: what must pass; at least one.
        answerer: writes the answer; None for a door that only decides.
        policy: how it behaves.
        observe: observe every check, whatever its mode, and enforce none: everything is admitted at once.
        output: checks of kind "output" that judge the finished answer; with any that is enforced, the answer is held
            until all of these have passed it whole, and one longer than `policy.held_bytes` fails. Those that are
            only observed judge it after it has gone out; of one longer than that they say nothing.
        reader: makes what was said of what the answerer emitted; needed where that is neither texts nor tool calls.

    Raises:
        UsageError: no check, two checks of one id, a check named "answer" or "deadline", of no known mode or on the
            wrong side, or output checks around a gated answerer: its effects would come before its answer is complete.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        answerer: Answerer | None = None,
        *,
        policy: Policy,
        observe: bool = False,
        output: Sequence[Check] = (),
        reader: SaidReader = read_deltas,
    ) -> None:
        self.checks = {check.id: check for check in checks}
        self.output = {check.id: check for check in output}
        both = {**self.checks, **self.output}
        if not checks or len(both) != len(checks) + len(output) or RESERVED & both.keys():
            named = " or ".join(sorted(RESERVED))
            raise UsageError(f"a front door needs at least one check, each id once, none named {named}")
        for check in (*checks, *output):
            if check.mode not in get_args(CheckMode):
                raise UsageError(f"mode of {check.id}: found {check.mode!r}, allowed are enforce, observe")
            if (check.kind == "output") != (check.id in self.output):
                raise UsageError(f"{check.id}: a check of kind output judges answers, one of another kind messages")
        after = {} if observe else {check.id: check.on_error for check in output if check.mode == "enforce"}
        if after and answerer is not None and answerer.effects == "gated":
            raise UsageError("a gated answerer acts before its answer is complete: it cannot have output checks")
        self.kinds = frozenset(check.kind for check in checks)
        enforced = [] if observe else [check for check in checks if check.mode == "enforce"]
        self.guards = {check.id: check.on_error for check in enforced}
        self.observed = self.checks.keys() - self.guards.keys()
        self.output_guards = after
        self.output_observed = {check.id: check.on_error for check in output if check.id not in after}
        self.egress = any(check.egress for check in enforced)
        self.rule = partial(ruling, both)
        self.reader = reader
        self.answerer = answerer
        self.policy = policy
        self.said = frozenset(text.strip() for text in policy.refusals.all)

    @property
    def observes(self) -> bool:
        """Whether some of its verdicts may come after the decision."""
        return bool(self.observed or self.output_observed)

    async def decide(self, conversation: Source, *, evaluate_all: bool = False) -> Decision:
        """Decide without answering. Cancels what is still running when the decision is clear.

        Returns when the observed checks have ended too, so that their rows are complete; the decision is not
        theirs, and neither is its moment.

        Args:
            conversation: a text, or messages in the chat completions shape.
            evaluate_all: let every check finish, for tuning and audit; the decision stays the same.

        Raises:
            UsageError: the conversation has no readable form.
        """
        response = Response(self, conversation, evaluate_all=evaluate_all)
        async with response.run as run:
            await run.decided()
            if evaluate_all:
                await run.finished()
        return response.report()

    def respond(
        self,
        conversation: Source,
        *,
        evaluate_all: bool = False,
        answerer: Answerer | None = None,
        reuse: Mapping[str, Verdict] = NONE,
        speculate: bool = True,
    ) -> "Response":
        """Decide, and answer beside it; use as `async with door.respond(...) as response`.

        Args:
            conversation: a text, or messages in the chat completions shape.
            evaluate_all: let every check finish, for tuning and audit; the decision stays the same.
            answerer: who answers this one; by default the door's own.
            reuse: verdicts of an earlier request of the same turn, by check; they stand for checks to which nothing
                in the conversation is new.
            speculate: False lets this answer wait for the verdict.

        Raises:
            UsageError: there is no answerer.
        """
        chosen = answerer if answerer is not None else self.answerer
        if chosen is None:
            raise UsageError("this front door has no answerer: give it one, or use decide()")
        return Response(
            self, conversation, answerer=chosen, evaluate_all=evaluate_all, reuse=reuse, speculate=speculate
        )


class Response:
    """One message on its way through the door. Iterate it for the pieces of the reply.

    Nothing is yielded before the decision: then the refusal or hand-over text, or the answer as it was held and
    as it goes on; with output checks the decision comes after the answer's end, and the answer is whole. An answer
    that breaks after its release raises from the iteration. Leaving the block early cancels what still runs; leaving
    it after the end of the iteration waits for the checks that are only observed.
    """

    def __init__(
        self,
        door: FrontDoor,
        source: Source,
        *,
        answerer: Answerer | None = None,
        evaluate_all: bool = False,
        reuse: Mapping[str, Verdict] = NONE,
        speculate: bool = True,
    ) -> None:
        self._door = door
        policy = door.policy
        conversation = Conversation.of(source).without_replays(door.said)
        self._conversation = conversation
        self._answerer = answerer
        may = speculate and policy.speculate and not door.egress
        self.speculated = answerer is not None and (not door.guards or (may and answerer.effects != "unknown"))
        subjects = {kind: SUBJECTS[kind](conversation, policy.trusted) for kind in door.kinds}
        passed = {name: v for name, v in reuse.items() if name in door.checks and door.rule(v) == "admit"}
        self._reused = {name: v for name, v in passed.items() if not subjects[door.checks[name].kind].parts}
        if len(passed) < len(door.checks) and reuse:  # Who has no verdict on what came before reads all of it.
            whole = conversation.after(0)
            wholes = {kind: SUBJECTS[kind](whole, policy.trusted) for kind in door.kinds}
        else:
            wholes = subjects
        branches = [
            Branch(name, partial(check.run, (subjects if name in passed else wholes)[check.kind]), check.timeout_s)
            for name, check in door.checks.items()
            if name not in self._reused
        ]
        merge = self._merge()
        if evaluate_all:
            merge = EvaluateAll(merge, door.guards, later=door.output_guards)
        if answerer is not None and door.output_observed:
            watched = OutputGuards(door.output_observed, partial(self._review, door.output_observed))
            merge = Afterwards(
                merge, door.observed, answer=ANSWER, output=watched, size=size_of, most=policy.held_bytes
            )
        elif door.observed:
            merge = Observed(merge, door.observed)
        self.run: Run[Admission] = fan_out(
            branches, merge, timeout_s=policy.timeout_s, held_bytes=policy.held_bytes, grace_s=2.0
        )
        self._told = False

    def _merge(self) -> Merge[Admission]:
        guards = {name: on_error for name, on_error in self._door.guards.items() if name not in self._reused}
        rule, policy = self._door.rule, self._door.policy
        if self._answerer is None:
            return Veto(guards, rule=rule, decide_timeout_s=policy.decide_timeout_s, unenforced=True)
        after = self._door.output_guards
        # Nothing of ours in it: the run would refer to itself, and wait for the garbage collector.
        work = partial(_answered, self._answerer, self._conversation, policy.held_bytes if after else None)
        answer: Branch[Answer] = Branch(ANSWER, work, None)
        return Guarded(
            guards,
            answer,
            rule=rule,
            speculate=self.speculated,
            decide_timeout_s=policy.decide_timeout_s,
            unenforced=True,
            output=OutputGuards(after, partial(self._review, after)) if after else None,
        )

    def _review(self, names: Iterable[str], deltas: Sequence[Any], answer: Answer) -> list[Branch[Verdict]]:
        """The branches of some output checks, on everything of the finished answer that could get out."""
        subject = output_subject(self._conversation, read_answer(deltas, answer, reader=self._door.reader))
        checks = [self._door.output[name] for name in names]
        return [Branch(check.id, partial(check.run, subject), check.timeout_s) for check in checks]

    async def __aenter__(self) -> Self:
        await self.run.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.run.__aexit__(kind, error, trace)

    async def decided(self) -> Decision:
        """Wait for the decision; the answer may still be running.

        Raises:
            DeadlineExceeded: the whole message ran out of time before.
        """
        await self.run.decided()
        return self.report()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        decision = await self.run.decided()
        if decision.value == "admit":
            return (await self.run.__anext__()).value
        if self._told:
            raise StopAsyncIteration
        self._told = True
        return self.report().reply

    def ready(self) -> list[Any]:
        """The pieces of an admitted answer that could be read without waiting; they count as read."""
        return [delta.value for delta in self.run.ready()]

    @property
    def answer(self) -> Answer | None:
        """The finished answer of an admitted message, None before and otherwise."""
        end = self.run.ended.get(ANSWER)
        admitted = self.run.decision is not None and self.run.decision.value == "admit"
        return end.value if admitted and isinstance(end, Answered) else None

    def report(self) -> Decision:
        """The decision as it is known now; complete once the block is left.

        Raises:
            UsageError: there is no decision yet.
        """
        decision, timeline = self.run.decision, self.run.timeline
        if decision is None:
            raise UsageError("there is no decision yet")
        output = self._door.output if self._answerer is not None else {}
        rows = [self._row(check) for check in (*self._door.checks, *output)]
        refusals = self._door.policy.refusals
        reply: str | None
        if decision.value == "refuse":
            row = next((row for row in rows if row.check == decision.by), None)
            if row is not None and row.check in output and row.category in ("too_long", "unread"):
                row = row._replace(category="none")  # It is our answer that is too long, not the customer's message.
            reply = refusals.text(row)
        elif decision.value == "escalate":
            reply = refusals.handover
        else:
            reply = self.answer.text if self.answer is not None else None
        ended_s = next((s for s in (timeline.closed_s, timeline.ended_s) if s is not None), timeline.decided_s)
        return Decision(
            decision.value,
            decision.by,
            decision.why,
            rows,
            timeline,
            reply,
            1000 * (ended_s or 0.0),
            self.speculated,
            self.answer.sources if self.answer is not None else (),
        )

    def _row(self, check: str) -> Row:
        row = self._told_row(check)
        if check not in self._door.observed and check not in self._door.output_observed:
            return row
        return row._replace(mode="observe", would=self._would(check))

    def _would(self, check: str) -> Ruling | None:
        if (reused := self._reused.get(check)) is not None:
            return self._door.rule(reused)
        match self.run.ended.get(check):
            case Answered(value=Verdict() as verdict):
                return self._door.rule(verdict)
            case Failed():
                return ON_ERROR[(self._door.checks | self._door.output)[check].on_error]
            case _:
                return None

    def _told_row(self, check: str) -> Row:
        if (v := self._reused.get(check)) is not None:
            return Row(check, v.outcome, v.score, v.category, v.reason, v.model, v.version, 0.0)
        span = next((span for span in self.run.timeline if span.branch == check), None)
        if span is None:
            return Row(check, "cancelled", None, "none", "there was no answer for it to judge", "", "", 0.0)
        end = self.run.ended.get(check)
        elapsed_ms = 1000 * ((span.ended_s or 0.0) - (span.started_s or 0.0)) if span.ended_s is not None else 0.0
        match end:
            case Answered(value=Verdict() as v):
                score = v.score if v.outcome != "abstain" else None
                return Row(check, v.outcome, score, v.category, v.reason, v.model, v.version, elapsed_ms)
            case Failed(error=error):
                return Row(check, "error", None, "none", str(error) or type(error).__name__, "", "", elapsed_ms)
            case Cancelled(why=why):
                return Row(check, "cancelled", None, "none", why, "", "", elapsed_ms)
            case _:
                return Row(check, "cancelled", None, "none", "still running at the decision", "", "", elapsed_ms)


async def _answered(answerer: Answerer, conversation: Conversation, whole: int | None, context: Context, /) -> Answer:
    """The answer; with a bound for one that is judged whole, in bytes."""
    return await answerer.answer(conversation, Whole(context, whole) if whole is not None else context)
