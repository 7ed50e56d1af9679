"""Server-sent events, sans I/O: bytes in, the data of finished events out.

Follows the event stream format of the WHATWG HTML standard, as far as chat completions use it: `data` fields,
comments, and the three line endings, wherever the network cuts them.
"""

from quorate.errors import BadReply

MAX_EVENT_BYTES = 1 << 20


class EventStream:
    """Collects bytes and gives out each event's data once its blank line has come."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._max = max_event_bytes

    def feed(self, chunk: bytes) -> list[str]:
        """Take bytes from the network; return the data of the events they complete.

        Raises:
            BadReply: one event grew beyond the bound, or is not UTF-8.
        """
        if b"\r" in chunk or b"\r" in self._rest:
            text = self._rest + chunk
            ends_in_cr = text.endswith(b"\r")  # Its line feed may come with the next chunk.
            text = (text[:-1] if ends_in_cr else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = text.split(b"\n")
            self._rest = lines.pop() + (b"\r" if ends_in_cr else b"")
        else:
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
        out: list[str] = []
        for line in lines:
            if not line:
                if self._data:
                    out.append(self._decode(b"\n".join(self._data)))
                    self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                self._data.append(value)
                self._size += len(value)
        if self._size + len(self._rest) > self._max:
            raise BadReply(f"one event of the stream is longer than {self._max} bytes")
        return out

    @staticmethod
    def _decode(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise BadReply("the stream is not UTF-8") from error
