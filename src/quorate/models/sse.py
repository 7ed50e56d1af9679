"""Server-sent events, sans I/O: bytes in, the data of finished events out.

Follows the event stream format of the WHATWG HTML standard, as far as chat completions use it: `data` fields,
comments, and the three line endings, wherever the network cuts them.
"""

from quorate.errors import BadReply

MAX_EVENT_BYTES = 1 << 20


class EventStream:
    """Collects bytes and gives out each event's data once its blank line has come."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._line: list[bytes] = []  # Pieces of a line not yet ended: joined once, however small they come.
        self._cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._max = max_event_bytes

    def feed(self, chunk: bytes) -> list[str]:
        """Take bytes from the network; return the data of the events they complete.

        Raises:
            BadReply: one event grew beyond the bound, or is not UTF-8.
        """
        if self._cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # Its carriage return came with the chunk before, and ended the line.
            self._cr = False
        if b"\r" in chunk:
            self._cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = chunk.split(b"\n")
        out: list[str] = []
        self._add(first)
        for start in others:
            self._end_line(out)
            self._add(start)
        return out

    def _add(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._count(len(piece))

    def _end_line(self, out: list[str]) -> None:
        line = self._line[0] if len(self._line) == 1 else b"".join(self._line)
        self._line = []
        if not line:
            if self._data:
                out.append(self._decode(b"\n".join(self._data)))
            self._data, self._size = [], 0
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            self._count(1)
        else:
            self._size -= len(line)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._max:
            raise BadReply(f"one event of the stream is longer than {self._max} bytes")

    @staticmethod
    def _decode(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise BadReply("the stream is not UTF-8") from error
