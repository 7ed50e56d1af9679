"""The merges by direct examples; tests/test_laws.py has them over every interleaving."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Event, Expired, Failed, Queued
from quorate.merges import (
    EVERY,
    UNDECIDED,
    Cancel,
    Collect,
    Collected,
    Decision,
    EvaluateAll,
    First,
    Guarded,
    Majority,
    Merge,
    Quorum,
    Race,
    Sections,
    Start,
    Stitched,
    Veto,
)
from strategies import end_event, play, released


async def nothing(_context: Any, /) -> None: ...


ANSWER: Branch[Any] = Branch("answer", nothing)


def votes(*values: Any) -> list[Event]:
    """One end for each value, from b0, b1, ...; "fail" fails."""
    return [end_event(f"b{i}", str(value), value) for i, value in enumerate(values)]


def outcome(merge: Merge[Any], events: list[Event]) -> Decision[Any]:
    """The decision, which must have come with the last event."""
    steps = play(merge, events)
    assert len(steps) == len(events) + 1
    assert all(step.decision is None for step in steps[:-1])
    assert steps[-1].decision is not None
    return steps[-1].decision


def ruled(**rulings: Any) -> list[Event]:
    return [end_event(name, ruling, ruling) for name, ruling in rulings.items()]


def guarded(*, speculate: bool = True, **policies: Any) -> Guarded[Any]:
    return Guarded(policies, ANSWER, rule=lambda value: value, speculate=speculate)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Collect(0),
        lambda: First(0),
        lambda: Quorum(0, 3),
        lambda: Quorum(4, 3),
        lambda: Majority(0),
        lambda: Race([]),
        lambda: Sections([]),
        lambda: Sections(["a", "a"]),
        lambda: Veto({}, rule=str),  # type: ignore[arg-type]
        lambda: Veto({"g": "alow"}, rule=str),  # type: ignore[arg-type, dict-item]
        lambda: Guarded(["answer"], ANSWER, rule=str),  # type: ignore[arg-type]
    ],
)
def test_a_merge_that_could_never_be_right_is_refused(make: Callable[[], object]) -> None:
    """A rule over nobody, an impossible quorum, a doubled name or a policy that is none is the caller's mistake."""
    with pytest.raises(UsageError):
        make()


def test_undecided_is_never_true() -> None:
    """The tie is a named value that reads as no agreement."""
    assert not UNDECIDED
    assert repr(UNDECIDED.value) == "'undecided'"


def test_collect_keeps_values_and_errors() -> None:
    """Collect decides with the last end and gives values and errors by name."""
    error = ValueError("no")
    steps = play(Collect(3), [Answered("a", 0, 1), Failed("b", 0, error), Cancelled("c", 0, "late")])
    assert steps[0].commit == EVERY
    assert steps[-1].done and steps[-1].decision is not None
    got: Collected[Any] = steps[-1].decision.value
    assert got.values == {"a": 1} and got.errors["b"] is error
    assert isinstance(got.errors["c"], RunFailed)


def test_first_takes_the_first_that_is_accepted() -> None:
    """First skips failures and answers that are not accepted."""
    decision = outcome(First(4, accept=lambda v: v > 1), [*votes("fail", 1), Answered("b2", 0, 2)])
    assert (decision.value, decision.by) == (2, "b2")


def test_first_fails_when_nobody_answers() -> None:
    """First fails with everybody's reason once all branches have ended without an accepted answer."""
    step = play(First(2, accept=bool), votes("fail", 0))[-1]
    assert step.done and step.decision is None
    assert str(step.fail) == "no branch gave an answer: b0: b0 broke; b1: not accepted"


@pytest.mark.parametrize(
    ("cast", "value"),
    [
        ((True, True), True),
        ((False, False), False),
        ((True, False, "fail"), UNDECIDED),
        ((True, False, None), UNDECIDED),
        ((True, False, UNDECIDED), UNDECIDED),
        (("fail", "fail"), UNDECIDED),
        ((True, False, True), True),
        (("fail", True, True), True),
    ],
)
def test_quorum_of_two_in_three(cast: tuple[Any, ...], value: Any) -> None:
    """Two of three decide either way; what is missing counts for no side and stays in the three."""
    vote = lambda v: v if v is None or v is UNDECIDED else bool(v)  # noqa: E731
    assert outcome(Quorum(2, 3), votes(*cast)).value is value
    if UNDECIDED not in cast:
        assert outcome(Quorum(2, 3, vote=vote), votes(*cast)).value is value


@pytest.mark.parametrize(
    ("n", "cast", "value"),
    [
        (3, ("x", "x"), "x"),
        (4, ("x", "y", "x", "y"), UNDECIDED),
        (4, ("y", "y", "fail", "fail"), UNDECIDED),
        (3, ("x", "y", "z"), UNDECIDED),
        (3, ("x", "y", "x"), "x"),
        (2, ("fail",), UNDECIDED),
        (3, (None, None), UNDECIDED),
        (1, ("x",), "x"),
    ],
)
def test_majority_is_more_than_half_of_all(n: int, cast: tuple[Any, ...], value: Any) -> None:
    """A majority is of all branches, not of those that answered; half is a tie, whoever came first."""
    assert outcome(Majority(n), votes(*cast)).value == value


