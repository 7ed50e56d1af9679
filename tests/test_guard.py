"""guard(): any handler behind its checks; nothing leaves and nothing happens before all of them pass."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from judging import ABSTAIN, FLAG, PASS, POLICY, Rule, Say, check, holding
from quorate.apps.guard import Refused, guard
from quorate.checks import Check
from quorate.engine import clock
from quorate.errors import UsageError

Committed = Callable[[], Awaitable[None]]


class World:
    """What handlers did to it, and when."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []

    def note(self, what: str) -> None:
        self.done.append((what, clock.now()))


def checks(say: Say = PASS, after_s: float = 0.5, rule: Any = None) -> list[Check]:
    return [check("threat", rule or Rule(say, after_s)), check("scope", Rule(PASS, 0.2))]


async def test_a_function_returns_what_it_returned() -> None:
    """An admitted call gives the handler's own value, of whatever type."""

    async def handler(text: str, *, factor: int = 2) -> dict[str, Any]:
        """Shouts."""
        return {"said": text.upper() * factor}

    guarded = guard(handler, checks())
    assert await guarded("hi", factor=3) == {"said": "HIHIHI"}
    assert (guarded.__doc__, guarded.__wrapped__, guarded.effects) == ("Shouts.", handler, "unknown")


async def test_an_unknown_handler_waits_for_the_verdict() -> None:
    """What may do anything begins after the last check has passed, and never on a refusal."""
    world = World()

    async def handler(text: str) -> str:
        world.note("began")
        await clock.sleep(0.3)
        return text

    assert await guard(handler, checks())("hi") == "hi"
    assert world.done == [("began", 0.5)] and clock.now() == 0.8
    with pytest.raises(Refused):
        await guard(handler, checks(FLAG))("hi")
    assert len(world.done) == 1


async def test_a_handler_without_effects_overlaps() -> None:
    """Declared free of effects it runs beside its checks: the call takes the longer of the two."""
    world = World()

    async def handler(text: str) -> str:
        world.note("began")
        await clock.sleep(0.4)
        return text

    assert await guard(handler, checks(), effects="none")("hi") == "hi"
    assert world.done == [("began", 0.0)] and clock.now() == 0.5


async def test_a_gated_handler_acts_after_admission_only() -> None:
    """It prepares beside the checks; behind `await committed()` lies what happens, at once when all have passed."""
    world = World()

    async def handler(text: str, committed: Committed) -> str:
        world.note("prepared")
        await committed()
        world.note("paid")
        return text

    assert await guard(handler, checks())("hi") == "hi"
    assert world.done == [("prepared", 0.0), ("paid", 0.5)]


@pytest.mark.parametrize("say", [FLAG, ABSTAIN, ValueError("broken")])
async def test_a_gated_effect_never_happens_without_admission(say: Say) -> None:
    """On a refusal, an escalation or a failed check the handler is cancelled where it waits."""
    world = World()

    async def handler(text: str, committed: Committed) -> str:
        try:
            await committed()
        except asyncio.CancelledError:
            world.note("cancelled")
            raise
        world.note("paid")
        return text

    with pytest.raises(Refused) as told:
        await guard(handler, checks(say))("hi")
    assert world.done == [("cancelled", 0.5)]
    assert told.value.decision.decision == ("escalate" if say is ABSTAIN else "refuse")


async def test_refused_carries_the_decision() -> None:
    """The error says what was decided and why, and holds the text for the customer and every row."""

    async def handler(text: str) -> str:
        return text

    with pytest.raises(Refused, match="refuse: blocked by threat") as told:
        await guard(handler, checks(FLAG), policy=POLICY)("hi")
    decision = told.value.decision
    assert (decision.decided_by, decision.reply) == ("threat", "Not like this.")
    assert {row.check: row.outcome for row in decision.verdicts} == {"threat": "flag", "scope": "pass"}
    assert told.value.status_hint == 403
    with pytest.raises(Refused) as told:
        await guard(handler, checks(FLAG))("hi")
    assert told.value.decision.reply == "Sorry, I cannot help with this message."


