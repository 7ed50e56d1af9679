"""Server-sent events: the same events wherever the network cuts the bytes, and a bound on what is kept."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quorate.errors import BadReply
from quorate.models.sse import EventStream

PIECES = [
    *(b"data: a", b"data:b", b"data: ", b"data:", b"data", b":comment", b"event: x", b"id: 7", b"retry: 9", b"x"),
    *(b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b" ", "data: ü𝔊\u2028".encode(), b"data:  two", b"\x00\x1b"),
]
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=30).map(b"".join)


def read(data: bytes) -> list[bytes]:
    """The standard's own words, over the whole stream at once."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    out: list[bytes] = []
    values: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        if not line:
            out += [b"\n".join(values)] if values else []
            values = []
        elif name == b"data" and b":" in line:
            values.append(value.removeprefix(b" "))
    return out


def utf8(data: bytes) -> bool:
    try:
        return bool(data.decode()) or True
    except UnicodeDecodeError:
        return False


@given(streams, st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\r", [7, 8, 9, 10])
@example(b"data: a\r", [8])
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    """The events are those of the standard, for every way to cut the stream, between CR and LF and inside UTF-8 too."""
    wanted = read(data)
    marks = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    stream, found = EventStream(), []
    try:
        for start, end in pairwise(marks):
            found += stream.feed(data[start:end])
    except BadReply:
        assert not all(map(utf8, wanted))
        return
    assert [event.encode() for event in found] == wanted


@given(streams)
def test_byte_by_byte(data: bytes) -> None:
    """One byte at a time gives the same events as all at once, or the same refusal."""

    def events(pieces: list[bytes]) -> list[str] | None:
        stream = EventStream()
        try:
            return [event for piece in pieces for event in stream.feed(piece)]
        except BadReply:
            return None

    assert events([bytes([byte]) for byte in data]) == events([data])


def test_an_event_is_told_at_its_blank_line() -> None:
    """An event is given out with the byte that ends it, not with the next one."""
    stream = EventStream()
    assert stream.feed(b"data: a\r\n\r") == ["a"]
    assert stream.feed(b"\ndata: b\n") == []
    assert stream.feed(b"\n") == ["b"]
    assert stream.feed(b"") == []


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("line", [b"data: xxxxxxxx\n", b"data:\n", b"data: " + b"x" * 999, b": " + b"x" * 999, b"xxx"])
def test_the_bound_holds(line: bytes, size: int) -> None:
    """No event, of however many lines, and no line of any kind grows beyond the bound, however it is cut."""
    data = line * 5000 if line.endswith(b"\n") else line + b"x" * 5000
    stream = EventStream(max_event_bytes=4000)
    with pytest.raises(BadReply, match="longer than 4000 bytes"):
        for start in range(0, len(data), size):
            stream.feed(data[start : start + size])


@given(st.integers(1, 400), st.integers(1, 300), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_bound_is_for_one_event(length: int, count: int, end: bytes) -> None:
    """Any number of events, comments and ignored fields within the bound pass: nothing adds up across them."""
    stream = EventStream(max_event_bytes=500)
    event = b": " + b"c" * length + end + b"id: " + b"i" * length + end + b"data:" + b"d" * length + end + end
    assert stream.feed(event * count) == ["d" * length] * count


def test_time_is_linear() -> None:
    """A line that comes in small bites takes time in proportion to its length, not to its square."""

    def cost(length: int) -> float:
        stream, bite = EventStream(max_event_bytes=1 << 30), b"x" * 16
        start_s = time.perf_counter()
        for _ in range(length // 16):
            stream.feed(bite)
        stream.feed(b"\n\n")
        return (time.perf_counter() - start_s) / length

    assert min(cost(1 << 21) for _ in range(3)) < 8 * min(cost(1 << 15) for _ in range(5))


def test_what_is_no_text_is_refused() -> None:
    """Data that is not UTF-8 is a bad reply, an event without data is none."""
    with pytest.raises(BadReply, match="UTF-8"):
        EventStream().feed(b"data: \xff\n\n")
    assert EventStream().feed(b"\xff\xfe: x\n\nevent: end\n\n") == []
