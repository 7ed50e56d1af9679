"""`quorate sections`: streamed in order, reused as a compiler does, marked where it failed, inert on a terminal."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.cli import main
from quorate.testing.standin import Fixed, Profile, StandIn
from quorate.testing.standin.replies import split_data
from test_cli import Ran, command, idle, run, standin

EXAMPLE = Path(__file__).parents[1] / "examples" / "sections"
BOOK = EXAMPLE / "handbook.md"
TASK = ("--prompt", "Repeat the section.")
TOP = ["schema", "sound", "text", "sections", "speed", "reused", "timeline", "usage"]
ROW = [
    *("section", "title", "lines", "tokens", "over_budget", "state", "attempts", "error", "problems"),
    *("doubled_characters_cut", "took_ms", "usage"),
]


def repeated(body: Mapping[str, object]) -> str:
    messages: Any = body["messages"]
    text = messages[-1]["content"]
    return split_data(text[text.index("<<<SECTION-") :])[0] or ""


@pytest.fixture(scope="module")
def spare() -> Iterator[StandIn]:
    with standin(echo=Profile(reply=repeated), slow=Profile(Fixed(0.1), token_s=0.002, reply=repeated)) as server:
        yield server


@pytest.fixture
def server(spare: StandIn) -> StandIn:
    idle(spare)
    spare.reset()
    return spare


def sections(server: StandIn, *words: object, model: str = "echo", stdin: bytes = b"") -> Ran:
    return run("sections", *words, "--base-url", server.base_url, "--model", model, "--budget", "300", stdin=stdin)


def calls(server: StandIn) -> int:
    idle(server)
    return server.stats()["total"]["started"]


# --- what it does ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", sorted((EXAMPLE / "prompts").glob("*.md")), ids=lambda path: path.stem)
def test_the_example_runs(server: StandIn, prompt: Path) -> None:
    """Each prompt of the example, on the example's document: twelve calls, and with an echo the document itself."""
    ran = sections(server, BOOK, "--prompt", prompt, "--keep-headings")
    assert (ran.code, ran.raw_out, calls(server)) == (0, BOOK.read_bytes(), 12)
    assert "12 sections: 12 worked on, 0 reused, 0 failed\n" in ran.err
    for words in ("took ", "the longest, section ", "the ideal at 4 at once", "one after another would have taken"):
        assert words in ran.err
    assert "12 calls, " in ran.err and "0 of them wasted" in ran.err


def test_a_changed_section_is_the_only_call(server: StandIn, tmp_path: Path) -> None:
    """With --out the journal stands beside it; a re-run asks for what has changed, and --fresh for all of it."""
    book, out = tmp_path / "book.md", tmp_path / "out.md"
    text = BOOK.read_text(encoding="utf-8")
    for content, asked, words in [
        (text, 12, "12 worked on, 0 reused"),
        (text, 0, "0 worked on, 12 reused"),
        (text.replace("Test both, wheels turning", "Test all of them"), 1, "1 worked on, 11 reused"),
    ]:
        book.write_text(content, encoding="utf-8")
        server.reset()
        ran = sections(server, book, *TASK, "--out", out)
        assert (ran.code, ran.out, out.read_text(encoding="utf-8"), calls(server)) == (0, "", content, asked)
        assert words in ran.err
    assert sections(server, book, *TASK, "--out", out, "--fresh").code == 0 and calls(server) == 13
    assert sections(server, book, *TASK, "--cache", f"{out}.journal").code == 0 and calls(server) == 13
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.md", "out.md", "out.md.journal"]


def test_json_has_every_section_and_the_times(server: StandIn, tmp_path: Path) -> None:
    """One object; the text in it, or where it went; a reused section says so in its row and in the timeline."""
    told = sections(server, BOOK, *TASK, "--json", "--cache", tmp_path / "kept").json
    assert list(told) == TOP and (told["schema"], told["sound"]) == ("quorate.sections/1", True)
    assert told["text"] == BOOK.read_text(encoding="utf-8") and [list(row) for row in told["sections"]] == [ROW] * 12
    assert [told["sections"][n]["title"][:8] for n in (0, 1, 11)] == ["The Spok", "1. How a", "11. Chan"]
    assert told["sections"][1]["lines"] == [5, 16] and told["usage"]["calls"] == 12
    speed = told["speed"]
    assert speed["ideal_ms"] <= speed["took_ms"] and speed["longest_ms"] <= speed["one_after_another_ms"]
    assert speed["first_text_ms"] <= speed["took_ms"] and speed["concurrency"] == 4
    again = sections(server, BOOK, *TASK, "--json", "--cache", tmp_path / "kept", "--out", tmp_path / "out.md").json
    assert list(again) == ["schema", "sound", "out", *TOP[3:]] and again["usage"]["calls"] == 0
    assert {row["state"] for row in again["sections"]} == {span["why"] for span in again["timeline"]} == {"reused"}
    assert again["reused"] == {
        "sections": 12,
        "saved_tokens": told["usage"]["input_tokens"] + told["usage"]["output_tokens"],
    }


