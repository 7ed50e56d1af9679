"""The front door: checks beside the answer, nothing out before all pass, refusals that reveal nothing."""

from dataclasses import replace
from itertools import product
from typing import Any, Literal

import pytest

from judging import ABSTAIN, FLAG, PASS, POLICY, REFUSALS, Rule, Say, Speaker, asked, check, door, holding, said
from quorate.apps.frontdoor import Decision, FrontDoor, Row
from quorate.checks import Conversation, PromptJudge, Template
from quorate.engine import clock
from quorate.errors import ModelUnavailable, RunFailed, UsageError
from quorate.events import Usage
from quorate.testing import ScriptedModel, run_virtual, verdict

DOWN = ModelUnavailable("down")
HANG = 1e6


# --- admission -----------------------------------------------------------------------------------


async def test_a_clean_message_costs_the_slowest_not_the_sum() -> None:
    """Checks and answer begin together; what was held leaves when the last check passes, the rest as it comes."""
    speaker = Speaker(("a", "b", "c", "d"), gap_s=0.2)
    times: list[tuple[str, float]] = []
    async with door(Rule(PASS, 0.3), Rule(PASS, 0.5), speaker).respond("Hi") as response:
        decision = await response.decided()
        assert (decision.decision, decision.reply, clock.now()) == ("admit", None, 0.5)
        async for piece in response:
            times.append((piece, round(clock.now(), 3)))
    assert times == [("a", 0.5), ("b", 0.5), ("c", 0.6), ("d", 0.8)]
    report = response.report()
    assert (report.decision, report.decided_by, report.reply) == ("admit", None, "abcd")
    assert (report.sources, report.speculated, report.elapsed_ms) == (("Lamps",), True, pytest.approx(800))
    assert response.answer is not None and response.answer.text == "abcd"


async def test_an_attack_is_refused_when_its_first_decisive_check_says_so() -> None:
    """A flag decides at once: the refusal is readable, the other check and the answer are cut, nothing leaked."""
    speaker = Speaker(("secret ",) * 9, gap_s=0.1)
    slow = Rule(PASS, 5)
    began_out: list[float] = []
    async with door(slow, Rule(FLAG, 0.25), speaker).respond("attack") as response:
        async for piece in response:
            assert piece == "Not like this."
            began_out.append(clock.now())
    report = response.report()
    assert began_out == [0.25] and clock.now() == 0.25
    assert (report.decision, report.decided_by, report.reply) == ("refuse", "threat", "Not like this.")
    assert speaker.spoken == ["secret ", "secret "] and not speaker.finished and slow.answered == 0
    assert response.answer is None and report.sources == ()
    spans = report.timeline
    assert spans["answer"].wasted and spans.wasted.output_tokens == 10
    assert [row.outcome for row in report.verdicts] == ["cancelled", "flag"]


async def test_an_escalation_drops_the_answer_and_hands_over() -> None:
    """A doubtful message gets the hand-over text, after every check that could still refuse it."""
    speaker = Speaker()
    pieces, decision = await asked(door(Rule(ABSTAIN, 0.1), Rule(PASS, 0.6), speaker))
    assert pieces == ["A colleague will see."] and clock.now() == 0.6
    assert (decision.decision, decision.decided_by, decision.reply) == ("escalate", "scope", "A colleague will see.")
    pieces, decision = await asked(door(Rule(ABSTAIN, 0.1), Rule(FLAG, 0.6), speaker))
    assert (decision.decision, pieces) == ("refuse", ["Not like this."])


async def test_without_speculation_the_answer_waits() -> None:
    """`speculate = false` starts the answer at the admission, and never for a refused message."""
    quiet = replace(POLICY, speculate=False)
    speaker = Speaker(("a", "b"), gap_s=0.5)
    pieces, decision = await asked(door(Rule(PASS, 0.3), Rule(PASS, 0.4), speaker, policy=quiet))
    assert (pieces, speaker.began_s, clock.now(), decision.speculated) == (["a", "b"], [0.4], 1.4, False)
    refused = Speaker()
    pieces, decision = await asked(door(Rule(PASS, 0.3), Rule(FLAG, 0.4), refused, policy=quiet))
    assert (pieces, refused.asked, decision.timeline.wasted) == (["Not like this."], [], Usage())


async def test_an_answerer_of_unknown_effects_waits() -> None:
    """What may do anything is not begun before the verdict, whatever the policy says."""
    speaker = Speaker(effects="unknown")
    _, decision = await asked(door(Rule(PASS, 0.3), Rule(PASS, 0.4), speaker))
    assert (speaker.began_s, decision.speculated) == ([0.4], False)


