"""The laws of design.md section 2, over every interleaving that Hypothesis can draw."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from quorate.engine import Run, fan_out
from quorate.errors import DeadlineExceeded
from quorate.events import Answered, Branch, Delta, Ended, Expired, Failed, Started
from quorate.merges import (
    UNDECIDED,
    Collect,
    EvaluateAll,
    Guarded,
    Merge,
    Observed,
    Race,
    Sections,
    Step,
    Veto,
)
from strategies import (
    ENGINE,
    FAILS,
    MISSING,
    NEVER,
    ON_ERROR,
    PURE,
    RULINGS,
    Reader,
    Rule,
    Script,
    Stage,
    elections,
    end_event,
    guard_events,
    helds,
    interleaved,
    on_errors,
    perform,
    play,
    readers,
    released,
    rules,
    scripts,
    strictest,
    texts,
)


@PURE
@given(elections())
def test_a_vote_is_settled_early_and_right(drawn: tuple[Rule, list[Any], list[Any]]) -> None:
    """Laws 1, 2, 5: decides what all votes would have, and at the first event at which every completion agrees."""
    rule, votes, events = drawn
    steps = play(rule.make(), events)
    seen: list[Any] = []
    for step, fed in zip(steps[1:], events, strict=False):
        if isinstance(fed, Answered | Failed) or type(fed).__name__ == "Cancelled":
            seen.append(votes[int(fed.branch[1:])])
        possible = rule.outcomes(seen)
        assert (step.decision is not None or step.fail is not None) == (len(possible) == 1) == step.done
        assert step.release == ()
        assert step.discard == ((fed,) if isinstance(fed, Delta) else ())
    last = steps[-1]
    outcome = rule.full(tuple(votes))
    if outcome == FAILS:
        assert last.decision is None and last.fail is not None
    else:
        assert last.decision is not None
        value = last.decision.value
        assert value == outcome or (outcome == "an answer" and value == "good")
        assert value is not UNDECIDED or not value
    event(f"settled after {len(seen)} of {rule.n}")


@PURE
@given(st.data())
def test_collect_gathers_the_same_whatever_the_order(data: st.DataObject) -> None:
    """Law 1 for Collect: values and errors are those of all branches, and every delta is let out as it came."""
    votes = data.draw(st.lists(st.sampled_from(("x", *MISSING)), min_size=1, max_size=5))
    queues = [[Delta(f"b{i}", 0.0, "d"), end_event(f"b{i}", vote, vote)] for i, vote in enumerate(votes)]
    events = data.draw(interleaved(queues))
    steps = play(Collect(len(votes)), events)
    assert released(steps) == [e for e in events if isinstance(e, Delta)][: len(released(steps))]
    assert [step.decision is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    got = steps[-1].decision.value  # type: ignore[union-attr]
    assert got.values == {f"b{i}": v for i, v in enumerate(votes) if v in ("x", "abstain")}
    assert set(got.errors) == {f"b{i}" for i, v in enumerate(votes) if v in ("fail", "cancel")}


# Guards.


@PURE
@given(guard_events(), st.booleans())
def test_guards_decide_as_soon_as_no_completion_differs(drawn: Any, speculate: bool) -> None:
    """Laws 1, 2, 3, 7: the strictest ruling wins at the first event that settles it; nothing leaves before or on no."""
    policies, kinds, events = drawn
    merge = Guarded(policies, Branch("answer", None), rule=lambda value: value, speculate=speculate)  # type: ignore[arg-type]
    steps = play(merge, events)
    seen: dict[str, str] = {}
    decision = None
    for step, fed in zip(steps[1:], events, strict=False):
        if isinstance(fed, Expired):
            seen = {name: ON_ERROR[policies[name]] for name in policies} | seen
        elif fed.branch in kinds:
            kind = kinds[fed.branch]
            seen.setdefault(fed.branch, kind if kind in RULINGS else ON_ERROR[policies[fed.branch]])
        pending = len(policies) - len(seen)
        ends = {strictest((*seen.values(), *rest)) for rest in combinations_with_replacement(RULINGS, pending)}
        assert step.decision is None or decision is None
        decision = decision or step.decision
        assert (decision is not None) == (len(ends) == 1)
        if decision is None or decision.value != "admit":
            assert not step.release and not step.commit and step.fail is None
    assert decision is not None
    assert decision.value == strictest(tuple(seen.values()))
    said = [e for e in events[: len(steps) - 1] if isinstance(e, Delta)]
    assert released(steps) == (said if decision.value == "admit" else [])
    event(decision.value)


@PURE
@given(guard_events())
def test_veto_is_guarded_without_an_answer(drawn: Any) -> None:
    """Veto and Guarded settle the same guards the same way, at the same event."""
    policies, _, events = drawn
    veto = play(Veto(policies, rule=lambda value: value), events)
    held = play(Guarded(policies, Branch("answer", None), rule=lambda value: value), events)  # type: ignore[arg-type]
    told = [(i, s.decision.value, s.decision.by) for i, s in enumerate(veto) if s.decision is not None]
    assert told == [(i, s.decision.value, s.decision.by) for i, s in enumerate(held) if s.decision is not None]


@PURE
@given(guard_events())
def test_evaluating_all_changes_nothing_but_the_end(drawn: Any) -> None:
    """EvaluateAll: same releases, same decision at the same event, the answer cut; done when the guards are."""
    policies, _, events = drawn
    make = lambda: Guarded(policies, Branch("answer", None), rule=lambda value: value)  # type: ignore[arg-type] # noqa: E731
    plain, audit = play(make(), events), play(EvaluateAll(make(), policies), events)
    for a, b in zip(plain, audit, strict=False):
        assert (a.decision, a.release, a.commit, str(a.fail)) == (b.decision, b.release, b.commit, str(b.fail))
        assert set(a.cancel) <= set(b.cancel)
    assert all(s.decision is None and not s.release and not s.commit for s in audit[len(plain) :])
    fed = {e.branch for e in events[: len(audit) - 1] if isinstance(e, Answered | Failed) or hasattr(e, "why")}
    assert fed >= set(policies)


@PURE
@given(guard_events(), st.data(), st.booleans(), st.booleans())
def test_an_observed_guard_changes_nothing(drawn: Any, data: st.DataObject, speculate: bool, audit: bool) -> None:
    """Observed: the same steps at the same events, whatever is observed and when; done when all of that has ended."""
    policies, _, events = drawn
    names = ["o0", "o1"][: data.draw(st.integers(1, 2))]
    kinds = st.sampled_from((*RULINGS, "fail", "cancel"))
    seen = [[Started(n, 0.0), Delta(n, 0.0, "o"), end_event(n, k := data.draw(kinds), k)] for n in names]
    mixed = data.draw(interleaved([events, *seen]))

    def make() -> Merge[Any]:
        merge: Merge[Any] = Guarded(
            policies,
            Branch("answer", None),  # type: ignore[arg-type]
            rule=lambda value: value,
            speculate=speculate,
        )
        return EvaluateAll(merge, policies) if audit else merge

    plain, watched = play(make(), events), play(Observed(make(), names), mixed)
    ours = [s for s, fed in zip(watched[1:], mixed, strict=False) if fed.branch not in names]
    for a, b in zip(plain[1:], ours, strict=False):
        assert (a.decision, a.release, a.commit, str(a.fail)) == (b.decision, b.release, b.commit, str(b.fail))
        assert (a.closed or a.done) == b.closed
        assert set(a.cancel) <= set(b.cancel) and not {c.branch for c in b.cancel} & set(names)
    theirs = [(s, fed) for s, fed in zip(watched[1:], mixed, strict=False) if fed.branch in names]
    for s, fed in theirs:
        discard = (fed,) if isinstance(fed, Delta) else ()
        assert s._replace(done=False) == Step(discard=discard)
    assert watched[-1].done or len(watched) == len(mixed) + 1
    if watched[-1].done:
        assert len(ours) >= len(plain) - 1
        assert sum(isinstance(fed, Ended) for _, fed in theirs) == len(names)


# Streams.


@st.composite
def section_events(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, list[Any]], list[Any]]:
    """Parts that end well (or fail before they spoke), with the text of each, in some order."""
    n = draw(st.integers(1, 4))
    queues: dict[str, list[Any]] = {}
    text: dict[str, str] = {}
    for name in "pqrs"[:n]:
        said = draw(st.lists(texts, max_size=3))
        fails = draw(st.booleans())
        end = end_event(name, "fail") if fails else Answered(name, 0.0, f"<{name}>")
        queues[name] = [*(Delta(name, 0.0, t) for t in said), end]
        text[name] = "".join(said) + (f"[{name}]" if fails else "" if said else f"<{name}>")
    return text, queues, draw(interleaved(list(queues.values())))


@PURE
@given(section_events())
def test_sections_read_the_same_for_every_interleaving(drawn: Any) -> None:
    """Laws 3, 4: what leaves is at all times a prefix of the parts' texts in order, in the end all of it."""
    text, _, events = drawn
    whole = "".join(text.values())
    steps = play(Sections(list(text), mark=lambda name, _error: f"[{name}]"), events)
    for i in range(len(steps)):
        assert whole.startswith("".join(delta.value for delta in released(steps[: i + 1])))
    assert "".join(delta.value for delta in released(steps)) == whole
    assert steps[-1].done and steps[-1].decision is not None
    assert steps[-1].decision.value.failed == tuple(p for p in text if f"[{p}]" in text[p])


