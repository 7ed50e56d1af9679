"""The thread behind log and traces: order, bounds, and what is lost is counted."""

import threading

import pytest

from quorate.telemetry.writer import BATCH, Writer


def test_items_are_handled_in_order_and_in_bounded_batches() -> None:
    """Everything that was put is handled once, in order, at most `BATCH` at a time."""
    seen: list[list[int]] = []
    writer = Writer[int](lambda items: seen.append(list(items)), name="w", limit=None, patience_s=None)
    for number in range(5000):
        writer.put(number)
    writer.close()
    assert [number for batch in seen for number in batch] == list(range(5000))
    assert max(map(len, seen)) <= BATCH and writer.lost == 0


def test_what_a_handler_raises_is_counted_and_the_thread_goes_on() -> None:
    """One broken batch loses its items and no others."""
    seen: list[int] = []

    def handle(items: list[int]) -> None:
        if 1 in items:
            broke.set()
            raise ValueError("one")
        seen.extend(items)

    broke = threading.Event()
    writer = Writer(handle, name="w", limit=None, patience_s=None)
    writer.put(1)
    broke.wait()
    writer.put(2)
    writer.close()
    assert (seen, writer.lost, str(writer.error)) == ([2], 1, "one")


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_stuck_handler_makes_nobody_wait(limit: int) -> None:
    """Beyond the bound items are lost at once; closing gives up after its patience and counts what was left."""
    busy, go = threading.Event(), threading.Event()

    def handle(items: list[int]) -> None:
        busy.set()
        go.wait()

    writer = Writer(handle, name="w", limit=limit, patience_s=0.0)
    if limit:
        writer.put(0)
        busy.wait()
    for number in range(10):
        writer.put(number)
    assert writer.lost == 10 - limit
    writer.close()
    assert writer.lost == 10
    writer.put(1)
    writer.close()
    assert writer.lost == 11
    go.set()
