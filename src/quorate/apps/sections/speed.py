"""What working side by side was worth: measured, and against what the same durations allow at best."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


def greedy_s(durations_s: Iterable[float], at_once: int) -> float:
    """Seconds until the last of some jobs ends, when the next in order starts wherever a place is free.

    List scheduling (R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969).
    """
    free = [0.0] * max(at_once, 1)
    for duration_s in durations_s:
        heapq.heapreplace(free, free[0] + duration_s)
    return max(free)


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of a run, in seconds.

    Attributes:
        took_s: from the start to the end of the last part.
        first_s: until the first text could be read; None where there was none.
        longest_s: the longest part, all its attempts together.
        longest: that part's name, or "".
        ideal_s: what the durations seen allow, `at_once` at a time and in input order (`greedy_s`).
        sequential_s: what one after another would have taken, at the durations seen.
        at_once: parts at the same time, at most.
    """

    took_s: float
    first_s: float | None
    longest_s: float
    longest: str
    ideal_s: float
    sequential_s: float
    at_once: int

    @classmethod
    def of(cls, durations: Sequence[tuple[str, float]], *, took_s: float, first_s: float | None, at_once: int) -> Self:
        """Of the parts' names and durations in input order."""
        seconds = [duration_s for _, duration_s in durations]
        longest, longest_s = max(durations, key=lambda one: one[1], default=("", 0.0))
        return cls(took_s, first_s, longest_s, longest, greedy_s(seconds, at_once), sum(seconds), at_once)