def test_a_failed_section_is_marked_and_the_next_run_asks_it_alone(server: StandIn, tmp_path: Path) -> None:
    """The others go on; exit 1, and stderr says which failed and why."""
    out = tmp_path / "out.md"
    server.inject("echo", "ok", "ok", "400")
    ran = sections(server, BOOK, *TASK, "--out", out, "--concurrency", 1)
    text = out.read_text(encoding="utf-8")
    assert (ran.code, calls(server)) == (1, 12)
    assert "\n\n[section 3 failed: ModelRefused]\n\n## 3. Safety" in text and "## 11. Changing" in text
    assert "section 3 ('2. Receiving visitors') failed: echo at 127.0.0.1: " in ran.err
    assert "12 sections: 11 worked on, 0 reused, 1 failed" in ran.err
    ran = sections(server, BOOK, *TASK, "--out", out)
    assert (ran.code, out.read_bytes(), calls(server)) == (0, BOOK.read_bytes(), 13)


def test_a_section_is_tried_again(server: StandIn) -> None:
    """What may succeed is asked again; with --attempts 1 it has failed at once."""
    server.inject("echo", "ok", "empty")
    told = sections(server, BOOK, *TASK, "--json", "--concurrency", 1).json
    assert told["sound"] and [row["attempts"] for row in told["sections"]] == [1, 2] + [1] * 10
    assert told["usage"]["wasted_tokens"] > 100
    server.inject("echo", "ok", "empty")
    ran = sections(server, BOOK, *TASK, "--concurrency", 1, "--attempts", 1)
    assert ran.code == 1 and "[section 2 failed: BadReply]" in ran.out


def test_what_loses_its_headings_is_told(server: StandIn) -> None:
    """With --keep-headings a seam that does not hold is exit 1; without, it is the prompt's business."""
    ran = sections(server, BOOK, *TASK, "--keep-headings", model="parrot")
    assert ran.code == 1 and "section 4 ('3. Safety'): lost the heading '3. Safety' (level 2)\n" in ran.err
    assert sections(server, BOOK, *TASK, model="parrot").code == 0


def test_context_and_overlap_reach_the_model_as_reading_matter(server: StandIn) -> None:
    """They change what is asked and not what comes out."""
    plain = sections(server, BOOK, *TASK, "--json").json
    more = sections(server, BOOK, *TASK, "--json", "--context", 2, "--overlap", 20).json
    assert more["text"] == plain["text"]
    assert more["usage"]["input_tokens"] > 1.5 * plain["usage"]["input_tokens"]


