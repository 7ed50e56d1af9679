"""The store, on both databases: what was decided is there, whole, redacted, and to the promise given."""

import asyncio
import json
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text as sql

from postgres_world import postgres
from quorate.errors import StoreError, UsageError
from quorate.store import End, Store, Turn, Wanted, parse_key
from quorate.store.database import begins_writing, connect
from quorate.store.rows import Form
from quorate.store.schema import metadata
from store_world import NOON, at, record, url

__all__ = ["postgres", "url"]

pytestmark = pytest.mark.sockets

HOSTILE = [
    "NUL \0 in it",
    "half a pair \ud800",
    "'; DROP TABLE records; --",
    "日本 \u202e \x1b[2J",
    "%s ? :x %(y)s",
    "x" * 5000,
]


async def ids(store: Store, **wanted: Any) -> list[str]:
    return [row.record.id for row in await store.records(Wanted(**wanted))]


async def test_a_record_comes_back_whole(url: str) -> None:
    """All that a decision and its end say is read again as it was written."""
    whole = record(
        "r1",
        key="k1",
        decision="refuse",
        decided_by="threat",
        why="looks like an attack",
        verdicts=[{"check": "threat", "outcome": "flag", "score": 0.97, "mode": "enforce"}],
        timeline=[{"branch": "threat", "ended_ms": 12.5}],
        usage={"calls": 2, "cost_usd": 0.01},
        config="abc",
        config_version=3,
        versions={"threat": "w1"},
        speculated=True,
        streamed=True,
        held_ms=1.5,
        elapsed_ms=20.25,
        messages=[{"role": "user", "content": "hello"}],
        reply="no",
    )
    end = End(
        id="r1", outcome="done", elapsed_ms=30.5, bytes_out=1 << 40, usage={"calls": 3}, timeline=[{"a": 1}], reply="x"
    )
    async with Store.open(url) as store:
        await store.decided(whole)
        store.ended(end)
    async with Store.open(url) as store:
        [found] = await store.records()
    assert (found.record, found.end, found.outcome) == (whole, end, "done")


async def test_a_record_without_an_end_is_unfinished(url: str) -> None:
    """A process that died in the middle leaves a record that says so."""
    async with Store.open(url) as store:
        await store.decided(record("r1"))
        assert [row.outcome for row in await store.records()] == ["unfinished"]


async def test_strict_means_committed(url: str) -> None:
    """When `decided` has returned, another connection sees the record."""
    async with Store.open(url) as store, Store.open(url) as other:
        for number in range(5):
            await store.decided(record(f"r{number}"))
            assert f"r{number}" in await ids(other)


async def test_closing_writes_all_that_is_queued(url: str) -> None:
    """Async records and ends of all requests are there after the block is left, each once."""
    async with Store.open(url, audit="async") as store:
        for number in range(1000):
            await store.decided(record(f"r{number}"))
            store.ended(End(id=f"r{number}", outcome="done"))
    async with Store.open(url) as store:
        found = await store.records(Wanted(limit=1000))
    assert len({row.record.id for row in found}) == 1000 == len(found)
    assert {row.outcome for row in found} == {"done"}


async def test_many_at_once_share_commits(url: str) -> None:
    """Callers that wait at the same time are committed together, and each is told."""
    async with Store.open(url) as store:
        await asyncio.gather(*(store.decided(record(f"r{number}")) for number in range(300)))
        assert len(await ids(store, limit=1000)) == 300
        assert store.stats.written == 300 and store.stats.commits < 150


async def test_the_queue_is_bounded(url: str) -> None:
    """Async callers wait for room when the queue is full; what one has to say that is cancelled there is kept."""
    most = 0
    async with Store.open(url, audit="async", max_queued=8) as store:

        async def decide(number: int) -> None:
            nonlocal most
            await store.decided(record(f"r{number}"))
            most = max(most, store.stats.queued)

        tasks = [asyncio.create_task(decide(number)) for number in range(100)]
        await asyncio.sleep(0)
        gone = [task for task in tasks[50:] if not task.done()]
        for task in gone:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 8 and gone
    async with Store.open(url) as store:
        assert len(await ids(store, limit=1000)) == 100


async def test_a_bad_record_harms_no_other(url: str) -> None:
    """Of records that are committed together only the one that cannot be kept fails, and its caller learns it."""
    async with Store.open(url) as store:
        rows = [record(f"r{number}") for number in range(20)]
        rows[7] = record("r3")
        rows[11] = record("big", config_version=1 << 80)
        done = await asyncio.gather(*(store.decided(row) for row in rows), return_exceptions=True)
        assert [number for number, result in enumerate(done) if result is not None] in ([7, 11], [3, 11])
        assert all(result is None or isinstance(result, StoreError) for result in done)
        assert len(await ids(store)) == 18
        assert "r3" not in str(done) and store.stats.failed == 2
        await store.decided(record("after"))