def test_majority_by_key() -> None:
    """Values that share a key are one vote; a key of None abstains."""
    keyed = Majority[str](3, key=lambda text: text.strip().lower() or None)
    assert outcome(keyed, votes(" Yes", "", "yes")).value == " Yes"


@pytest.mark.parametrize(
    ("events", "value", "by"),
    [
        (ruled(a="admit", b="admit"), "admit", None),
        (ruled(a="block"), "refuse", "a"),
        (ruled(a="escalate", b="admit"), "escalate", "a"),
        (ruled(a="escalate", b="block"), "refuse", "b"),
        (ruled(b="fail"), "refuse", "b"),
        (ruled(a="fail", b="admit"), "escalate", "a"),
        ([Expired("decide", 0)], "refuse", "deadline"),
        ([*ruled(b="admit"), Expired("decide", 0)], "escalate", "deadline"),
        ([*ruled(a="escalate"), Expired("deadline", 0)], "refuse", "deadline"),
    ],
)
def test_veto(events: list[Event], value: str, by: str | None) -> None:
    """Guard a escalates and guard b blocks where it fails or is late; the strictest ruling wins and is named."""
    merge: Veto[Any] = Veto({"a": "escalate", "b": "block"}, rule=lambda ruling: ruling)
    decision = outcome(merge, events)
    assert (decision.value, decision.by) == (value, by)


@pytest.mark.parametrize("reading", [None, "pass", True, "refuse", ""])
def test_a_rule_that_gives_no_ruling_admits_nothing(reading: Any) -> None:
    """A guard's value that the rule cannot read breaks the merge; it never counts as a pass."""
    merge: Veto[Any] = Veto(["a"], rule=lambda _value: reading)
    with pytest.raises(UsageError, match="no ruling"):
        merge.feed(Answered("a", 0, "?"))


def test_the_answer_is_held_then_let_out() -> None:
    """What the answer said comes out in order with the admission, the rest as it comes, and it may then commit."""
    one, two = Delta("answer", 0, "1"), Delta("answer", 0, "2")
    steps = play(guarded(a="block"), [one, *ruled(a="admit"), two, Answered("answer", 0, None)])
    assert steps[0].start == (Start(ANSWER),)
    assert [step.release for step in steps] == [(), (), (one,), (two,), ()]
    assert steps[2].commit == ("answer",)
    assert [step.done for step in steps] == [False] * 4 + [True]


def test_a_refusal_cancels_the_answer_and_names_it_unused() -> None:
    """On a block the answer is cancelled with the reason, and its cost is waste."""
    step = play(guarded(a="block"), [Delta("answer", 0, "1"), *ruled(a="block")])[-1]
    assert step.cancel == (Cancel("answer", "blocked by a"),)
    assert step.decision == Decision("refuse", "blocked by a", "a", unused=("answer",))
    assert step.done and not step.release and not step.commit


def test_an_answer_that_waits_is_queued_and_starts_only_on_admission() -> None:
    """Without speculation the answer is queued without a time, started by admission and dropped by a refusal."""
    steps = play(guarded(speculate=False, a="block"), ruled(a="admit"))
    assert [step.start for step in steps] == [(Start(ANSWER, math.inf),), (Start(ANSWER),)]
    steps = play(guarded(speculate=False, a="block"), ruled(a="block"))
    assert [step.start for step in steps] == [(Start(ANSWER, math.inf),), ()]
    assert steps[-1].cancel == (Cancel("answer", "blocked by a"),)
    assert steps[-1].decision == Decision("refuse", "blocked by a", "a", unused=("answer",))


@pytest.mark.parametrize(("ruling", "value"), [("admit", "admit"), ("block", "refuse"), ("escalate", "escalate")])
def test_a_failed_answer_waits_for_the_guards(ruling: str, value: str) -> None:
    """An answer's failure before the decision is the run's only if it is admitted: a refusal is never an error."""
    steps = play(guarded(a="block"), [end_event("answer", "fail"), *ruled(a=ruling)])
    assert steps[1].decision is None and not steps[1].done and steps[1].fail is None
    assert steps[2].decision is not None and steps[2].decision.value == value and steps[2].done
    assert (str(steps[2].fail) if steps[2].fail else None) == ("answer broke" if value == "admit" else None)


@pytest.mark.parametrize("end", [Cancelled("answer", 0, "cut"), Failed("answer", 0, SystemExit())])
def test_a_failure_after_admission_leaves_the_decision(end: Event) -> None:
    """Whatever ends an admitted answer but itself fails the run, as an error of ours where it is none."""
    step = play(guarded(a="block"), [*ruled(a="admit"), end])[-1]
    assert step.done and step.decision is None and isinstance(step.fail, RunFailed)


def test_an_answer_may_bear_any_name() -> None:
    """The time to decide is told from the answer's events by type, not by name."""
    merge: Guarded[Any] = Guarded(["a"], Branch("decide", nothing), rule=str)  # type: ignore[arg-type]
    assert outcome(merge, [Expired("decide", 0)]).value == "refuse"