@PURE
@given(st.data())
def test_a_race_lets_out_one_branch_only(data: st.DataObject) -> None:
    """Laws 1, 3: one branch wins and what leaves is exactly what it said; a run fails only if it, or all, failed."""
    kinds = data.draw(st.lists(st.sampled_from(("ok", "fail", "cancel")), min_size=1, max_size=4))
    queues = [
        [*(Delta(f"b{i}", 0.0, t) for t in data.draw(st.lists(texts, max_size=2))), end_event(f"b{i}", kind, i)]
        for i, kind in enumerate(kinds)
    ]
    events = data.draw(interleaved(queues))
    steps = play(Race([f"b{i}" for i in range(len(kinds))]), events)
    speakers = Counter(delta.branch for delta in released(steps))
    assert len(speakers) <= 1
    last = steps[-1]
    assert last.done and (last.decision is None) != (last.fail is None)
    if last.decision is not None:
        assert set(speakers) <= {last.decision.by}
        assert released(steps) == [e for e in events if isinstance(e, Delta) and e.branch == last.decision.by]
    elif not speakers:
        assert "ok" not in kinds


# The engine, in virtual time.


@dataclass(frozen=True)
class Case:
    """A guarded run: everything that time can do to it."""

    guards: tuple[tuple[Script, str], ...]
    answer: Script
    speculate: bool
    decide_s: float
    run_s: float
    held: int
    audit: bool

    def expected(self) -> tuple[str, float]:
        """The decision and its time, from the scripts alone."""
        limit_s = min(self.decide_s, self.run_s)
        came: list[tuple[str, float]] = []
        late: list[str] = []
        for script, policy in self.guards:
            if script.ends_s < limit_s:
                came.append((ON_ERROR[policy] if script.end == "fail" else script.value, script.ends_s))
            else:
                late.append(ON_ERROR[policy])
        blocked_s = [at_s for ruling, at_s in came if ruling == "block"]
        if blocked_s:
            return "refuse", min(blocked_s)
        value = strictest([*(ruling for ruling, _ in came), *late])
        return value, limit_s if late else max(at_s for _, at_s in came)

    def run(self, stage: Stage, observed: tuple[Script, ...] = ()) -> Run[Any]:
        policies = {f"g{i}": policy for i, (_, policy) in enumerate(self.guards)}
        answer = stage.branch("answer", self.answer)
        merge: Merge[Any] = Guarded(
            policies,  # type: ignore[arg-type]
            answer,
            rule=str,  # type: ignore[arg-type]
            speculate=self.speculate,
            decide_timeout_s=self.decide_s,
        )
        branches = [stage.branch(f"g{i}", script) for i, (script, _) in enumerate(self.guards)]
        merge = EvaluateAll(merge, policies) if self.audit else merge
        if observed:
            branches += [stage.branch(f"o{i}", script) for i, script in enumerate(observed)]
            merge = Observed(merge, [f"o{i}" for i in range(len(observed))])
        return fan_out(branches, merge, timeout_s=self.run_s, held_bytes=self.held)


