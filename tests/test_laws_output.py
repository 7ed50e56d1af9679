"""The laws for an answer that output guards judge when it is complete, over every interleaving."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from quorate.engine import Run, fan_out
from quorate.errors import DeadlineExceeded, RunFailed, UsageError
from quorate.events import Answered, Branch, Delta, Expired, Failed, Queued, Started
from quorate.merges import EvaluateAll, Guarded, Merge, OutputGuards, Step
from strategies import (
    ENGINE,
    NEVER,
    ON_ERROR,
    PURE,
    RULINGS,
    Reader,
    Script,
    Stage,
    end_event,
    interleaved,
    on_errors,
    perform,
    play,
    readers,
    released,
    scripts,
    strictest,
    texts,
)

BROKEN = "broken"
"""Admitted by the guards, then failed: nobody could judge the answer, so nothing of it is let out."""


@dataclass(frozen=True)
class Story:
    """What guards, answer and output guards come to, and their events in some order."""

    policies: dict[str, Any]
    out_policies: dict[str, Any]
    kinds: dict[str, str]
    answer: str
    events: list[Any]

    def merge(self, *, speculate: bool = True) -> Guarded[Any]:
        output = OutputGuards(
            self.out_policies,
            lambda _said, _value: [Branch(name, None) for name in self.out_policies],  # type: ignore[arg-type]
        )
        answer: Branch[Any] = Branch("answer", None)  # type: ignore[arg-type]
        return Guarded(self.policies, answer, rule=lambda value: value, speculate=speculate, output=output)

    def ruling(self, name: str) -> str:
        kind = self.kinds[name]
        return kind if kind in RULINGS else ON_ERROR[{**self.policies, **self.out_policies}[name]]

    def outcomes(self, seen: dict[str, str], answer: str | None) -> set[str]:
        """Every outcome that some completion of what was seen gives."""

        def of(policies: dict[str, Any]) -> set[str]:
            known = [seen[name] for name in policies if name in seen]
            rest = combinations_with_replacement(RULINGS, len(policies) - len(known))
            return {strictest((*known, *more)) for more in rest}

        ends = of(self.policies)
        if "admit" not in ends:
            return ends
        after = {BROKEN} if answer not in (None, "ok") else of(self.out_policies)
        return (ends - {"admit"}) | (after if answer is not None else {*after, BROKEN})


@st.composite
def stories(draw: st.DrawFn) -> Story:
    guards = {f"g{i}": draw(on_errors) for i in range(draw(st.integers(1, 3)))}
    judges = {f"o{i}": draw(on_errors) for i in range(draw(st.integers(1, 3)))}
    kinds = {name: draw(st.sampled_from(("admit", *RULINGS, "fail", "cancel"))) for name in (*guards, *judges)}
    answer = draw(st.sampled_from(("ok", "ok", "ok", "fail", "cancel")))
    said = [Delta("answer", 0.0, text) for text in draw(st.lists(texts, max_size=4))]
    after = [[Queued(name, 0.0), Started(name, 0.0), end_event(name, kinds[name], kinds[name])] for name in judges]
    chain = [Started("answer", 0.0), *said, end_event("answer", answer)]
    chain += draw(interleaved(after)) if answer == "ok" else []
    queues = [[end_event(name, kinds[name], kinds[name])] for name in guards]
    expiries = [Expired("decide", 0.0)] * draw(st.integers(0, 1))
    return Story(guards, judges, kinds, answer, draw(interleaved([chain, *queues, expiries])))


@PURE
@given(stories(), st.booleans())
def test_nothing_leaves_before_every_output_guard_and_the_outcome_is_that_on_all(story: Story, speculate: bool) -> None:
    """Laws 1, 2, 3, 7: decided at the first event that settles it; only an admission lets out, and then everything."""
    steps = play(story.merge(speculate=speculate), story.events)
    seen: dict[str, str] = {}
    answer: str | None = None
    decision, fail = None, None
    for step, fed in zip(steps[1:], story.events, strict=False):
        if isinstance(fed, Expired):
            seen = {name: ON_ERROR[story.policies[name]] for name in story.policies} | seen
        elif fed.branch in story.kinds and not isinstance(fed, Queued | Started):
            seen.setdefault(fed.branch, story.ruling(fed.branch))
        elif fed.branch == "answer" and not isinstance(fed, Started | Delta):
            answer = story.answer
        ends = story.outcomes(seen, answer)
        assert step.decision is None or decision is None
        decision, fail = decision or step.decision, fail or step.fail
        assert (decision is not None) == (len(ends) == 1)
        outcome = None if decision is None else BROKEN if fail is not None else decision.value
        assert outcome is None or ends == {outcome}
        if outcome != "admit":
            assert not step.release and not step.commit
    assert decision is not None and steps[-1].done
    said = [e for e in story.events if isinstance(e, Delta)]
    assert released(steps) == (said if ends == {"admit"} else [])
    assert decision.by is None or decision.by == "deadline" or decision.by in seen
    event(next(iter(ends)))


@PURE
@given(stories())
def test_output_guards_start_once_and_only_on_a_whole_answer(story: Story) -> None:
    """The merge starts them on the answer's end, before or after the other guards, and never on a broken one."""
    steps = play(story.merge(), story.events)
    begun = [(i, start.branch.name) for i, step in enumerate(steps) for start in step.start[: 9 if i else 0]]
    ends = [i for i, e in enumerate(story.events[: len(steps) - 1], 1) if e.branch == "answer" and hasattr(e, "usage")]
    decided = [i for i, step in enumerate(steps) if step.decision is not None]
    whole = bool(ends) and story.answer == "ok" and decided > ends
    assert begun == ([(ends[0], name) for name in story.out_policies] if whole else [])


