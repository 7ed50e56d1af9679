"""`quorate panel`: what it prints, as a table and as JSON, and what it says of files that it cannot use."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quorate.apps.panel import Votes
from quorate.cli import main
from quorate.merges import NOTHING, Combination, Stacked
from test_agreement import simulated

ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b[2J\u202eevil\r\n[bold red]x[/] \x9b31m"


def written(path: Path, votes: Votes, *, names: list[str] | None = None, labels: bool = True) -> Path:
    lines = []
    for i, (row, label) in enumerate(zip(votes.scores.tolist(), votes.labels.tolist(), strict=True)):
        said = dict(zip(names or votes.voters, row, strict=True))
        lines.append(json.dumps({"id": i, "label": label if labels else None, "votes": said}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def told(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    assert main(["panel", *map(str, args)]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    return out.out


def test_a_panel_that_pays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Independent voters: the table has every voter, pair and rule, and the advice is the panel."""
    path = written(tmp_path / "rows.jsonl", simulated(3, 0.0, items=900, error=0.2, seed=0))
    out = told(capsys, path)
    for piece in ("900 items, 900 labelled", "v0", "error correlation", "majority (2 of 3)", "stacked", "v1 alone"):
        assert piece in out
    assert "Use the panel by " in out and "independent ones [" in out
    data = json.loads(told(capsys, path, "--json"))
    assert data["schema"] == "quorate.panel/1"
    assert (data["items"], data["labelled"], data["choice"]["use"]) == (900, 900, "panel")
    assert [row["voter"] for row in data["voters"]] == ["v0", "v1", "v2"]
    assert len(data["pairs"]) == 3 and len(data["choice"]["rules"]) == 5
    low, high = data["n_eff"]["interval"]
    assert low <= data["n_eff"]["value"] <= high <= 3
    stacked = data["choice"]["rules"][-1]
    assert stacked["name"] == "stacked" and set(stacked["combination"]["weights"]) == {"v0", "v1", "v2"}
    assert Stacked(Combination(**stacked["combination"])).start() == NOTHING  # What is printed can be used.
    assert data["advice"][0] in out.replace("\n", " ")


def test_a_panel_that_does_not_pay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Near-copies: use one voter alone, and two that share their mistakes are named."""
    path = written(tmp_path / "rows.jsonl", simulated(4, 0.95, items=500, error=0.2, seed=1))
    out = told(capsys, path)
    assert "alone. The panel asks 4 voters for each item" in out and "not shown to be above zero" in out
    assert "share most of their mistakes" in out
    assert json.loads(told(capsys, path, "--json"))["choice"]["use"] == "voter"


def test_the_price_is_a_bar(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With --least-gain a panel that is a little better is not worth it."""
    path = written(tmp_path / "rows.jsonl", simulated(3, 0.0, items=900, error=0.2, seed=0))
    out = told(capsys, path, "--least-gain", "30%")
    assert "not shown to be above 30 points" in out


@pytest.mark.parametrize("labels", [True, False])
def test_few_labels_or_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, labels: bool) -> None:
    """Under twenty labels the advice is the majority; agreement is shown all the same."""
    path = written(tmp_path / "rows.jsonl", simulated(3, 0.0, items=12, error=0.2, seed=0), labels=labels)
    out = told(capsys, path)
    assert "Use the majority" in out and "kappa" in out
    assert ("Each voter" in out) == labels
    data = json.loads(told(capsys, path, "--json"))
    assert data["choice"] is None and data["labelled"] == (12 if labels else 0)


def test_some_labels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Fewer than 300 labels: log-odds in place of stacking, and a word on how few they are."""
    path = written(tmp_path / "rows.jsonl", simulated(3, 0.0, items=60, error=0.2, seed=0))
    out = told(capsys, path)
    assert "log-odds" in out and "stacked" not in out and "60 labels are few" in out


def test_hostile_names_are_inert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Control characters, direction overrides, line feeds and markup in a voter's name are written out."""
    path = written(tmp_path / "r", simulated(2, 0.9, items=60, error=0.2, seed=0), names=[HOSTILE, "[link=x]y[/link]"])
    out = told(capsys, path)
    assert not {"\x1b", "\u202e", "\r", "\x9b"} & set(out)
    assert "[link=x]y[/link]" in out and "\\x1b[2J\\u202eevil" in out.replace("\n", "")
    raw = told(capsys, path, "--json")
    assert raw.count("\n") == 1 and raw.isascii()
    assert json.loads(raw)["voters"][0]["voter"] == HOSTILE


def test_mistakes_are_exit_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """File, line and field are named, nothing is measured, and nothing hostile reaches the terminal."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "votes": {"a": true}}\n{"id": 2, "votes": {"a\\u001b[2J": "maybe"}}\n', encoding="utf-8")
    assert main(["panel", str(path)]) == 2
    out = capsys.readouterr()
    assert out.out == "" and "\x1b" not in out.err
    assert f'{path}: line 2: "votes"' in out.err and 'found "maybe", allowed is true, false, null or 0 to 1' in out.err
    assert main(["panel", str(tmp_path / "none.jsonl")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["panel", str(path), "--least-gain", "much"])


def test_stdin_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash stands for stdin."""
    data = written(tmp_path / "r", simulated(2, 0.0, items=30, error=0.2, seed=0)).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert "30 items" in told(capsys, "-")


def test_the_example_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The example asks its panel and writes rows that the command measures: voters that share mistakes are found."""
    rows = tmp_path / "rows.jsonl"
    script = ROOT / "examples" / "votes" / "spam.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", script, rows], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == ["True", "False", "split"]
    data = json.loads(told(capsys, rows, "--json"))
    assert data["labelled"] == 400 and data["choice"]["name"] == "stacked"
    worst = max(data["pairs"], key=lambda pair: pair["error_correlation"])
    assert worst["voters"] == ["haste", "greed"] and worst["error_correlation"] > 0.5
