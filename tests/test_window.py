"""Sums over a sliding window."""

from hypothesis import given
from hypothesis import strategies as st

from quorate.models.window import Window


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 9)), max_size=30),
    st.integers(0, 60),
    st.integers(0, 10**6),
)
def test_what_is_told_is_of_the_last_seconds(came: list[tuple[int, int, int]], later: int, base: int) -> None:
    """For any times in order, the sums lie between those of the last 0.9 windows and those of the last one."""
    window, now_s = Window(20.0), float(base)
    seen: list[tuple[float, int, int]] = []
    for gap, first, second in came:
        now_s += gap / 4
        window.add(now_s, first=first, second=second)
        seen.append((now_s, first, second))
    now_s += later
    for at in (1, 2):
        told = window.sums(now_s)[at - 1]
        assert told <= sum(entry[at] for entry in seen if entry[0] > now_s - 20.0 - 1e-6)
        assert told >= sum(entry[at] for entry in seen if entry[0] > now_s - 18.0 + 1e-6)


def test_a_window_that_is_cleared() -> None:
    """Nothing that was counted before is told after."""
    window = Window(20.0)
    window.add(1.0, first=1, second=1)
    window.clear()
    assert window.sums(1.0) == (0, 0)