async def test_a_moment_needs_a_time_zone(url: str) -> None:
    """A naive time is the caller's mistake and is said at once."""
    async with Store.open(url) as store:
        with pytest.raises(UsageError, match="time zone"):
            await store.decided(record("r1", at=NOON.replace(tzinfo=None)))


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_texts_are_data(url: str, text: str) -> None:
    """Whatever stands in ids and texts is kept or replaced, breaks nothing, and is found and forgotten again."""
    async with Store.open(url, text="full") as store:
        row = record(
            text, conversation=text, key=text, why=text, reply=text, messages=[{"role": "user", "content": text}],
            turn=Turn(text, [{"check": text}], text),
        )  # fmt: skip
        await store.decided(row)
        store.ended(End(id=text, outcome="failed", error=text, reply=text))
        await store.beat(text, version=1, ready=False, error=text)
        await store.note(text, by=text, detail={"x": text})
        await store.propose(text, digest=text, by=text)
        [found] = await store.records(Wanted(conversation=text))
        assert found.record.messages == [{"role": "user", "content": text}] and found.outcome == "failed"
        turn = await store.recall([text])
        assert turn is not None and turn.verdicts == [{"check": text}]
        assert await store.forget(text) == 1
        assert await store.recall([text]) is None


async def test_texts_are_redacted_by_default(url: str) -> None:
    """No e-mail or card number is in any row: not in messages, replies, reasons, errors, timelines or turns."""
    secret = "a@b.com 4111 1111 1111 1111"
    verdicts = [{"check": "x", "reason": secret}]
    rows = [
        record("r1", messages=[{"role": "user", "content": secret}], reply=secret, why=secret, verdicts=verdicts,
               timeline=[{"why": secret}], turn=Turn("p", [{"reason": secret}], "c")),
        record("r2", messages=[{"content": [{"text": secret + " long" * 2000}]}], reply=secret * 500,
               verdicts=verdicts),
    ]  # fmt: skip
    async with Store.open(url) as store:
        for row in rows:
            await store.decided(row)
            store.ended(End(id=row.id, outcome="failed", error=secret, reply=secret, timeline=[{"error": secret}]))
        await store.forget("none")  # After all that was queued before it.
        said = repr(await store.records()) + repr(await store.recall(["p"]))
    assert "[card]" in said and "[e-mail]" in said
    assert "4111" not in said and "a@b.com" not in said


async def test_no_text_means_none(url: str) -> None:
    """With text="none" neither words of the customer nor a reason that quotes them is kept."""
    async with Store.open(url, text="none") as store:
        await store.decided(
            record("r1", messages=[{"content": "words"}], reply="words", why="words", verdicts=[{"reason": "words"}])
        )
        store.ended(End(id="r1", outcome="failed", error="words", reply="words"))
        await store.forget("none")
        assert "words" not in repr(await store.records())


async def test_a_long_text_is_prepared_elsewhere() -> None:
    """What takes time to redact is left to the writer's thread; images and tool calls count as long."""
    form = Form("redacted")
    assert form.is_short(record("r", messages=[{"role": "user", "content": "x" * 3999}]))
    for long in ({"content": "x" * 4000}, {"content": [{"text": "x"}]}, {"content": "x", "tool_calls": []}, {}):
        assert not form.is_short(record("r", messages=[long]))


async def test_the_longest_admitted_turn_is_recalled(url: str) -> None:
    """Of several known prefixes the first asked for wins; a refused turn is never one; the newest verdicts count."""
    async with Store.open(url) as store:
        for number, (prefix, decision) in enumerate([("a", "admit"), ("b", "admit"), ("c", "refuse"), ("a", "admit")]):
            turn = Turn(prefix, [{"check": f"v{number}"}], "config")
            await store.decided(record(f"r{number}", decision=decision, turn=turn))
        assert await store.recall(["c", "b", "a"]) == Turn("b", [{"check": "v1"}], "config", "c1")
        assert await store.recall(["c", "a"]) == Turn("a", [{"check": "v3"}], "config", "c1")
        assert await store.recall(["c"]) is None
        assert await store.recall([]) is None


async def test_turns_of_one_commit_may_share_a_prefix(url: str) -> None:
    """The same turn decided many times at once is kept once."""
    async with Store.open(url) as store:
        turn = Turn("p", [], "config")
        await asyncio.gather(*(store.decided(record(f"r{number}", turn=turn)) for number in range(50)))
        assert await store.recall(["p"]) == replace(turn, conversation="c1")


