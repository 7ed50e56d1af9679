"""The refusal floor: when refusals go out, and that their times do not tell the checks apart."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import FLAG, PASS, POLICY, Rule, check
from quorate.apps.frontdoor import FrontDoor
from quorate.engine import clock
from quorate.errors import UsageError
from quorate.service import floor


@pytest.mark.parametrize(
    ("took_s", "floor_s", "after_s"),
    [
        (0.0, 1.0, 1.0),
        (0.3, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        (1.001, 1.0, 2.0),
        (2.5, 1.0, 3.0),
        (0.3, 0.1, 0.3),
        (0.7, 0, 0.7),
    ],
)
async def test_when_a_refusal_goes_out(took_s: float, floor_s: float, after_s: float) -> None:
    """At the floor, or at the next multiple of it; without one, at once."""
    await clock.sleep(5)
    start_s = clock.now()
    await clock.sleep(took_s)
    await floor.wait(start_s, floor_s)
    assert clock.now() - start_s == pytest.approx(after_s)


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0.001, 10))
def test_it_is_never_early_and_never_a_whole_step_late(start_s: float, took_s: float, floor_s: float) -> None:
    """A refusal goes out on the grid, not before its decision, and less than one step after it or at the first."""
    at_s = floor.goes_out_s(start_s, start_s + took_s, floor_s=floor_s)
    assert at_s >= start_s + took_s - 1e-6 * floor_s - 1e-6
    assert at_s - start_s >= floor_s - 1e-6
    assert at_s - (start_s + took_s) <= floor_s + 1e-6
    steps = (at_s - start_s) / floor_s
    assert steps == pytest.approx(round(steps), abs=1e-6 / floor_s + 1e-6)


def test_a_floor_below_zero() -> None:
    """A floor that lies in the past is a mistake."""
    with pytest.raises(UsageError):
        floor.goes_out_s(0, 1, floor_s=-1)


def auc(ours: list[float], theirs: list[float]) -> float:
    """How well the times tell two groups apart, read by size or by likelihood; 0.5 is a guess, 1 is certainty."""
    mine, other = Counter(ours), Counter(theirs)
    readings = (lambda at: at, lambda at: other[at] / (mine[at] + other[at]))
    best = 0.5
    for reading in readings:
        wins = below = 0.0
        for _, group in itertools.groupby(sorted({*ours, *theirs}, key=reading), key=reading):
            moments = list(group)
            here = sum(mine[at] for at in moments)
            wins += sum(other[at] for at in moments) * (below + here / 2)
            below += here
        area = wins / (len(ours) * len(theirs))
        best = max(best, area, 1 - area)
    return best


async def times(floor_s: float, seed: int, count: int) -> dict[str, list[float]]:
    """When refusals of a quick and of a slow check go out, in seconds since their request came."""
    rng = random.Random(seed)
    out: dict[str, list[float]] = {"quick": [], "slow": []}
    for n in range(count):
        decider = "quick" if n % 2 else "slow"
        quick = Rule(FLAG if decider == "quick" else PASS, rng.lognormvariate(-3.0, 0.4))
        slow = Rule(FLAG if decider == "slow" else PASS, rng.lognormvariate(-0.9, 0.35))
        front = FrontDoor([check("quick", quick), check("slow", slow)], policy=POLICY)
        start_s = clock.now()
        assert (await front.decide("Hi")).decided_by == decider
        await floor.wait(start_s, floor_s)
        out[decider].append(round(clock.now() - start_s, 6))
    return out


async def test_times_of_refusals_do_not_tell_the_checks_apart() -> None:
    """Over 2,000 refusals no reading of their times beats a guess by much; without the floor one tells all."""
    bare = await times(0.0, 1, 400)
    assert auc(bare["quick"], bare["slow"]) > 0.99
    hidden = await times(1.0, 2, 2000)
    assert len(set(hidden["slow"])) > 1
    assert auc(hidden["quick"], hidden["slow"]) <= 0.55
