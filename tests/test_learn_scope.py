"""`quorate learn-scope`: what it keeps and reports, and what it says of files that it cannot use."""

import json
import shutil
from pathlib import Path

import pytest

from quorate.cli import main
from quorate.errors import ConfigError, UsageError
from quorate.models.local.taught import path_of
from scope_texts import ASKED, INSIDE, OUTSIDE, PLANTS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "help").mkdir()
    for number, text in enumerate(PLANTS):
        title, _, body = text.partition(". ")
        (tmp_path / "help" / f"{number}.md").write_text(f"# {title}\n\n{body}\n")
    (tmp_path / "asked.txt").write_text("\n".join(ASKED))
    path = tmp_path / "quorate.toml"
    path.write_text(
        'version = 1\n[company]\nname = "Greenpot"\ndescription = "A shop for potted plants."\n'
        '[knowledge]\nfolder = "help"\nexamples = "asked.txt"\n[checks.scope]\n'
    )
    return path


def labelled(folder: Path, *more: str) -> Path:
    rows = [{"text": text, "label": "in_scope"} for text in INSIDE]
    rows += [{"text": text, "label": "out_of_scope"} for text in OUTSIDE]
    path = folder / "labelled.jsonl"
    path.write_text("\n".join([*(json.dumps(row) for row in rows), *more]) + "\n")
    return path


def test_the_command_keeps_what_the_checks_then_use(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = labelled(tmp_path, "{", '{"text": "x", "label": "attack"}', '{"text": " ", "label": "in_scope"}')
    assert main(["learn-scope", "--config", str(config), "--labelled", str(data), "--json"]) == 0
    ran = capsys.readouterr()
    assert ran.out.count("\n") == 1
    told = json.loads(ran.out)
    assert told["made_from"] | {"in_scope": 60, "out_of_scope": 60, "bad_lines": 3, "sections": 4} == told["made_from"]
    assert told["figures"]["learned_from_labels"] and told["figures"]["out_of_scope"]["messages"] > 0
    for place, field in ((121, "JSON"), (122, '"label"'), (123, '"text"')):
        assert f"labelled.jsonl: line {place}: " in ran.err and field in ran.err
    assert Path(told["file"]).is_file() and Path(told["file"]).with_suffix(".npz").is_file()
    assert main(["check", str(_messages(tmp_path)), "--config", str(config)]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    (verdict,) = [verdict for verdict in row["verdicts"] if verdict["check"] == "scope"]
    assert verdict["version"] == told["version"]


def _messages(folder: Path) -> Path:
    path = folder / "messages.jsonl"
    path.write_text('{"id": 1, "text": "when does my ficus arrive?"}\n')
    return path


def test_a_changed_help_centre_needs_learning_again(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["learn-scope", "--config", str(config)]) == 0
    assert "shipped" in capsys.readouterr().out
    (config.parent / "help" / "0.md").write_text("# Delivery\n\nWe do not deliver.\n")
    assert main(["check", str(_messages(tmp_path)), "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert "help.scope.json" in said and "quorate learn-scope" in said
    assert main(["learn-scope", "--config", str(config)]) == 0
    assert main(["check", str(_messages(tmp_path)), "--config", str(config)]) == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("", "no line has a usable text and label"),
        ('{"text": "x"}\n', "no line has a usable text and label"),
        ("[1]\n", "line 1: is not an object"),
    ],
)
def test_unusable_labels_are_a_usage_error(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, told: str
) -> None:
    file = tmp_path / "labels.jsonl"
    if content is not None:
        file.write_text(content)
    assert main(["learn-scope", "--config", str(config), "--labelled", str(file), "--json"]) == 2
    ran = capsys.readouterr()
    assert told in ran.err and "labels.jsonl" in ran.err and not ran.out


def test_labels_that_contradict_each_other_are_bad_lines(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "labels.jsonl"
    row = {"text": "is a cactus a plant", "label": "in_scope"}
    file.write_text("".join(json.dumps(row | {"label": label}) + "\n" for label in ("in_scope", "off_topic", "ok")))
    assert main(["learn-scope", "--config", str(config), "--labelled", str(file), "--json"]) == 0
    ran = capsys.readouterr()
    assert "line 2" in ran.err and "line 1 says otherwise" in ran.err
    assert json.loads(ran.out)["made_from"] | {"bad_lines": 1, "repeated_lines": 1} == json.loads(ran.out)["made_from"]


def test_a_config_without_a_help_centre_is_a_config_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "quorate.toml"
    path.write_text(
        'version = 1\n[company]\nname = "a"\ndescription = "b"\n[checks.threat]\n[answer]\nmodel = "quote"\n'
    )
    assert main(["learn-scope", "--config", str(path)]) == 2
    assert "knowledge" in capsys.readouterr().err
    assert main(["learn-scope", "--config", str(tmp_path / "none.toml")]) == 2
    assert issubclass(ConfigError, UsageError)


def test_the_example_company_is_reported_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn-scope", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] is None and told["figures"]["in_scope"]["messages"] > 10


def test_the_help_centre_may_be_the_folder_itself(config: Path) -> None:
    assert path_of(config.parent / "help").parent == config.parent
    shutil.rmtree(config.parent / "help")
    assert path_of(Path(".")).name.endswith(".scope.json")