async def test_forgetting_leaves_nothing(url: str) -> None:
    """Records, ends, turns and texts of a conversation go, others stay, and an end that comes later stays out."""
    async with Store.open(url) as store:
        for conversation in ("c1", "c2"):
            for number in range(3):
                id = f"{conversation}-{number}"
                await store.decided(record(id, conversation=conversation, turn=Turn(id, [], "x")))
                if number:
                    store.ended(End(id=id, outcome="done", reply="said"))
        assert await store.forget("c1") == 3
        store.ended(End(id="c1-0", outcome="done", reply="said"))
        assert await store.forget("c1") == 0
        assert sorted(await ids(store)) == ["c2-0", "c2-1", "c2-2"]
        assert await store.recall(["c1-0"]) is None and await store.recall(["c2-0"]) is not None
    engine = connect(url)
    with engine.connect() as connection:
        assert connection.execute(sql("SELECT count(*) FROM ends")).scalar() == 2
    engine.dispose()


async def test_sqlite_keeps_no_bytes_of_what_was_forgotten(tmp_path: Path) -> None:
    """After `forget` the text is in none of the database's files, while it is still open."""
    async with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        for number in range(50):
            row = record(f"r{number}", messages=[{"content": f"unmistakable words {number} " * 50}])
            await store.decided(row)
        await store.decided(record("other", conversation="c2"))
        await store.forget("c1")
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() >= {"s.db", "s.db-wal"}
    assert [name for name, data in files.items() if b"unmistakable" in data] == []


async def test_retention_deletes_what_is_older(url: str) -> None:
    """`expire` deletes all records before a moment, however many, with their turns, and counts them."""
    async with Store.open(url) as store:
        rows = [record(f"r{n}", at=at(n / 10), turn=Turn(f"p{n}", [], "x")) for n in range(1200)]
        await asyncio.gather(*(store.decided(row) for row in rows))
        assert await store.expire(at(110)) == 1100
        assert await store.expire(at(110)) == 0
        assert sorted(await ids(store, limit=1000)) == sorted(f"r{n}" for n in range(1100, 1200))
        assert await store.recall(["p1099"]) is None and await store.recall(["p1100"]) is not None


async def test_records_come_in_pages(url: str) -> None:
    """Pages follow each other without gap or repeat, newest first, also for equal times, and can be narrowed."""
    async with Store.open(url) as store:
        for number in range(20):
            decision = "refuse" if number % 5 == 0 else "admit"
            await store.decided(
                record(f"r{number:02}", at=at(number // 4), decision=decision, conversation=f"c{number % 2}")
            )
        seen: list[str] = []
        after = None
        while page := await store.records(Wanted(limit=3, after=after)):
            seen += [row.record.id for row in page]
            after = page[-1]
        assert seen == [f"r{number:02}" for number in reversed(range(20))]
        assert await ids(store, decision="refuse") == ["r15", "r10", "r05", "r00"]
        assert await ids(store, since=at(1), until=at(2)) == ["r07", "r06", "r05", "r04"]
        assert len(await ids(store, conversation="c1")) == 10
        assert await ids(store, id="r07") == ["r07"]


async def test_a_key_is_shown_once_and_kept_as_a_hash(url: str) -> None:
    """The secret is in no row; it matches its key and no other, until the key is revoked."""
    async with Store.open(url) as store:
        key, text = await store.create_key("shop", ("admin", "call"), limits={"per_minute": 60})
        _, other = await store.create_key("other")
        parsed = parse_key(text)
        assert parsed is not None and parsed[0] == key.id and len(parsed[1]) >= 43
        secret = parsed[1]
        [first, second] = await store.keys()
        assert first == key and first.rights == ("call", "admin") and first.limits == {"per_minute": 60}
        assert secret not in repr(first) and secret not in json.dumps(first.digest) and first.digest not in repr(first)
        assert first.matches(secret) and not second.matches(secret)
        assert not first.matches("") and not first.matches(other) and not first.matches("ü\ud800")
        assert await store.revoke(key.id) and not await store.revoke(key.id) and not await store.revoke("none")
        assert [key.matches(secret) for key in await store.keys()] == [False, False]


@pytest.mark.parametrize("text", ["", "qk_", "qk__x", "qk_x_", "qk_x", "sk_a_b", "Bearer qk_a_b"])
async def test_what_is_no_key_is_none(text: str) -> None:
    """Only `qk_<id>_<secret>` is read as a key."""
    assert parse_key(text) is None
    assert parse_key("qk_a_b_c-d") == ("a", "b_c-d")


async def test_the_first_key_is_made_once(url: str) -> None:
    """Of several services that start over one empty store one makes the first key; a revoked key counts as one."""
    async with Store.open(url) as one, Store.open(url) as two:
        made = await asyncio.gather(*(store.create_first_key("first", ("call",)) for store in (one, two) * 4))
        [(key, _)] = [found for found in made if found is not None]
        assert [found.id for found in await two.keys()] == [key.id]
        assert await two.revoke(key.id)
        assert await one.create_first_key("second", ("call",)) is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda store: store.create_key(" "), "name"),
        (lambda store: store.create_key("x", ("root",)), "call, details, admin"),
        (lambda store: store.create_key("x", ()), "call, details, admin"),
        (lambda store: store.create_key("x", limits={"per_minute": 0}), "limits.per_minute"),
        (lambda store: store.create_key("x", limits={"a": float("nan")}), "limits.a"),
        (lambda store: store.propose("x", digest="d", by="b", mode="off"), "enforce, observe"),
    ],
)
async def test_bad_input_is_named(tmp_path: Path, make: Callable[[Store], Any], says: str) -> None:
    """An error names the field and what is allowed."""
    async with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        with pytest.raises(UsageError, match=says):
            await make(store)


