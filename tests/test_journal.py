"""The journal: whatever moment the process died at, what was finished is there, and nothing else."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import UsageError
from quorate.journal import Journal, key_of

RESULTS: list[Any] = [
    {"id": 1, "why": 'a "quote"\n and \u2028 \x1b \ud800 日本'},
    {"id": "ü", "verdicts": []},
    None,
    ["x" * 5000],
]


def write(path: Path, *results: Any, resume: bool = False, finish: bool = False, start: int = 0) -> None:
    with Journal(path, resume=resume) as journal:
        for number, result in enumerate(results, start):
            journal.add(str(number), result)
        if finish:
            journal.finish()


def read(path: Path) -> dict[str, Any]:
    with Journal(path, resume=True) as journal:
        return dict(journal.results)


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    """Results come back by their keys, whatever texts they hold; each is one line of printable ASCII."""
    path = tmp_path / "j"
    write(path, *RESULTS)
    assert read(path) == {str(number): result for number, result in enumerate(RESULTS)}
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == len(RESULTS) + 1 and all(line.isascii() and line.decode().isprintable() for line in lines)


def test_each_result_is_on_the_disk_at_once(tmp_path: Path) -> None:
    """A reader sees a result as soon as it was added: nothing waits in a buffer."""
    path = tmp_path / "j"
    with Journal(path, resume=False) as journal:
        for number, result in enumerate(RESULTS, 1):
            journal.add(str(number), result)
            assert len(path.read_bytes().splitlines()) == number


def test_a_line_that_was_cut_at_any_byte_is_dropped(tmp_path: Path) -> None:
    """Cut anywhere, the file still gives every whole result; what is added then follows cleanly."""
    path = tmp_path / "j"
    write(path, {"n": 1}, {"n": 2}, {"n": 3})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        assert read(path) == {str(number): {"n": number + 1} for number in range(kept)}
        write(path, "new", resume=True, start=9)
        assert read(path) == {**{str(number): {"n": number + 1} for number in range(kept)}, "9": "new"}


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=60))
def test_no_tail_takes_good_results_along(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    """Whatever bytes follow good lines, the good ones are read and later ones too."""
    path = tmp_path_factory.mktemp("tail") / "j"
    write(path, "a", "b")
    path.write_bytes(path.read_bytes() + tail)
    assert read(path).items() >= {"0": "a", "1": "b"}.items()
    write(path, "c", resume=True, start=2)
    assert read(path).items() >= {"0": "a", "1": "b", "2": "c"}.items()


@pytest.mark.parametrize(
    "middle", [b"\0" * 50 + b"\n", b'{"key": "x", "resu\n', b"[1]\n", b"1\n", b"\n", b"{}\n", b"\xff\n"]
)
def test_a_bad_line_in_the_middle_hides_nothing_after_it(tmp_path: Path, middle: bytes) -> None:
    """Half a line that a full disk left costs that line only."""
    path = tmp_path / "j"
    write(path, "a")
    first = path.read_bytes()
    write(path, "b", resume=True, start=1)
    path.write_bytes(first + middle + path.read_bytes()[len(first) :])
    assert read(path) == {"0": "a", "1": "b"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_after_a_full_disk_the_next_result_is_whole(tmp_path: Path) -> None:
    """A write that failed in the middle raises, and what is added once there is room stands on a line of its own."""
    path = tmp_path / "j"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Journal(path, resume=False) as journal:
            journal.add("a", "first")
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
            with pytest.raises(OSError):
                journal.add("b", "x" * 100)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            journal.add("c", "third")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read(path) == {"a": "first", "c": "third"}


def test_unfinished_work_is_not_overwritten(tmp_path: Path) -> None:
    """Without resume an unfinished journal is an error that says what to do, and stays as it is."""
    path = tmp_path / "j"
    write(path, "a", "b")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"2 finished results.*--resume"):
        Journal(path, resume=False)
    assert path.read_bytes() == before


def test_finished_work_starts_again_or_goes_on(tmp_path: Path) -> None:
    """A finished journal is emptied without resume and kept with it; added to, it is unfinished again."""
    path = tmp_path / "j"
    write(path, "a", finish=True)
    write(path, "b", resume=True, start=1)
    assert read(path) == {"0": "a", "1": "b"}
    with pytest.raises(UsageError):
        Journal(path, resume=False)
    write(path, resume=True, finish=True)
    with Journal(path, resume=False) as journal:
        assert journal.results == {}
    assert path.read_bytes() == b""


def test_an_empty_or_missing_file_is_a_start(tmp_path: Path) -> None:
    """There is nothing to lose in no file and in an empty one, with resume or without."""
    for resume in (False, True):
        path = tmp_path / f"j{resume}"
        write(path, resume=resume)
        assert path.read_bytes() == b""
        write(path, "a", resume=resume)
        assert read(path) == {"0": "a"}


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_a_place_that_cannot_be_written_is_a_usage_error(path: str) -> None:
    """A missing folder, or a folder instead of a file, is said and not raised as the system puts it."""
    with pytest.raises(UsageError, match=path):
        Journal(Path(path), resume=False)


def test_two_writers_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Two runs that go on with one journal by mistake lose no result of either."""
    path = tmp_path / "j"
    with Journal(path, resume=True) as one, Journal(path, resume=True) as other:
        for number in range(20):
            (one if number % 2 else other).add(str(number), number)
    assert read(path) == {str(number): number for number in range(20)}


def test_a_killed_writer_leaves_whole_results_only(tmp_path: Path) -> None:
    """kill -9 in the middle of writing: what it said it had added is there."""
    path = tmp_path / "j"
    code = (
        "import sys\nfrom pathlib import Path\nfrom quorate.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), resume=False)\n"
        "for number in range(10**9):\n"
        "    journal.add(str(number), 'x' * (number % 7000))\n    print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(200):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        said = 200 + len([line for line in process.stdout.read().split(b"\n") if line])
    results = read(path)
    assert said - 1 <= len(results) <= said + 1
    assert results == {str(number): "x" * (number % 7000) for number in range(len(results))}


def test_a_key_changes_with_each_of_its_parts() -> None:
    """Line, id, input and config: another one is another key, and so is the same text in another place or type."""
    base = (3, "m1", "text", "config")
    keys = {key_of(*base)}
    for at, other in enumerate((4, "m2", [{"role": "user", "content": "text"}], "config2")):
        keys.add(key_of(*base[:at], other, *base[at + 1 :]))
    keys |= {key_of("3", *base[1:]), key_of(3, 1, *base[2:]), key_of(3, "1", *base[2:]), key_of("m1", 3, *base[2:])}
    assert len(keys) == 9
    assert key_of(*base) == key_of(*base) and key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of("\ud800") != key_of("\ufffd")
    assert len(key_of()) == 64 and json.dumps(key_of("ü")).isascii()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's file at the journal's place is an error, and stays as it is."""
    path = tmp_path / "out.journal"
    path.write_text("dear diary\n", encoding="ascii")
    for resume in (False, True):
        with pytest.raises(UsageError, match="no journal"):
            Journal(path, resume=resume)
    assert path.read_text(encoding="ascii") == "dear diary\n"
