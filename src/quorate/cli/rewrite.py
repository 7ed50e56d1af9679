"""New numbers in somebody's `quorate.toml`: every other byte of it stays as it is."""

import contextlib
import os
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quorate.errors import QuorateError, UsageError
from quorate.settings import check_settings

_HEADER = re.compile(r"^\s*\[{1,2}\s*[\w\"'][^\[\],]*\]{1,2}\s*(#.*)?$")
Plain = str | int | float | list[float]


def rewritten(text: str, check: str, *, bounds: Mapping[str, float], table: str, evidence: Mapping[str, Plain]) -> str:
    """The text of a config with new bounds in a check's table and the evidence in a table below it.

    Lines are replaced or added where they belong, never moved: comments, order, quotes and line ends stay. The
    result is read again, and must differ from the old config by these values and nothing else.

    Args:
        text: the whole file, with its byte order mark if it has one.
        check: name of the check.
        bounds: settings of the check.
        table: "evidence" or "tier_evidence".
        evidence: the whole new table.

    Raises:
        UsageError: the check is written in a form that no line can be added to, such as an inline table.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    start = _find(lines, f"checks.{check}")
    if start is None:
        raise _unwritable(check, bounds)
    _replace_keys(lines, start, bounds, end=end)
    block = [f"[checks.{check}.{table}]{end}", *(f"{key} = {_toml(value)}{end}" for key, value in evidence.items())]
    there = _find(lines, f"checks.{check}.{table}")
    if there is not None:
        stop = _last_key(lines, there) + 1
        comments = [line for line in lines[there + 1 : stop] if line.lstrip().startswith("#")]
        lines[there:stop] = [lines[there], *comments, *block[1:]]
    else:
        stop = _last_key(lines, start) + 1
        follows = stop < len(lines) and lines[stop].strip() != ""
        lines[stop:stop] = [end, *block, *([end] if follows else [])]
    new = "".join(lines)
    if not _differs_only(text, new, check, {**bounds, table: dict(evidence)}):
        raise _unwritable(check, bounds)
    return new


def _find(lines: Sequence[str], name: str) -> int | None:
    parts = [rf"(?:{part}|\"{part}\"|'{part}')" for part in map(re.escape, name.split("."))]
    header = re.compile(r"^[ \t\ufeff]*\[\s*" + r"\s*\.\s*".join(parts) + r"\s*\]\s*(#.*)?$")
    return next((at for at, line in enumerate(lines) if header.match(line)), None)


def _last_key(lines: Sequence[str], header: int) -> int:
    """The last line of a table that is neither blank nor a comment; those behind it may belong to what follows."""
    last = header
    for at in range(header + 1, len(lines)):
        if _HEADER.match(lines[at]):
            break
        if lines[at].strip() and not lines[at].lstrip().startswith("#"):
            last = at
    return last


def _replace_keys(lines: list[str], header: int, values: Mapping[str, Plain], *, end: str) -> None:
    for key, value in values.items():
        last = _last_key(lines, header)
        old = re.compile(rf"^(\s*{re.escape(key)}\s*=\s*)[^#\r\n]*?(\s*(?:#.*)?)$", re.DOTALL)
        for at in range(header + 1, last + 1):
            if found := old.match(lines[at]):
                lines[at] = f"{found[1]}{_toml(value)}{found[2]}"
                break
        else:
            lines.insert(last + 1, f"{key} = {_toml(value)}{end}")


def _toml(value: Plain) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if not isinstance(value, str):
        return repr(value)
    told = "".join(char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in value)
    return f'"{told}"'


def _differs_only(old: str, new: str, check: str, changed: Mapping[str, Any]) -> bool:
    with contextlib.suppress(tomllib.TOMLDecodeError):
        wanted = tomllib.loads(old.removeprefix("\ufeff"))
        wanted["checks"][check].update(changed)
        return bool(tomllib.loads(new.removeprefix("\ufeff")) == wanted)
    return False


def _unwritable(check: str, bounds: Mapping[str, float]) -> UsageError:
    told = ", ".join(f"{key} = {value!r}" for key, value in bounds.items())
    return UsageError(
        f"checks.{check} is not written as a table [checks.{check}] of its own, so nothing was written; put in: {told}"
    )


def replace_config(path: Path, check: str, *, before: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """Write new bounds into a config in one step: a reader finds the old file or the new one, never a part.

    Args:
        path: the config; a link is followed.
        check: name of the check.
        before: the check's table as it was when the work began.
        change: what `rewritten` takes by name.

    Raises:
        UsageError: the check was changed meanwhile, or cannot be rewritten.
        QuorateError: the file cannot be written.
    """
    real = Path(os.path.realpath(path))
    try:
        text = real.read_bytes().decode("utf-8")
        now = tomllib.loads(text.removeprefix("\ufeff"))["checks"][check]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: was changed meanwhile and cannot be read any more; nothing was written") from error
    if now != before:
        raise UsageError(f"{path}: checks.{check} was changed meanwhile; nothing was written, calibrate again")
    new = rewritten(text, check, **change)
    check_settings(tomllib.loads(new.removeprefix("\ufeff")), source=real)
    part = real.with_name(f"{real.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            file.write(new.encode())
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(real, part)
        os.replace(part, real)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise QuorateError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from error