@PURE
@given(stories())
def test_evaluating_all_of_a_reviewed_answer_changes_nothing_but_the_end(story: Story) -> None:
    """EvaluateAll: same releases, same decision at the same event; guards that were started run to their ends."""
    plain = play(story.merge(), story.events)
    audit = play(EvaluateAll(story.merge(), story.policies, later=story.out_policies), story.events)
    for a, b in zip(plain, audit, strict=False):
        assert (a.decision, a.release, a.commit, str(a.fail)) == (b.decision, b.release, b.commit, str(b.fail))
        assert not {c.branch for c in b.cancel} & story.kinds.keys()
    assert all(s.decision is None and not s.release and not s.commit for s in audit[len(plain) :])
    fed = story.events[: len(audit) - 1]
    ended = {e.branch for e in fed if isinstance(e, Answered | Failed) or hasattr(e, "why")}
    started = {e.branch for e in fed if isinstance(e, Queued)}
    assert ended >= {*story.policies, *started} or len(audit) - 1 == len(story.events)


# By example.


def reviewed(said: list[Any], *, names: Sequence[str] = ("o",)) -> Guarded[Any]:
    def review(deltas: Sequence[Any], value: Any) -> list[Branch[Any]]:
        said.append((tuple(deltas), value))
        return [Branch(name, None) for name in names]  # type: ignore[arg-type]

    answer: Branch[Any] = Branch("answer", None)  # type: ignore[arg-type]
    return Guarded({"g": "block"}, answer, rule=lambda value: value, output=OutputGuards({"o": "block"}, review))


def test_the_review_sees_all_that_was_said_and_the_value() -> None:
    """It is asked once, with every delta in order, and what it makes is started at once beside the other guards."""
    said: list[Any] = []
    events = [Delta("answer", 0, "a"), Delta("answer", 0, "b"), Answered("answer", 0, "value")]
    steps = play(reviewed(said), events)
    assert said == [(("a", "b"), "value")]
    assert [(start.branch.name, start.after_s) for start in steps[-1].start] == [("o", 0.0)]


def test_a_review_that_leaves_a_guard_out_breaks_the_merge() -> None:
    """A guard without a branch would never pass; a branch without a policy would count for nothing."""
    for names in ((), ("x",), ("o", "x"), ("o", "o")):
        with pytest.raises(UsageError, match="one for each of o"):
            play(reviewed([], names=names), [Answered("answer", 0, None)])


@pytest.mark.parametrize(
    ("guards", "output"), [({"a": "block"}, {"a": "block"}), ({"a": "block"}, {"answer": "block"})]
)
def test_names_are_distinct(guards: Any, output: Any) -> None:
    """No output guard can be named as another guard or as the answer, and there is at least one."""
    answer: Branch[Any] = Branch("answer", None)  # type: ignore[arg-type]
    for names in (output, {}):
        with pytest.raises(UsageError):
            Guarded(guards, answer, rule=str, output=OutputGuards(names, lambda _d, _v: []))  # type: ignore[arg-type]


@pytest.mark.parametrize(("policy", "value"), [("block", "refuse"), ("escalate", "escalate"), ("allow", "admit")])
def test_at_the_runs_deadline_an_undecided_output_guard_is_what_its_failure_means(policy: Any, value: str) -> None:
    """Nothing undecided reads as a pass but where the config says so; "deadline" decides."""
    story = Story({"g": "block"}, {"o": policy}, {}, "ok", [])
    said = Delta("answer", 0, "x")
    events = [end_event("g", "admit", "admit"), said, Answered("answer", 0, None), Expired("deadline", 9)]
    step = play(story.merge(), events)[-1]
    assert step.decision is not None and step.done
    assert (step.decision.value, step.decision.by) == (value, None if value == "admit" else "deadline")
    assert step.release == ((said,) if value == "admit" else ())


# The engine, in virtual time.


