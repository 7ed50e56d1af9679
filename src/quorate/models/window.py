"""Sums over the last so many seconds, in a bounded number of numbers. Takes the time, and never reads it."""

_SLICES = 10


class Window:
    """Adds up pairs of numbers over a sliding window.

    Kept in ten slices, so that what it tells is of the last `seconds` to `seconds` * 0.9.

    Args:
        seconds: how far back it looks.
    """

    __slots__ = ("_at", "_first", "_second", "_slice_s", "_sums")

    def __init__(self, seconds: float) -> None:
        self._slice_s = seconds / _SLICES
        self._first = [0.0] * _SLICES
        self._second = [0.0] * _SLICES
        self._sums = (0.0, 0.0)
        self._at = 0

    def add(self, now_s: float, *, first: float, second: float) -> None:
        """Count a pair at this time."""
        self._move(now_s)
        self._first[self._at % _SLICES] += first
        self._second[self._at % _SLICES] += second
        self._sums = (self._sums[0] + first, self._sums[1] + second)

    def sums(self, now_s: float) -> tuple[float, float]:
        """The sums of the first and of the second numbers."""
        self._move(now_s)
        return self._sums

    def clear(self) -> None:
        """Forget everything."""
        self._first = [0.0] * _SLICES
        self._second = [0.0] * _SLICES
        self._sums = (0.0, 0.0)

    def _move(self, now_s: float) -> None:
        at = int(now_s // self._slice_s)
        if at <= self._at:
            return
        for stale in range(max(self._at + 1, at - _SLICES + 1), at + 1):
            self._first[stale % _SLICES] = self._second[stale % _SLICES] = 0.0
        self._at = at
        self._sums = (sum(self._first), sum(self._second))  # Afresh, so that no rounding error lasts.
