"""The log: one event is one line of ASCII, whatever the texts in it hold."""

import io
import json
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import FLAG, PASS, POLICY, Rule, Say, Speaker, check, said
from quorate.apps.frontdoor import FrontDoor
from quorate.engine import fan_out, observers
from quorate.errors import ModelUnavailable, RunFailed
from quorate.events import branch
from quorate.merges import Collect
from quorate.telemetry import JsonLog, request_id
from quorate.testing import run_virtual

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "\u202eevil\u2066\u2069",
    'a\r\n{"event": "forged"}\nb',
    "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\x00\x7f\x9b",
    "\ud800\udfff",
    "ü日本🙂",
    '"}',
    "\\",
)


def paired(text: str) -> str:
    """The text as JSON knows it: two surrogates that make a pair are the character they make."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def logged(source: str, threat: Say, answer: str = "Hello") -> list[Any]:
    """What a message leaves in the log, line by line."""
    stream = io.StringIO()

    async def main() -> None:
        token = observers.set((log,))
        try:
            checks = [check("scope", Rule(PASS, 0.2)), check("threat", Rule(threat, 0.1))]
            async with FrontDoor(checks, Speaker((answer,)), policy=POLICY).respond(source) as response:
                async for _ in response:
                    pass
        finally:
            observers.reset(token)

    with JsonLog(stream) as log:
        run_virtual(main())
    text = stream.getvalue()
    assert text.isascii() and text.endswith("\n")
    assert all(char == "\n" or char.isprintable() for char in text)
    assert text.splitlines() == text[:-1].split("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_is_a_line_for_each_branch_and_one_for_itself() -> None:
    """Ends, reasons and tokens of each branch, then the run's outcome with what it used and wasted."""
    lines = logged("Hi", FLAG)
    assert [line["event"] for line in lines] == ["branch", "branch", "branch", "run"]
    ends = {line["branch"]: (line["ended"], line["why"]) for line in lines[:-1]}
    assert ends == {
        "threat": ("answered", ""),
        "scope": ("cancelled", "blocked by threat"),
        "answer": ("cancelled", "blocked by threat"),
    }
    run = lines[-1]
    assert (run["outcome"], run["why"], run["parent"], run["ms"]) == ("done", "blocked by threat", None, 100.0)
    assert run["tokens"] == sum(line["tokens"] for line in lines[:-1]) and run["wasted"] > 0
    assert {line["run"] for line in lines} == {run["run"]}


def test_texts_and_answers_are_not_logged() -> None:
    """What customers write and what is answered stays out of the log."""
    lines = logged("my card is 4242", PASS, "your PIN is 1234")
    assert "4242" not in json.dumps(lines) and "1234" not in json.dumps(lines)
    assert lines[-1]["outcome"] == "done"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_leave_whole_lines(text: str) -> None:
    """In messages, in a model's reasons and in errors, hostile text stays inside its JSON string."""
    marked = said("flag", model=text, category=text)
    assert len(logged(text, marked)) == 4
    lines = logged(text, ModelUnavailable(text))
    assert [line["why"] for line in lines if line.get("branch") == "threat"] == [f"ModelUnavailable: {paired(text)}"]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60) | st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join))
def test_any_error_is_one_line(text: str) -> None:
    """Whatever an error says, its branch is one line that reads back exactly."""
    [line] = [line for line in logged("Hi", ValueError(text)) if line.get("branch") == "threat"]
    assert (line["ended"], line["why"]) == ("failed", f"ValueError: {paired(text)}")


async def test_nested_and_failed_runs_say_so() -> None:
    """A nested run names its parent; a run that failed says with what."""
    stream = io.StringIO()
    log = JsonLog(stream)
    token = observers.set((log,))
    asked = request_id.set("req-7")

    async def inner() -> str:
        async with fan_out([branch("leaf", lambda: Rule(PASS).judge(None))], Collect[Any](2)) as run:  # type: ignore[arg-type]
            await run.decided()
        return "never"

    async with fan_out([branch("outer", inner)], Collect[Any](1)) as run:
        errors = (await run.decided()).value.errors
    observers.reset(token)
    request_id.reset(asked)
    log.close()
    assert isinstance(errors["outer"], RunFailed)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    nested, outer = [line for line in lines if line["event"] == "run"]
    assert nested["parent"] == f"{outer['run']}/outer" and outer["parent"] is None
    assert nested["outcome"] == "failed" and "every branch has ended" in nested["why"]
    assert {line["request"] for line in lines} == {"req-7"} and len(lines) == 4


class Full(io.StringIO):
    """A disk without space."""

    def write(self, text: str) -> int:
        raise OSError("no space left")


async def test_a_log_that_cannot_be_written_breaks_no_run() -> None:
    """A full disk is counted and kept as the log's error, and is no part of the decision."""
    log = JsonLog(Full())
    token = observers.set((log,))
    decided = await FrontDoor([check("threat", Rule(PASS))], policy=POLICY).decide("Hi")
    observers.reset(token)
    log.close()
    assert decided.decision == "admit"
    assert (log.lost, str(log.error)) == (2, "no space left")


class Stuck(io.StringIO):
    """A pipe whose reader takes nothing until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.busy.set()
        self.go.wait()
        return super().write(text)


def test_lines_beyond_the_bound_are_counted_and_said() -> None:
    """Where the reader is slow, nobody waits: the lines are lost, and a line says how many."""
    stream = Stuck()
    log = JsonLog(stream, limit=2)
    log.say("first")
    stream.busy.wait()
    for number in range(5):
        log.say("more", number=number)
    assert log.lost == 3
    stream.go.set()
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line.get("number"), line.get("lost")) for line in lines] == [
        ("first", None, None),
        ("more", 0, None),
        ("more", 1, None),
        ("log", None, 3),
    ]


def test_a_log_without_a_bound_keeps_every_line() -> None:
    """A file on the command line has all of them once it is closed, in order."""
    stream = io.StringIO()
    with JsonLog(stream, limit=None) as log:
        for number in range(30_000):
            log.say("x", number=number)
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(30_000))
    log.say("late")
    assert log.lost == 1


def test_what_waits_is_written_when_the_process_ends(tmp_path: Path) -> None:
    """A log that nobody closed has its lines at exit."""
    code = (
        "import sys\nfrom quorate.telemetry import JsonLog, request_id\nlog = JsonLog(open(sys.argv[1], 'w'))\n"
        "for _ in range(1000): log.say('x')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], check=True)
    assert len((tmp_path / "log").read_text(encoding="ascii").splitlines()) == 1000


def test_a_line_is_bounded_and_is_json_whatever_the_numbers() -> None:
    """A long text is cut, a number that JSON cannot say is text, and each line says when."""
    stream = io.StringIO()
    with JsonLog(stream) as log:
        asked = request_id.set("z" * 100_000)
        log.say("x", long="y" * 100_000, odd=float("nan"), many=float("inf"))
        request_id.reset(asked)
    line = json.loads(stream.getvalue(), parse_constant=lambda word: pytest.fail(word))
    assert len(line["long"]) == len(line["request"]) == 2000 and (line["odd"], line["many"]) == ("nan", "inf")
    assert datetime.fromisoformat(line["at"]).utcoffset() == timedelta(0)
