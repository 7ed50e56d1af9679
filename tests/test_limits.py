"""Limits of a key in virtual time: rate, concurrency, waste, refusals, and the sum over the workers."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.engine import clock
from quorate.errors import LimitExceeded, UsageError
from quorate.events import Usage
from quorate.service.limits import LEAST_DECISIONS, Allowance, KeyLimits
from quorate.testing.clock import run_virtual


def spent(limits: KeyLimits, allowance: Allowance, key: str = "k", *, tokens: int = 0, **named: Any) -> str:
    """One request that wasted so much and was decided; why it lost speculation."""
    with limits.use(key, allowance) as use:
        use.wasted = Usage(1, tokens, 0, named.get("usd", 0.0))
        use.refused = named.get("refused")
        assert use.speculate == (not use.lost)
        return use.lost


async def test_a_minutes_requests_may_come_at_once_and_then_as_they_refill() -> None:
    """After a quiet minute as many may come as the rate says; then one for each part of the minute."""
    limits, allowance = KeyLimits(), Allowance(per_minute=6)
    for _ in range(6):
        spent(limits, allowance)
    with pytest.raises(LimitExceeded, match="of this minute are used up; allowed are 6") as caught:
        spent(limits, allowance)
    assert (caught.value.which, caught.value.retry_after_s) == ("rate", pytest.approx(10))
    spent(limits, allowance, "another")
    await clock.sleep(caught.value.retry_after_s)
    spent(limits, allowance)
    with pytest.raises(LimitExceeded):
        spent(limits, allowance)


async def test_so_many_at_once() -> None:
    """Concurrency counts what runs, whatever it ends with; a refused request takes nothing of the rate."""
    limits, allowance = KeyLimits(), Allowance(concurrency=2, per_minute=3)
    with limits.use("k", allowance), pytest.raises(OSError), limits.use("k", allowance):
        assert limits.running("k") == 2
        for _ in range(9):
            with pytest.raises(LimitExceeded, match="2 requests running; allowed are 2") as caught:
                limits.use("k", allowance)
            assert (caught.value.which, caught.value.retry_after_s) == ("concurrency", 1)
        raise OSError
    assert limits.running("k") == 0
    spent(limits, allowance)


async def test_over_its_waste_budget_a_key_loses_speculation() -> None:
    """At its budget of tokens or money it loses speculation, not service, until the hour has passed."""
    for allowance, wasted in (
        (Allowance(waste_tokens=100), {"tokens": 50}),
        (Allowance(waste_usd=0.02), {"usd": 0.01}),
    ):
        limits = KeyLimits()
        lost = [spent(limits, allowance, **wasted) for _ in range(4)]
        assert [why.partition(":")[0] for why in lost] == ["", "", "waste budget", "waste budget"]
        assert spent(limits, Allowance()) == ""
        assert spent(limits, allowance, "another") == ""
        await clock.sleep(3601)
        assert spent(limits, allowance) == ""


async def test_over_its_share_of_refusals_a_key_loses_speculation() -> None:
    """Enough decisions, and too many of them refusals: its answers wait, until better ones have come."""
    limits, allowance = KeyLimits(), Allowance(refusal_share=0.5)
    for _ in range(LEAST_DECISIONS):
        assert spent(limits, allowance, refused=True) == ""
    assert spent(limits, allowance) == f"refusals: {LEAST_DECISIONS} of the last {LEAST_DECISIONS} messages"
    for _ in range(LEAST_DECISIONS):
        spent(limits, allowance, refused=False)
    assert spent(limits, allowance) == ""


async def test_memory_is_bounded_whatever_keys_come() -> None:
    """The quietest key is forgotten, never one with a request running; with all of them running none is added."""
    limits = KeyLimits(max_keys=3)
    with limits.use("old", Allowance()):
        for n in range(100):
            spent(limits, Allowance(), f"k{n}")
            assert len(limits) <= 3
        assert limits.running("old") == 1
        with limits.use("b", Allowance()), limits.use("c", Allowance()):
            with pytest.raises(LimitExceeded) as caught:
                limits.use("d", Allowance())
            assert caught.value.which == "keys"
    assert len(limits) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_minute": 0},
        {"concurrency": -1},
        {"waste_tokens": -1},
        {"waste_usd": float("nan")},
        {"refusal_share": -0.1},
    ],
)
def test_an_allowance_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    """A number without a meaning is refused by its name."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Allowance(**wrong)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 2, "worker": 2}, {"worker": -1}, {"max_keys": 0}])
def test_workers_that_do_not_exist(wrong: dict[str, Any]) -> None:
    """A number of workers, or of one of them, that cannot be is the caller's mistake."""
    with pytest.raises(UsageError):
        KeyLimits(**wrong)


async def test_a_limit_below_the_number_of_workers() -> None:
    """Some workers then have none of it, and say so."""
    allowance = Allowance(concurrency=2, per_minute=2)
    took = 0
    for worker in range(3):
        try:
            spent(KeyLimits(workers=3, worker=worker), allowance)
            took += 1
        except LimitExceeded as error:
            assert "allowed are 0 here and 2 in all workers" in str(error)
    assert took == 2
    with pytest.raises(LimitExceeded):
        spent(KeyLimits(workers=3), allowance)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 5), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.integers(1, 400), st.just(0)),
        st.tuples(st.just("workers"), st.integers(1, 6), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), steps)
def test_all_workers_together_never_have_more_than_the_whole(
    per_minute: int, concurrency: int, numbered: bool, drawn: list[Any]
) -> None:
    """For any requests at any workers whose number changes meanwhile, the deployment's rate and concurrency hold."""
    allowance = Allowance(per_minute=per_minute, concurrency=concurrency)
    number = lambda n: n if numbered else None  # noqa: E731

    async def test() -> None:
        workers = [KeyLimits(workers=2, worker=number(n)) for n in range(2)]
        admitted: list[float] = []
        for what, n, lasts in drawn:
            if what == "wait":
                await clock.sleep(n / 8)
            elif what == "workers":
                workers = workers[:n]
                for i, limits in enumerate(workers):
                    limits.share(n, number(i))
                workers += [KeyLimits(workers=n, worker=number(i), joined=True) for i in range(len(workers), n)]
            else:
                limits = workers[n % len(workers)]
                try:
                    use = limits.use("k", allowance)
                except LimitExceeded as error:
                    assert error.retry_after_s > 0
                else:
                    admitted.append(clock.now())
                    asyncio.get_running_loop().call_later(lasts / 8, use.__exit__, None, None, None)
        for i, start_s in enumerate(admitted):
            for j in range(i, len(admitted)):
                assert j - i + 1 <= per_minute * (1 + (admitted[j] - start_s) / 60) + 1e-6

    run_virtual(test())


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=80))
def test_what_runs_in_all_workers_stays_below_the_whole(concurrency: int, drawn: list[tuple[int, int]]) -> None:
    """Of requests that do not end, all workers together let in no more than the whole."""
    allowance = Allowance(concurrency=concurrency)

    async def test() -> None:
        for count in (1, 2, 5):
            workers = [KeyLimits(workers=count, worker=n) for n in range(count)]
            let_in = 0
            for n, _ in drawn:
                try:
                    workers[n % count].use("k", allowance)
                    let_in += 1
                except LimitExceeded:
                    continue
            assert let_in <= concurrency
            assert let_in == sum(limits.running("k") for limits in workers)

    run_virtual(test())
