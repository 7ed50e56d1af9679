"""quorate.toml: every mistake at once, each with its key, what was found and what is allowed."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate import wiring
from quorate.apps import decision, frontdoor
from quorate.errors import ConfigError
from quorate.settings import RESERVED, Settings, api_key, check_settings, load_settings, resolve

GOOD = """
version = 1
[company]
name = "Lantern"
description = "lamps"
[knowledge]
folder = "help"
[models.small]
base_url = "http://127.0.0.1:1/v1"
model = "small-1"
fallback = "large"
[models.large]
base_url = "https://models.example/v1"
model = "large-1"
api_key_env = "MY_KEY"
[checks.scope]
[checks.threat]
models = ["local", ["small", "large", "small"]]
flags = 2
on_error = "escalate"
[checks.legal]
kind = "threat"
models = ["large"]
prompt = "legal.md"
[answer]
model = "large"
[refusals.checks]
legal = "Not about {company}."
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "help").mkdir()
    (tmp_path / "legal.md").write_text("Judge.")
    (tmp_path / "quorate.toml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def changed(base: Path, *changes: tuple[str, Any]) -> list[str]:
    """The problems of the good config with these keys set (or, with None, taken out)."""
    raw: dict[str, Any] = tomllib.loads(GOOD)
    for path, value in changes:
        *above, last = path.split(".")
        table = raw
        for key in above:
            table = table.setdefault(key, {})
        if value is None:
            del table[last]
        else:
            table[last] = value
    with pytest.raises(ConfigError) as told:
        check_settings(raw, source=base / "quorate.toml")
    assert str(base / "quorate.toml") in str(told.value) and f"{len(told.value.problems)} mistake" in str(told.value)
    return told.value.problems


def test_a_good_file_is_read_with_its_defaults(folder: Path) -> None:
    """What is not written has its stated default; what is written is kept in its order."""
    loaded = load_settings(folder / "quorate.toml")
    assert list(loaded.checks) == ["scope", "threat", "legal"]
    threat = loaded.checks["threat"]
    assert (threat.models, threat.flags, threat.on_error) == (["local", ["small", "large", "small"]], 2, "escalate")
    scope = loaded.checks["scope"]
    assert (scope.models, scope.on_error, scope.on_unread, scope.head_start_ms) == (["local"], "block", "block", 0)
    assert (loaded.limits.decide_timeout_s, loaded.answer.speculate, loaded.trust.origins) == (10, True, [])
    assert resolve(folder, loaded.checks["legal"].prompt or Path()) == folder / "legal.md"
    assert resolve(folder, Path("/etc/x")) == Path("/etc/x")


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    """Editors that write one still write TOML."""
    file = folder / "quorate.toml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_settings(file).company.name == "Lantern"


def test_the_example_config_is_good() -> None:
    """What ships has no mistake."""
    assert load_settings(wiring.example_config()).company.name == "Lantern Post"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version = 1\n[company\nname = 'x'\n", "line 2"),
        (b"version = 1\nversion = 2\n", "line 2"),
        (b"\n\n\nname = unquoted\n", "line 4"),
        (b"name = 'b\xe4d'\n", "UTF-8"),
    ],
)
def test_a_file_that_is_no_toml_names_the_line(tmp_path: Path, content: bytes, told: str) -> None:
    """A syntax error has the file and the line it is in."""
    file = tmp_path / "quorate.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_settings(file)
    assert str(file) in str(error.value) and told in str(error.value)


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    """Missing files and folders are errors of the config, with a way out."""
    for path in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(ConfigError, match="quorate init"):
            load_settings(path)


