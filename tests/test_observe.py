"""Observe mode and egress at the front door: what is only observed holds and decides nothing, and is recorded."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from judging import ABSTAIN, FLAG, PASS, POLICY, Rule, Speaker, asked, check, door
from quorate.apps.frontdoor import FrontDoor
from quorate.apps.guard import guard
from quorate.apps.report import as_json
from quorate.engine import clock, leaving
from quorate.errors import ClientGone, UsageError


def watched(say: Any, after_s: float, answerer: Any, **settings: Any) -> FrontDoor:
    """A quick enforced check that passes, beside an observed one."""
    checks = [check("scope", Rule(PASS, 0.05)), check("threat", Rule(say, after_s), mode="observe", **settings)]
    return FrontDoor(checks, answerer, policy=POLICY)


@pytest.mark.parametrize(
    ("say", "on_error", "would"),
    [(FLAG, "allow", "block"), (PASS, "block", "admit"), (ABSTAIN, "block", "escalate")]
    + [(ValueError("broke"), ruling, would) for ruling, would in (("block", "block"), ("allow", "admit"))],
)
async def test_an_observed_check_is_recorded_and_decides_nothing(say: Any, on_error: str, would: str) -> None:
    """Whatever it says, also before the others, the answer goes out; its row says what it would have ruled."""
    pieces, decision = await asked(watched(say, 0.01, Speaker(), on_error=on_error))
    assert ("".join(pieces), decision.decision, decision.decided_by) == ("Hello.", "admit", None)
    scope, threat = decision.verdicts
    assert (scope.mode, scope.would) == ("enforce", None)
    assert (threat.mode, threat.would) == ("observe", would)
    rows = json.loads(json.dumps(as_json(decision)))["verdicts"]
    assert [(row.get("mode"), row.get("would")) for row in rows] == [(None, None), ("observe", would)]


async def test_the_reader_is_through_while_an_observed_check_runs() -> None:
    """The iteration ends with the answer; the run waits for the observed check, and the time told is the reader's."""
    async with watched(FLAG, 5.0, Speaker()).respond("Hi") as response:
        decision = await response.decided()
        assert (clock.now(), decision.decision) == (pytest.approx(0.05), "admit")
        assert [piece async for piece in response] == ["Hel", "lo."]
        assert clock.now() == pytest.approx(0.2)
        assert response.report().verdicts[1].outcome == "cancelled"
    assert clock.now() == 5
    report = response.report()
    assert (report.verdicts[1].outcome, report.verdicts[1].would) == ("flag", "block")
    assert report.elapsed_ms == pytest.approx(200)
    assert report.timeline.wasted.calls == 0


async def test_a_refusal_does_not_cancel_an_observed_check() -> None:
    """A refusal goes out at once; the answer is cut; the observed check runs to its end."""
    speaker = Speaker(gap_s=10)
    checks = [check("scope", Rule(FLAG, 0.05)), check("threat", Rule(PASS, 3.0), mode="observe")]
    async with FrontDoor(checks, speaker, policy=POLICY).respond("Hi") as response:
        assert [piece async for piece in response] == ["Only about lamps."]
        assert clock.now() == pytest.approx(0.05)
    assert (clock.now(), speaker.spoken) == (3, [])
    assert response.report().verdicts[1].would == "admit"


async def test_an_observed_check_is_bounded_by_its_timeout() -> None:
    """One that hangs fails at its own time, which ends the run; it would have ruled as its `on_error` says."""
    pieces, decision = await asked(watched(PASS, 1000, Speaker(), timeout_s=2.0))
    assert (pieces, clock.now()) == (["Hel", "lo."], 2)
    assert (decision.verdicts[1].outcome, decision.verdicts[1].would) == ("error", "block")


async def test_a_reader_that_leaves_takes_the_observed_checks_along() -> None:
    """Who leaves before the answer has ended cancels everything."""
    async with watched(PASS, 50, Speaker(gap_s=1)).respond("Hi") as response:
        await response.decided()
    assert clock.now() == pytest.approx(0.05)
    row = response.report().verdicts[1]
    assert (row.outcome, row.would) == ("cancelled", None)


@pytest.mark.parametrize("effects", ["none", "unknown"])
@pytest.mark.parametrize("whole", [True, False])
async def test_nothing_is_enforced(whole: bool, effects: Any) -> None:
    """Where every check is observed the answer streams through from the start, and the reason says so."""
    mode = {} if whole else {"mode": "observe"}
    checks = [check("scope", Rule(FLAG, 0.05), **mode), check("threat", Rule(PASS, 0.5), **mode)]
    front = FrontDoor(checks, speaker := Speaker(effects=effects), policy=POLICY, observe=whole)
    moments = []
    async with front.respond("Hi") as response:
        decision = await response.decided()
        assert (decision.decision, decision.why, clock.now()) == ("admit", "nothing is enforced", 0)
        async for _ in response:
            moments.append(round(clock.now(), 3))
    assert (moments, speaker.finished) == ([0.1, 0.2], True)
    assert [row.would for row in response.report().verdicts] == ["block", "admit"]
    assert response.report().speculated