async def test_an_answer_that_breaks_after_its_release_raises() -> None:
    """The reader sees the failure, never a silent short answer; the decision stays what it was."""
    speaker = Speaker(("par",), gap_s=0.1, error=ModelUnavailable("cut off"))
    pieces = []
    async with door(Rule(PASS), Rule(PASS), speaker).respond("Hi") as response:
        with pytest.raises(ModelUnavailable, match="cut off"):
            async for piece in response:
                pieces.append(piece)
    assert pieces == ["par"] and response.report().decision == "admit"
    assert response.answer is None and response.report().reply is None


async def test_an_answer_that_breaks_before_a_refusal_is_still_a_refusal() -> None:
    """An undecided check is waited for: a refusal is never an error of the answer."""
    speaker = Speaker((), error=DOWN)
    pieces, decision = await asked(door(Rule(PASS), Rule(FLAG, 1), speaker))
    assert (pieces, decision.decision) == (["Not like this."], "refuse")
    async with door(Rule(PASS), Rule(PASS, 1), speaker).respond("Hi") as response:
        with pytest.raises(ModelUnavailable):
            await anext(response)


async def test_a_reader_that_leaves_early_leaves_nothing_behind() -> None:
    """Leaving the block stops the answer and the checks."""
    speaker = Speaker(("x",) * 100, gap_s=0.1)
    async with door(Rule(PASS), Rule(PASS), speaker).respond("Hi") as response:
        async for _ in response:
            break
    assert response.run.outcome == "abandoned" and clock.now() == 0.1
    assert all(span.ended is not None for span in response.report().timeline)


async def test_deciding_alone_starts_no_answer() -> None:
    """`decide()` runs the checks only, with the same outcomes; there is no reply on admission."""
    speaker = Speaker()
    decided = await door(Rule(PASS, 0.1), Rule(PASS, 0.3), speaker).decide("Hi")
    assert (decided.decision, decided.reply, speaker.asked, clock.now()) == ("admit", None, [], 0.3)
    refused = await door(Rule(FLAG, 0.1), Rule(PASS, 0.3)).decide("Hi")
    assert (refused.decision, refused.decided_by, refused.reply) == ("refuse", "scope", "Only about lamps.")
    assert refused.elapsed_ms == pytest.approx(100)
    with pytest.raises(UsageError, match="no answerer"):
        door().respond("Hi")


# --- the rows of a decision ----------------------------------------------------------------------


async def test_rows_usage_and_timeline_tell_the_whole_story() -> None:
    """Each check has its row and span; usage counts every call, cut ones as estimates, and what was wasted."""
    threat = ScriptedModel("guard-llm", [[0.2, verdict(True, score=0.97, category="injection", reason="it tries")]])
    scope = ScriptedModel("scope-llm", [[0.9, verdict(False)]])
    judges = [PromptJudge(m, Template.load(t)) for m, t in ((scope, "scope-v1"), (threat, "threat-v1"))]
    decided = await FrontDoor([check("scope", judges[0]), check("threat", judges[1])], Speaker(), policy=POLICY).decide(
        "attack"
    )
    cut, flagged = decided.verdicts
    assert flagged == Row(
        "threat",
        "flag",
        0.97,
        "injection",
        "it tries",
        "guard-llm",
        Template.load("threat-v1").version,
        flagged.elapsed_ms,
    )
    assert (cut.outcome, cut.score, cut.category, cut.reason) == ("cancelled", None, "none", "blocked by threat")
    assert (flagged.elapsed_ms, cut.elapsed_ms) == (pytest.approx(200), pytest.approx(200))
    usage = decided.usage
    assert (usage.calls, usage.cut_calls, usage.estimated) == (2, 1, True)
    assert decided.timeline.usage == usage and decided.timeline.wasted.calls == 1
    assert [(s.branch, s.ended) for s in decided.timeline] == [("scope", "cancelled"), ("threat", "answered")]
    assert decided.timeline.decided_s == pytest.approx(0.2) and decided.timeline.critical[-1] == "threat"


async def test_a_score_is_null_unless_pass_or_flag() -> None:
    """An abstention shows no score, an error and a cancelled check none either; a failure's text is its reason."""
    doubtful = await door(Rule(said("abstain", 0.5)), Rule(DOWN), on_error="escalate").decide("Hi")
    assert [(row.outcome, row.score) for row in doubtful.verdicts] == [("abstain", None), ("error", None)]
    assert doubtful.verdicts[1].reason == "down"
    silent = await door(Rule(PASS), Rule(ValueError())).decide("Hi")
    assert silent.verdicts[1].reason == "ValueError"


