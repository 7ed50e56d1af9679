"""`quorate keys` and `quorate forget`: secrets shown once, acts noted, mistakes explained."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quorate.cli import main
from quorate.store import Note, Store, digest_of, parse_key
from store_world import record


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    return f"sqlite:///{tmp_path / 's.db'}"


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(words) == code
    out, err = capsys.readouterr()
    assert (err == "") == (code == 0)
    return out or err


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(run(capsys, *words, "--json"))


def notes(url: str) -> list[Note]:
    async def read() -> list[Note]:
        async with Store.open(url) as store:
            return await store.notes()

    return asyncio.run(read())


def test_a_secret_is_printed_once(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """The first line is the key and nothing else; the list, the journal and the file never show its secret."""
    line = run(capsys, "keys", "create", "shop bot", "--right", "call", "--rate", "60/min", "--store", store)
    parsed = parse_key(line.split("\n")[0])
    assert parsed is not None
    shown = run(capsys, "keys", "list", "--store", store)
    assert parsed[0] in shown and "shop bot" in shown and "per_minute=60" in shown and "good" in shown
    assert parsed[1] not in shown and parsed[1] not in repr(notes(store))
    for file in Path(store.removeprefix("sqlite:///")).parent.iterdir():
        assert parsed[1].encode() not in file.read_bytes()


def test_keys_as_json(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """Programs get the same facts; every act is noted with who did it."""
    words = ("--right", "admin", "--right", "call")
    made = run_json(capsys, "keys", "create", "a", *words, "--store", store)
    assert made["rights"] == ["call", "admin"] and parse_key(made["secret"]) is not None and made["revoked"] is None
    assert run_json(capsys, "keys", "revoke", made["id"], "--store", store) == {"id": made["id"], "revoked": True}
    [key] = run_json(capsys, "keys", "list", "--store", store)["keys"]
    assert key["id"] == made["id"] and key["revoked"] is not None and "secret" not in key
    assert [(note.kind, note.detail["key"]) for note in notes(store)] == [
        ("key revoked", made["id"]),
        ("key created", made["id"]),
    ]
    assert all("command line" in note.by for note in notes(store))


def test_no_keys_yet(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """An empty list says how to make one."""
    assert "keys create NAME" in run(capsys, "keys", "list", "--store", store)


def test_a_hostile_name_is_shown_harmless(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """Control characters of a name reach no terminal."""
    run(capsys, "keys", "create", "x\x1b[2J\ny", "--store", store)
    shown = run(capsys, "keys", "list", "--store", store)
    assert "\x1b" not in shown and shown.count("\n") == 1


def test_forget_deletes_and_notes(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """It says how many records went, and the journal names the conversation by its hash only."""

    async def fill() -> None:
        async with Store.open(store) as opened:
            for number in range(3):
                await opened.decided(record(f"r{number}", conversation="bob@example.com"))

    asyncio.run(fill())
    assert run(capsys, "forget", "--conversation", "bob@example.com", "--store", store) == "forgotten: 3 record(s)\n"
    assert run_json(capsys, "forget", "--conversation", "bob@example.com", "--store", store) == {"forgotten": 0}
    assert [note.detail["records"] for note in notes(store)] == [0, 3]
    assert "bob" not in repr(notes(store)) and digest_of("bob@example.com") in repr(notes(store))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("keys", "revoke", "nope\x1b"), "keys list shows their ids"),
        (("keys", "create", " "), "needs a name"),
        (("keys", "list", "--store", "mysql://u:secret@h/d"), "sqlite:///FILE"),
    ],
)
def test_mistakes_are_explained(
    capsys: pytest.CaptureFixture[str], store: str, words: tuple[str, ...], says: str
) -> None:
    """Exit code 2 and the way out, without control characters or passwords."""
    said = run(capsys, *words, *(() if "--store" in words else ("--store", store)), code=2)
    assert says in said and "\x1b" not in said and "secret" not in said


@pytest.mark.parametrize("rate", ["0", "-1", "x", "1.5/min", "10/s", "٣", "9" * 5000])
def test_a_rate_is_a_whole_number_a_minute(capsys: pytest.CaptureFixture[str], store: str, rate: str) -> None:
    """Anything else is a usage error that shows the form."""
    with pytest.raises(SystemExit) as caught:
        main(["keys", "create", "a", f"--rate={rate}", "--store", store])
    assert caught.value.code == 2 and "60/min" in capsys.readouterr().err


def test_a_missing_library_is_named() -> None:
    """Without the extra the command says what to install."""
    code = (
        "import sys\nsys.modules['sqlalchemy'] = None\nfrom quorate.cli import main\n"
        "sys.exit(main(['keys', 'list', '--store', 'sqlite:///x.db']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'quorate[service]'" in done.stderr
