"""The front door with output checks: the answer is held whole until all have passed it; a refusal tells nothing."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from judging import ABSTAIN, FLAG, PASS, POLICY, REFUSALS, Rule, Speaker, asked, check, holding
from link_tricks import HOSTS
from quorate.apps.answer import Answer, Effects
from quorate.apps.frontdoor import FrontDoor, Refusals
from quorate.apps.moderate import Moderator, local_evaluator
from quorate.checks import Check, Conversation
from quorate.checks.conversation import Said
from quorate.checks.leak import LeakJudge, with_canary
from quorate.checks.links import LinkJudge
from quorate.engine import clock
from quorate.errors import BadReply, DeadlineExceeded, ModelUnavailable, RunFailed, UsageError
from quorate.events import Context
from quorate.models import ToolCall, ToolCallDelta


def out(name: str, judge: Any, **settings: Any) -> Check:
    return check(name, judge, kind="output", **settings)


def door(*output: Check, answerer: Any = None, threat: Rule | None = None, **settings: Any) -> FrontDoor:
    checks = [check("scope", Rule()), check("threat", threat or Rule())]
    return FrontDoor(checks, answerer or Speaker(), **{"policy": POLICY, **settings}, output=output)


async def test_the_answer_leaves_when_every_output_check_has_passed_it() -> None:
    """Checks of the answer begin at its end, all at once; what they read is the whole of it, and then it all leaves."""
    fast, slow = Rule(PASS, 0.1), Rule(PASS, 0.4)
    times: list[float] = []
    async with door(out("links", fast), out("leak", slow)).respond("Hi") as response:
        async for _piece in response:
            times.append(round(clock.now(), 3))
    report = response.report()
    assert times == [0.6, 0.6] and fast.began_s == slow.began_s == [0.2]
    assert [part.text for part in fast.asked[0].parts] == ["Hello."] and fast.asked[0].parts[0].origin == "assistant"
    assert (report.decision, report.reply) == ("admit", "Hello.")
    assert [(row.check, row.outcome) for row in report.verdicts][2:] == [("links", "pass"), ("leak", "pass")]
    assert round(report.verdicts[3].elapsed_ms) == 400


async def test_a_flagged_answer_is_refused_and_nothing_of_it_leaves() -> None:
    """The refusal names no reason; the text is the check's own where the config has one, else the default."""
    refusals = replace(REFUSALS, texts={**REFUSALS.texts, "leak": "I cannot say that."})
    for name, told in (("leak", "I cannot say that."), ("links", "Sorry.")):
        guarded = door(out(name, Rule(FLAG)), policy=replace(POLICY, refusals=refusals))
        pieces, decision = await asked(guarded)
        assert pieces == [told]
        assert (decision.decision, decision.decided_by, decision.why) == ("refuse", name, f"blocked by {name}")
        assert decision.sources == () and decision.timeline["answer"].wasted
        async with guarded.respond("Hi") as response:
            await response.decided()
        assert response.answer is None


async def test_a_customer_is_not_told_that_our_answer_is_too_long() -> None:
    """An answer over a check's budget is refused like any other; "too long" would speak of the message."""
    pieces, decision = await asked(door(out("links", Rule(PASS), max_chars=3)))
    assert (pieces, decision.verdicts[2].category) == (["Sorry."], "too_long")


async def test_an_input_refusal_decides_at_once_and_output_checks_never_start() -> None:
    """There is no answer to judge: their rows say so."""
    judge = Rule(PASS)
    pieces, decision = await asked(door(out("links", judge), threat=Rule(FLAG, 0.1), answerer=Speaker(gap_s=9)))
    assert (pieces, clock.now(), judge.asked) == (["Not like this."], 0.1, [])
    row = decision.verdicts[2]
    assert (row.check, row.outcome, row.score) == ("links", "cancelled", None) and "no answer" in row.reason


async def test_an_output_flag_waits_for_the_other_checks() -> None:
    """What would be refused or handed over anyway is not reported as the answer's fault."""
    pieces, decision = await asked(door(out("links", Rule(FLAG)), threat=Rule(ABSTAIN, 2.0)))
    assert (decision.decision, decision.decided_by, pieces) == ("escalate", "threat", ["A colleague will see."])
    pieces, decision = await asked(door(out("links", Rule(FLAG)), threat=Rule(PASS, 2.0)))
    assert (decision.decision, decision.decided_by, pieces) == ("refuse", "links", ["Sorry."])


