"""The public names: listed, loaded on first use, documented."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import quorate

HEAVY = ("aiohttp", "numpy", "pydantic", "bm25s", "rich", "sqlalchemy", "alembic", "asyncio")


def test_every_listed_name_exists_and_nothing_else_is_promised() -> None:
    """`__all__`, the lazy table and what can be imported are the same names."""
    assert sorted(quorate.__all__) == sorted(quorate._MODULE_OF)
    for name in quorate.__all__:
        assert getattr(quorate, name) is not None
    assert set(quorate.__all__) <= set(dir(quorate))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy lookup fails as a plain module does."""
    try:
        quorate.nonsense  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        assert "nonsense" in str(error)
    else:
        raise AssertionError("no error")


def test_import_is_light() -> None:
    """`import quorate` loads none of the heavy libraries."""
    code = f"import sys, quorate; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_light() -> None:
    """`quorate --help` loads none of the heavy libraries but asyncio."""
    code = (
        "import sys\nfrom quorate.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY[:-1]!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_every_module_and_public_object_is_documented() -> None:
    """Whatever a user can reach without an underscore has a docstring."""
    missing: list[str] = []
    for info in pkgutil.walk_packages(quorate.__path__, "quorate."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        if not module.__doc__:
            missing.append(info.name)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and not thing.__doc__:
                missing.append(f"{info.name}.{name}")
    assert missing == []