@dataclass(frozen=True)
class Case:
    """A guarded run with output guards: everything that time can do to it."""

    guards: tuple[tuple[Script, str], ...]
    judges: tuple[tuple[Script, str], ...]
    answer: Script
    speculate: bool
    decide_s: float
    run_s: float
    audit: bool

    def expected(self) -> tuple[str, float]:
        """The outcome and its time, from the scripts alone."""
        value, at_s = settled(self.guards, 0.0, min(self.decide_s, self.run_s))
        if value != "admit":
            return value, at_s
        ends_s = (0.0 if self.speculate else at_s) + self.answer.ends_s
        if ends_s >= self.run_s or (self.answer.end == "fail"):
            return BROKEN, max(at_s, min(ends_s, self.run_s))
        judged, judged_s = settled(self.judges, ends_s, self.run_s)
        return judged, max(at_s, judged_s)

    def run(self, stage: Stage) -> Run[Any]:
        policies: dict[str, Any] = {f"g{i}": policy for i, (_, policy) in enumerate(self.guards)}
        after: dict[str, Any] = {f"o{i}": policy for i, (_, policy) in enumerate(self.judges)}

        def review(deltas: Sequence[Any], value: Any) -> list[Branch[Any]]:
            assert ("".join(deltas), value) == (self.answer.text, "done")
            return [stage.branch(f"o{i}", script) for i, (script, _) in enumerate(self.judges)]

        merge: Merge[Any] = Guarded(
            policies,
            stage.branch("answer", self.answer),
            rule=str,  # type: ignore[arg-type]
            speculate=self.speculate,
            decide_timeout_s=self.decide_s,
            output=OutputGuards(after, review),
        )
        branches = [stage.branch(f"g{i}", script) for i, (script, _) in enumerate(self.guards)]
        merge = EvaluateAll(merge, policies, later=after) if self.audit else merge
        return fan_out(branches, merge, timeout_s=self.run_s)


def settled(guards: tuple[tuple[Script, str], ...], start_s: float, limit_s: float) -> tuple[str, float]:
    """What guards that start together come to, and when, where the limit turns the late ones into their policy."""
    ends = [(s.value if s.end != "fail" else ON_ERROR[p], start_s + s.ends_s, ON_ERROR[p]) for s, p in guards]
    came = [(ruling, at_s) for ruling, at_s, _ in ends if at_s < limit_s]
    late = [policy for _, at_s, policy in ends if at_s >= limit_s]
    blocked_s = [at_s for ruling, at_s in came if ruling == "block"]
    if blocked_s:
        return "refuse", min(blocked_s)
    return strictest([*(ruling for ruling, _ in came), *late]), limit_s if late else max(at_s for _, at_s in came)


def guarding(first: int) -> st.SearchStrategy[Any]:
    rulings = st.sampled_from(("admit", "admit", "admit", *RULINGS))
    script = scripts(rulings).map(lambda s: replace(s, gated=False))
    return st.lists(st.tuples(script, on_errors), min_size=first, max_size=3).map(tuple)


cases = st.builds(
    Case,
    guarding(1),
    guarding(1),
    scripts(st.just("done"), ends=("answer", "answer", "answer", "fail", "hang", "late")).map(
        lambda s: replace(s, gated=False)
    ),
    st.booleans(),
    st.integers(4, 16).map(lambda n: n / 2 + 1 / 8),
    st.one_of(st.just(60.0 + 1 / 16), st.integers(0, 16).map(lambda n: n / 2 + 1 / 16)),
    st.booleans(),
)


@ENGINE
@given(cases, readers)
def test_a_reviewed_answer_leaves_whole_or_not_at_all(case: Case, reader: Reader) -> None:
    """Laws 2, 3, 6, 7 on the engine: outcome and time are the scripts' own, and nothing unjudged is read."""
    stage = Stage()
    run = case.run(stage)
    seen = perform(run, stage, reader)
    value, at_s = case.expected()
    event(f"{value}, {run.outcome}")
    if at_s > reader.cancel_s:
        assert run.decision is None and run.outcome == "cancelled"
        assert isinstance(seen.error, asyncio.CancelledError)
    else:
        assert run.decision is not None and run.timeline.decided_s == at_s
        assert run.decision.value == ("admit" if value == BROKEN else value)
        # Under audit a guard may outlive the decision, to the run's deadline.
        assert (run.error is not None) == (value == BROKEN) or (case.audit and isinstance(run.error, DeadlineExceeded))
        assert run.error is None or isinstance(run.error, ValueError | RunFailed | DeadlineExceeded)
    if value != "admit":
        assert seen.text == ""
    assert all(read_s >= at_s for read_s, _ in seen.read)
    if reader.stays and value == "admit" and run.error is None:
        assert seen.text == case.answer.text
    if case.audit and reader.stays and at_s < NEVER:
        for name, script in [(f"g{i}", script) for i, (script, _) in enumerate(case.guards)]:
            if script.ends_s < case.run_s and run.outcome == "done":
                assert run.timeline[name].ended == ("failed" if script.end == "fail" else "answered")


def test_steps_of_a_broken_answer_discard_what_was_held() -> None:
    """An answer that breaks after its guards passed fails the run, which stays admitted, and lets nothing out."""
    said = Delta("answer", 0, "x")
    events = [said, end_event("g", "admit", "admit"), end_event("answer", "fail")]
    steps: list[Step[Any]] = play(reviewed([]), events)
    assert steps[2].decision is None
    assert steps[3].decision is not None and steps[3].decision.value == "admit" and str(steps[3].fail) == "answer broke"
    assert steps[3].discard == (said,) and not steps[3].release and not steps[3].commit and steps[3].done
