"""`quorate demo`, `init`, `doctor`, `stand-in` and the help."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.cli.demo import ACTS
from quorate.testing.standin import StandIn
from test_cli import ATTACK, CLEAN, command, config, local_config, plain, run, spawned, standin  # noqa: F401

COMMANDS = ("ask", "check", "demo", "init", "doctor", "stand-in")


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standin() as running:
        yield running


# --- help -----------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    """`quorate --help` lists the commands and the exit codes, on stdout, exit 0."""
    ran = run("--help")
    assert (ran.code, ran.err) == (0, "")
    for name in COMMANDS:
        assert f"\n    {name} " in ran.out
    assert "0 admitted, 3 refused, 4 handed over" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ask", ["--config", "--json", "--evaluate-all", "--base-url", "--model", "--log", "TEXT", "after --"]),
        ("check", ["--config", "--out", "--concurrency", "--resume", "--evaluate-all", "FILE", "messages"]),
        ("demo", ["--no-prompt"]),
        ("init", ["DIR"]),
        ("doctor", ["--config"]),
        ("stand-in", ["quorate stand-in", "--port", "--host", "--seed"]),
    ],
)
def test_each_command_has_its_help(name: str, words: list[str]) -> None:
    """`quorate COMMAND --help` says what it takes, exit 0."""
    ran = run(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    for word in words:
        assert word in " ".join(ran.out.split())


def test_the_installed_command_is_the_module() -> None:
    """The script `quorate` and `python -m quorate` are the same program."""
    script = Path(sys.executable).with_name("quorate")
    done = subprocess.run([script, "--help"], capture_output=True, check=True)
    assert done.stdout == spawned("--help").raw_out


# --- demo -----------------------------------------------------------------------------------------


def test_the_demo_plays_its_acts_three_ways() -> None:
    """Three acts, labelled as simulated, each in three ways; as Quorate the attack is refused and nothing leaks."""
    ran = run("demo", "--no-prompt")
    assert (ran.code, ran.err) == (0, "")
    acts = ran.out.split("Act ")[1:]
    assert len(acts) == len(ACTS) == 3
    for act, told in zip(ACTS, acts, strict=True):
        assert told.split("\n")[0].endswith(f"{act.title} (simulated latency)") and act.text in told
        lines = [line for line in told.split("\n") if "characters leaked" in line]
        assert [line[2:20].strip() for line in lines] == ["one after another", "plain gather", "Quorate"]
        assert "tokens wasted" in lines[2] and " 0 characters leaked" in lines[2]
        assert ("refused after" if act.title == "An attack" else "first words after") in lines[2]
    assert "cut, nothing of it went out" in acts[1] and "held, then let out" in acts[0]
    local = acts[2].split("The local checks, no key and no network")[1]
    assert "admit" in local and "refuse by threat" in local


PROMPT = (
    "import asyncio\nfrom quorate.cli import demo\nfrom quorate.cli.render import console\n"
    "from quorate.wiring import load\n"
    "async def main():\n    async with load() as app:\n        await demo._prompt(console(), app)\n"
    "asyncio.run(main())\nprint('the end')\n"
)


def read_until(terminal: int, prompts: int) -> bytes:
    """What a terminal shows until its prompt stands there this many times, or until it is closed."""
    seen = b""
    while seen.count(b"> ") < prompts:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, seen
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # The other end is closed.
            return seen
        if not piece:
            return seen
        seen += piece
    return seen


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of one's own")
@pytest.mark.parametrize("ending", ["a line", "end of file", "Ctrl-C"])
def test_the_prompt_answers_and_ends(ending: str) -> None:
    """On a terminal one's own messages are judged; an empty line, Ctrl-D and Ctrl-C each end it without a traceback."""
    terminal, child = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", PROMPT], stdin=child, stdout=child, stderr=child, env={**os.environ, "TERM": "dumb"}
        ) as process:
            os.close(child)
            read_until(terminal, 1)
            os.write(terminal, f"{ATTACK}\n".encode())
            seen = read_until(terminal, 1)
            if ending == "Ctrl-C":
                time.sleep(0.3)  # A signal between the prompt and the read behind it would be lost, as in any program.
                process.send_signal(signal.SIGINT)
            else:
                os.write(terminal, b"\n" if ending == "a line" else b"\x04")
            seen += read_until(terminal, 99)
    finally:
        os.close(terminal)
    assert process.returncode == 0, seen
    assert b"REFUSED" in seen and b"the end" in seen and b"Traceback" not in seen


# --- init -----------------------------------------------------------------------------------------


def test_init_writes_what_works_at_once(tmp_path: Path) -> None:
    """The starter answers from its own help centre, refuses an attack, and the doctor has no complaint."""
    folder = tmp_path / "my shop" / "door"
    ran = run("init", folder)
    assert (ran.code, ran.err) == (0, "") and f"'{folder / 'quorate.toml'}'" in ran.out
    path = folder / "quorate.toml"
    asked = run("ask", "--config", path, "How do I return an item?")
    assert asked.code == 0 and "From our help centre, “" in asked.out
    assert run("ask", "--config", path, ATTACK).code == 3
    checked = run("doctor", "--config", path)
    assert (checked.code, checked.err) == (0, "") and "FAIL" not in checked.out
    rows = b'{"id": 1, "text": "How do I return an item?"}\n'
    assert run("check", "-", "--config", path, stdin=rows).code == 0