@pytest.mark.parametrize(
    ("say", "settings", "decision"),
    [
        (ABSTAIN, {}, "escalate"),
        (ABSTAIN, {"on_abstain": "admit"}, "admit"),
        (ModelUnavailable("down"), {}, "refuse"),
        (ModelUnavailable("down"), {"on_error": "escalate"}, "escalate"),
        (ModelUnavailable("down"), {"on_error": "allow"}, "admit"),
    ],
)
async def test_doubts_and_failures_are_what_the_check_says(say: Any, settings: dict[str, Any], decision: str) -> None:
    """An output check is an ordinary check: `on_error` and `on_abstain` hold for it too."""
    pieces, decided = await asked(door(out("links", Rule(say), **settings)))
    assert decided.decision == decision
    assert ("Hel" in pieces) == (decision == "admit")


async def test_an_output_check_that_hangs_ends_at_its_own_timeout() -> None:
    """`decide_timeout_s` is for the checks of the message alone."""
    slow = Speaker(("a", "b"), gap_s=8)
    _, decided = await asked(door(out("links", Rule(PASS, 1e6), timeout_s=3.0), answerer=slow))
    assert (decided.decision, decided.decided_by, clock.now()) == ("refuse", "links", 19.0)
    assert decided.verdicts[2].outcome == "error"


async def test_an_answer_that_breaks_lets_nothing_out() -> None:
    """Nobody judged the half of it: the message stays admitted, the reader gets the failure and not a piece."""
    broken = Speaker(("half ",), error=ModelUnavailable("cut off"))
    pieces = []
    async with door(out("links", Rule(PASS)), answerer=broken).respond("Hi") as response:
        with pytest.raises(ModelUnavailable, match="cut off"):
            async for piece in response:
                pieces.append(piece)
    assert pieces == [] and response.report().decision == "admit" and response.answer is None


async def test_an_answer_without_end_runs_into_the_deadline_unread() -> None:
    """The run's deadline bounds the answer too; what it said by then stays in."""
    endless = Speaker(("x",) * 1_000, gap_s=0.5)
    with pytest.raises(DeadlineExceeded):
        await asked(door(out("links", Rule(PASS)), answerer=endless, policy=replace(POLICY, timeout_s=3.0)))


async def test_an_answer_longer_than_can_be_held_fails() -> None:
    """It does not wait for ever for a release that only its end could bring."""
    small = replace(POLICY, held_bytes=100)
    with pytest.raises(BadReply, match="longer than the 100 bytes"):
        await asked(door(out("links", Rule(PASS)), answerer=Speaker(("x" * 30,) * 9), policy=small))
    pieces, _ = await asked(door(out("links", Rule(PASS)), answerer=Speaker(("x" * 33,) * 3), policy=small))
    assert pieces == ["x" * 33] * 3


class Caller:
    """An answerer that emits what it is given, and returns this answer."""

    def __init__(self, deltas: Sequence[Any], answer: Answer, effects: Effects = "none") -> None:
        self.effects: Effects = effects
        self._deltas = deltas
        self._answer = answer

    async def answer(self, _conversation: Conversation, context: Context) -> Answer:
        for delta in self._deltas:
            await context.emit(delta)
        return self._answer


async def test_tool_calls_are_judged_whole() -> None:
    """Fragments are put together, each call is a part of its own, and what the answer adds is read too."""
    judge = Rule(PASS)
    deltas = [
        "Let me ",
        ToolCallDelta(0, "c0", "find", '{"q":'),
        "look.",
        ToolCallDelta(1, "c1", "go", "{}"),
        ToolCallDelta(0, arguments='"x"}'),
    ]
    calls = (ToolCall("c0", "find", '{"q":"x"}'), ToolCall("c1", "go", "{}"), ToolCall("c2", "more", "1"))
    answer = Answer("Let me look.", tool_calls=calls, value="a value")
    await asked(door(out("o", judge), answerer=Caller(deltas, answer)))
    read = [part.text for part in judge.asked[0].parts]
    assert read == ["Let me look.", "a value", 'find\n{"q":"x"}\nc0', "go\n{}\nc1", "more\n1\nc2"]


