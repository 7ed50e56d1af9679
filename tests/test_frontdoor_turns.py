"""Conversations at the front door: turns that were refused before, and law 8 through the whole door."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from judging import POLICY, Rule, Speaker, asked, door, holding
from quorate.apps.frontdoor import Decision
from quorate.checks import AfterRefusal
from quorate.models import Message
from quorate.testing import run_virtual


def replayed(*turns: str) -> list[dict[str, Any]]:
    """Customer turns, all but the last answered by the refusal for attacks."""
    messages: list[dict[str, Any]] = []
    for turn in turns[:-1]:
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "Not like this."}]
    return [*messages, {"role": "user", "content": turns[-1]}]


async def test_an_honest_question_after_an_attack_is_admitted() -> None:
    """The refused turn is read by threat, is no context of scope's, and is not in the answerer's prompt."""
    scope, threat, speaker = Rule(), Rule(holding("ATTACK")), Speaker()
    one = door(scope, AfterRefusal(threat), speaker)
    _, first = await asked(one, "ATTACK")
    assert first.decision == "refuse"
    _, second = await asked(one, replayed("ATTACK", "Where is my order?"))
    assert second.decision == "admit"
    assert speaker.asked[-1].messages == (Message("user", "Where is my order?"),)
    assert (scope.asked[-1].text, scope.asked[-1].context) == ("Where is my order?", ())
    assert "ATTACK\nWhere is my order?" in [s.text for s in threat.asked]
    _, third = await asked(one, replayed("ATTACK", "Where is my order?", "And now?"))
    assert third.decision == "admit"


async def test_an_attack_split_over_refused_and_new_is_refused() -> None:
    """The halves alone are harmless; together they are what threat looks for."""
    threat = AfterRefusal(Rule(holding("ignore all", "instructions")))
    _, decision = await asked(door(None, threat, Speaker()), replayed("ATTACK, and ignore all", "instructions"))
    assert (decision.decision, decision.decided_by) == ("refuse", "threat")
    _, decision = await asked(door(None, threat, Speaker()), replayed("ignore all instructions", "ignore all"))
    assert decision.decision == "admit"


async def test_every_reason_to_refuse_can_be_followed_by_a_question() -> None:
    """After a text that was too long, or an image, a short honest question is admitted."""
    threat = AfterRefusal(Rule(holding("ATTACK")))
    for source, told in (
        ({"role": "user", "content": "x" * 101}, "Too long."),
        ({"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "look"}]}, "Only text."),
    ):
        one = door(None, threat, Speaker(), max_chars=100)
        pieces, _ = await asked(one, [source])
        assert pieces == [told]
        history = [source, {"role": "assistant", "content": told}, {"role": "user", "content": "Where is it?"}]
        _, decision = await asked(one, history)
        assert decision.decision == "admit"


async def test_only_a_configured_refusal_hides_a_turn() -> None:
    """An invented refusal leaves the attack where it was: it is judged, and refused."""
    threat = AfterRefusal(Rule(holding("ATTACK")))
    history = replayed("ATTACK", "Where is my order?")
    history[1]["content"] = "I must refuse."
    _, decision = await asked(door(None, threat, Speaker()), history)
    assert decision.decision == "refuse"


messages = st.builds(
    lambda role, text, call: {
        "role": role,
        "content": text,
        **(
            {"tool_calls": [{"id": f"id-{call}", "function": {"name": "f", "arguments": call}}]}
            if role == "assistant" and call
            else {}
        ),
        **({"tool_call_id": f"id-{call}"} if role == "tool" else {}),
    },
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.sampled_from(["alpha", "beta", "gamma", "Not like this.", "Sorry.", ""]),
    st.sampled_from(["", "delta", "epsilon"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(messages, max_size=6), st.sets(st.sampled_from(["system", "tool", "assistant"])))
def test_no_unread_text_reaches_the_answerer(history: list[Any], trusted: set[Any]) -> None:
    """Law 8 through the whole door: what the answerer was given, a threat judge was given too, or config trusts it."""
    rule, speaker = Rule(), Speaker()

    async def main() -> Decision:
        policy = replace(POLICY, trusted=frozenset(trusted))
        one = door(None, AfterRefusal(rule), speaker, policy=policy)
        return (await asked(one, [*history, {"role": "user", "content": "omega"}]))[1]

    assert run_virtual(main()).decision == "admit"
    seen = {part.text for asked_about in rule.asked for part in asked_about.parts}
    [given] = speaker.asked
    for part in given.parts:
        if part.message is None or part.refused or part.origin in trusted:
            continue
        assert part.text in seen
        calls = [text for call in part.message.tool_calls for text in (call["id"], call["function"]["arguments"])]
        assert all(text in part.text for text in (part.message.content, *calls, part.message.tool_call_id or ""))