async def test_a_generators_pieces_are_held() -> None:
    """Pieces of any type come out from the admission on, in their order; the first ones had been held."""
    times: list[tuple[Any, float]] = []

    async def handler(text: str) -> AsyncIterator[Any]:
        for i in range(4):
            await clock.sleep(0.2)
            yield {"n": i}

    async for piece in guard(handler, checks(), effects="none")("hi"):
        times.append((piece["n"], round(clock.now(), 3)))
    assert times == [(0, 0.5), (1, 0.5), (2, 0.6), (3, 0.8)]


async def test_a_refused_generator_yields_nothing() -> None:
    """The iteration raises, nothing of what was said comes out, and the generator is closed."""
    world = World()

    async def handler(text: str) -> AsyncIterator[str]:
        try:
            while True:
                await clock.sleep(0.1)
                yield "secret"
        finally:
            world.note("closed")

    pieces = []
    with pytest.raises(Refused):
        async for piece in guard(handler, checks(FLAG), effects="none")("hi"):
            pieces.append(piece)
    assert pieces == [] and world.done == [("closed", 0.5)]


async def test_an_unknown_generator_is_not_begun() -> None:
    """A generator that says nothing of its effects runs no line before the verdict."""
    world = World()

    async def handler(text: str) -> AsyncIterator[str]:
        world.note("began")
        yield text

    with pytest.raises(Refused):
        async for _ in guard(handler, checks(FLAG))("hi"):
            pass
    assert world.done == []
    assert [piece async for piece in guard(handler, checks())("hi")] == ["hi"]


async def test_a_gated_generator_overlaps_and_waits() -> None:
    """A generator that takes `committed` may speak before admission, held, and act after it."""
    world = World()

    async def handler(text: str, *, committed: Committed) -> AsyncIterator[str]:
        yield "One moment. "
        await committed()
        world.note("paid")
        yield "Done."

    assert [piece async for piece in guard(handler, checks())("hi")] == ["One moment. ", "Done."]
    assert world.done == [("paid", 0.5)]
    with pytest.raises(Refused):
        async for _ in guard(handler, checks(FLAG))("hi"):
            pass
    assert len(world.done) == 1


async def test_leaving_a_stream_early_leaves_no_task() -> None:
    """`aclose()` after the first piece stops the handler, its clean-up included, and whatever else ran."""
    world = World()
    before = asyncio.all_tasks()

    async def handler(text: str) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await clock.sleep(0.1)
        finally:
            await clock.sleep(0.1)
            world.note("closed")

    stream = guard(handler, checks(), effects="none")("hi")
    assert await anext(stream) == "x"
    await stream.aclose()
    assert asyncio.all_tasks() == before
    assert world.done == [("closed", pytest.approx(0.6))]


async def test_cancelling_the_caller_cancels_the_handler() -> None:
    """Whoever waits for a guarded call and is cancelled leaves nothing running."""
    world = World()
    before = asyncio.all_tasks()

    async def handler(text: str) -> str:
        try:
            await clock.sleep(99)
        finally:
            world.note("closed")
        return text

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await guard(handler, checks(), effects="none")("hi")
    assert world.done == [("closed", 1.0)] and asyncio.all_tasks() == before


async def test_a_handlers_own_error_is_the_callers() -> None:
    """After admission it is raised as it is; a refusal that comes later than it wins."""

    async def handler(text: str) -> str:
        raise KeyError("mine")

    async def stream(text: str) -> AsyncIterator[str]:
        yield "par"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await guard(handler, checks(), effects="none")("hi")
    with pytest.raises(Refused):
        await guard(handler, checks(FLAG), effects="none")("hi")
    pieces = []
    with pytest.raises(KeyError, match="mine"):
        async for piece in guard(stream, checks(), effects="none")("hi"):
            pieces.append(piece)
    assert pieces == ["par"]


