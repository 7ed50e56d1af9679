"""The house limits, so that nobody has to remember them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "quorate").rglob("*.py"))
MAX_FILE, MAX_FUNCTION, MAX_ARGS, MAX_POSITIONAL, MAX_DEPTH = 400, 60, 8, 2, 2
CORE = ("errors.py", "events.py", "merges", "engine", "patterns.py")
LAZY = ("__init__.py", "cli")
PURE = ("errors.py", "events.py", "merges")
IMPURE = {"asyncio", "aiohttp", "time", "random", "socket", "threading", "secrets"}


def ids(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "quorate").as_posix()


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    """No file is longer than 400 lines, no function longer than 60."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE
    long = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(ast.parse(text))}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION} == {}


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_arguments_are_few_and_named(path: Path) -> None:
    """At most 8 arguments; a function of ours is called by keyword after the second.

    Bound methods count without self. What implements somebody else's interface (`__aexit__`, a protocol of the
    standard library) and data classes' fields follow that interface.
    """
    wrong: list[str] = []
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        if function.name.startswith("_"):
            positional: list[ast.arg] = []
        else:
            positional = [a for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]
        count = len([a for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")])
        if count > MAX_ARGS or len(positional) > MAX_POSITIONAL:
            wrong.append(f"{function.name}:{function.lineno}")
    assert wrong == []


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_imports_stand_at_the_top(path: Path) -> None:
    """Nothing is imported inside a function but in the lazy package and the command line."""
    if ids(path).startswith(LAZY):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = [n.lineno for f in functions(tree) for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert inner == []


@pytest.mark.parametrize("path", [p for p in SOURCES if ids(p).startswith(PURE)], ids=ids)
def test_the_pure_core_touches_no_clock_task_or_socket(path: Path) -> None:
    """errors, events and merges import nothing that waits, draws or talks."""
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names & IMPURE == set()


def test_inheritance_is_shallow() -> None:
    """No class of ours stands more than two steps below one that is not an error's base or a protocol."""
    bases: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [b.id for b in node.bases if isinstance(b, ast.Name)]

    def depth(name: str) -> int:
        own = [base for base in bases.get(name, []) if base in bases]
        return 1 + max(map(depth, own), default=0)

    deep = {name: depth(name) for name in bases if depth(name) > MAX_DEPTH + 1 and not _is_error(name, bases)}
    assert deep == {}


def _is_error(name: str, bases: dict[str, list[str]]) -> bool:
    return name == "QuorateError" or any(_is_error(base, bases) for base in bases.get(name, []))


def test_only_the_engine_starts_tasks() -> None:
    """No other file creates tasks, gathers, or opens a task group."""
    words = ("create_task(", "ensure_future(", "asyncio.gather(", "TaskGroup(")
    users = [
        ids(path)
        for path in SOURCES
        if not ids(path).startswith("engine") and any(word in path.read_text(encoding="utf-8") for word in words)
    ]
    assert users == []


def test_layers_are_kept() -> None:
    """Every module imports from the layers below it only."""
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