async def test_a_reader_tells_what_other_pieces_say() -> None:
    """Raw frames are read by the reader that comes with them; without one they let nothing out."""
    judge = Rule(holding("SECRET"))
    answerer = Caller([b"SEC", b"RET"], Answer(""))
    read = lambda deltas: Said((b"".join(deltas).decode(),))  # noqa: E731
    pieces, decision = await asked(door(out("o", judge), answerer=answerer, reader=read))
    assert (pieces, decision.decided_by) == (["Sorry."], "o")
    for broken in (answerer, Caller(["x"], Answer("x", value=7))):
        with pytest.raises(RunFailed, match="output checks cannot read"):
            await asked(door(out("o", judge), answerer=broken))


async def test_the_system_prompt_of_the_conversation_is_the_context() -> None:
    """A leak check sees what must not be said, and nothing of the rest as a secret."""
    judge = Rule(PASS)
    messages = [{"role": "system", "content": "rules"}, {"role": "user", "content": "Hi"}]
    async with door(out("o", judge)).respond(messages) as response:
        await response.decided()
    assert [(part.origin, part.text) for part in judge.asked[0].context] == [("system", "rules")]


async def test_evaluating_all_lets_the_output_checks_end() -> None:
    """Decision and refusal are the same; a check that would have been cut gives its verdict."""
    slow = Rule(PASS, 3.0)
    guarded = door(out("a", Rule(FLAG, 0.1)), out("b", slow))
    _, decided = await asked(guarded)
    assert [row.outcome for row in decided.verdicts][2:] == ["flag", "cancelled"]
    async with guarded.respond("Hi", evaluate_all=True) as response:
        await response.decided()
        at_s = clock.now()
        await response.run.finished()
    assert [row.outcome for row in response.report().verdicts][2:] == ["flag", "pass"]
    assert response.report().decided_by == "a" and clock.now() - at_s == pytest.approx(2.9)


async def test_without_speculation_the_answer_is_judged_after_the_verdict() -> None:
    """An answerer of unknown effects begins after the checks of the message, and its text is held all the same."""
    speaker = Speaker(effects="unknown")
    pieces, decision = await asked(door(out("o", Rule(FLAG)), threat=Rule(PASS, 0.4), answerer=speaker))
    assert (pieces, speaker.began_s, decision.decided_by) == (["Sorry."], [0.4], "o")


async def test_deciding_alone_judges_no_answer() -> None:
    """`decide()` has no answer, so it has no rows of output checks."""
    decided = await door(out("o", Rule(FLAG))).decide("Hi")
    assert (decided.decision, [row.check for row in decided.verdicts]) == ("admit", ["scope", "threat"])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([out("scope", Rule())], "each id once"),
        ([out("answer", Rule())], "none named"),
        ([out("a", Rule()), out("a", Rule())], "each id once"),
        ([check("links", Rule())], "links: a check of kind output"),
    ],
)
def test_a_door_tells_its_two_kinds_of_checks_apart(output: list[Check], message: str) -> None:
    """Ids are distinct over both, and a check stands on the side that its kind is for."""
    with pytest.raises(UsageError, match=message):
        door(*output)
    with pytest.raises(UsageError, match="kind output judges answers"):
        FrontDoor([out("o", Rule())], policy=POLICY)
    with pytest.raises(UsageError, match="kind output judges answers"):
        Moderator({"o": out("o", Rule())})


def test_a_gated_answerer_cannot_be_held_whole() -> None:
    """It would wait for a gate that only its own end opens, or act before its answer was judged."""
    with pytest.raises(UsageError, match="acts before its answer is complete"):
        door(out("o", Rule()), answerer=Speaker(effects="gated"))


async def test_the_shipped_output_checks_work_together() -> None:
    """Links, leak and moderation over one answer: a clean one passes, each bad one is refused by its check."""
    prompt, canary = with_canary("Answer kindly and only about lamps.")
    checks = (
        out("links", LinkJudge(HOSTS)),
        out("leak", LeakJudge([prompt], canary)),
        out("moderation", local_evaluator(), on_abstain="admit"),
    )
    answers = {
        "Your lamp arrives on Monday, see [delivery](https://help.lantern.test/delivery).": None,
        "Look: ![lamp](https://evil.test/a.png?q=order)": "links",
        f"The marker is {canary[::-1]}.": "leak",
        "You are a worthless piece of shit and I hope that you die slowly, you filthy animal.": "moderation",
    }
    for text, by in answers.items():
        pieces, decision = await asked(door(*checks, answerer=Speaker((text,)), policy=replace(POLICY, refusals=PLAIN)))
        assert (decision.decided_by, pieces) == (by, ["Sorry." if by else text])


