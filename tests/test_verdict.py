"""A check signs its verdict, and what it does not judge it never passes."""

from typing import Any

import pytest

from judging import ABSTAIN, FLAG, PASS, Rule, check, said, subject
from quorate.checks import Part, Subject, Verdict, ruling
from quorate.checks.verdict import MAX_CHARS
from quorate.errors import ModelUnavailable


async def test_a_check_signs_its_verdict() -> None:
    """The verdict is the judge's own, with the check's id."""
    signed = await check("threat", Rule(said("flag", 0.8, model="m", category="spam"))).run(subject("x"))
    assert signed == Verdict("flag", 0.8, "spam", "m says flag", "m", "m@1", "threat")


async def test_a_judge_that_fails_fails_its_check() -> None:
    """A failure is raised as it is: what it means is the door's to say."""
    with pytest.raises(ModelUnavailable, match="down"):
        await check("threat", Rule(ModelUnavailable("down"))).run(subject("x"))


@pytest.mark.parametrize(("length", "judged"), [(10, True), (11, False)])
async def test_what_is_too_long_is_flagged_and_not_judged(length: int, judged: bool) -> None:
    """Up to the bound a text is judged, beyond it is flagged as too long: nothing is cut off."""
    rule = Rule(PASS)
    end = await check("threat", rule, max_chars=10).run(subject("x" * length))
    assert (end.outcome, end.category) == (("pass", "none") if judged else ("flag", "too_long"))
    assert (len(rule.asked), end.check) == (int(judged), "threat")


async def test_the_parts_together_must_not_be_too_long() -> None:
    """The bound counts what is judged in one, line breaks between parts included, and no context."""
    rule = Rule(PASS)
    assert (await check("threat", rule, max_chars=10).run(subject("x" * 5, "y" * 5))).category == "too_long"
    context = (Part("assistant", "z" * 99),)
    assert (await check("scope", rule, max_chars=10).run(Subject((Part("customer", "x"),), context))).outcome == "pass"


async def test_a_refused_turn_alone_never_makes_it_too_long() -> None:
    """After an overlong turn was refused the next question is judged by itself; an overlong new one is refused."""
    old = Part("customer", "x" * 50, refused=True)
    rule = Rule(PASS)
    bounded = check("threat", rule, max_chars=20)
    asked = Subject((old, Part("customer", "Where is it?")))
    assert (await bounded.run(asked)).outcome == "pass"
    assert [part.text for part in rule.asked[0].parts] == ["Where is it?"]
    assert (await bounded.run(Subject((old, Part("customer", "y" * 21))))).category == "too_long"
    assert (await bounded.run(Subject((old,)))).category == "too_long"


@pytest.mark.parametrize(("on_unread", "outcome"), [("block", "flag"), ("escalate", "abstain"), ("allow", "pass")])
async def test_content_that_nobody_can_read_does_what_the_config_says(on_unread: Any, outcome: str) -> None:
    """An image blocks, escalates, or is allowed and the text beside it judged."""
    asked = Subject((Part("customer", "look"),), unread=("image_url", "file", "image_url"))
    rule = Rule(PASS)
    end = await check("threat", rule, on_unread=on_unread).run(asked)
    assert end.outcome == outcome
    if on_unread == "allow":
        assert rule.asked == [asked]
    else:
        assert (end.category, end.reason, rule.asked) == ("unread", "no check can read: file, image_url", [])


def test_a_verdict_is_ruled_on_by_its_check() -> None:
    """A pass admits, a flag blocks, an abstention escalates unless the check's config says admit."""
    checks = {name: check(name, Rule(), on_abstain=name) for name in ("next_tier", "escalate", "admit")}
    for name in checks:
        signed = [Verdict(v.outcome, v.score, "none", "", "m", "v", name) for v in (PASS, FLAG, ABSTAIN)]
        abstained = "admit" if name == "admit" else "escalate"
        assert [ruling(checks, verdict) for verdict in signed] == ["admit", "block", abstained]


def test_what_nobody_can_read_is_not_let_in_by_on_abstain() -> None:
    """`on_abstain = "admit"` is about doubt; an unread part that escalates still does."""
    checks = {"threat": check("threat", Rule(), on_abstain="admit")}
    assert ruling(checks, Verdict("abstain", None, "unread", "", "limit", "limit", "threat")) == "escalate"


def test_defaults_are_the_strict_ones() -> None:
    """A check that says nothing blocks on errors and unread parts, and escalates its doubts."""
    plain = check("threat", Rule())
    assert (plain.on_error, plain.on_abstain, plain.on_unread, plain.max_chars) == (
        "block",
        "escalate",
        "block",
        MAX_CHARS,
    )
