"""Reads of sockets in a serving process: small ones, so that its memory stays in one piece."""

import asyncio
import os

import pytest

from quorate.service.running import READ_BYTES, small_reads

pytestmark = pytest.mark.sockets


class _Sizes(asyncio.Protocol):
    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.seen.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def test_a_connection_reads_a_little_at_a_time_and_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio has no setting for it: where a newer one reads otherwise, this says so."""
    transport_class = asyncio.selector_events._SelectorTransport  # type: ignore[attr-defined]
    monkeypatch.setattr(transport_class, "max_size", transport_class.max_size)  # Put back afterwards.
    small_reads()
    sent, made = os.urandom(20 * READ_BYTES), []

    def make() -> _Sizes:
        made.append(_Sizes())
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await made[0].ended
    assert b"".join(made[0].seen) == sent
    assert max(map(len, made[0].seen)) == READ_BYTES
