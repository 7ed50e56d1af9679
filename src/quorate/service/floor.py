"""When a refusal may go out, so that its time does not tell which check refused.

Whoever can time a refusal tells a check that takes 50 ms from one that takes 500 ms with certainty, and learns which of
them to work on. So refusals go out on a grid that begins with the request: at the floor, or, where the decision comes
later, at the next multiple of it. All decisions between two points of the grid look the same.

How much still shows: let a and b be the chances of two checks' refusals to go out at each point of the grid. Of any way
to tell the checks apart by this time, the area under the curve (AUC; 0.5 is a guess) is at most 0.5 + V - V^2 / 2, V
being the total variation distance of a and b. With a floor that 97 % of both checks' refusals meet, V is at most 0.03
and the AUC at most 0.53. So the floor belongs above the slowest check's ordinary time, such as its 99th percentile.

There is no jitter on purpose. Added noise hides a difference only where it is as large as the difference, which costs
as much time as the grid, and it averages out over repeated tries, which the grid does not: the same point is the same
point however often it is asked for.
"""

import math

from quorate.engine import clock
from quorate.errors import UsageError

_DUST = 1e-9
"""Differences of clock readings this small, as a share of the floor, are none."""


def goes_out_s(start_s: float, decided_s: float, *, floor_s: float) -> float:
    """The moment at which a refusal may go out.

    Args:
        start_s: when the request came, on the engine's clock.
        decided_s: when it was refused.
        floor_s: the grid, in seconds; 0 for none.

    Raises:
        UsageError: a negative floor.
    """
    if floor_s < 0:
        raise UsageError(f"a refusal floor must be at least 0 s, got {floor_s}")
    if floor_s == 0:
        return decided_s
    steps = math.ceil((decided_s - start_s) / floor_s - _DUST)
    return start_s + max(1, steps) * floor_s


async def wait(start_s: float, floor_s: float) -> None:
    """Wait from now, the moment of the decision, until its refusal may go out. A cancel ends the wait."""
    now_s = clock.now()
    left_s = goes_out_s(start_s, now_s, floor_s=floor_s) - now_s
    if left_s > 0:
        await clock.sleep(left_s)