def test_init_never_writes_over_anything(tmp_path: Path) -> None:
    """Where one of its files is there already it writes none, and says which; other files do no harm."""
    (tmp_path / "notes.txt").write_text("mine")
    assert run("init", tmp_path).code == 0
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ran = run("init", tmp_path)
    assert (ran.code, ran.out) == (2, "") and "quorate.toml" in ran.err
    (tmp_path / "quorate.toml").unlink()
    ran = run("init", tmp_path)
    assert ran.code == 2 and "help/returns.md" in ran.err and not (tmp_path / "quorate.toml").exists()
    files.pop(tmp_path / "quorate.toml")
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_init_into_a_file_is_exit_2(tmp_path: Path) -> None:
    """A place where no folder can be is a wrong call."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        ran = run("init", place)
        assert (ran.code, ran.out) == (2, "") and "Traceback" not in ran.err


# --- doctor ---------------------------------------------------------------------------------------


def test_the_doctor_finds_the_example_usable() -> None:
    """Config, knowledge and both checks of the example company are usable without a key, exit 0."""
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert all(line.startswith("ok    ") for line in lines if "port " not in line)
    parts = ["config", "knowledge", "check", "check", "upstream", "store", "port", "output", "unread"]
    assert [line.split()[1] for line in lines] == parts


def test_the_doctor_asks_each_model(server: StandIn, tmp_path: Path) -> None:
    """Good models are ok, a dead one and one that refuses are FAIL with the reason, and then exit is 1."""
    ran = run("doctor", "--config", config(tmp_path, server.base_url))
    assert (ran.code, ran.err) == (0, "") and ran.out.count(" answers") == 3
    path = config(tmp_path, server.base_url, answer="answer+401")
    ran = run("doctor", "--config", path)
    assert ran.code == 1 and "\nFAIL  model      answer: " in ran.out and ran.out.count("FAIL") == 1
    ran = run("doctor", "--config", config(tmp_path, "http://127.0.0.1:1/v1"))
    assert ran.code == 1 and ran.out.count("FAIL  model") == 3 and ran.out.count("FAIL  check") == 2


def test_the_doctor_names_a_missing_key_and_never_a_key(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not in the environment, or empty there, is named by its variable; a key is never shown."""
    path = config(tmp_path, server.base_url)
    path.write_text(path.read_text().replace("attempts = 1", 'attempts = 1\napi_key_env = "SHOP_KEY"'))
    monkeypatch.delenv("SHOP_KEY", raising=False)
    for _ in range(2):
        ran = run("doctor", "--config", path)
        assert ran.code == 1 and ran.out.count("the environment has no SHOP_KEY") == 3
        monkeypatch.setenv("SHOP_KEY", "")
    monkeypatch.setenv("SHOP_KEY", "sk-very-secret")
    ran = run("doctor", "--config", path)
    assert ran.code == 0 and "sk-very-secret" not in ran.out + ran.err


def test_a_check_that_breaks_is_no_good_health(server: StandIn, tmp_path: Path) -> None:
    """A model that talks but gives no verdict fails its check and the doctor."""
    ran = run("doctor", "--config", config(tmp_path, server.base_url, threat="threat+bad-verdict"))
    assert ran.code == 1 and "FAIL  check      threat: error" in ran.out and ran.out.count(" answers") == 3


@pytest.mark.parametrize("make", ["missing", "wrong", "empty help"])
def test_a_config_with_mistakes_is_exit_2(tmp_path: Path, make: str) -> None:
    """The doctor tells a config's mistakes as every command does, on stderr."""
    path = local_config(tmp_path, "", "nonsense = 1" if make == "wrong" else "")
    if make == "missing":
        path.unlink()
    elif make == "empty help":
        (tmp_path / "empty").mkdir()
        path.write_text(path.read_text().replace(path.read_text().split('folder = "')[1].split('"')[0], "empty"))
    ran = run("doctor", "--config", path)
    assert ran.code == 2 and ran.err.startswith("quorate: ") and "Traceback" not in ran.err
    assert "FAIL" not in ran.out


# --- stand-in -------------------------------------------------------------------------------------


def test_the_stand_in_serves_until_it_is_told_to_stop() -> None:
    """`quorate stand-in` prints where it listens, answers `ask`, and ends with 0 on SIGTERM."""
    with subprocess.Popen(command("stand-in", "--port", "0"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        ran = run("ask", CLEAN, "--base-url", told["base_url"], "--model", "check-1ms")
        process.terminate()
        assert process.wait(10) == 0
    assert ran.code == 0 and told["pid"] == process.pid


def test_a_stand_in_that_cannot_listen_is_exit_1(server: StandIn) -> None:
    """An address in use is a line on stderr and exit 1."""
    ran = spawned("stand-in", "--port", str(server.port))
    assert (ran.code, ran.out) == (1, "") and "cannot listen" in ran.err and "Traceback" not in ran.err