async def test_what_is_checked_is_the_first_argument_or_what_text_says() -> None:
    """Messages are taken as they are; `text` picks what is judged out of the arguments."""
    attack = Rule(holding("ATTACK"))

    async def handler(request: Any, history: Any = None) -> str:
        return "ok"

    guarded = guard(handler, checks(rule=attack))
    assert await guarded([{"role": "user", "content": "hi"}], history="ATTACK") == "ok"
    assert await guarded(request="hi") == "ok"
    with pytest.raises(Refused):
        await guarded("ATTACK")
    picked = guard(handler, checks(rule=attack), text=lambda request, history=None: history)
    assert await picked("ATTACK", "hi") == "ok"
    with pytest.raises(Refused):
        await picked("hi", history="ATTACK")


async def test_committed_may_stand_anywhere_among_the_parameters() -> None:
    """Arguments reach their own parameters, wherever `committed` stands between them."""

    async def first(committed: Committed, text: str, n: int = 1) -> Any:
        await committed()
        return text, n

    async def middle(text: str, committed: Committed, n: int = 1, /, *more: int, **names: int) -> Any:
        await committed()
        return text, n, more, names

    async def last(text: str, *more: int, committed: Committed, n: int = 1) -> Any:
        await committed()
        return text, n, more

    assert await guard(first, checks())("hi", 2) == ("hi", 2)
    assert await guard(first, checks())(text="hi") == ("hi", 1)
    assert await guard(middle, checks())("hi", 2, 3, a=4) == ("hi", 2, (3,), {"a": 4})
    assert await guard(last, checks())("hi", 3, 4, n=5) == ("hi", 5, (3, 4))


async def test_respond_gives_the_whole_response() -> None:
    """With `respond` the caller sees decision and timeline of a guarded call."""

    async def handler(text: str) -> AsyncIterator[str]:
        yield text

    async with guard(handler, checks()).respond("hi") as response:
        assert (await response.decided()).decision == "admit"
        assert [piece async for piece in response] == ["hi"]
    assert {span.branch for span in response.report().timeline} == {"threat", "scope", "answer"}
    assert not response.speculated


async def test_a_policy_that_does_not_speculate_holds_gated_handlers_too() -> None:
    """`speculate = false` begins nothing before the verdict."""
    world = World()

    async def handler(text: str, committed: Committed) -> str:
        world.note("began")
        await committed()
        return text

    assert await guard(handler, checks(), policy=replace(POLICY, speculate=False))("hi") == "hi"
    assert world.done == [("began", 0.5)]


async def plain(text: str) -> str:
    return text


async def gated(text: str, committed: Committed) -> str:
    return text


def synchronous(text: str) -> str:
    return text


def generator(text: str) -> Any:
    yield text


@pytest.mark.parametrize(
    ("handler", "settings", "told"),
    [
        (synchronous, {}, "async function"),
        (generator, {}, "async function"),
        (5, {}, "async function"),
        (None, {}, "async function"),
        (functools.partial(synchronous, "x"), {}, "async function"),
        (plain, {"effects": "gated"}, "takes a parameter named `committed`"),
        (gated, {"effects": "none"}, "is gated"),
        (gated, {"effects": "unknown"}, "is gated"),
        (plain, {"effects": "unkown"}, "found 'unkown', allowed are none, gated, unknown"),
    ],
)
def test_misuse_is_told_when_the_guard_is_made(handler: Any, settings: Any, told: str) -> None:
    """A handler of another kind, or effects that contradict it or do not exist, are errors before any call."""
    with pytest.raises(UsageError, match=told):
        guard(handler, checks(), **settings)


async def test_misuse_of_a_call_is_told() -> None:
    """No check, nothing to check, arguments that do not fit, or a text of no known form are errors, not passes."""

    async def nothing() -> str:
        return "ran"

    with pytest.raises(UsageError, match="what is to be checked"):
        await guard(nothing, checks())()
    with pytest.raises(UsageError, match="at least one check"):
        await guard(plain, [])("hi")
    with pytest.raises(TypeError, match="argument"):
        await guard(plain, checks())("hi", "there")
    with pytest.raises(TypeError, match="committed"):
        await guard(gated, checks())("hi", committed=None)
    with pytest.raises(UsageError, match="a conversation is"):
        await guard(plain, checks())(7)  # type: ignore[arg-type]