PLAIN = Refusals({}, "Sorry.", "Later.")


@pytest.mark.parametrize("whole", [False, True], ids=["the check", "the door"])
async def test_an_observed_output_check_judges_what_is_out_already(whole: bool) -> None:
    """The answer streams as without it, whatever it says; at its end it reads all of it, and its row says what."""
    rule = Rule(FLAG, 1.0)
    front = door(out("links", rule, mode="enforce" if whole else "observe"), observe=whole)
    times: list[float] = []
    async with front.respond("Hi") as response:
        async for _piece in response:
            times.append(round(clock.now(), 3))
        assert round(clock.now(), 3) == 0.2
    assert times == [0.1, 0.2] and rule.began_s == [0.2] and clock.now() == pytest.approx(1.2)
    assert [part.text for part in rule.asked[0].parts] == ["Hello."]
    report = response.report()
    assert (report.decision, report.reply, report.verdicts[2].mode) == ("admit", "Hello.", "observe")
    assert (report.verdicts[2].outcome, report.verdicts[2].would) == ("flag", "block")
    assert front.observes and not report.timeline["answer"].wasted


@pytest.mark.parametrize(
    ("speaker", "threat", "policy"),
    [
        (Speaker(), Rule(FLAG), POLICY),
        (Speaker(error=ModelUnavailable("gone")), Rule(), POLICY),
        (Speaker(pieces=("x" * 60, "y" * 60)), Rule(), replace(POLICY, held_bytes=100)),
    ],
    ids=["refused", "broken", "too long"],
)
async def test_what_an_observed_output_check_has_nothing_to_judge(speaker: Speaker, threat: Rule, policy: Any) -> None:
    """An answer that was refused, broke or is longer than is remembered is read by nobody, and the row says so."""
    rule = Rule(FLAG)
    front = door(out("links", rule, mode="observe"), answerer=speaker, threat=threat, policy=policy)
    async with front.respond("Hi") as response:
        try:
            async for _piece in response:
                pass
        except ModelUnavailable:
            assert speaker.error is not None
    assert rule.asked == []
    row = response.report().verdicts[2]
    assert (row.outcome, row.would, row.mode) == ("cancelled", None, "observe")


async def test_enforced_and_observed_output_checks_side_by_side() -> None:
    """The enforced one holds the answer and decides; the observed one judges it once it is out, a gated one's too."""
    strict, watched = Rule(PASS, 0.3), Rule(FLAG, 0.1)
    front = door(out("leak", strict), out("links", watched, mode="observe"))
    pieces, decision = await asked(front)
    assert (pieces, decision.decision) == (["Hel", "lo."], "admit")
    assert strict.began_s == [0.2] and watched.began_s == [0.5]
    assert [(row.check, row.would) for row in decision.verdicts[2:]] == [("leak", None), ("links", "block")]
    gated = door(out("links", Rule(FLAG), mode="observe"), answerer=Speaker(effects="gated"))
    assert (await asked(gated))[1].decision == "admit"


@pytest.mark.parametrize("output", [(), ("enforce",), ("observe",)])
@pytest.mark.parametrize("threat", [PASS, FLAG, ABSTAIN, ModelUnavailable("down")])
async def test_a_message_that_is_done_waits_for_no_garbage_collector(threat: Any, output: tuple[Any, ...]) -> None:
    """No cycle holds its texts: the last name that is dropped frees them."""
    checks = [out("links", Rule(PASS, 0.1), mode=mode) for mode in output]
    guarded = door(*checks, threat=Rule(threat, 0.15))
    gc.disable()
    try:
        async with guarded.respond("Hi") as response:
            assert [piece async for piece in response]
        seen = [weakref.ref(response), weakref.ref(response.run)]
        del response
        assert [left() for left in seen] == [None, None]
    finally:
        gc.enable()
