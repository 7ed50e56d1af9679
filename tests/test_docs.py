"""Docs that cannot lie: code blocks run, files and tests that are named exist, commands exist."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from quorate.cli import _parser
from quorate.service.app import ROUTES
from quorate.settings import KeyTable, OutputTable, ServiceTable, UpstreamTable, check_settings
from test_cli import run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


SERVICE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
GUIDED = ("README.md", "docs/service.md")
GUIDES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs" / "guides").glob("*.md"))


def blocks(language: str, page: str = "README.md") -> list[str]:
    return [code for kind, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if kind == language]


def commands(page: str, *programs: str) -> list[list[str]]:
    """The words of each command of a page's shell blocks that starts one of these programs."""
    lines = "".join(blocks("sh", page)).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [found for found in words if found and found[0] in programs]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[1][:40])
def test_a_python_block_runs(code: str) -> None:
    """Every Python block of the README runs as it stands, in a process of its own, and prints something."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_config_block_is_valid() -> None:
    """The README's piece of config fits into a whole one."""
    code = "".join(blocks("toml"))
    raw = tomllib.loads(code)
    raw |= {"version": 1, "company": {"name": "x", "description": "y"}, "answer": {"model": "guard"}}
    assert check_settings(raw, source=ROOT / "quorate.toml").checks["threat"].models == ["local", "guard"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_architecture_names_what_exists() -> None:
    """Every test and source file that ARCHITECTURE.md names is there, and it is at most 150 lines long."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / name).exists() or (ROOT / "src" / "quorate" / name).exists(), name


def test_no_placeholder_is_left() -> None:
    """The README has no figure that is still to be filled in."""
    assert not re.search(r"^FIGURES$|THREAT_RECALL", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


# --- docs/service.md --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", GUIDED)
def test_every_command_is_one(page: str) -> None:
    """Each `quorate ...` of a page is understood by the program that it names."""
    found = commands(page, "quorate")
    assert found
    for words in found:
        _parser().parse_args(words[1:])


def test_the_commands_of_the_service_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as they stand in the page, in an empty folder; those that serve are left out."""
    monkeypatch.chdir(tmp_path)
    for words in commands("docs/service.md", "quorate"):
        if words[1] == "serve":
            continue
        listed = run("keys", "list", "--json").json["keys"] if "KEY_ID" in words else [{"id": ""}]
        ran = run(*(word.replace("KEY_ID", listed[0]["id"]) for word in words[1:]))
        assert ran.code == 0, (words, ran.err)


@pytest.mark.sockets
@pytest.mark.parametrize("page", GUIDED)
def test_the_requests_are_answered(page: str, tmp_path: Path) -> None:
    """Each curl of a page gets 200 and an assistant's message from a service on the example company."""
    found = commands(page, "curl")
    assert found
    words = [sys.executable, "-m", "quorate", "serve", "--port", "0", "--json"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            base_url = json.loads(process.stdout.readline())["base_url"]
            for request in found:
                said = [word.replace("http://127.0.0.1:8080/v1", base_url) for word in request]
                done = subprocess.run([*said, "--fail-with-body", "--noproxy", "*"], capture_output=True, check=False)
                assert done.returncode == 0, done.stdout
                assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant"
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize("page", ["docs/service.md", *GUIDES])
def test_the_services_config_blocks_are_valid(page: str) -> None:
    """Each piece of config of a page fits into a whole one."""
    company = {"name": "x", "description": "y"}
    raw: dict[str, Any] = {"version": 1, "company": company, "checks": {"threat": {}}, "answer": {"model": "any"}}
    models = {"any": {"base_url": "http://127.0.0.1:1/v1", "model": "any"}}
    for code in blocks("toml", page):
        piece = tomllib.loads(code)
        check_settings(raw | piece | {"models": models | piece.get("models", {})}, source=ROOT / "quorate.toml")


@pytest.mark.parametrize("page", ["docs/service.md", "docs/guides/from-agents-sdk.md"])
def test_the_client_of_a_page_can_be_made(page: str) -> None:
    """What is changed is the SDK's own; it runs where the SDK is installed, `make clients` brings OpenAI's."""
    [code] = blocks("python", page)
    compile(code, page, "exec")
    clients = ROOT / ".venv-clients" / "bin" / "python"
    python = str(clients) if clients.exists() else sys.executable
    modules = re.findall(r"^from (\w+) import", code, re.MULTILINE)
    find = f"from importlib.util import find_spec; raise SystemExit(not all(map(find_spec, {modules})))"
    if subprocess.run([python, "-c", find], check=False).returncode:
        pytest.skip(f"not installed: {' or '.join(modules)}")
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "table"),
    [("service", ServiceTable), ("service.keys", KeyTable), ("upstream", UpstreamTable), ("output", OutputTable)],
)
def test_every_setting_stands_in_its_table(name: str, table: type[Any]) -> None:
    """The page names each field of each table, with the default that it has, and no other."""
    [rows] = re.findall(rf"^\| `\[{re.escape(name)}\]` .*\n\|---.*\n((?:\|.*\n)+)", SERVICE, re.MULTILINE)
    told: dict[str, Any] = {}
    for row in rows.splitlines():
        names, defaults = (cell.strip() for cell in row.split("|")[1:3])
        fields = re.findall(r"`(\w+)`", names)
        values = defaults.split(", ") if len(fields) > 1 else [defaults]
        told |= dict(zip(fields, values if len(values) == len(fields) else values * len(fields), strict=True))
    fields = {key: field for key, field in table.model_fields.items() if key != "keys"}
    assert told.keys() == fields.keys()
    for key, field in fields.items():
        text = told[key].strip("`")
        assert field.is_required() if not text else field.default == (None if text == "none" else json.loads(text)), key


def test_every_route_stands_in_its_table() -> None:
    """The page names each route that is served, and no other."""
    assert {path for _, path in re.findall(r"^\| `(GET|POST) (/\S+)` \|", SERVICE, re.MULTILINE)} == set(ROUTES)


def test_the_refusal_of_the_page_is_one() -> None:
    """The page's refusal is JSON with the fields that its text names."""
    [shown] = map(json.loads, blocks("json", "docs/service.md"))
    assert shown["quorate"] == {"decision": "refuse"} and shown["choices"][0]["finish_reason"] == "content_filter"