guard_scripts = scripts(st.sampled_from(("admit", "admit", *RULINGS))).map(lambda s: replace(s, gated=False))
cases = st.builds(
    Case,
    st.lists(st.tuples(guard_scripts, on_errors), min_size=1, max_size=3).map(tuple),
    scripts(st.just("done")),
    st.booleans(),
    st.integers(0, 12).map(lambda n: n / 2 + 1 / 8),
    st.one_of(st.just(60.0), st.integers(0, 12).map(lambda n: n / 2 + 1 / 16)),
    helds,
    st.booleans(),
)


@ENGINE
@given(cases, readers)
def test_nothing_leaves_a_guarded_run_before_its_guards(case: Case, reader: Reader) -> None:
    """Laws 2, 3, 6, 7: decision and time are the scripts' own; only after admission a prefix of the answer leaves."""
    stage = Stage()
    run = case.run(stage)
    seen = perform(run, stage, reader)
    value, at_s = case.expected()
    event(f"{value}, {run.outcome}")
    if at_s > reader.cancel_s:
        assert run.decision is None and run.timeline.decided_s is None
        assert run.outcome == "cancelled" and isinstance(seen.error, asyncio.CancelledError)
    else:
        assert run.decision is not None
        assert (run.decision.value, run.timeline.decided_s) == (value, at_s)
    assert stage.said.get("answer", "").startswith(seen.text)
    if run.decision is None or value != "admit":
        assert seen.text == "" and stage.effects == []
    else:
        assert all(read_s >= at_s for read_s, _ in seen.read)
    if reader.stays and value == "admit" and run.outcome == "done":
        assert seen.text == case.answer.text
    _check_the_end(case, run, reader)


