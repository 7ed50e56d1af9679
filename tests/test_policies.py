"""Retry, Limit, Fallback and Hedge in virtual time: what each tries, how long it waits, and what it never repeats."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_world import PROMPT, UP, Fake, down
from quorate.engine import abandoned_tasks, clock
from quorate.errors import (
    BadReply,
    LimitExceeded,
    ModelRefused,
    ModelUnavailable,
    RateLimited,
    RunFailed,
    StreamBroken,
    UsageError,
)
from quorate.events import branch
from quorate.merges import First
from quorate.models import Model, Reply, ToolCallDelta
from quorate.models.policies import Fallback, Hedge, Limit, Limiter, Retry, RetryBudget
from quorate.patterns import decide
from quorate.testing.clock import run_virtual

FAR = 1e9


class Most(random.Random):
    """Draws the upper bound, always."""

    def uniform(self, a: float, b: float) -> float:
        return b


async def mute(_delta: Any) -> None:
    pass


# Retry


async def test_retry_tries_again_what_may_succeed() -> None:
    """An unavailable model is asked again, as often as allowed; then the last error is raised as it is."""
    model = Fake([down(), (0, (), RateLimited("slow")), UP])
    assert (await Retry(model).complete(PROMPT)).text == "up"
    assert len(model.asked_s) == 3
    last = ModelUnavailable("third")
    model = Fake([down(), down(), (0, (), last), UP])
    with pytest.raises(ModelUnavailable) as caught:
        await Retry(model).complete(PROMPT)
    assert caught.value is last
    assert Retry(model, attempts=1).name == "fake"


@pytest.mark.parametrize(
    "error", [ModelRefused("no"), BadReply("?"), StreamBroken("cut"), LimitExceeded("full"), OSError()]
)
async def test_retry_leaves_the_rest_alone(error: Exception) -> None:
    """What would fail again, or may have been said in part, is raised at once."""
    model = Fake([(0, (), error), UP])
    with pytest.raises(type(error)):
        await Retry(model).complete(PROMPT)
    assert len(model.asked_s) == 1


@pytest.mark.parametrize("delta", ["a", "", ToolCallDelta(0)])
async def test_retry_never_says_anything_twice(delta: Any) -> None:
    """After its first delta, of any kind, a call is not repeated; before it, a streamed call is."""
    model = Fake([down(says=[delta]), UP])
    heard: list[Any] = []

    async def hear(said: Any) -> None:
        heard.append(said)

    with pytest.raises(ModelUnavailable):
        await Retry(model).complete(PROMPT, hear)
    assert (len(model.asked_s), heard) == (1, [delta])
    model = Fake([down(), (0, [delta], "up")])
    await Retry(model).complete(PROMPT, hear)
    assert heard == [delta, delta]


async def test_retry_of_an_unstreamed_call_ignores_what_it_says() -> None:
    """Without a reader nothing has been said, so a call is repeated whatever it produced."""
    model = Fake([down(says=["a"]), UP])
    assert (await Retry(model).complete(PROMPT)).text == "up"


@given(
    seed=st.integers(0, 10_000),
    attempts=st.integers(2, 12),
    base_s=st.floats(0.001, 8),
    cap_s=st.floats(0.01, 16),
)
def test_waits_are_full_jitter(seed: int, attempts: int, base_s: float, cap_s: float) -> None:
    """The wait before attempt n lies between 0 and min(cap, base * 2^(n-2)), and is drawn from all of that range."""

    async def waits(rng: random.Random) -> list[float]:
        model = Fake([down()])
        budget = RetryBudget(most=FAR)
        retry = Retry(model, attempts=attempts, base_s=base_s, cap_s=cap_s, budget=budget, rng=rng)
        with pytest.raises(ModelUnavailable):
            await retry.complete(PROMPT)
        assert len(model.asked_s) == attempts
        return [after - before for before, after in zip(model.asked_s, model.asked_s[1:], strict=False)]

    bounds = [min(cap_s, base_s * 2 ** (n - 2)) for n in range(2, attempts + 1)]
    drawn = run_virtual(waits(random.Random(seed)))
    assert all(0 <= wait <= bound * (1 + 1e-9) + 1e-9 for wait, bound in zip(drawn, bounds, strict=True))
    assert run_virtual(waits(Most())) == pytest.approx(bounds)


def test_jitter_is_spread() -> None:
    """Many callers that failed together come back spread over the whole range, not together."""

    async def first_wait(seed: int) -> float:
        model = Fake([down(), UP])
        await Retry(model, base_s=1.0, rng=random.Random(seed)).complete(PROMPT)
        return model.asked_s[1]

    waits = sorted(run_virtual(first_wait(seed)) for seed in range(200))
    assert waits[0] < 0.1 < 0.4 < waits[100] < 0.6 < 0.9 < waits[-1] < 1.0


@pytest.mark.parametrize(("asked_s", "waited_s"), [(0.0, 0.25), (0.1, 0.25), (3.0, 3.0), (5.0, 5.0)])
async def test_retry_after_is_honoured(asked_s: float, waited_s: float) -> None:
    """A server's Retry-After is the least that is waited, up to the cap."""
    model = Fake([down(asked_s), UP])
    await Retry(model, rng=Most()).complete(PROMPT)
    assert model.asked_s == [0.0, waited_s]


