"""The breaker in virtual time: when it opens, whom it lets through, and what that makes of a check's verdict."""

import asyncio
from typing import Any

import pytest

from judging import POLICY, Speaker, asked, check
from model_world import PROMPT, UP, Fake, down
from quorate.apps.frontdoor import FrontDoor
from quorate.checks.judges import PromptJudge
from quorate.checks.prompt import Template
from quorate.engine import clock
from quorate.errors import (
    BadReply,
    LimitExceeded,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    RateLimited,
    StreamBroken,
    UsageError,
)
from quorate.models.breaker import Breaker
from quorate.models.policies import Fallback
from quorate.testing.scripted import ScriptedModel, verdict


async def ends(breaker: Breaker, calls: int) -> list[str]:
    """What so many calls, one after another, come to."""
    out = []
    for _ in range(calls):
        try:
            out.append((await breaker.complete(PROMPT)).text)
        except ModelError as error:
            out.append(type(error).__name__)
    return out


async def test_it_opens_after_a_share_of_failures_and_closes_after_a_probe() -> None:
    """Open, it fails at once without asking; after its wait one call probes; a success closes it."""
    model = Fake([UP, UP, UP, *[down()] * 3, UP])
    breaker = Breaker(model, least=6, share=0.5, open_s=5)
    assert await ends(breaker, 6) == ["up"] * 3 + ["ModelUnavailable"] * 3
    assert (breaker.state, breaker.opened, breaker.name) == ("open", 1, "fake")
    before_s = clock.now()
    with pytest.raises(ModelUnavailable, match="not asked again") as caught:
        await breaker.complete(PROMPT)
    assert (caught.value.retry_after_s, clock.now(), len(model.asked_s)) == (5, before_s, 6)
    await clock.sleep(5)
    assert breaker.state == "half-open"
    assert await ends(breaker, 2) == ["up", "up"]
    assert (breaker.state, breaker.retry_after_s) == ("closed", 0)


async def test_a_probe_that_fails_doubles_the_wait() -> None:
    """Each failed probe doubles the wait up to its bound, and counts as no further opening."""
    breaker = Breaker(model := Fake([down()]), least=1, open_s=5, most_open_s=15)
    waits = []
    for _ in range(4):
        await ends(breaker, 1)
        waits.append(breaker.retry_after_s)
        await clock.sleep(breaker.retry_after_s)
    assert (waits, breaker.opened, len(model.asked_s)) == ([5, 10, 15, 15], 1, 4)


async def test_one_call_probes_at_a_time() -> None:
    """While a probe runs the others fail at once."""
    breaker = Breaker(model := Fake([down(), (1.0, (), "up")]), least=1, open_s=5)
    await ends(breaker, 1)
    await clock.sleep(5)
    results = await asyncio.gather(*(breaker.complete(PROMPT) for _ in range(4)), return_exceptions=True)
    assert [isinstance(result, ModelUnavailable) for result in results] == [False, True, True, True]
    assert len(model.asked_s) == 2


async def test_a_probe_that_is_cancelled_leaves_the_next_one() -> None:
    """A cancelled probe proves nothing: the next call is the probe."""
    breaker = Breaker(Fake([down(), (9.0, (), "up"), UP]), least=1, open_s=5)
    await ends(breaker, 1)
    await clock.sleep(5)
    task = asyncio.create_task(breaker.complete(PROMPT))
    await clock.sleep(1)
    task.cancel()
    await asyncio.wait({task})
    assert breaker.state == "half-open"
    assert await ends(breaker, 1) == ["up"]


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (ModelUnavailable("down"), True),
        (StreamBroken("cut"), True),
        (BadReply("no JSON"), True),
        (ModelRefused("too long"), False),
        (RateLimited("slow down"), False),
        (LimitExceeded("full"), False),
    ],
)
async def test_what_counts_as_a_failure(error: Exception, counts: bool) -> None:
    """Only what the upstream did wrong opens it: no refused request, no 429 and no limit of ours."""
    breaker = Breaker(Fake([(0, (), error)]), least=3)
    for _ in range(5):
        with pytest.raises(type(error) if not counts else ModelError):
            await breaker.complete(PROMPT)
    assert (breaker.state == "open") == counts


async def test_a_cancel_counts_for_nothing() -> None:
    """However many calls are cancelled, it stays closed."""
    breaker = Breaker(Fake([(9.0, (), "up")]), least=1)
    for _ in range(5):
        task = asyncio.create_task(breaker.complete(PROMPT))
        await clock.sleep(0.1)
        task.cancel()
        await asyncio.wait({task})
    assert (breaker.state, breaker.opened) == ("closed", 0)


async def test_failures_of_long_ago_are_forgotten() -> None:
    """Only the window counts."""
    breaker = Breaker(Fake([down()]), least=3, window_s=10)
    await ends(breaker, 2)
    await clock.sleep(11)
    await ends(breaker, 2)
    assert breaker.state == "closed"


async def test_late_ends_of_calls_from_before() -> None:
    """A call that was asked before it opened neither closes it nor opens it again."""
    breaker = Breaker(Fake([(3.0, (), "up"), (6.5, (), ModelUnavailable("late")), down(), UP]), least=1, open_s=5)
    early = [asyncio.create_task(breaker.complete(PROMPT)) for _ in range(2)]
    await clock.sleep(1)
    await ends(breaker, 1)
    await clock.sleep(3)
    assert breaker.state == "open"
    await clock.sleep(2)
    assert await ends(breaker, 1) == ["up"]
    await asyncio.wait(early)
    assert (breaker.state, breaker.opened) == ("closed", 1)


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.5}, {"least": 0}, {"window_s": 0}, {"open_s": 0}])
def test_a_breaker_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    """Settings without a meaning are the caller's mistake."""
    with pytest.raises(UsageError):
        Breaker(Fake([UP]), **wrong)


async def test_the_next_model_answers_a_check_within_its_time() -> None:
    """While the first model is down its check is answered by the second at once, and the verdict says by whom."""
    first = ScriptedModel("first", lambda _prompt: [4.0, ModelUnavailable("no answer in time")])
    second = ScriptedModel("second", lambda _prompt: [0.5, verdict(False)])
    breaker = Breaker(first, least=2)
    judge = PromptJudge(Fallback([breaker, Breaker(second)]), Template("t", "Is it safe?", "t@1"))
    front = FrontDoor([check("threat", judge, timeout_s=5.0)], Speaker(), policy=POLICY)
    told = []
    for _ in range(4):
        start_s = clock.now()
        _, decision = await asked(front)
        assert decision.decision == "admit"
        told.append((decision.verdicts[0].model, round(clock.now() - start_s, 3)))
    assert told == [("second", 4.5)] * 2 + [("second", 0.5)] * 2
    assert breaker.state == "open"