@ENGINE
@given(cases, readers, st.lists(guard_scripts, min_size=1, max_size=2).map(tuple))
def test_what_is_observed_holds_nothing(case: Case, reader: Reader, observed: tuple[Script, ...]) -> None:
    """An observed branch changes neither the decision, nor its moment, nor what a reader gets and when; it runs on."""
    stages = Stage(), Stage()
    plain, watched = case.run(stages[0]), case.run(stages[1], observed)
    seen, same = perform(plain, stages[0], reader), perform(watched, stages[1], reader)
    assert (watched.decision, watched.timeline.decided_s) == (plain.decision, plain.timeline.decided_s)
    assert same.read == seen.read
    assert stages[1].effects == stages[0].effects
    assert str(watched.error) == str(plain.error)
    event(f"{plain.outcome}, {watched.outcome}")
    if watched.outcome == "done":
        for i, script in enumerate(observed):
            span = watched.timeline[f"o{i}"]
            if script.ends_s < case.run_s:
                assert span.ended_s == script.ends_s
                assert span.ended == ("failed" if script.end == "fail" else "answered")


def _check_the_end(case: Case, run: Run[Any], reader: Reader) -> None:
    """On a refusal the answer is cut at the decision; under audit the guards run on to their own ends."""
    value, at_s = case.expected()
    if run.decision is not None and value != "admit":
        for span in run.timeline:
            if span.branch == "answer" and span.ended in ("answered", "failed"):
                assert span.ended_s is not None and span.ended_s <= at_s
        assert case.speculate or run.timeline["answer"].started_s is None
    if case.audit and reader.stays:
        for i, (script, _) in enumerate(case.guards):
            if script.ends_s < case.run_s:
                assert run.timeline[f"g{i}"].ended == ("failed" if script.end == "fail" else "answered")
                assert run.timeline[f"g{i}"].ended_s == script.ends_s