async def test_the_newest_config_is_the_active_one(url: str) -> None:
    """Versions count up over all workers, and the highest is what all are to run, in its mode."""
    async with Store.open(url) as one, Store.open(url) as two:
        assert await one.active() is None and await one.active_number() is None
        versions = await asyncio.gather(
            *(store.propose(f"text {n}", digest=f"d{n}", by="me") for n in range(5) for store in (one, two))
        )
        assert len(set(versions)) == 10
        last = await two.propose("broken glass", digest="d", by="me", why="it burns", mode="observe")
        active = await one.active()
        assert active is not None and (active.version, active.mode, active.why) == (last, "observe", "it burns")
        assert last > max(versions) and await one.active_number() == last


async def test_workers_show_signs_of_life(url: str) -> None:
    """Each worker's last beat counts, and one that is too long ago is not shown."""
    async with Store.open(url) as store:
        await store.beat("w1", version=None, ready=False, error="starting")
        await store.beat("w1", version=2, ready=True)
        await store.beat("w2", version=1, ready=False, error="checks.x: unknown")
        found = await store.workers(60)
        assert [(w.worker, w.version, w.ready, w.error) for w in found] == [
            ("w1", 2, True, ""),
            ("w2", 1, False, "checks.x: unknown"),
        ]
        assert await store.workers(-60) == []


async def test_administrators_acts_are_noted(url: str) -> None:
    """The last acts come first."""
    async with Store.open(url) as store:
        for number in range(5):
            await store.note("reload", by="me", detail={"version": number})
        assert [note.detail["version"] for note in await store.notes(3)] == [4, 3, 2]


async def test_migrations_make_what_the_schema_says(url: str) -> None:
    """The tables after all migrations are those that statements are made for; opening again changes nothing."""
    for _ in range(2):
        engine = connect(url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()


async def test_a_database_of_the_first_form_is_brought_up(url: str) -> None:
    """What an older version wrote is read as it was; what is written from now on has the new fields."""
    async with Store.open(url) as store:
        await store.decided(record("old", verdicts=[{"check": "a"}]))
        store.ended(End(id="old", outcome="done"))
    engine = connect(url)
    with begins_writing(engine).begin() as connection:
        connection.execute(sql("ALTER TABLE ends DROP COLUMN verdicts"))
        connection.execute(sql("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    async with Store.open(url) as store:
        await store.decided(record("new", at=at(1)))
        store.ended(End(id="new", outcome="done", verdicts=[{"check": "b", "reason": "call 555-123-4567 now"}]))
        await store.note("flush", by="test")
        new, old = await store.records()
    assert (old.outcome, list(old.verdicts)) == ("done", [{"check": "a"}])
    assert new.verdicts[0]["check"] == "b" and "4567" not in new.verdicts[0]["reason"]


async def test_a_newer_database_is_left_alone(url: str) -> None:
    """An older program says that it is older, and changes nothing."""
    engine = connect(url)
    with begins_writing(engine).begin() as connection:
        connection.execute(sql("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(UsageError, match="newer Quorate"):
        async with Store.open(url):
            pass


def test_sqlite_is_as_safe_as_it_can_be(tmp_path: Path) -> None:
    """Every connection has a write-ahead log, full sync, foreign keys, secure deletion, patience; mode 0600."""
    path = tmp_path / "s.db"
    path.touch()
    path.chmod(0o644)
    engine = connect(f"sqlite:///{path}")
    with engine.connect() as one, begins_writing(engine).connect() as two:
        two.execute(sql("INSERT INTO notes (kind, author, detail, at_us) VALUES ('', '', '{}', 0)"))
        for connection in (one, two):
            asked = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout")
            found = [connection.execute(sql(f"PRAGMA {name}")).scalar() for name in asked]
            assert found == ["wal", 2, 1, 1, 10_000]
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "sqlite:///FILE"),
        ("mysql://root:secret@h/d", "mysql"),
        ("sqlite://", "file of its own"),
        ("sqlite:///:memory:", "file of its own"),
        ("sqlite:///x.db?mode=ro", "file of its own"),
        ("postgresql://u:secret@h:port/d", "allowed"),
    ],
)
async def test_a_wrong_url_is_explained(url: str, says: str) -> None:
    """The error says what is allowed, and repeats no password."""
    with pytest.raises(UsageError, match=says) as caught:
        async with Store.open(url):
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"audit": "later"}, {"text": "some"}, {"max_queued": 0}])
async def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    """An unknown policy is no default."""
    with pytest.raises(UsageError, match=next(iter(options))):
        Store.open("sqlite:///x.db", **options)