MISTAKES: list[tuple[str, Any, str, str]] = [
    # key, value, what stands before the colon, what stands after it
    ("version", 2, "version", "found 2; Input should be 1"),
    ("version", "1", "version", "found '1'"),
    ("company.name", "  ", "company.name", "at least 1 character"),
    ("company.name", "x" * 4001, "company.name", "at most 4000 characters"),
    ("company.name", 5, "company.name", "found 5"),
    ("company", "Lantern", "company", "found 'Lantern'"),
    ("company.slogan", "x", "company.slogan", "is not a setting; allowed here are name, description, contact"),
    ("nonsense", {"a": 1}, "nonsense", "is not a setting; allowed here are version, mode, company"),
    ("knowledge.folder", "gone", "knowledge.folder", "'gone' is not a folder"),
    ("knowledge.folder", 5, "knowledge.folder", "found 5"),
    ("knowledge.examples", "gone.txt", "knowledge.examples", "'gone.txt' is not a file"),
    ("knowledge.language", "klingon", "knowledge.language", "found 'klingon'; allowed are"),
    ("models.small.base_url", "ftp://x/v1", "models.small.base_url", "found 'ftp://x/v1'"),
    ("models.small.base_url", "127.0.0.1:8000", "models.small.base_url", "pattern"),
    ("models.small.tokens", 5, "models.small.tokens", "is not a setting; allowed here are base_url, model"),
    ("models.small.attempts", 0, "models.small.attempts", "greater than or equal to 1"),
    ("models.small.attempts", 1.5, "models.small.attempts", "found 1.5"),
    ("models.small.max_running", True, "models.small.max_running", "found True"),
    ("models.small.total_s", 0, "models.small.total_s", "greater than 0"),
    ("models.small.total_s", float("inf"), "models.small.total_s", "found inf"),
    ("models.small.ca_file", "gone.pem", "models.small.ca_file", "'gone.pem' is not a file"),
    ("models.small.fallback", "nobody", "models.small.fallback", "found 'nobody'; allowed are models without a"),
    ("models.small.fallback", "small", "models.small.fallback", "without a fallback: large"),
    ("models.large.fallback", "small", "models.large.fallback", "found 'small'"),
    ("models.Big", {"base_url": "http://x", "model": "m"}, "models.Big", "pattern"),
    ("models.local", {"base_url": "http://x", "model": "m"}, "models.local", "reserved name"),
    ("models.quote", {"base_url": "http://x", "model": "m"}, "models.quote", "reserved name"),
    ("checks", {}, "checks", "at least 1 item"),
    ("checks.threat.models", ["locol"], "checks.threat.models", "found 'locol'; allowed are local, small, large"),
    ("checks.threat.models", [["locol"]], "checks.threat.models", "found 'locol'"),
    ("checks.threat.models", [], "checks.threat.models", "at least 1 item"),
    ("checks.threat.models", "local", "checks.threat.models", "valid list"),
    ("checks.threat.models", [[]], "checks.threat.models.0", "at least 1 item"),
    ("checks.threat.models", [5], "checks.threat.models.0", "found 5"),
    ("checks.threat.models", ["local", "local"], "checks.threat.models", "found 'local' twice"),
    ("checks.threat.flags", 4, "checks.threat.flags", "found 4; allowed is at most 3"),
    ("checks.threat.flags", 0, "checks.threat.flags", "greater than or equal to 1"),
    ("checks.legal.flags", 1, "checks.legal.flags", "no tier of `models` is a panel"),
    ("checks.threat.threshold", 1.5, "checks.threat.threshold", "less than or equal to 1"),
    ("checks.threat.threshold", float("nan"), "checks.threat.threshold", "found nan"),
    ("checks.threat.threshold", "0.5", "checks.threat.threshold", "found '0.5'"),
    ("checks.threat.timeout_s", True, "checks.threat.timeout_s", "found True"),
    ("checks.threat.flag_alone", "no", "checks.threat.flag_alone", "found 'no'"),
    ("checks.threat.head_start_ms", -1, "checks.threat.head_start_ms", "greater than or equal to 0"),
    ("checks.threat.on_error", "admit", "checks.threat.on_error", "'block', 'allow' or 'escalate'"),
    ("checks.threat.on_abstain", "pass", "checks.threat.on_abstain", "'next_tier', 'escalate' or 'admit'"),
    ("checks.threat.on_unread", "skip", "checks.threat.on_unread", "'block', 'allow' or 'escalate'"),
    ("checks.threat.max_chars", 0, "checks.threat.max_chars", "greater than or equal to 1"),
    ("checks.threat.prompt", "gone.md", "checks.threat.prompt", "'gone.md' is not a file"),
    ("checks.threat.kind", "policy", "checks.threat.kind", "'scope', 'threat' or 'moderation'"),
    ("checks.threat.onerror", "block", "checks.threat.onerror", "is not a setting; allowed here are kind,"),
    ("checks.other", {}, "checks.other.kind", "is missing; a check of your own says 'scope', 'threat' or 'moderation'"),
    ("checks.answer", {"kind": "threat"}, "checks.answer", "reserved name"),
    ("checks.deadline", {"kind": "threat"}, "checks.deadline", "reserved name"),
    ("checks.Mine", {"kind": "threat"}, "checks.Mine", "pattern"),
    ("answer.model", "nobody", "answer.model", "found 'nobody'; allowed are quote, small, large"),
    ("answer.speculate", 1, "answer.speculate", "found 1"),
    ("answer.sections", 0, "answer.sections", "greater than or equal to 1"),
    ("limits.decide_timeout_s", 0, "limits.decide_timeout_s", "greater than 0"),
    ("limits.held_bytes", 10, "limits.held_bytes", "greater than or equal to 1024"),
    ("trust.origins", ["customers"], "trust.origins.0", "'system', 'customer', 'assistant', 'tool' or 'retrieved'"),
    ("refusals.default", "", "refusals.default", "at least 1 character"),
    ("refusals.uniform_refusal", "yes", "refusals.uniform_refusal", "found 'yes'"),
    ("refusals.checks.legl", "No.", "refusals.checks.legl", "is no check; allowed are scope, threat, legal"),
    ("refusals.unheard", "No.", "refusals.unheard", "is not a setting; allowed here are uniform_refusal"),
]


