"""`quorate review` as a program: exit codes, formats, changes, what is not read, what is never run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.apps.review.analysers import analyse
from quorate.apps.review.changes import changed_lines, lines_of_diff
from quorate.apps.review.findings import family
from quorate.apps.review.source import Source, collect, decoded
from quorate.cli import main
from quorate.errors import UsageError
from quorate.testing.standin import Fixed, Profile, StandIn
from review_world import source_of
from test_cli import beside, command
from test_review_panel import HOSTILE, assert_valid_sarif, hostile

EXAMPLE = Path(__file__).parents[1] / "examples" / "review"
WRONG = "import os\nos.system(input())\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_says_what_its_docstrings_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Every function that admits a mistake is reported, no other is; the suppressed one is kept apart."""
    code = main(["review", str(EXAMPLE / "shop"), "--json"])
    report = json.loads(capsys.readouterr().out)
    lines = (EXAMPLE / "shop" / "orders.py").read_text().split("\n")

    def function(line: int) -> str:
        return (
            next(text for text in reversed(lines[:line]) if text.startswith("def ")).split("(")[0].removeprefix("def ")
        )

    assert code == 1
    assert {(function(f["line"]), f["cwe"]) for f in report["findings"]} == {
        ("find_orders", "CWE-89"), ("backup", "CWE-78"), ("download", "CWE-22"), ("hello", "CWE-79"),
    }  # fmt: skip
    assert len(report["findings"]) == 4 and [f["cwe"] for f in report["suppressed"]] == ["CWE-601"]
    assert report["dismissed"] and report["unread"] == [] and report["files"] == 1


def test_the_examples_script_runs() -> None:
    """The Python call of the documentation works as it stands."""
    done = subprocess.run([sys.executable, EXAMPLE / "review.py"], capture_output=True, text=True, check=True)
    assert "CWE-89 shop/orders.py:19" in done.stdout