async def test_deciding_alone_hears_the_observed_out() -> None:
    """Without an answer the decision comes in its own time, and the rows of what is observed are complete."""
    decision = await watched(FLAG, 2.0, None).decide("Hi")
    assert (decision.decision, decision.elapsed_ms) == ("admit", pytest.approx(50))
    assert decision.verdicts[1].would == "block"
    checks = [check("scope", Rule(FLAG, 1.0), mode="observe")]
    decision = await FrontDoor(checks, policy=POLICY).decide("Hi")
    assert (decision.decision, decision.why, decision.elapsed_ms) == ("admit", "nothing is enforced", 0)
    assert decision.verdicts[0].would == "block"


async def test_evaluating_all_with_what_is_observed() -> None:
    """Both together: the decision is the enforced checks', and every check is heard out."""
    checks = [
        check("scope", Rule(FLAG, 0.05)),
        check("threat", Rule(PASS, 1.0)),
        check("late", Rule(FLAG, 2.0), mode="observe"),
    ]
    decision = await FrontDoor(checks, policy=POLICY).decide("Hi", evaluate_all=True)
    assert (decision.decision, decision.decided_by, decision.elapsed_ms) == ("refuse", "scope", pytest.approx(50))
    assert [row.outcome for row in decision.verdicts] == ["flag", "pass", "flag"]


async def test_a_broken_answer_is_heard_at_once() -> None:
    """An answer that breaks after its release raises in that moment, whatever is still observed."""
    front = watched(PASS, 9.0, Speaker(error=ValueError("upstream broke")))
    with pytest.raises(ValueError, match="upstream broke"):
        await asked(front)
    assert clock.now() == pytest.approx(0.2)


async def test_egress_makes_the_answer_wait() -> None:
    """Beside a check marked so the answer is not written before the verdict; an observed one makes nobody wait."""
    speaker = Speaker()
    checks = [check("scope", Rule(PASS, 0.05)), check("threat", Rule(PASS, 0.5), egress=True)]
    pieces, decision = await asked(FrontDoor(checks, speaker, policy=POLICY))
    assert (pieces, decision.speculated, speaker.began_s) == (["Hel", "lo."], False, [pytest.approx(0.5)])
    _, decision = await asked(watched(PASS, 0.5, speaker := Speaker(), egress=True))
    assert decision.speculated


async def test_one_answer_can_be_made_to_wait() -> None:
    """A caller that may not have its answers written beside the checks gets them after, and the decision says so."""
    front = door(Rule(PASS, 0.5), Rule(PASS, 0.1), speaker := Speaker())
    async with front.respond("Hi", speculate=False) as response:
        assert [piece async for piece in response] == ["Hel", "lo."]
    assert (speaker.began_s, response.report().speculated) == ([0.5], False)


async def test_a_mode_that_does_not_exist() -> None:
    """A mistyped mode is an error: it must not switch a check off."""
    with pytest.raises(UsageError, match="mode of scope: found 'Observe', allowed are enforce, observe"):
        FrontDoor([check("scope", Rule(), mode="Observe")], policy=POLICY)


@pytest.mark.parametrize(("leaves_s", "read", "would"), [(0.12, ["Hel"], None), (0.5, ["Hel", "lo."], "block")])
async def test_a_client_that_leaves_before_or_after_its_answer(leaves_s: float, read: list[str], would: Any) -> None:
    """With the watch inside the response a client that leaves cuts everything, and one that has its answer nothing."""
    pieces: list[str] = []
    async with AsyncExitStack() as stack:
        if would is None:
            stack.enter_context(pytest.raises(ClientGone))
        response = await stack.enter_async_context(watched(FLAG, 2.0, Speaker()).respond("Hi"))
        async with leaving(lambda: clock.sleep(leaves_s)):
            async for piece in response:
                pieces.append(piece)
    assert (pieces, response.report().verdicts[1].would) == (read, would)
    assert clock.now() == pytest.approx(0.12 if would is None else 2.0)
    assert response.run.outcome == ("abandoned" if would is None else "done")


async def test_a_guarded_handler_with_an_observed_check() -> None:
    """The gate around a handler enforces only what is enforced."""

    async def handler(text: str) -> str:
        return text.upper()

    wrapped = guard(handler, [check("scope", Rule(PASS)), check("threat", Rule(FLAG), mode="observe")])
    assert await wrapped("hi") == "HI"