def test_the_first_text_comes_while_others_are_under_way(server: StandIn) -> None:
    """A pipe has the beginning of section 1 long before anything has ended."""
    words = command("sections", BOOK, *TASK, "--base-url", server.base_url, "--model", "slow", "--budget", "300")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 20)
        now = server.stats()["total"]
        rest = process.stdout.read()
    assert (first + rest, process.returncode) == (BOOK.read_bytes(), 0)
    assert (now["in_flight"], now["finished"]) == (4, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on(server: StandIn, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or kill -9 keeps what is done and leaves the old output; the same command asks for the rest."""
    out, journal = tmp_path / "out.md", tmp_path / "out.md.journal"
    out.write_text("old\n", encoding="utf-8")
    words = command("sections", BOOK, *TASK, "--base-url", server.base_url, "--model", "slow", "--budget", "300")
    with subprocess.Popen([*words, "--out", out], stderr=subprocess.PIPE, start_new_session=True) as process:
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate()
    kept = journal.read_bytes().count(b"\n")
    if number == signal.SIGINT:
        assert process.returncode == 130 and not Path(f"{out}.part").exists()
        assert said.decode() == f"stopped: {kept} of 12 sections done and kept; the same command goes on from there\n"
    assert out.read_bytes() == b"old\n" and 1 < kept < 12
    idle(server)
    server.reset()
    assert sections(server, BOOK, *TASK, "--out", out, model="slow").code == 0
    assert (calls(server), out.read_bytes()) == (12 - kept, BOOK.read_bytes())


def test_a_reader_that_leaves_ends_the_run(server: StandIn) -> None:
    """`quorate sections ... | head -1` ends with exit 1, no traceback, and the calls under way are cut."""
    words = command("sections", BOOK, *TASK, "--base-url", server.base_url, "--model", "slow", "--budget", "300")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(20)
    assert (process.returncode, err) == (1, b"")
    assert calls(server) < 12 and server.stats()["total"]["cut"] > 0


def test_the_model_of_a_config(server: StandIn, tmp_path: Path) -> None:
    """--config with one model needs no name; with several, the names are told."""
    head = 'version = 1\n[company]\nname = "x"\ndescription = "y"\n[checks.threat]\n[answer]\nmodel = "writer"\n'
    one = f'[models.writer]\nbase_url = "{server.base_url}"\nmodel = "echo"\ninput_usd = 3.0\n'
    config = tmp_path / "quorate.toml"
    config.write_text(head + one, encoding="utf-8")
    ran = run("sections", BOOK, *TASK, "--config", config)
    assert (ran.code, ran.raw_out) == (0, BOOK.read_bytes()) and ", $0.0" in ran.err
    config.write_text(head + one + one.replace("writer", "other"), encoding="utf-8")
    ran = run("sections", BOOK, *TASK, "--config", config)
    assert ran.code == 2 and "there are writer, other" in ran.err
    assert run("sections", BOOK, *TASK, "--config", config, "--model", "other").code == 0
    assert run("sections", BOOK, *TASK, "--config", config, "--model", "none").code == 2


# --- dividing alone -------------------------------------------------------------------------------


def test_a_plan_asks_no_model() -> None:
    """Every section with its lines, size and title; as JSON on demand."""
    ran = run("sections", BOOK, "--plan", "--budget", 300)
    assert ran.code == 0 and len(ran.out.splitlines()) == 12 and "12 sections of at most 300 tokens" in ran.err
    assert ran.out.splitlines()[6] == "   7  lines         54-58     183 tokens  6. Chains and gears"
    rows = run("sections", BOOK, "--plan", "--budget", 300, "--json").json["plan"]
    assert [row["section"] for row in rows] == list(range(1, 13)) and rows[6]["lines"] == [54, 58]
    fence = run("sections", "-", "--plan", "--budget", 5, stdin=b"```\n" + b"long line\n" * 9 + b"```\n")
    assert "over the budget: cannot be divided" in fence.out


@pytest.mark.parametrize(("name", "sections_"), [("a.py", 3), ("a.txt", 1), ("a.md", 1)])
def test_what_a_document_is_follows_from_its_name(tmp_path: Path, name: str, sections_: int) -> None:
    """Code is cut between functions; --as says otherwise."""
    path = tmp_path / name
    path.write_text("def f():\n    return 1\n\n\n" * 3, encoding="utf-8")
    assert len(run("sections", path, "--plan", "--budget", 7, "--as", "code").out.splitlines()) == 3
    if sections_ > 1:
        assert len(run("sections", path, "--plan", "--budget", 7).out.splitlines()) == sections_


# --- hostile text ---------------------------------------------------------------------------------

EVIL = "\x1b]8;;http://evil\x07\x1b[2J\u202etxt\u2066"


class Terminal(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(*argv: object) -> tuple[int, str, str]:
    out, err = (Terminal(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in argv])
    for stream in (out, err):
        stream.flush()
    return code, *(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined, return-value]


def test_nothing_that_a_terminal_obeys_reaches_it(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the document's text and headings, not from the model, not from names of files."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    path = tmp_path / f"a{EVIL.replace('/', '')}.md"
    path.write_text(f"# One {EVIL}\n\ntext {EVIL}\r\n\n## Two\r{EVIL}\n\nmore\n", encoding="utf-8", newline="")
    base = ("--base-url", server.base_url, "--model", "echo", "--budget", "12")
    for words in (
        ("sections", path, *TASK, *base),
        ("sections", path, *TASK, *base, "--keep-headings", "--out", f"{path}.out"),
        ("sections", path, "--plan", "--budget", "12"),
        ("sections", path, "--prompt", f"no/such{EVIL}"),
        ("sections", f"{path}x", *TASK),
        ("sections", path, *TASK, *base[:3], f"parrot{EVIL}+400"),
    ):
        _, out, err = on_terminal(*words)
        said = out + err
        assert said and not any(char in said for char in ("\x1b", "\x07", "\u202e", "\u2066", "\r"))
    piped = run("sections", path, *TASK, *base)
    assert piped.raw_out == path.read_bytes()
    assert "\x1b" not in piped.err and "\\x1b" in run("sections", path, *TASK, *base, "--json").out.replace(
        "\\u001b", "\\x1b"
    )


def test_the_mark_of_a_failure_repeats_nothing_from_outside(tmp_path: Path) -> None:
    """A server's message goes to stderr, written out; the output has our own words alone."""
    with standin(evil=Profile(faults=("400",), reply=EVIL)) as server:
        ran = sections(server, "-", *TASK, model="evil", stdin=f"# {EVIL}\n\ntext".encode())
    assert (ran.code, ran.out) == (1, "[section 1 failed: ModelRefused]") and "\x1b" not in ran.err


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b" \n\xef\xbb\xbf", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"text \xff\xfe", "is not UTF-8 at byte 5"),
        ("text".encode("utf-16"), "does not look like text"),
        (b"\x7fELF\x01\x02\x03 text", "does not look like text"),
        (b"\xef\xbb\xbf# Fine\n", ""),
    ],
)
def test_what_is_no_text_is_told(data: bytes, words: str) -> None:
    """Empty, another encoding, a binary: said before anything is asked."""
    ran = run("sections", "-", "--plan", stdin=data)
    assert (ran.code, words in ran.err) == (2 if words else 0, True)


