"""Docs that cannot lie: code blocks run, files and tests that are named exist, commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.settings import check_settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[1][:40])
def test_a_python_block_runs(code: str) -> None:
    """Every Python block of the README runs as it stands, in a process of its own, and prints something."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_config_block_is_valid() -> None:
    """The README's piece of config fits into a whole one."""
    import tomllib

    [code] = blocks("toml")
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
