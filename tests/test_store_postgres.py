"""A database that goes away and comes back: nothing is acknowledged that was not kept, nothing queued is lost."""

import asyncio
from collections.abc import Iterator

import pytest

from postgres_world import Server, binaries
from quorate.errors import StoreError
from quorate.store import End, Store, Wanted
from store_world import record

pytestmark = pytest.mark.sockets


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own: its tests stop it."""
    server = Server(binaries())
    yield server
    server.close()


async def found(store: Store) -> dict[str, str]:
    return {row.record.id: row.outcome for row in await store.records(Wanted(limit=1000))}


async def test_strict_callers_are_told_while_it_is_away(server: Server) -> None:
    """Every record fails meanwhile, none of them is there afterwards, and queued ends are written when it is back."""
    async with Store.open(server.database()) as store:
        await store.decided(record("before"))
        server.stop()
        store.ended(End(id="before", outcome="done"))
        results = await asyncio.gather(*(store.decided(record(f"r{n}")) for n in range(5)), return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
        assert all("quorate@" not in str(result) for result in results)
        for call in (store.ping(), store.records(), store.recall(["p"]), store.note("x", by="y")):
            with pytest.raises(StoreError):
                await call
        server.start()
        await store.decided(record("after"))
        await store.ping()
        assert await found(store) == {"before": "done", "after": "unfinished"}


async def test_a_broken_connection_is_replaced_unseen(server: Server) -> None:
    """Connections that the server closed while nobody used them cost no record."""
    url = server.database()
    async with Store.open(url) as store:
        await store.decided(record("one"))
        server.sql(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await store.decided(record("two"))
        assert set(await found(store)) == {"one", "two"}


async def test_async_records_wait_for_it(server: Server) -> None:
    """What was queued while it was away is written in order when it is back, within the bound."""
    async with Store.open(server.database(), audit="async", max_queued=100) as store:
        server.stop()
        for number in range(50):
            await store.decided(record(f"r{number}"))
            store.ended(End(id=f"r{number}", outcome="done"))
        blocked = asyncio.create_task(store.decided(record("last")))
        await asyncio.sleep(0)
        assert not blocked.done()
        server.start()
        await blocked
        await store.forget("none")
        assert await found(store) == {f"r{number}": "done" for number in range(50)} | {"last": "unfinished"}


async def test_closing_while_it_is_away_says_what_was_lost(server: Server) -> None:
    """The close tries for some seconds, then tells how many writes are gone: a loss is never silent."""
    url = server.database()
    try:
        with pytest.raises(StoreError, match="3 writes"):
            async with Store.open(url, audit="async") as store:
                server.stop()
                for number in range(3):
                    await store.decided(record(f"r{number}"))
    finally:
        server.start()
    async with Store.open(url) as store:
        assert await found(store) == {}


async def test_opening_needs_a_database(server: Server) -> None:
    """A database that is not there is an error with the server's own words and without the URL."""
    with pytest.raises(StoreError, match="does not exist") as caught:
        async with Store.open(f"postgresql://quorate:secret@/nowhere?host={server.folder}"):
            pass
    assert "secret" not in str(caught.value)


async def test_commits_reach_the_disk_even_where_the_server_would_not_wait(server: Server) -> None:
    """Where the server's default is not to wait for the disk, our connections ask for it."""
    url = server.database()
    server.sql(url, "ALTER ROLE quorate SET synchronous_commit = 'off'")
    try:
        async with Store.open(url) as store:
            with store._engine.connect() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    finally:
        server.sql(url, "ALTER ROLE quorate RESET synchronous_commit")