async def test_a_report_needs_a_decision() -> None:
    """Before it there is nothing to report; a check that still runs at the decision is shown as cancelled."""
    async with door(Rule(PASS, 0.1), Rule(FLAG, 0.2), Speaker()).respond("Hi") as response:
        with pytest.raises(UsageError, match="no decision yet"):
            response.report()
        now = await response.decided()
        assert [row.outcome for row in now.verdicts] == ["pass", "flag"]
    quick = door(Rule(PASS, 9), Rule(FLAG, 0.2), Speaker())
    async with quick.respond("Hi") as response:
        now = await response.decided()
        assert now.verdicts[0].outcome == "cancelled" and now.verdicts[0].score is None


@pytest.mark.parametrize("names", [[], ["a", "a"], ["answer"], ["deadline"], ["a", "answer"]])
def test_a_door_needs_checks_of_distinct_names(names: list[str]) -> None:
    """Without a check everything would be admitted; a name that decisions use cannot be a check's."""
    with pytest.raises(UsageError, match="at least one check"):
        FrontDoor([check(name, Rule()) for name in names], policy=POLICY)


async def test_a_conversation_of_no_known_form_is_told_at_once() -> None:
    """A wrong message is an error of the caller, before anything starts."""
    for source in ([], [{"role": "user", "content": 5}], 7):
        with pytest.raises(UsageError):
            await door().decide(source)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            door(answerer=Speaker()).respond(source)  # type: ignore[arg-type]


# --- failures, doubts, time ----------------------------------------------------------------------

MATRIX = list(product(["block", "allow", "escalate"], ["next_tier", "escalate", "admit"], [PASS, FLAG, ABSTAIN, DOWN]))
OnEnd = Literal["admit", "refuse", "escalate"]


def wanted(say: Say | Literal["late"], on_error: str, on_abstain: str) -> OnEnd:
    if say in (DOWN, "late"):
        outcomes: dict[str, OnEnd] = {"block": "refuse", "allow": "admit", "escalate": "escalate"}
        return outcomes[on_error]
    if say is ABSTAIN:
        return "admit" if on_abstain == "admit" else "escalate"
    return "refuse" if say is FLAG else "admit"


@pytest.mark.parametrize(("on_error", "on_abstain", "say"), MATRIX)
@pytest.mark.parametrize("other", [PASS, FLAG, ABSTAIN, DOWN])
async def test_block_over_escalate_over_admit(on_error: Any, on_abstain: Any, say: Say, other: Say) -> None:
    """Whatever fails or doubts, in either order: a block wins, then an escalation; who decided is named."""
    ends = {"first": wanted(say, on_error, on_abstain), "second": wanted(other, "block", "escalate")}
    expected = next((end for end in ("refuse", "escalate") if end in ends.values()), "admit")
    for delays in ((0.1, 0.2), (0.2, 0.1)):
        checks = [
            check("first", Rule(say, delays[0]), on_error=on_error, on_abstain=on_abstain),
            check("second", Rule(other, delays[1])),
        ]
        decided = await FrontDoor(checks, policy=POLICY).decide("Hi")
        assert decided.decision == expected
        assert (decided.decided_by is None) == (expected == "admit")
        if expected != "admit":
            assert ends[str(decided.decided_by)] == expected


@pytest.mark.parametrize("on_error", ["block", "allow", "escalate"])
async def test_the_time_to_decide_turns_a_check_into_its_on_error(on_error: Any) -> None:
    """A check that hangs becomes its on_error when the time to decide is up, and "deadline" decides."""
    hanging = door(Rule(PASS), Rule(PASS, HANG), Speaker(), on_error=on_error, timeout_s=HANG)
    pieces, decision = await asked(hanging)
    expected = wanted("late", on_error, "escalate")
    assert decision.decision == expected
    assert decision.decided_by == (None if expected == "admit" else "deadline")
    assert clock.now() == 10.0
    told = {"refuse": ["Try again."], "escalate": ["A colleague will see."], "admit": ["Hel", "lo."]}
    assert pieces == told[expected]