def test_race_crowns_the_first_to_speak() -> None:
    """The first delta wins: it may commit, the others are cancelled and what they still say is dropped."""
    said, dropped = Delta("b", 0, "x"), Delta("a", 0, "y")
    steps = play(Race(["a", "b"]), [said, dropped, Answered("b", 0, 7)])
    assert steps[1].cancel == (Cancel("a", "b was first"),) and steps[1].commit == ("b",)
    assert released(steps) == [said] and steps[2].discard == (dropped,)
    assert steps[-1].decision == Decision(7, "b was first", "b") and steps[-1].done


def test_race_failures() -> None:
    """The winner's failure is the run's, a loser's nobody's; when all fail before they spoke, all are named."""
    error = ValueError("broke")
    steps = play(Race(["a", "b"]), [Delta("b", 0, "x"), end_event("a", "cancel"), Failed("b", 0, error)])
    assert not steps[2].done and steps[-1].fail is error and steps[-1].done
    step = play(Race(["a", "b"]), [end_event("a", "fail"), end_event("b", "cancel")])[-1]
    assert str(step.fail) == "every branch failed: a: a broke; b: tried to"


def test_a_failure_hurries_the_late_starters() -> None:
    """When a racer drops out before anyone spoke, those that wait start at once."""
    steps = play(Race(["a"], later=[Start(ANSWER, 5.0)]), [end_event("a", "fail"), Answered("answer", 0, 1)])
    assert steps[0].start == (Start(ANSWER, 5.0),) and steps[1].start == (Start(ANSWER, 0.0),)
    assert steps[-1].decision is not None


def test_sections_give_values_in_order() -> None:
    """A part that said nothing lets out its value; values and failures are told in the order of the parts."""
    events = [Answered("b", 0, "B"), end_event("c", "fail"), Answered("a", 0, None)]
    steps = play(Sections("abc", mark=lambda name, error: f"({name}: {error})"), events)
    assert [delta.value for delta in released(steps)] == ["B", "(c: c broke)"]
    assert steps[-1].decision == Decision(Stitched((None, "B", None), ("c",)), "all sections ended")


def test_a_part_is_tried_again_only_unseen() -> None:
    """A later part starts over and what it had said is dropped; one that is being read is not."""
    retry = lambda name, attempt: Branch(f"{name}#{attempt}", nothing) if attempt < 3 else None  # noqa: E731
    lost, kept = Delta("b", 0, "lost"), Delta("b#2", 0, "kept")
    again = play(Sections("ab", retry=retry), [lost, end_event("b", "fail"), Delta("b", 0, "stale"), kept])
    assert [s.branch.name for s in again[2].start] == ["b#2"] and again[2].discard == (lost,)
    end = play(
        Sections("ab", retry=retry), [lost, end_event("b", "fail"), kept, *ruled(a="x"), end_event("b#2", "fail")]
    )
    assert [delta.value for delta in released(end)] == ["x", "kept"]
    assert end[-1].fail is not None and end[-1].done


def test_parts_may_bear_any_name() -> None:
    """A number sign in a part's name is part of it; only a clash with a retry's name is a mistake."""
    retry = lambda name, attempt: Branch(f"{name}#{attempt}", nothing)  # noqa: E731
    steps = play(Sections(["C#", "F#"], retry=retry), [end_event("C#", "fail"), *ruled(**{"F#": "f", "C##2": "c"})])
    assert [delta.value for delta in released(steps)] == ["c", "f"]
    with pytest.raises(UsageError, match="must be named"):
        Sections(["a", "a#2"], retry=retry).feed(end_event("a", "fail"))
    with pytest.raises(UsageError, match="must be named"):
        Sections(["a"], retry=lambda *_: Branch("b", nothing)).feed(end_event("a", "fail"))


def test_evaluate_all_keeps_only_the_named() -> None:
    """After the decision the kept run on, whatever else is known to run is cut, and nothing said later is held."""
    merge = EvaluateAll(Veto[Any](["a", "b"], rule=lambda ruling: ruling), ["a", "b"])
    merge.start()
    for name in ("a", "b", "x", "y"):
        merge.feed(Queued(name, 0))
    merge.feed(Answered("y", 0, None))
    step = merge.feed(Answered("a", 0, "block"))
    assert step.decision is not None and not step.done
    assert step.cancel == (Cancel("x", "blocked by a"),)
    late = Delta("b", 0, "...")
    assert merge.feed(late).discard == (late,)
    last = merge.feed(Answered("b", 0, "admit"))
    assert last.done and last.decision is None


def test_evaluate_all_lets_losers_run() -> None:
    """What the wrapped merge cancels before it is done is cancelled only where it is not kept."""
    merge: EvaluateAll[Any] = EvaluateAll(Race(["a", "b", "c"]), ["a", "b"])
    steps = play(merge, [Delta("a", 0, "x"), Answered("a", 0, 1), Answered("b", 0, 2)])
    assert steps[1].cancel == (Cancel("c", "a was first"),)
    assert [step.done for step in steps] == [False, False, False, True]
    assert steps[2].decision == Decision(1, "a was first", "a")
