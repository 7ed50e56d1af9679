"""Form and likeness without a model: regular expressions in linear time, JSON schemas, shared words."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.apps.evaluate.measures import f1, plain, rouge_l, tokens
from quorate.apps.evaluate.regex import BadPattern, Regex
from quorate.apps.evaluate.schema import Schema

ATOMS = ("a", "b", "c", ".", "[ab]", "[^a]", r"\d", "^", "$")


def patterns() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}", "*?"])).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    )


@given(patterns(), st.text("abc1\n", max_size=8))
def test_a_pattern_means_what_it_means_elsewhere(pattern: str, text: str) -> None:
    """On what both know, the automaton and the standard library agree, in part and as a whole."""
    known = re.compile(pattern.replace("$", r"\Z"))
    assert Regex(pattern).found_in(text) is bool(known.search(text))
    assert Regex(pattern, whole=True).found_in(text) is bool(known.fullmatch(text))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "^(a|a)*$", "([a-z]+)*1", "(.*)*x$"])
def test_no_text_makes_a_pattern_explode(pattern: str) -> None:
    """The classic traps end at once: each character is looked at once."""
    assert not Regex(pattern).found_in("a" * 50_000 + "!")


def test_letters_may_be_of_any_case() -> None:
    """(?i) at the beginning, over literals and ranges."""
    assert Regex("(?i)grüße [a-z]+").found_in("GRÜßE ANNA")
    assert not Regex("grüße").found_in("GRÜßE")


@pytest.mark.parametrize(
    "pattern", ["(", ")", "a)", "[a", "*a", r"\b", r"(?=a)", r"(a)\1", "a{2,1}", "a{", "[z-a]", "(" * 60, "a{999}{999}"]
)
def test_a_pattern_outside_of_the_dialect_is_refused(pattern: str) -> None:
    """It is said at once, with the place, and never ignored."""
    with pytest.raises(BadPattern):
        Regex(pattern)


# --- schemas --------------------------------------------------------------------------------------

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
        "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2, "uniqueItems": True},
        "child": {"$ref": "#/$defs/person"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"person": {"type": "object", "properties": {"child": {"$ref": "#/$defs/person"}}}},
}


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ({"name": "Ada"}, True),
        ({"name": "Ada", "age": 36.0, "tags": ["a", "b"]}, True),
        ({"name": "Ada", "child": {"child": {}}}, True),
        ({"name": "ada"}, False),
        ({"name": "Ada", "age": True}, False),
        ({"name": "Ada", "age": 150}, False),
        ({"name": "Ada", "tags": ["a", "a"]}, False),
        ({"name": "Ada", "tags": ["c"]}, False),
        ({"name": "Ada", "child": {"child": 1}}, False),
        ({"name": "Ada", "x": 1}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_schema_checks_what_it_says(value: Any, good: bool) -> None:
    """Types, bounds, patterns, items, names, references."""
    assert (Schema(PERSON).problem(json.dumps(value)) is None) is good


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"name": "Ada"} trailing', "[" * 100_000, "1" * 10_000])
def test_what_is_not_json_is_a_problem(text: str) -> None:
    """Hostile text ends in a sentence, never in an exception."""
    assert Schema(PERSON).problem(text)


def test_no_answer_makes_a_schema_explode() -> None:
    """Alternatives that refer to themselves are given up after a bounded number of steps."""
    tree = {"anyOf": [{"items": {"$ref": "#/$defs/t"}, "type": "array"}] * 3, "$defs": {}}
    tree["$defs"] = {"t": {"oneOf": [{"type": "array", "items": {"$ref": "#/$defs/t"}}, *tree["anyOf"]]}}
    assert Schema(tree).problem("[" * 60 + "]" * 60)


@pytest.mark.parametrize(
    "schema",
    [
        {"format": "email"},
        {"type": "text"},
        {"pattern": "(?=a)"},
        {"$ref": "https://example.com/schema"},
        {"properties": {"a": {"minimum": "1"}}},
        {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        [],
    ],
)
def test_what_is_not_understood_is_refused(schema: Any) -> None:
    """An unknown keyword is no check that silently passes, and no reference leads out."""
    with pytest.raises(ValueError, match="schema"):
        Schema(schema)


# --- likeness -------------------------------------------------------------------------------------


def longest(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, right in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == right else max(row[at], row[at - 1])
    return row[-1]


words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=12)


@given(words, words)
def test_rouge_is_the_longest_common_subsequence(one: list[str], other: list[str]) -> None:
    """The rows of bits give what the table of the textbook gives; a text is wholly like itself."""
    expected = 1.0 if not one and not other else 2 * longest(one, other) / (len(one) + len(other))
    assert rouge_l(one, other) == pytest.approx(expected)
    assert rouge_l(one, one) == f1(one, one) == 1.0
    assert rouge_l(one, other) <= f1(one, other) + 1e-12


def test_words_are_words() -> None:
    """No case, no punctuation; signs that need no spaces stand alone."""
    assert tokens("Hé, Wörld-2! 日本") == ["hé", "wörld", "2", "日", "本"]
    assert plain(" A\n b ", ignore_case=True, ignore_space=True) == "a b"