@pytest.mark.parametrize("asked_s", [5.001, 60.0, 86_000.0, float("inf")])
async def test_retry_after_beyond_the_cap_is_raised_at_once(asked_s: float) -> None:
    """A server that asks for more than the cap gets its answer passed on: nobody waits, and no budget is used."""
    model, budget = Fake([down(asked_s), UP]), RetryBudget(most=1.0)
    with pytest.raises(ModelUnavailable) as caught:
        await Retry(model, budget=budget).complete(PROMPT)
    assert (clock.now(), len(model.asked_s), caught.value.retry_after_s) == (0.0, 1, asked_s)
    assert budget.take()


async def test_the_budget_bounds_an_outage() -> None:
    """While everything fails, retries are at most the budget's store and a share of the calls."""
    model, budget = Fake([down()]), RetryBudget(ratio=0.1, most=10.0)
    retry = Retry(model, attempts=5, budget=budget)
    for _ in range(200):
        with pytest.raises(ModelUnavailable):
            await retry.complete(PROMPT)
    assert 200 + 25 <= len(model.asked_s) <= 200 + 10 + 200 * 0.1


async def test_the_budget_is_shared() -> None:
    """Two models of one upstream spend one budget."""
    budget = RetryBudget(ratio=0.0, most=3.0)
    models = [Fake([down()]), Fake([down()])]
    for model in models:
        with pytest.raises(ModelUnavailable):
            await Retry(model, attempts=3, budget=budget).complete(PROMPT)
    assert [len(model.asked_s) for model in models] == [3, 2]


@given(st.floats(0, 1), st.floats(0, 50), st.lists(st.booleans(), max_size=200))
def test_a_budget_never_overspends(ratio: float, most: float, calls: list[bool]) -> None:
    """Whatever comes, retries allowed are at most the store and the share of the calls before them."""
    budget, earned, taken = RetryBudget(ratio=ratio, most=most), 0, 0
    for retry in calls:
        if retry:
            taken += budget.take()
        else:
            budget.earn()
            earned += 1
        assert taken <= most + earned * ratio + 1e-9