def test_exit_codes_are_a_linters(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 clean or below --fail-on, 1 at or above it, 2 for usage."""
    (here / "good.py").write_text("x = 1\n")
    (here / "bad.py").write_text(WRONG)
    (here / "low.py").write_text("import random\nx = random.random()\n")
    assert main(["review", "good.py"]) == 0
    assert main(["review", "bad.py"]) == 1
    assert main(["review", "low.py"]) == 0
    assert main(["review", "low.py", "--fail-on", "low"]) == 1
    for wrong in (["nowhere.py"], [], ["good.py", "--concurrency", "0"], ["good.py", "--resume"], ["."]):
        folder = here / "empty"
        folder.mkdir(exist_ok=True)
        assert main(["review", *([str(folder)] if wrong == ["."] else wrong)]) == 2
    assert main(["review", "good.py", "--base-url", "http://x"]) == 2
    assert "belong together" in capsys.readouterr().err


def test_every_format_is_written_and_a_finished_run_starts_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To stdout or a file; the report's place holds the old one or the new one."""
    (here / "bad.py").write_text(hostile())
    for form in ("terminal", "json", "markdown", "sarif"):
        assert main(["review", "bad.py", "--format", form, "--out", "report"]) == 1
        text = (here / "report").read_text()
        assert "CWE-78" in text or "cwe-78" in text
        if form == "sarif":
            assert_valid_sarif(json.loads(text))
        assert not (here / "report.part").exists()
    assert main(["review", "bad.py", "--format", "sarif"]) == 1
    assert_valid_sarif(json.loads(capsys.readouterr().out))


def test_hostile_code_is_inert_in_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No escape, no override, no markup of the code's own reaches the terminal."""
    (here / "bad.py").write_text(hostile() + f"os.system(input())  # [bold]{HOSTILE}\n".replace("\r", " "))
    main(["review", "bad.py"])
    out = capsys.readouterr().out
    assert "CWE-78" in out and not {"\x1b", "\x07", "\u202e", "\r"} & set(out) and "[bold]" in out


@pytest.mark.parametrize("form", ["terminal", "json", "markdown", "sarif"])
def test_a_file_name_that_is_no_text_is_reported_too(here: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no UTF-8 and control characters in names break no report and reach no terminal raw."""
    for name in (b"\xff.py", b"a\x1b[31m b.py", b"new\nline.py", b"-x.py"):
        (here / os.fsdecode(name)).write_text(WRONG)
    assert main(["review", ".", "--format", form]) == 1
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07"} & set(out) and "x.py" in out.replace("\\", "")
    if form == "sarif":
        assert_valid_sarif(json.loads(out))
        assert "%FF.py" in out and "new%0Aline.py" in out


@pytest.mark.sockets
async def test_nothing_of_the_code_under_review_is_run_or_obeyed(here: Path) -> None:
    """Neither modules named as an analyser's, nor its configuration, nor comments that switch rules off."""
    (here / "yaml.py").write_text("open('ran', 'w')\nraise SystemExit\n")
    (here / "bandit.py").write_text("open('ran', 'w')\n")
    (here / "ruff.toml").write_text("exclude = ['*']\n")
    (here / ".bandit").write_text("[bandit]\nskips: B605\n")
    (here / "a.py").write_text("import os\nos.system(x)  # nosec\nos.system(x)  # noqa: S605\n")
    sources, _ = collect([str(here)], base=here)
    for analyser in ("bandit", "ruff"):
        opinions = await analyse(analyser, sources)
        by_path = {source.path: opinion for source, opinion in zip(sources, opinions, strict=True)}
        assert {family(f.cwe) for f in by_path["a.py"].findings} == {"command"}
        assert {f.line for f in by_path["a.py"].findings} == {2, 3}
    assert not (here / "ran").exists()


@pytest.mark.sockets
async def test_analysers_read_newer_code_and_say_what_they_could_not() -> None:
    """Bandit on 3.11 skips such files; here it reads them. One that takes too long is stopped and said."""
    newer = source_of("import os\nos.system(f'ls {a['b']}')\n")
    cut = Source.of("cut.py", "    def f(self):\n        os.system(x)\n")
    for analyser in ("bandit", "ruff"):
        first, second = await analyse(analyser, [newer, cut])
        assert [f.line for f in first.findings] == [2] and first.unread == ()
        assert {f.line for f in second.findings} <= {2} and second.unread == ()
        (late,) = await analyse(analyser, [newer], timeout_s=0.0001)
        assert late.findings == () and "longer" in late.unread[0].why


@pytest.mark.sockets
async def test_an_analyser_that_is_missing_or_broken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never reads as a clean bill."""
    monkeypatch.setattr("quorate.apps.review.analysers.available", lambda name: False)
    (missing,) = await analyse("bandit", [source_of(WRONG)])
    assert "not installed" in missing.unread[0].why
    monkeypatch.undo()
    monkeypatch.setattr("quorate.apps.review.analysers._command", lambda *_: [sys.executable, "-c", "print('no')"])
    (broken,) = await analyse("bandit", [source_of(WRONG)])
    assert "no report" in broken.unread[0].why


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_change_is_reviewed_by_the_functions_it_touched(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An old mistake in a function that was left alone is not shown; a new file is shown whole."""
    git(here, "init", "-q")
    old = "import os\n\ndef old():\n    os.system(input())\n\ndef new():\n    pass\n"
    (here / "a.py").write_text(old)
    git(here, "add", ".")
    git(here, "commit", "-qm", "one")
    assert main(["review", "--diff", "HEAD"]) == 0
    (here / "a.py").write_text("# a line more\n" + old.replace("pass", "os.popen(input())"))
    (here / "b c.py").write_text(WRONG)
    capsys.readouterr()
    assert main(["review", "--diff", "HEAD", "--format", "json"]) == 1
    places = {(f["path"], f["line"]) for f in json.loads(capsys.readouterr().out)["findings"]}
    assert places == {("a.py", 8), ("b c.py", 2)}
    assert main(["review", "b c.py", "--diff", "HEAD", "--format", "json"]) == 1
    assert {f["path"] for f in json.loads(capsys.readouterr().out)["findings"]} == {"b c.py"}


@pytest.mark.parametrize("revision", ["--output=x", "-x", "", "a b", "HEAD;id", "nowhere", "$(id)", "a\nb", "HEAD --"])
def test_a_revision_is_never_an_option_or_a_command(
    here: Path, revision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes to git as one word behind the end of options, or nowhere."""
    git(here, "init", "-q")
    (here / "a.py").write_text("x = 1\n")
    git(here, "add", ".")
    git(here, "commit", "-qm", "one")
    assert main(["review", f"--diff={revision}"]) == 2
    assert sorted(path.name for path in here.iterdir()) == [".git", "a.py"]
    capsys.readouterr()


@pytest.mark.sockets
async def test_outside_of_a_repository_is_a_usage_error(here: Path) -> None:
    """git's own complaint is told, shortly."""
    with pytest.raises(UsageError, match="git"):
        await changed_lines("HEAD", folder=here)


def test_a_diff_is_read_by_its_hunks() -> None:
    """Added text that looks like a header is text; next to a deletion its neighbours count."""
    diff = (
        b"diff --git a.py a.py\n--- a.py\n+++ a.py\n@@ -1,0 +2,2 @@\n+++ b.py\n+@@ -1 +9 @@\n@@ -8,2 +9,0 @@\n-x\n-y\n"
        b'--- "b\\303\\244.py"\n+++ "b\\303\\244.py"\n@@ -1 +1 @@\n-a\n+b\n'
    )
    assert lines_of_diff(diff) == {"a.py": frozenset({2, 3, 9, 10}), "bä.py": frozenset({1})}


def test_files_are_found_once_in_order_and_read_as_they_declare(tmp_path: Path) -> None:
    """Folders of others are skipped, links are not followed, what cannot be read is said."""
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "c.py").write_text(WRONG)
    (tmp_path / "a.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe4'\n")
    (tmp_path / "link.py").symlink_to("/etc/hostname")
    sources, unread = collect([str(tmp_path), str(tmp_path / "b.py")], base=tmp_path)
    assert [source.path for source in sources] == ["a.py", "b.py"] and unread == []
    assert "ä" in sources[0].text
    assert decoded(b"\xff\xfe\x00") and decoded(b"# coding: no-such\nx = 1\n").endswith("x = 1\n")


def review_reply(body: Mapping[str, object]) -> str:
    """A model that quotes every line that calls a shell, and once a line that does not stand in the code."""
    messages: list[dict[str, str]] = body["messages"]  # type: ignore[assignment]
    text = messages[-1]["content"]
    lines = [json.loads(line) for line in text.split("\n") if line.startswith('{"line"')]
    found = [
        {"cwe": 78, "severity": "high", "confidence": 0.9, "snippet": snippet, "message": "a shell"}
        for snippet in [line["code"] for line in lines if "os.system" in line["code"]] + ["os.system(invented)"]
    ]
    nonce = text.rsplit("nonce: ", 1)[1]
    return json.dumps({"findings": found, "nonce": nonce})


def test_a_model_reviews_too(here: Path, no_proxy_of_the_machine: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Against the stand-in: seven reviewers join the vote; what they invent is dropped and counted, cost is told."""
    (here / "bad.py").write_text(WRONG)
    with beside(StandIn({"reviewer": Profile(reply=review_reply), "mumbler": Profile()})) as server:
        given = ["review", "bad.py", "--format", "json", "--base-url", server.base_url, "--model"]
        assert main([*given, "reviewer"]) == 1
        out, err = capsys.readouterr()
        report = json.loads(out)
        (found,) = report["findings"]
        assert (
            len([name for name in found["reviewers"] if name.startswith("llm:")]) == 7 and "flow" in found["reviewers"]
        )
        assert report["dropped"] == {"quotes code that does not stand in the section": 7}
        assert report["usage"]["calls"] == 7 and "7 calls" in err
        assert report["usage"]["wasted_tokens"] == 0 and "0 of them wasted" in err
        assert main([*given, "mumbler"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert len(report["unread"]) == 7 and report["findings"]
        spent = report["usage"]
        assert spent["wasted_tokens"] == spent["input_tokens"] + spent["output_tokens"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_review_that_is_stopped_goes_on(
    here: Path,
    number: signal.Signals,
    no_proxy_of_the_machine: None,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C or kill -9 keeps what is done; --resume asks for the rest, and the report is that of an unbroken run."""
    for n in range(6):
        (here / f"m{n}.py").write_text(WRONG)
    journal = here / "report.journal"
    with beside(StandIn({"reviewer": Profile(latency=Fixed(0.05), reply=review_reply)})) as server:
        model = ["--base-url", server.base_url, "--model", "reviewer"]
        given = ["review", "m0.py", "m1.py", "m2.py", "m3.py", "m4.py", "m5.py", *model, "--json"]
        words = [*command(*given), "--concurrency", "1", "--out", "report"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True) as process:
            while not (journal.exists() and journal.read_bytes().count(b"\n") > 35):
                time.sleep(0.005)
            process.send_signal(number)
            _, said = process.communicate()
        kept = journal.read_bytes().count(b"\n")
        assert 35 < kept < 72 and not (here / "report").exists()
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert said.decode() == f"stopped: {kept} pieces of work done and kept; go on with --resume\n"
        assert main([*given, "--out", "report"]) == 2 and "--resume" in capsys.readouterr().err
        assert main([*given, "--out", "report", "--resume"]) == 1
        assert main([*given, "--out", "whole"]) == 1
    resumed, whole = (json.loads((here / name).read_text()) for name in ("report", "whole"))
    keys = [json.loads(line).get("key") for line in journal.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 73 and resumed["usage"]["calls"] < whole["usage"]["calls"] == 42
    assert {**resumed, "usage": None} == {**whole, "usage": None}