@pytest.mark.parametrize(("key", "value", "where", "told"), MISTAKES, ids=[f"{m[0]}={m[1]!r:.20}" for m in MISTAKES])
def test_a_mistake_is_told_with_its_key(folder: Path, key: str, value: Any, where: str, told: str) -> None:
    """The key, what was found there, and what is allowed there stand in one line."""
    problems = changed(folder, (key, value))
    assert any(line.startswith(f"{where}") and told in line for line in problems), problems
    assert all("\n" not in line for line in problems)


@pytest.mark.parametrize("key", ["version", "company", "company.name", "company.description", "models.small.model"])
def test_what_is_missing_is_named(folder: Path, key: str) -> None:
    """A missing setting is one line."""
    assert changed(folder, (key, None)) == [f"{key}: is missing"]


def test_what_needs_the_help_centre_says_so(folder: Path) -> None:
    """Without [knowledge] the local scope check and the quoting answer cannot be."""
    problems = changed(folder, ("knowledge", None), ("answer.model", None))
    assert [line.split(":")[0] for line in problems] == ["checks.scope.models", "answer.model"]


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    """Wrong types, unknown names, missing files and misspelt keys are found together, none hides another."""
    # A key below another of these would contradict it; each key can be wrong in one way at a time.
    wrong: dict[str, tuple[Any, str]] = {}
    for key, value, where, _ in MISTAKES:
        whole = key in ("company", "checks", "models")
        if not whole and key not in wrong and key not in ("models.local", "models.quote", "models.Big"):
            wrong[key] = (value, where)
    problems = changed(folder, *((key, value) for key, (value, _) in wrong.items()))
    told = {line.split(":")[0] for line in problems}
    missed = {where for _, where in wrong.values()} - told
    assert missed == set() and len(problems) >= len(wrong) > 40


def test_one_session_has_one_ca_file(folder: Path) -> None:
    """Two files of certificate authorities are a mistake of the config, told with the others."""
    for name in ("a.pem", "b.pem"):
        (folder / name).write_text("x")
    problems = changed(folder, ("models.small.ca_file", "a.pem"), ("models.large.ca_file", "b.pem"), ("version", 3))
    assert len(problems) == 2 and "a.pem, b.pem; all models share one session" in problems[1]


def test_keys_never_stand_in_a_mistake(folder: Path) -> None:
    """A key written where its variable's name belongs, or into an address, is not repeated."""
    for key, value in (
        ("models.small.api_key_env", "sk-5ecret"),
        ("models.small.base_url", "https://me:sk-5ecret@models.example/v1"),
        ("models.small.api_key", "sk-5ecret"),
    ):
        problems = changed(folder, (key, value))
        assert any(line.startswith(key) for line in problems)
        assert "5ecret" not in "".join(problems)


def test_a_key_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when asked for, and never part of the settings."""
    models = load_settings(folder / "quorate.toml").models
    monkeypatch.delenv("MY_KEY", raising=False)
    assert api_key(models["large"]) is None and api_key(models["small"]) is None
    monkeypatch.setenv("MY_KEY", "sk-5ecret")
    assert api_key(models["large"]) == "sk-5ecret"
    assert "5ecret" not in repr(models)


def test_reserved_names_are_the_front_doors() -> None:
    """Settings and front door reserve the same names, so that no good config is refused later."""
    assert RESERVED == frontdoor.RESERVED
    assert "admit" not in get_args(decision.RowOutcome)


bare = st.sampled_from(["a\nb", "\x1b[31m", "x" * 5_000, "a/b", "\x00", "scope", "small"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | bare,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | bare, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*Settings.model_fields, *(m[0] for m in MISTAKES)])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, values, max_size=6))
def test_no_content_breaks_the_reader(changes: dict[str, Any]) -> None:
    """Whatever a config holds is settings or a list of mistakes."""
    raw: dict[str, Any] = tomllib.loads(GOOD)
    for path, value in changes.items():
        *above, last = path.split(".")
        table: Any = raw
        for key in above:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[last] = value
    try:
        check_settings(raw, source=Path("quorate.toml"))
    except ConfigError as error:
        assert error.problems and all(line.isprintable() for line in error.problems)