async def test_a_cancel_between_attempts() -> None:
    """A caller that leaves while a retry waits ends it there."""
    model = Fake([down(4.0), UP])
    call = asyncio.create_task(Retry(model).complete(PROMPT))
    await clock.sleep(1.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await clock.sleep(10.0)
    assert len(model.asked_s) == 1


# Fallback


async def test_fallback_asks_the_next() -> None:
    """A model that fails before its first delta is followed by the next; the reply says who answered."""
    models = [Fake([down()], "a"), Fake([(0, (), BadReply("?"))], "b"), Fake([UP], "c"), Fake([UP], "d")]
    fallback = Fallback(models)
    assert ((await fallback.complete(PROMPT)).model, fallback.name) == ("c", "a")
    assert [len(model.asked_s) for model in models] == [1, 1, 1, 0]
    assert (await fallback.complete(PROMPT, mute)).model == "c"


async def test_fallback_never_mixes_two_answers() -> None:
    """After its first delta a model's failure is the call's: no second model goes on in its place."""
    heard: list[Any] = []

    async def hear(said: Any) -> None:
        heard.append(said)

    models = [Fake([(0, ["half an "], StreamBroken("cut"))]), Fake([(0, ["other"], "other")])]
    with pytest.raises(StreamBroken):
        await Fallback(models).complete(PROMPT, hear)
    assert (heard, models[1].asked_s) == (["half an "], [])


async def test_fallback_raises_the_last_error() -> None:
    """When all fail, the last error is raised; what is not a model's failure stops it at once."""
    with pytest.raises(BadReply):
        await Fallback([Fake([down()]), Fake([(0, (), BadReply("?"))])]).complete(PROMPT)
    spare = Fake([UP])
    with pytest.raises(LimitExceeded):
        await Fallback([Fake([(0, (), LimitExceeded("full"))]), spare]).complete(PROMPT)
    assert spare.asked_s == []
    with pytest.raises(UsageError):
        Fallback([])


async def test_a_cancel_is_no_failure() -> None:
    """A cancelled caller is not answered by the next model."""
    first, spare = Fake([(9.0, (), "up")]), Fake([UP])
    call = asyncio.create_task(Fallback([first, spare]).complete(PROMPT))
    await clock.sleep(1.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (first.cut, spare.asked_s) == (1, [])


# Hedge


@pytest.mark.parametrize(("first_s", "asked", "ends_s"), [(0.5, 1, 0.5), (3.0, 2, 2.0), (1.25, 2, 1.25)])
async def test_hedge(first_s: float, asked: int, ends_s: float) -> None:
    """A late call is sent once more; the first reply wins and the other is cut; a call in time is sent once."""
    model = Fake([(first_s, (), "first"), (1.0, (), "second")])
    reply = await Hedge(model, after_s=1.0).complete(PROMPT)
    assert (reply.text, clock.now()) == ("second" if ends_s == 2.0 else "first", ends_s)
    assert (len(model.asked_s), model.cut, model.running) == (asked, asked - 1, 0)


async def test_hedge_leaves_streams_alone() -> None:
    """A streamed call is sent once, however late."""
    model = Fake([(9.0, ["a"], "a")])
    assert (await Hedge(model, after_s=1.0).complete(PROMPT, mute)).text == "a"
    assert len(model.asked_s) == 1


async def test_hedge_outlives_one_failure() -> None:
    """Either call may fail: the other's reply counts."""
    assert (await Hedge(Fake([down(), UP]), after_s=1.0).complete(PROMPT)).text == "up"
    late = Fake([(3.0, (), "first"), down()])
    assert (await Hedge(late, after_s=1.0).complete(PROMPT)).text == "first"


@pytest.mark.parametrize(
    "error", [ModelRefused("no", status=401), RateLimited("slow", retry_after_s=9), LimitExceeded("x")]
)
async def test_hedge_keeps_the_kind_of_an_error(error: Exception) -> None:
    """When both calls fail the first error is raised as it is, so that Retry and Fallback around it can go by it."""
    with pytest.raises(type(error)) as caught:
        await Hedge(Fake([(0, (), error)]), after_s=1.0).complete(PROMPT)
    assert caught.value is error
    model = Fake([down(), down(), UP])
    assert (await Retry(Hedge(model, after_s=1.0)).complete(PROMPT)).text == "up"
    assert (await Fallback([Hedge(Fake([down()]), after_s=1.0), Fake([UP])]).complete(PROMPT)).text == "up"
    with pytest.raises(RunFailed):
        await Hedge(Fake([(0, (), OSError("foreign"))]), after_s=1.0).complete(PROMPT)


async def test_a_cancelled_hedge_cuts_both() -> None:
    """A caller that leaves takes both calls along, and both are paid for."""
    model = Fake([(9.0, (), "up")])
    call = asyncio.create_task(Hedge(model, after_s=1.0).complete(PROMPT))
    await clock.sleep(2.0)
    assert model.running == 2
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (model.running, model.cut, abandoned_tasks()) == (0, 2, 0)


# Together


ends = st.sampled_from(["up", ModelUnavailable("x"), BadReply("y")])
turn = st.tuples(st.integers(0, 3), st.sampled_from([(), ("a",)]), ends)


@given(
    data=st.data(),
    turns=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([(), ("a",)]),
            st.sampled_from(["up", ModelUnavailable("x"), BadReply("y")]),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_any_nesting_of_policies_keeps_the_rules(data: st.DataObject, turns: list[Any]) -> None:
    """However policies nest: one of our errors or a reply comes out, no text is said twice, no room is lost."""

    async def test() -> None:
        base, limiter = Fake(turns), Limiter(max_running=2, max_queued=1)
        model: Model = base
        for policy in data.draw(st.lists(st.sampled_from(["retry", "limit", "fallback", "hedge"]), max_size=4)):
            if policy == "retry":
                model = Retry(model, rng=random.Random(0))
            elif policy == "limit":
                model = Limit(model, limiter)
            elif policy == "hedge":
                model = Hedge(model, after_s=0.5)
            else:
                model = Fallback([model, base])
        heard: list[Any] = []

        async def hear(said: Any) -> None:
            heard.append(said)

        stream = data.draw(st.booleans())
        call = branch("call", lambda: model.complete(PROMPT, hear if stream else None))
        try:
            async with asyncio.timeout(data.draw(st.sampled_from([0.25, 1.0, FAR]))):
                await decide([call], First[Reply](1))
        except (RunFailed, TimeoutError):
            pass
        assert heard in ([], ["a"])
        assert (base.running, limiter.running, limiter.queued, abandoned_tasks()) == (0, 0, 0, 0)

    run_virtual(test())
