"""`quorate evaluate`: files, exit codes, resuming after kill -9, against a stand-in server over real sockets."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluating import key_of
from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.testing.standin import Profile, StandIn
from quorate.testing.standin.profiles import Fixed
from test_cli import command, idle, run, standin

EXAMPLE = Path(__file__).parents[1] / "examples" / "evaluate"
SUITE = """
version = 1
name = "Small"
[aspects.correct]
kind = "correctness"
[aspects.tone]
kind = "tone"
[aspects.short]
kind = "regex"
pattern = '^.{1,40}$'
"""
FILES = ["journal.jsonl", "report.html", "report.json", "report.md", "run.json", "scores.jsonl"]
BOUND = ["report.html", "report.json", "report.md", "scores.jsonl"]
"""What is the same for the same judgements."""


def by_rule(rule: Callable[[str], object], wait_s: float = 0.0) -> Profile:
    """A judge behind the stand-in: grades by the user message."""

    def reply(body: Any) -> str:
        text = body["messages"][-1]["content"]
        return f"Because.\nGRADE {key_of(text)}: {rule(text)}"

    return Profile(latency=Fixed(wait_s), reply=reply)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with standin(judge=by_rule(lambda text: int("answer 3" not in text))) as found:
        yield found


def world(folder: Path, count: int = 6, suite: str = SUITE) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"r{at}", "input": f"question {at}", "answer": f"answer {at}", "reference": "r", "source": at % 3}
        for at in range(count)
    ]
    (folder / "suite.toml").write_text(suite, encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "suite.toml", folder / "rows.jsonl"


ONE = SUITE.split("[aspects.tone]")[0]


def test_the_example_needs_nothing(tmp_path: Path) -> None:
    """No key, no network: the suite by code runs, people disagree with shared words, the mean is corrected."""
    ran = run("evaluate", EXAMPLE / "suite.toml", "--data", EXAMPLE / "rows.jsonl", "--out", tmp_path / "out")
    assert ran.code == 0 and "40 rows in 7 sources" in ran.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    table = json.loads((tmp_path / "out" / "report.json").read_text())["aspects"]["likeness"]
    assert table["corrected"]["mean"] == 0.7 and table["human"]["kappa"] < 0.5


def test_the_judged_example_runs(tmp_path: Path) -> None:
    """The suite for a model, with a judge that takes an answer for right where it holds a word of the reference."""

    def rule(text: str) -> int:
        return 1 if "days" in text else 0

    suite = tmp_path / "judged.toml"
    suite.write_text((EXAMPLE / "judged.toml").read_text().split("[aspects.relevant]")[0], encoding="utf-8")
    with standin(judge=by_rule(rule)) as server:
        address = ("--base-url", server.base_url, "--model", "judge")
        ran = run("evaluate", suite, "--data", EXAMPLE / "rows.jsonl", "--out", tmp_path / "out", *address, "--json")
        assert server.stats()["total"]["started"] == 40
    assert ran.code == 0 and ran.json["run"]["calls"] == 40
    assert ran.json["aspects"]["correct"]["human"]["compared"] == 40


def test_reports_are_the_same_for_one_and_for_sixteen(server: StandIn, tmp_path: Path) -> None:
    """Every file but the run's own is the same bytes, and a run from the journal asks nothing."""
    suite, rows = world(tmp_path / "in", 12, ONE)
    address = ("--base-url", server.base_url, "--model", "judge")
    for name, concurrency in (("one", 1), ("many", 16)):
        ran = run("evaluate", suite, "--data", rows, "--out", tmp_path / name, *address, "--concurrency", concurrency)
        assert ran.code == 0, ran.err
    before = server.stats()["total"]["started"]
    shutil.copytree(tmp_path / "many", tmp_path / "again")
    ran = run("evaluate", suite, "--data", rows, "--out", tmp_path / "again", *address, "--resume")
    assert ran.code == 0 and server.stats()["total"]["started"] == before == 24 and "12 reused, 0 calls" in ran.out
    for name in BOUND:
        first = (tmp_path / "one" / name).read_bytes()
        assert first == (tmp_path / "many" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_after_kill_9_no_finished_judgement_is_repeated(tmp_path: Path) -> None:
    """Killed at random moments, each run goes on where the journal ends; the report is that of one run."""
    with standin(judge=by_rule(lambda text: int("answer 3" not in text), 0.02)) as server:
        suite, rows = world(tmp_path / "in", 60, ONE)
        words = ["evaluate", suite, "--data", rows, "--base-url", server.base_url, "--model", "judge"]
        whole = run(*words, "--out", tmp_path / "whole")
        out, journal, kept = tmp_path / "out", tmp_path / "out" / "journal.jsonl", 0
        for _ in range(2):
            args = command(*map(str, words), "--out", str(out), "--concurrency", "3", "--resume")
            with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                while not (journal.exists() and journal.read_bytes().count(b"\n") > kept + 3):
                    assert process.poll() is None
                    time.sleep(0.005)
                time.sleep(random.uniform(0, 0.05))
                os.kill(process.pid, signal.SIGKILL)
            kept = journal.read_bytes().count(b"\n")
        assert not (out / "report.json").exists() and kept < 60
        refused = run(*words, "--out", out)
        assert refused.code == 2 and "--resume" in refused.err
        idle(server)
        before = server.stats()["total"]["started"]
        last = run(*words, "--out", out, "--resume")
        assert (whole.code, last.code) == (0, 0) and server.stats()["total"]["started"] - before == 60 - kept
    for name in BOUND:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    """Exit 130, one sentence with the number that is kept, no traceback, no report."""
    with standin(judge=by_rule(lambda _text: 1, 0.02)) as server:
        suite, rows = world(tmp_path / "in", 60, ONE)
        out, journal = tmp_path / "out", tmp_path / "out" / "journal.jsonl"
        words = ["evaluate", suite, "--data", rows, "--base-url", server.base_url, "--model", "judge", "--out", out]
        args = command(*map(str, words), "--concurrency", "2")
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            told, err = process.communicate(timeout=20)
    kept = journal.read_bytes().count(b"\n")
    assert (process.returncode, told) == (130, b"") and kept < 60
    assert err.decode() == f"stopped: {kept} results done and kept; go on with --resume\n"
    assert [path.name for path in out.iterdir()] == ["journal.jsonl"]


def test_exit_codes_speak_for_ci(server: StandIn, tmp_path: Path) -> None:
    """0 where the interval's lower end reaches the bound, 1 where it does not or a judgement failed, 2 for mistakes."""
    suite, rows = world(tmp_path / "in", 9, ONE)
    words: list[object] = ["evaluate", suite, "--data", rows, "--out", tmp_path / "out"]
    words += ["--base-url", server.base_url, "--model", "judge"]
    assert run(*words, "--fail-below", "correct=0.2", "overall=10%").code == 0
    shy = run(*words, "--fail-below", "correct=0.85")
    assert shy.code == 1 and "correct" in shy.err and "is not shown to reach 85.0 %" in shy.err
    assert run(*words, "--fail-below", "correct=0.85", "--fail-by", "mean").code == 0
    low = run(*words, "--fail-below", "correct=0.95", "--fail-by", "mean")
    assert low.code == 1 and "is below 95.0 %" in low.err
    assert run(*words, "--fail-below", "nothing=0.5").code == 2
    assert run(*words, "--fail-below", "correct=much").code == 2
    with rows.open("a") as file:
        file.write('nonsense\n{"id": "new", "input": "?"}\n')
    failed = run(*words)
    assert failed.code == 1 and "line 10: is not JSON" in failed.err and "1 judgements failed" in failed.err


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate"],
        ["evaluate", "nowhere.toml", "--data", "x", "--out", "out"],
        ["evaluate", EXAMPLE / "suite.toml", "--data", "nowhere", "--out", "out"],
        ["evaluate", EXAMPLE / "judged.toml", "--data", EXAMPLE / "rows.jsonl", "--out", "out"],
        ["evaluate", EXAMPLE / "suite.toml", "--data", EXAMPLE / "rows.jsonl", "--out", "out", "--concurrency", "0"],
        ["evaluate", EXAMPLE / "suite.toml", "--data", EXAMPLE / "rows.jsonl", "--out", "out", "--model", "m"],
        ["evaluate", EXAMPLE / "suite.toml", "--data", EXAMPLE / "rows.jsonl", "--out", EXAMPLE / "suite.toml"],
        ["evaluate", "--compare", "nowhere", "nowhere"],
        ["evaluate", EXAMPLE / "suite.toml", "--compare", "a", "b"],
    ],
)
def test_mistakes_of_use_are_2(words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told in a sentence, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    ran = run(*words)
    assert ran.code == 2 and ran.err.startswith("quorate: ") and list(tmp_path.iterdir()) == []


def test_two_folders_are_compared(server: StandIn, tmp_path: Path) -> None:
    """Paired differences on the terminal, as JSON and as files; a fall beyond what is allowed is exit 1."""
    suite, rows = world(tmp_path / "in", 60, ONE)
    words: list[object] = ["evaluate", suite, "--data", rows, "--base-url", server.base_url, "--model", "judge"]
    run(*words, "--out", tmp_path / "new")
    server.configure("judge", by_rule(lambda _text: 1))
    run(*words, "--out", tmp_path / "old")
    both = ("evaluate", "--compare", tmp_path / "old", tmp_path / "new")
    ran = run(*both, "--out", tmp_path / "diff", "--fail-below", "correct=-0.05")
    assert ran.code == 1 and "worse" in ran.out and "60 shared rows" in ran.out
    assert sorted(p.name for p in (tmp_path / "diff").iterdir()) == [
        f"comparison.{end}" for end in ("html", "json", "md")
    ]
    told = run(*both, "--json").json["aspects"]["correct"]
    assert told["worse"] == 11 and told["high"] < 0 and "r3" in told["worse_rows"]
    assert run("evaluate", "--compare", tmp_path / "old", tmp_path / "old", "--fail-below", "correct=-0.35").code == 0


def test_a_hostile_file_is_inert_on_the_terminal(server: StandIn, tmp_path: Path) -> None:
    """Escape sequences in ids, answers, suite names and keys reach no terminal."""
    evil = "\\u001b]8;;http://evil.example\\u0007\\u001b[2J\\u202e"
    suite, rows = world(tmp_path / "in", 2, ONE.replace('"Small"', f'"{evil}"'))
    with rows.open("a") as file:
        file.write(f'{{"id": "{evil}", "answer": "{evil}", "input": "?"}}\n{{"id": "{evil}"}}\n')
    words = (
        "evaluate",
        suite,
        "--data",
        rows,
        "--out",
        tmp_path / "out",
        "--base-url",
        server.base_url,
        "--model",
        "judge",
    )
    ran = run(*words)
    bad = run(
        "evaluate",
        *world(tmp_path / "bad", 1, f'version = 1\n"{evil}" = 1')[:1],
        "--data",
        rows,
        "--out",
        tmp_path / "o",
    )
    assert ran.code == 1 and bad.code == 2
    for text in (ran.out, ran.err, bad.out, bad.err, (tmp_path / "out" / "report.md").read_text(encoding="utf-8")):
        assert not set(text) & set("\x1b\x07\u202e")


def test_a_server_that_is_down_fails_judgements_not_the_run(tmp_path: Path) -> None:
    """Code still judges, each failure is shown, and a later run with --resume asks for the failed ones only."""
    suite, rows = world(tmp_path / "in", 3, ONE + SUITE[SUITE.index("[aspects.short]") :])
    out = tmp_path / "out"
    down = run(
        "evaluate", suite, "--data", rows, "--out", out, "--base-url", "http://127.0.0.1:1/v1", "--model", "judge"
    )
    assert down.code == 1 and "3 judgements failed" in down.err
    report = json.loads((out / "report.json").read_text())["aspects"]
    assert (report["correct"]["failed"], report["correct"]["mean"], report["short"]["mean"]) == (3, 0.0, 1.0)
