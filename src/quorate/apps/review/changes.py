"""`--diff REV`: which lines of which files a change touched, as git tells."""

import asyncio
import os
import re
from pathlib import Path
from typing import Final

from quorate.errors import UsageError

_HUNK: Final = re.compile(rb"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
_BAD: Final = re.compile(r"[\x00-\x20\x7f]")
_OPTIONS: Final = (
    "-c", "core.quotePath=false", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
    "-c", "diff.external=",
)  # fmt: skip


async def changed_lines(revision: str, *, folder: Path) -> tuple[Path, dict[str, frozenset[int]]]:
    """The lines that differ from a revision, by path, and the folder that the paths start from.

    Args:
        revision: anything that git takes for one commit; the working tree is compared with it.
        folder: within the repository.

    Raises:
        UsageError: it is no revision, or the folder is in no repository.
    """
    if not revision or revision.startswith("-") or _BAD.search(revision):
        raise UsageError(f"--diff: found {revision!r}, allowed is a revision such as main or HEAD~1")
    root = (await _git("rev-parse", "--show-toplevel", folder=folder)).decode(errors="replace").strip()
    await _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", folder=folder)
    output = await _git(
        "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--unified=0", "--diff-filter=ACMRT", "--no-prefix",
        "--end-of-options", revision, "--", "*.py", "*.pyw", folder=Path(root),
    )  # fmt: skip
    untracked = await _git("ls-files", "--others", "--exclude-standard", "-z", "--", "*.py", "*.pyw", folder=Path(root))
    found = lines_of_diff(output)
    for name in untracked.split(b"\0"):
        if name:
            path = os.fsdecode(name)
            with (Path(root) / path).open("rb") as file:
                found[path] = frozenset(range(1, file.read().count(b"\n") + 2))
    return Path(root), found


def lines_of_diff(output: bytes) -> dict[str, frozenset[int]]:
    """New lines by path of a diff without context; next to a deletion, the line before and the line after it."""
    found: dict[str, set[int]] = {}
    path = ""
    left = 0
    for line in output.split(b"\n"):
        if left and line[:1] in (b"+", b"-", b"\\"):
            left -= line[:1] == b"+"
            continue
        if line.startswith(b"+++ "):
            path = _unquoted(line[4:].rstrip(b"\t"))
        elif (hunk := _HUNK.match(line)) and path:
            first, count = int(hunk[1]), int(hunk[2] or 1)
            left = count
            lines = range(first, first + count) if count else range(max(first, 1), first + 2)
            found.setdefault(path, set()).update(lines)
    return {name: frozenset(lines) for name, lines in found.items() if name != "/dev/null"}


def _unquoted(name: bytes) -> str:
    if name.startswith(b'"') and name.endswith(b'"'):
        plain = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8) & 255]), name[1:-1])
        name = plain.replace(b'\\"', b'"').replace(b"\\t", b"\t").replace(b"\\n", b"\n").replace(b"\\\\", b"\\")
    return os.fsdecode(name)


async def _git(*arguments: str, folder: Path) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            "git", *_OPTIONS, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=folder,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"--diff: git cannot be run: {error.strerror}") from error
    output, complaint = await process.communicate()
    if process.returncode:
        said = complaint.decode(errors="replace").strip().split("\n")[0][:200] or "there is no such revision"
        raise UsageError(f"--diff: git {arguments[0]}: {said}")
    return output