def test_mistakes_are_exit_2(server: StandIn, tmp_path: Path) -> None:
    """Each with what is allowed, and without a call."""
    book = tmp_path / "book.md"
    book.write_text("# One\n\ntext\n", encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text("not a journal\n", encoding="utf-8")
    there = ("--base-url", server.base_url, "--model", "echo")
    for words, told in [
        ((book, *TASK), "this command needs a model"),
        ((book, *there), "--prompt PROMPT"),
        ((book, "--prompt", " ", *there), "--prompt: is empty"),
        ((book, "--prompt", tmp_path / "none.md", *there), "none.md: cannot be read"),
        ((book, *TASK, "--base-url", server.base_url), "belong together"),
        ((book, *TASK, "--base-url", "ftp://x", "--model", "m"), "http:// or https://"),
        ((book, *TASK, *there, "--config", book), "give one of them"),
        ((book, *TASK, *there, "--budget", 0), "--budget: found 0"),
        ((book, *TASK, *there, "--overlap", -1), "--overlap: found -1"),
        ((book, *TASK, *there, "--max-tokens", 0), "--max-tokens: found 0"),
        ((book, *TASK, *there, "--timeout", 0), "--timeout: found 0"),
        ((book, *TASK, *there, "--timeout", "nan"), "--timeout: found nan"),
        ((book, *TASK, *there, "--concurrency", 0), "--concurrency: found 0"),
        ((book, *TASK, *there, "--fresh"), "--fresh"),
        ((book, *TASK, *there, "--out", book), "is the document itself"),
        ((book, *TASK, *there, "--cache", book), "is the document itself"),
        ((book, *TASK, *there, "--out", tmp_path), "is a folder"),
        ((book, *TASK, *there, "--out", tmp_path / "no" / "out"), "there is no folder"),
        ((book, *TASK, *there, "--cache", other), "is no journal"),
        ((book, *TASK, *there, "--out", other, "--cache", other), "name the same file"),
        ((book, *TASK, *there, "--as", "text", "--keep-headings"), "only Markdown has headings"),
        ((book, *TASK, *there, "--budget", 1, "--max-sections", 1), "and as many calls"),
        ((tmp_path / "none", *TASK, *there), "cannot be read"),
        ((tmp_path, *TASK, *there), "cannot be read"),
    ]:
        ran = run("sections", *words)
        assert (ran.code, told in ran.err, ran.out) == (2, True, ""), (words, ran.err)
    assert calls(server) == 0 and other.read_text(encoding="utf-8") == "not a journal\n"


def test_help_names_every_option() -> None:
    """`quorate sections --help` is complete, and loads nothing heavy."""
    code = "import sys\nfrom quorate.cli import main\n"
    code += "try:\n    main(['sections', '--help'])\nexcept SystemExit:\n    pass\n"
    code += "print([m for m in ('aiohttp', 'numpy', 'pydantic', 'markdown_it', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--budget" in done.stdout and "--plan" in done.stdout and done.stdout.endswith("[]\n")
