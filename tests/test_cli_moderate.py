"""`quorate moderate`: order, votes, doubt, the journal, hostile text; and the example."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from judging import Rule
from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.apps.moderate import Moderator
from quorate.checks import Verdict
from quorate.cli.moderate import as_json
from quorate.errors import RunFailed
from quorate.testing.standin import SpawnedStandIn, spawn_standin
from test_cli import Ran, command, idle, plain, run  # noqa: F401
from test_cli_check import decided, jsonl, started

EXAMPLE = Path(__file__).parents[1] / "examples" / "moderation"
LINE = [
    *("id", "schema", "flagged", "score", "categories", "decided_by", "why", "votes", "usage", "elapsed_ms", "panel"),
]
VOTE = ["voter", "outcome", "score", "category", "reason", "model", "version", "elapsed_ms"]
HOSTILE = '\x1b]0;owned\x07\x1b[31m\r\n\u202e\u2028{"id": 1}\n'
CONFIG = """\
version = 1
[company]
name = "Board"
description = "a notice board"
[models.strict-model]
base_url = "URL"
model = "strict-DELAY"
[models.legal-model]
base_url = "URL"
model = "legal-DELAY"
[models.slow-model]
base_url = "URL"
model = "slow-LATE"
[checks.moderation]
models = [["strict", "legal", "slow"]]
flags = 2   # ours
[checks.moderation.voters]
strict = { model = "strict-model", prompt = "moderation-strict-v1" }
legal = { model = "legal-model", prompt = "moderation-legal-v1" }
slow = { model = "slow-model", prompt = "moderation-context-v1" }
[answer]
model = "slow-model"
"""


@pytest.fixture(scope="module")
def spare() -> Iterator[SpawnedStandIn]:
    with spawn_standin() as server:
        yield server


@pytest.fixture
def server(spare: SpawnedStandIn) -> SpawnedStandIn:
    spare.reset()
    return spare


def config(folder: Path, server: SpawnedStandIn, *, delay: str = "1ms", late: str = "1ms") -> Path:
    path = folder / "quorate.toml"
    text = CONFIG.replace("URL", server.base_url).replace("DELAY", delay).replace("LATE", late)
    path.write_text(text, encoding="utf-8")
    return path


def messages(count: int) -> list[dict[str, Any]]:
    """Every third is flagged by two voters, every third by one."""
    marks = ("", "[[flag:strict]] ", "[[flag:strict]] [[flag:legal]] ")
    return [{"id": f"m{i}", "text": f"{marks[i % 3]}message {i}"} for i in range(count)]


def outcomes(line: Any) -> list[str]:
    return [vote["outcome"] for vote in line["votes"]]


# --- lines in, lines out --------------------------------------------------------------------------


def test_a_line_for_each_message_in_order_with_every_vote(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Outcomes follow 2 of 3, in input order, with exactly the promised fields; evaluate-all hears everybody."""
    path, rows = config(tmp_path, server), jsonl(tmp_path / "in.jsonl", messages(12))
    out = tmp_path / "out.jsonl"
    ran = run("moderate", rows, "--config", path, "--out", out, "--evaluate-all")
    assert (ran.code, ran.out) == (0, "") and "12 decided (4 flagged, 8 not, 0 unsure), 0 bad" in ran.err
    told = decided(out)
    assert [line["id"] for line in told] == [f"m{i}" for i in range(12)]
    for i, line in enumerate(told):
        assert list(line) == LINE and [list(vote) for vote in line["votes"]] == [VOTE] * 3
        assert line["flagged"] is (i % 3 == 2)
        assert outcomes(line) == [("flag", "pass")[i % 3 < 1], ("flag", "pass")[i % 3 < 2], "pass"]
        assert [vote["voter"] for vote in line["votes"]] == ["strict", "legal", "slow"]
        assert line["votes"][0]["version"].startswith("moderation-strict-v1@") and line["usage"]["calls"] == 3
        assert bool(line["categories"]) is line["flagged"]
    assert started(server) == 36
    assert [line.split() for line in ran.err.splitlines() if line.startswith(("strict", "legal", "slow"))] == [
        ["strict", "8", "4", "0", "0", "0"],
        ["legal", "4", "8", "0", "0", "0"],
        ["slow", "0", "12", "0", "0", "0"],
    ]
    streamed = run("moderate", "-", "--config", path, stdin=rows.read_bytes())
    assert [line["flagged"] for line in decided(streamed.raw_out)] == [line["flagged"] for line in told]


