"""The overlapping windows in which a long text is read."""

from dataclasses import dataclass

from quorate.errors import UsageError

WINDOW_SIZE = 320
WINDOW_OVERLAP = 80
WINDOW_LIMIT = 400


class TooLong(UsageError):
    """A text needs more windows than a check is willing to read; it is refused, never truncated."""

    status_hint = 413


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text: `text == whole[start:end]`, in characters."""

    start: int
    end: int
    text: str


def windows(
    text: str, *, size: int = WINDOW_SIZE, overlap: int = WINDOW_OVERLAP, limit: int = WINDOW_LIMIT
) -> tuple[Window, ...]:
    """Overlapping windows that together cover every character of a text, cut at white space where possible.

    A window holds at most `size` characters and at least three quarters of that (but for the last one); two
    neighbours share at least `overlap` characters and at most half as many again. An empty text has one window.

    Args:
        text: what is to be read.
        size: the most characters of a window.
        overlap: the fewest characters that neighbours share; less than half of `size`.
        limit: the most windows.

    Raises:
        TooLong: the text needs more than `limit` windows.
        UsageError: the sizes do not fit together.
    """
    if size < 1 or overlap < 0 or limit < 1 or 2 * overlap >= size:
        raise UsageError(f"windows of {size} cannot overlap by {overlap} (take less than half), limit {limit}")
    cut: list[Window] = []
    start = 0
    while True:
        if len(cut) == limit:
            raise TooLong(f"a text of {len(text)} characters needs more than {limit} windows")
        end = min(start + size, len(text))
        if end < len(text):
            end = _after_space(text, end - size // 4, end)
        cut.append(Window(start, end, text[start:end]))
        if end == len(text):
            return tuple(cut)
        back = end - overlap
        start = _after_space(text, back - overlap // 2, back)


def _after_space(text: str, low: int, high: int) -> int:
    """The place after the last white space of text[low:high], or `high` if there is none."""
    piece = text[low:high]
    if not piece or piece[-1].isspace():
        return high
    last = piece.rsplit(None, 1)[-1]
    return high - len(last) if len(last) < len(piece) else high
