"""An upstream's events, cut where it pleases the network: what goes on is whole events and every byte of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.errors import BadReply
from quorate.models.relay import Frames, events_in, single, text_in

ENDS = ("\n\n", "\r\n\r\n", "\r\r", "\n\r\n")
EVENT = st.builds(
    lambda lines, end: ("\n".join(lines) + end).encode(),
    st.lists(st.sampled_from(("data: {}", "data:[1]", ": comment", "event: x", 'data: "é"')), min_size=1, max_size=3),
    st.sampled_from(ENDS),
)


@given(st.lists(EVENT, max_size=6), st.binary(max_size=12), st.data())
def test_however_a_stream_is_cut_its_events_go_on_whole(events: list[bytes], rest: bytes, data: st.DataObject) -> None:
    """What was fed comes out in order up to the end of the last whole event, and each piece ends with an event."""
    rest = rest.replace(b"\n", b"").replace(b"\r", b"")
    stream = b"".join(events) + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, out = Frames(), []
    for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out.append(frames.feed(stream[low:high]))
    assert b"".join(out) == b"".join(events)
    assert all(piece.endswith((b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n")) for piece in out if piece)
    assert b"".join(single(b"".join(events))) == b"".join(events)


@pytest.mark.parametrize("parts", [[b"data: " + b"x" * 90], [b"data: " + b"x" * 90 + b"\n\n"], [b"x" * 30] * 3])
def test_an_event_without_end_is_no_memory_without_end(parts: list[bytes]) -> None:
    """An event beyond the bound is an error in one piece and in many, but not several that are long only together."""
    frames = Frames(max_bytes=64)
    whole = parts[0].endswith(b"\n\n")
    if whole:  # It has come already, and an end with it: there is nothing to keep.
        assert frames.feed(parts[0]) == parts[0]
        return
    with pytest.raises(BadReply, match="longer than 64 bytes"):
        for part in parts:
            frames.feed(part)
    assert len(Frames(max_bytes=64).feed(b"data: 1\n\n" * 30)) == 270


def test_text_for_people_is_the_first_choices() -> None:
    """Other choices, other fields and what is no completion say nothing; half a surrogate pair is read all the same."""
    raw = b"".join(
        b'data: {"choices": [{"index": %d, "delta": {"content": %s}}]}\n\n' % (index, text)
        for index, text in ((0, b'"a"'), (1, b'"b"'), (0, b'"\\ud800"'), (0, b"7"), (0, b"null"))
    )
    assert text_in(raw + b"data: [DONE]\n\ndata: [1]\n\ndata: {\n\n", stream=True) == "a\ud800"
    assert text_in(b'{"choices": [{"message": {"content": "hi"}}]}', stream=False) == "hi"
    assert events_in(b": c\n\ndata: a\ndata:b\n\n") == [b"a\nb"]