def test_the_loser_is_cut_on_the_servers_side_too(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Two flags decide; the third voter's connection is closed long before it would have answered."""
    path = config(tmp_path, server, late="30000ms")
    rows = jsonl(tmp_path / "in", [{"id": 1, "text": "[[flag:strict]] [[flag:legal]]"}])
    [line] = decided(run("moderate", rows, "--config", path).raw_out)
    assert (line["flagged"], outcomes(line)) == (True, ["flag", "flag", "cancelled"])
    idle(server)
    assert server.stats()["total"]["cut"] == 1 and line["usage"]["cancelled_calls"] == 1


def test_without_a_config_the_local_classifier_decides(tmp_path: Path) -> None:
    """No key, no server; doubt is null and no failure."""
    rows = jsonl(
        tmp_path / "in",
        [
            {"id": 1, "text": "You are a stupid, worthless idiot and nobody here likes you.", "label": True},
            {"id": 2, "text": "Thank you all for the lovely evening.", "label": "ok"},
            {"id": 3, "text": "Wo ist mein Paket, bitte sagen Sie mir das heute noch?"},
        ],
    )
    ran = run("moderate", rows)
    lines = decided(ran.raw_out)
    assert [line["flagged"] for line in lines] == [True, False, None] and ran.code == 0
    assert [line.get("label") for line in lines] == [True, "ok", None] and "label" not in lines[2]
    assert "3 decided (1 flagged, 1 not, 1 unsure), 0 bad" in ran.err
    assert ran.err.splitlines()[-1].split() == ["the", "vote", "1", "0", "0", "1", "0", "0", "0"]


def test_the_summary_as_json(server: SpawnedStandIn, tmp_path: Path) -> None:
    """--json puts one object on stderr and leaves stdout to the lines."""
    rows = jsonl(tmp_path / "in", messages(3))
    ran = run("moderate", rows, "--config", config(tmp_path, server), "--evaluate-all", "--json")
    told = json.loads(ran.err)
    assert (told["flagged"], told["not_flagged"], told["unsure"], told["failed"], told["bad"]) == (1, 2, 0, 0, 0)
    assert told["votes"]["legal"] == {"flag": 1, "pass": 2, "abstain": 0, "error": 0, "cancelled": 0}
    assert told["usage"]["calls"] == 9 and len(decided(ran.raw_out)) == 3


def test_bad_lines_and_doubled_ids_are_exit_1(tmp_path: Path) -> None:
    """The good lines are moderated; each bad one is told with its number."""
    rows = tmp_path / "in"
    rows.write_text('{"id": 1, "text": "Hello"}\nnope\n{"id": 1, "text": "x"}\n{"id": 2}\n[]\n\n')
    ran = run("moderate", rows)
    assert ran.code == 1 and [line["id"] for line in decided(ran.raw_out)] == [1]
    assert "1 decided (0 flagged, 1 not, 0 unsure), 4 bad" in ran.err
    for told in ("line 2: is not JSON", "line 3: id 1 stands in line 1 already", "line 4: needs", "line 5: needs"):
        assert told in ran.err


def test_hostile_text_is_inert(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Ids, texts, labels and reasons: one ASCII line of JSON a message, and no control byte on a terminal."""
    rows = [
        {"id": f"a{HOSTILE}", "text": HOSTILE, "label": HOSTILE},
        {"id": f"b{HOSTILE}", "text": f"[[flag]] {HOSTILE}", "label": {"moderation": HOSTILE}},
        {"id": f"a{HOSTILE}", "text": "twice"},
    ]
    path = config(tmp_path, server)
    server.inject("strict-1ms", "500", "500", "500", "500", "500", "500")
    for words in ((), ("--config", path)):
        ran = run("moderate", jsonl(tmp_path / "in", rows, ascii_only=False), *words)
        lines = ran.raw_out.split(b"\n")
        assert lines.pop() == b"" and [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows[:2]]
        assert all(line.isascii() and line.decode().isprintable() for line in lines)
        assert all(line.isprintable() for line in ran.err.split("\n")) and "stands in line 1" in ran.err


async def test_hostile_votes_are_inert() -> None:
    """What a judge says, and what an error quotes, stands in the line as data."""
    verdict = Verdict("flag", 0.9, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    voters = {HOSTILE: Rule(verdict), "b": Rule(RunFailed(HOSTILE))}
    line = json.dumps(as_json(await Moderator(voters, 1).moderate(HOSTILE, evaluate_all=True)))
    assert line.isascii() and line.isprintable()
    told = json.loads(line)
    assert told["categories"] == {HOSTILE: 0.9} and told["votes"][1]["reason"] == HOSTILE


def test_a_broken_vote_is_null_and_exit_1(server: SpawnedStandIn, tmp_path: Path) -> None:
    """One broken voter of three: a settled vote stands, an unsettled one is null, told, and asked again on --resume."""
    path, out = config(tmp_path, server), tmp_path / "out"
    rows = jsonl(tmp_path / "in", messages(3))
    server.inject("legal-1ms", *["400"] * 3)
    words = ("moderate", rows, "--config", path, "--out", out)
    ran = run(*words, "--evaluate-all")
    lines = decided(out)
    assert [line["flagged"] for line in lines] == [False, None, None]
    assert [outcomes(line)[1] for line in lines] == ["error"] * 3
    assert ran.code == 1 and "1 decided (0 flagged, 1 not, 0 unsure), 2 bad" in ran.err
    assert "line 2: undecided" in ran.err and "legal: " in ran.err
    again = run(*words, "--evaluate-all", "--resume")
    assert again.code == 0 and [line["flagged"] for line in decided(out)] == [False, False, True]


def test_wrong_calls_are_exit_2(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Nothing is judged, nothing on stdout, and no file made."""
    rows, path = jsonl(tmp_path / "in", messages(2)), config(tmp_path, server)
    two = tmp_path / "two.toml"
    two.write_text(path.read_text().replace("[answer]", '[checks.other]\nkind = "moderation"\n[answer]'))
    none = tmp_path / "none.toml"
    none.write_text(path.read_text().replace("flags = 2", 'flags = 2\nkind = "threat"'))
    for argv in (
        *(("moderate",), ("moderate", rows, "--resume"), ("moderate", rows, "--concurrency", "0")),
        *(("moderate", tmp_path / "nowhere"), ("moderate", rows, "--out", tmp_path), ("moderate", rows, "--out", rows)),
        *(("moderate", rows, "--check", "moderation"), ("moderate", rows, "--config", path, "--check", "nobody")),
        *(("moderate", rows, "--config", two), ("moderate", rows, "--config", none)),
    ):
        ran = run(*argv)
        assert (ran.code, ran.out) == (2, "") and ran.err, argv
    assert run("moderate", rows, "--config", two, "--check", "moderation").code == 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"in", "quorate.toml", "two.toml", "none.toml"}


# --- the journal ----------------------------------------------------------------------------------


def test_after_kill_9_nothing_is_lost_or_repeated(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Killed again and again, a run makes progress each time; in the end every message was voted on once."""
    path, out = config(tmp_path, server, delay="20ms", late="20ms"), tmp_path / "out"
    rows = jsonl(tmp_path / "in", messages(30))
    words = ("moderate", str(rows), "--config", str(path), "--out", str(out), "--evaluate-all", "--resume")
    journal = Path(f"{out}.journal")

    def kept() -> int:
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    for _ in range(2):
        before = kept()
        process = subprocess.Popen(command(*words, "--concurrency", "2"), stderr=subprocess.DEVNULL)
        while kept() < before + 4 and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert 8 <= kept() < 30
    done = kept()
    idle(server)
    server.reset()
    ran = run(*words)
    assert ran.code == 0 and started(server) == 3 * (30 - done)
    assert [line["id"] for line in decided(out)] == [f"m{i}" for i in range(30)]
    assert [line["flagged"] for line in decided(out)] == [i % 3 == 2 for i in range(30)]


def test_a_label_put_right_costs_no_call(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Labels are no part of a vote: a resumed run asks nobody and tells the new ones."""
    path, out = config(tmp_path, server), tmp_path / "out"
    rows = [{**row, "label": False} for row in messages(3)]
    words = ("moderate", tmp_path / "in", "--config", path, "--out", out)
    jsonl(tmp_path / "in", rows)
    run(*words)
    server.reset()
    jsonl(tmp_path / "in", [{**row, "label": True} for row in rows])
    assert run(*words, "--resume").code == 0 and started(server) == 0
    assert [line["label"] for line in decided(out)] == [True] * 3
    rows[0]["text"] = "other"
    jsonl(tmp_path / "in", rows)
    run(*words, "--resume")
    assert 2 <= started(server) <= 3


# --- the example ----------------------------------------------------------------------------------


def test_the_example_runs_with_no_key() -> None:
    """The local classifier alone: every message has an outcome, few honest ones are flagged."""
    ran = run("moderate", EXAMPLE / "messages.jsonl")
    lines = decided(ran.raw_out)
    assert ran.code == 0 and len(lines) == 66 and sum(line["label"] for line in lines) == 32
    assert sum(line["flagged"] is True for line in lines if not line["label"]) <= 2
    assert sum(line["flagged"] is True for line in lines if line["label"]) >= 6


def example(server: SpawnedStandIn, folder: Path) -> tuple[Path, Path]:
    """The example's config at the stand-in, and its messages as models see them that err now and then."""
    text = (EXAMPLE / "quorate.toml").read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:11434/v1", server.base_url)
    (folder / "quorate.toml").write_text(text.replace("small-model", "small-1ms").replace("other-model", "other-1ms"))
    rows = decided(EXAMPLE / "messages.jsonl")
    for i, row in enumerate(rows):
        seen = row["label"] if i % 11 else not row["label"]
        row["text"] += (" [[flag:small]]" if seen else "") + (" [[flag:other]]" if row["label"] else "")
    return folder / "quorate.toml", jsonl(folder / "messages.jsonl", rows)


def test_the_examples_panel_is_voted_on_and_calibrated(server: SpawnedStandIn, tmp_path: Path) -> None:
    """Its four voters answer; `calibrate` reads their recorded votes, asks nobody, and writes `flags`."""
    path, rows = example(server, tmp_path)
    votes = tmp_path / "votes.jsonl"
    ran = run("moderate", rows, "--config", path, "--evaluate-all", "--out", votes)
    assert ran.code == 0 and started(server) == 3 * 66
    server.reset()
    chosen: Ran = run(
        *("calibrate", "--check", "moderation", "--config", path, "--data", rows, "--votes", votes),
        *("--cost-false-alarm", 1, "--cost-miss", 3),
    )
    assert chosen.code == 0 and started(server) == 0, chosen.err
    assert "written to checks.moderation" in chosen.err
    before, after = (EXAMPLE / "quorate.toml").read_text().splitlines(), path.read_text().splitlines()
    assert [line for line in after if line.startswith("flags")] == ["flags = 1"]
    assert len(set(before) - set(after)) <= 4  # The address, the models, and flags.