async def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Another program's file, and a folder that is not there, are errors that say so."""
    path = tmp_path / "x.db"
    path.write_text("hello, I am a letter" * 100)
    with pytest.raises(StoreError, match="not a database"):
        async with Store.open(f"sqlite:///{path}"):
            pass
    assert path.read_text().startswith("hello")
    with pytest.raises(StoreError, match="No such file"):
        async with Store.open(f"sqlite:///{tmp_path / 'none' / 'x.db'}"):
            pass


async def test_a_locked_database_is_an_error_for_who_waits_and_a_delay_for_who_does_not(tmp_path: Path) -> None:
    """While another program holds the file a strict record fails; the end of an earlier one is written afterwards."""
    path = tmp_path / "s.db"
    async with Store.open(f"sqlite:///{path}") as store:
        await store.decided(record("r1"))
        with store._engine.connect() as one, store._engine.connect() as two:
            for connection in (one, two):
                connection.exec_driver_sql("PRAGMA busy_timeout=20")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.ended(End(id="r1", outcome="done"))
        with pytest.raises(StoreError, match="locked"):
            await store.decided(record("r2"))
        with pytest.raises(StoreError, match="locked"):
            await store.ping()
        other.execute("COMMIT")
        other.close()
        await store.decided(record("r3"))
        await store.ping()
        assert [(row.record.id, row.outcome) for row in await store.records()] == [("r3", "unfinished"), ("r1", "done")]


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Nothing is queued for nobody."""
    async with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        pass
    for call in (store.decided(record("r")), store.ping(), store.keys(), store.forget("c")):
        with pytest.raises(StoreError, match="closed"):
            await call
    with pytest.raises(StoreError, match="closed"):
        store.ended(End(id="r", outcome="done"))


async def test_an_old_sign_of_life_expires(url: str) -> None:
    """Workers that were last seen before the moment go with the records of that time."""
    async with Store.open(url) as store:
        await store.beat("w", version=1, ready=True)
        await store.expire(NOON)
        assert len(await store.workers(60)) == 1
        await store.expire(NOON.replace(year=NOON.year + 5))
        assert await store.workers(60) == []


async def test_writing_again_shows_after_trouble(tmp_path: Path) -> None:
    """The last trouble is told until a write succeeds; a ping is one, so a worker without traffic gets ready again."""
    async with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        await store.decided(record("r1"))
        with pytest.raises(StoreError):
            await store.decided(record("r1"))
        assert store.stats.error
        await store.ping()
        assert store.stats.error == ""


@pytest.mark.sockets
async def test_databases_that_are_opened_at_once(tmp_path: Path) -> None:
    """Several new databases opened by one process at the same moment each get their own tables."""

    async def one(number: int) -> int:
        async with Store.open(f"sqlite:///{tmp_path}/{number}.db") as store:
            await store.decided(record(f"r{number}"))
            return len(await store.records())

    assert await asyncio.gather(*(one(number) for number in range(8))) == [1] * 8


async def test_what_nobody_waits_for_is_written_soon(url: str) -> None:
    """An end needs no other write after it to get to the database."""
    async with Store.open(url) as store:
        await store.decided(record("r1"))
        store.ended(End(id="r1", outcome="done"))
        async with asyncio.timeout(20):
            while (await store.records())[0].end is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
