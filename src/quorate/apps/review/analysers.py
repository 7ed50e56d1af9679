"""Static analysers from PyPI, run offline as programs of their own: Bandit, and Ruff's security rules.

They read copies with names of our making in a folder of our making, so that nothing of the code under review is
imported, run or taken for their configuration, and its comments switch none of their rules off.
"""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from quorate.apps.review.findings import Finding, Opinion, Severity, Unread
from quorate.apps.review.source import Source
from quorate.engine import clock

BANDIT: Final = "bandit"
RUFF: Final = "ruff"
ANALYSERS: Final = (BANDIT, RUFF)
TIMEOUT_S: Final = 300.0
_NOT_FINDINGS: Final = re.compile(r"^[BS](101|110|112|40\d|41[0-5]|001)$")
"""Rules about style, and about imports by themselves: what is imported and misused is found where it is misused."""

_CWES: Final = {
    "102": 94, "103": 732, "104": 605, "105": 259, "106": 259, "107": 259, "108": 377, "113": 400, "201": 94, "202": 22,
    "301": 502, "302": 502, "303": 328, "304": 327, "305": 327, "306": 377, "307": 94, "308": 79, "310": 918,
    "311": 330,
    "312": 319, "313": 611, "314": 611, "315": 611, "316": 611, "317": 611, "318": 611, "319": 611, "320": 611,
    "321": 319, "323": 295, "324": 328, "501": 295, "502": 327, "503": 327, "504": 327, "505": 326, "506": 502,
    "507": 295, "508": 319, "509": 319, "601": 78, "602": 78, "603": 78, "604": 78, "605": 78, "606": 78, "607": 78,
    "608": 89, "609": 78, "610": 89, "611": 89, "612": 94, "614": 502, "615": 295, "701": 79, "702": 79, "703": 79,
    "704": 79, "613": 838,
}  # fmt: skip
"""By the number that both analysers share: the weakness, where Bandit's own is too coarse, or Ruff names none."""

_LOW: Final = frozenset(("105", "106", "107", "113", "310", "311", "603", "606", "607", "404", "314", "318"))
_HIGH: Final = frozenset(("102", "201", "202", "301", "302", "501", "502", "504", "505", "506", "507", "602", "605",
                          "608", "609", "610", "611", "701", "702", "613"))  # fmt: skip


def available(analyser: str) -> bool:
    """Whether an analyser is installed beside this Python."""
    return importlib.util.find_spec(analyser) is not None


async def analyse(analyser: str, sources: Sequence[Source], *, timeout_s: float = TIMEOUT_S) -> list[Opinion]:
    """Run one analyser over some files.

    Args:
        analyser: one of `ANALYSERS`.
        sources: the files.
        timeout_s: seconds after which it is stopped; its files are then reported as not read.

    Returns:
        An opinion for each file, in their order. Cancelled, it stops the program first.
    """
    if not available(analyser):
        return [_unread(source, analyser, "is not installed: pip install 'quorate[review]'") for source in sources]
    with _copies(sources) as folder:
        try:
            with clock.timeout(timeout_s):
                output = await _run(_command(analyser, folder), folder.parent)
            found, broken = _read(analyser, output)
        except TimeoutError:
            return [_unread(source, analyser, f"took longer than {timeout_s:g} s") for source in sources]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return [_unread(source, analyser, f"gave no report: {type(error).__name__}") for source in sources]
    return [_opinion(source, analyser, found.get(n, []), broken.get(n)) for n, source in enumerate(sources)]


def _unread(source: Source, analyser: str, why: str) -> Opinion:
    return Opinion(unread=(Unread(source.path, analyser, why),))


@contextmanager
def _copies(sources: Sequence[Source]) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="quorate-review-"))
    try:
        folder = root / "code"
        folder.mkdir()
        for number, source in enumerate(sources):
            (folder / f"f{number:06}.py").write_text(
                _own_lines(source.readable.text), encoding="utf-8", errors="replace"
            )
        yield folder
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _own_lines(text: str) -> str:
    """The text without declarations of another encoding, which the copy no longer has."""
    lines = text.split("\n", 2)
    lines[:2] = [
        re.sub(r"coding[:=]", "coding -", line) if line.lstrip().startswith("#") else line for line in lines[:2]
    ]
    return "\n".join(lines)


def _command(analyser: str, folder: Path) -> list[str]:
    python = [sys.executable, "-I", "-W", "ignore", "-m"]  # -I: no folder of the code under review is on the path.
    if analyser == BANDIT:
        return [*python, "bandit", "--quiet", "--format", "json", "--ignore-nosec", "--recursive", str(folder)]
    return [
        *python, "ruff", "check", "--isolated", "--no-cache", "--ignore-noqa", "--exit-zero", "--select", "S",
        "--output-format", "json", str(folder),
    ]  # fmt: skip


async def _run(command: list[str], folder: Path) -> bytes:
    keep = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LANG")
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={name: os.environ[name] for name in keep if name in os.environ} | {"HOME": str(folder)},
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output


_Raw = dict[int, list[dict[str, Any]]]


def _read(analyser: str, output: bytes) -> tuple[_Raw, dict[int, str]]:
    """The analyser's findings by file number, and why it could not read a file."""
    report = json.loads(output)
    found: _Raw = {}
    broken: dict[int, str] = {}
    if analyser == BANDIT:
        for error in report["errors"]:
            broken[_number(error["filename"])] = str(error["reason"])[:200]
        for item in report["results"]:
            span = item.get("line_range") or [item["line_number"]]
            found.setdefault(_number(item["filename"]), []).append(
                {"rule": item["test_id"], "first": item["line_number"], "last": max(span[-1], item["line_number"]),
                 "text": item["issue_text"], "severity": item["issue_severity"].lower(),
                 "cwe": (item.get("issue_cwe") or {}).get("id", 0)}
            )  # fmt: skip
        return found, broken
    for item in report:
        number = _number(item["filename"])
        if item["code"] in (None, "invalid-syntax"):
            broken[number] = str(item["message"])[:200]
            continue
        found.setdefault(number, []).append(
            {"rule": item["code"], "first": item["location"]["row"], "last": item["end_location"]["row"],
             "text": item["message"], "severity": "", "cwe": 0}
        )  # fmt: skip
    return found, broken


def _number(filename: str) -> int:
    return int(Path(filename).stem[1:])


def _opinion(source: Source, analyser: str, raw: Sequence[dict[str, Any]], broken: str | None) -> Opinion:
    unread: list[Unread] = []
    if broken is not None:
        unread.append(Unread(source.path, analyser, broken))
    unread += [
        Unread(source.path, analyser, "is no Python that can be parsed", f"{first}-{last}")
        for first, last in source.readable.blanked
    ]
    findings = [_finding(source, analyser, item) for item in raw if not _NOT_FINDINGS.match(item["rule"])]
    return Opinion(tuple(findings), (), tuple(unread))


def _finding(source: Source, analyser: str, item: dict[str, Any]) -> Finding:
    shift, most = source.readable.shift, len(source.lines)
    first = min(max(1, item["first"] - shift), most)
    last = min(max(first, item["last"] - shift), most)
    number = item["rule"][1:]
    cwe = _CWES.get(number, int(item["cwe"]))
    severity: Severity = "high" if number in _HIGH else "low" if number in _LOW else "medium"
    snippet = source.snippet(first, last)[:300]
    return Finding(analyser, item["rule"], cwe, source.path, first, last, item["text"][:500], severity, snippet)