@ENGINE
@given(rules, st.data(), readers)
def test_a_vote_in_the_engine_is_the_vote_on_paper(rule: Rule, data: st.DataObject, reader: Reader) -> None:
    """Laws 1, 2, 5, 6: decided when the votes that came settle it, as all of them would have; else at the deadline."""
    drawn = scripts(st.sampled_from((*rule.sides, None))).map(lambda s: replace(s, gated=False))
    acts = data.draw(st.lists(drawn, min_size=rule.n, max_size=rule.n))
    run_s = data.draw(st.integers(1, 12).map(lambda n: n / 2 + 1 / 16))
    stage = Stage()
    branches = [stage.branch(f"b{i}", script) for i, script in enumerate(acts)]
    run = fan_out(branches, rule.make(), timeout_s=run_s, held_bytes=data.draw(helds))
    seen = perform(run, stage, reader)
    outcome: Any = None
    settled_s, votes = NEVER, []
    for script in sorted(acts, key=lambda s: s.ends_s):
        votes.append(None if script.end == "fail" else script.value)
        if outcome is None and script.ends_s < run_s and len(possible := rule.outcomes(votes)) == 1:
            (outcome,), settled_s = possible, script.ends_s
    event(f"{outcome}, {run.outcome}")
    if min(settled_s, run_s) > reader.cancel_s:
        assert run.outcome == "cancelled" and run.decision is None
    elif settled_s == NEVER:
        assert run.decision is None and isinstance(run.error, DeadlineExceeded)
        assert seen.error is run.error or isinstance(seen.error, asyncio.CancelledError)
    elif outcome == FAILS:
        assert run.outcome == "failed" and run.decision is None and run.timeline.ended_s == settled_s
    else:
        assert run.outcome == "done" and run.decision is not None
        assert run.decision.value == ("good" if outcome == "an answer" else outcome)
        assert run.timeline.decided_s == settled_s
    assert seen.read == []


class Spied:
    """Wraps a merge and keeps its steps."""

    def __init__(self, merge: Merge[Any]) -> None:
        self.merge = merge
        self.steps: list[Step[Any]] = []

    def start(self) -> Step[Any]:
        self.steps.append(self.merge.start())
        return self.steps[-1]

    def feed(self, event: Any) -> Step[Any]:
        self.steps.append(self.merge.feed(event))
        return self.steps[-1]


@ENGINE
@given(
    st.lists(scripts(st.just(None), ends=("answer", "late")), min_size=1, max_size=4),
    st.lists(scripts(st.just(None), ends=("fail",)), max_size=4),
    readers,
    helds,
)
def test_sections_stream_in_order_and_start_over_unseen(
    parts: list[Script], broken: list[Script], reader: Reader, held: int
) -> None:
    """Laws 3, 4, 6: a broken part is tried again only if unseen; else the text is always the same."""
    stage, names = Stage(), "pqrs"[: len(parts)]
    first_try = dict(zip(names, broken, strict=False))
    merge = Spied(
        Sections(
            names,
            retry=lambda name, attempt: stage.branch(f"{name}#{attempt}", parts[names.index(name)]),
            mark=lambda name, _error: f"[{name}]",
        )
    )
    begun = [stage.branch(name, first_try.get(name, script)) for name, script in zip(names, parts, strict=True)]
    run = fan_out(begun, merge, held_bytes=held)
    seen = perform(run, stage, reader)
    out: set[str] = set()
    for step in merge.steps:
        assert not out & {start.branch.name.partition("#")[0] for start in step.start}
        out |= {delta.branch.partition("#")[0] for delta in step.release}
    whole = ""
    for name, script in zip(names, parts, strict=True):
        tried_again = f"{name}#2" in stage.runs
        whole += script.text if tried_again or name not in first_try else f"{first_try[name].text}[{name}]"
    if run.outcome == "done":
        assert whole.startswith(seen.text)
        assert not reader.stays or seen.text == whole