async def test_a_check_that_times_out_is_an_error_of_its_own() -> None:
    """A check's own timeout ends it before the door's, and the check decides."""
    decided = await door(Rule(PASS), Rule(PASS, HANG), timeout_s=2.0).decide("Hi")
    assert (decided.decision, decided.decided_by, clock.now()) == ("refuse", "threat", 2.0)
    assert decided.verdicts[1].outcome == "error" and decided.reply == "Try again."


async def test_a_whole_message_has_a_time() -> None:
    """A run deadline before the decision decides by on_error; after admission an endless answer is an error."""
    short = replace(POLICY, timeout_s=3.0)
    pieces, decision = await asked(
        door(Rule(PASS, HANG), Rule(PASS), Speaker(), policy=short, on_error="escalate", timeout_s=None)
    )
    assert (decision.decision, decision.decided_by, pieces) == ("escalate", "deadline", ["A colleague will see."])
    endless = Speaker(("x",) * 1_000, gap_s=0.5)
    with pytest.raises(Exception, match="longer than 3"):
        await asked(door(answerer=endless, policy=short))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("say", "source", "told"),
    [
        (FLAG, "Hi", "Not like this."),
        (DOWN, "Hi", "Try again."),
        (PASS, "x" * 101, "Too long."),
        (PASS, [{"role": "user", "content": [{"type": "image_url"}]}], "Only text."),
    ],
)
async def test_a_refusal_is_worded_by_its_reason(say: Say, source: Any, told: str) -> None:
    """Each reason has its own text; told to be uniform, the door says the same to everybody."""
    pieces, decision = await asked(door(None, Rule(say), Speaker(), max_chars=100), source)
    assert (pieces, decision.reply) == ([told], told)
    uniform = replace(POLICY, refusals=replace(REFUSALS, uniform=True))
    pieces, _ = await asked(door(None, Rule(say), Speaker(), max_chars=100, policy=uniform), source)
    assert pieces == ["Sorry."]


async def test_a_refusal_reveals_nothing_of_the_check() -> None:
    """The text is one of the config's, whatever the judge said: no category, reason, score, model or check id."""
    texts = {*REFUSALS.texts.values(), REFUSALS.default}
    for category in ("injection", "error", "scope", "unread ", "default", "threat-v1@0", "none", "\x1b[31m"):
        loud = said("flag", 0.987, model="gpt-secret", category=category)
        pieces, _ = await asked(door(None, Rule(loud), Speaker()))
        assert pieces == ["Not like this."]
    pieces, _ = await asked(FrontDoor([check("my-rule", Rule(FLAG))], Speaker(), policy=POLICY))
    assert pieces == ["Sorry."] and set(pieces) <= texts


# --- evaluate_all --------------------------------------------------------------------------------


async def test_evaluating_all_changes_no_decision() -> None:
    """The refusal goes out at the same moment and the answer is cut; only the checks run on to their ends."""
    speaker = Speaker(("x",) * 100, gap_s=0.1)
    slow = Rule(said("flag", 0.7), 3.0)
    async with door(slow, Rule(FLAG, 0.25), speaker).respond("attack", evaluate_all=True) as response:
        assert await anext(response) == "Not like this." and clock.now() == 0.25
        await response.run.finished()
    report = response.report()
    assert (report.decided_by, clock.now(), len(speaker.spoken)) == ("threat", 3.0, 2)
    assert [row.outcome for row in report.verdicts] == ["flag", "flag"]
    decided = await door(Rule(PASS, 2.0), Rule(FLAG, 0.25)).decide("attack", evaluate_all=True)
    assert (decided.decision, decided.decided_by) == ("refuse", "threat")
    assert [(row.outcome, row.score) for row in decided.verdicts] == [("pass", 0.1), ("flag", 0.9)]
    assert decided.timeline.decided_s == pytest.approx(0.25)


async def test_a_failed_run_of_the_door_says_so() -> None:
    """A judge that gives something else than a verdict is a failure of its check, not of the door."""
    odd = Rule(lambda _text: "yes")  # type: ignore[arg-type, return-value]
    decided = await door(None, odd).decide("Hi")
    assert (decided.decision, decided.verdicts[1].outcome) == ("refuse", "error")
    with pytest.raises(RunFailed):
        async with door(answerer=Speaker()).respond("Hi") as response:
            pass
        await response.decided()


def test_a_conversation_object_is_taken_as_it_is() -> None:
    """A prepared conversation, with parts of any origin, goes through the same door."""

    async def main() -> Decision:
        return await door(None, Rule(holding("a"))).decide(Conversation.of("a"))

    assert run_virtual(main()).decision == "refuse"
