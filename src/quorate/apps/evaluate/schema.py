"""JSON Schema, as far as a check of an answer's form needs it, in time that the answer cannot blow up.

The keywords are those of draft 2020-12 with the meaning they have there, but `pattern` is of the dialect of `regex` and
`$ref` leads to `#/$defs/NAME` only. A schema with any other keyword is refused: what is not understood is not checked.
"""

import copy
import json
import math
from typing import Any

from quorate.apps.evaluate.regex import BadPattern, Regex

MAX_JSON = 1_000_000
_DEEPEST = 100
_MOST_STEPS = 200_000
_NOTES = frozenset(("$schema", "$id", "$comment", "title", "description", "default", "examples", "$defs", "deprecated"))
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONE = ("not", "items", "additionalProperties", "contains", "propertyNames")
_ALLOWED = (
    *("type", "enum", "const", "pattern", "properties", "required", "uniqueItems", "$ref"),
    *(*_COUNTS, *_BOUNDS, *_LISTS, *_ONE),
)


class Schema:
    """A JSON schema.

    Args:
        source: the schema as read from JSON or TOML.

    Raises:
        ValueError: it is no schema, or uses a keyword that is not supported; says which and where.
    """

    def __init__(self, source: Any) -> None:
        self._root = source
        self._patterns: dict[str, Regex] = {}
        self._left = 0
        self._known(source, "schema", 0)
        if isinstance(source, dict):
            defs = source.get("$defs", {})
            if not isinstance(defs, dict):
                raise ValueError("schema.$defs: allowed is a table of schemas")
            for name, inner in defs.items():
                self._known(inner, f"schema.$defs.{name}", 1)
            self._no_circle(defs)

    def problem(self, text: str) -> str | None:
        """What is wrong with a text that should be JSON of this schema; None where nothing is."""
        if len(text) > MAX_JSON:
            return f"is longer than {MAX_JSON} characters"
        try:
            value = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError):
            return "is not JSON"
        run = copy.copy(self)  # Each reading has its own count, whatever thread it is in.
        run._left = _MOST_STEPS
        return run._check(self._root, value, "answer", 0)

    # --- the schema itself ---

    def _known(self, schema: Any, where: str, depth: int) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict) or depth > _DEEPEST:
            raise ValueError(f"{where}: allowed is a table, true or false, at most {_DEEPEST} deep")
        for key, value in schema.items():
            if key not in _ALLOWED and key not in _NOTES:
                raise ValueError(f"{where}.{key}: is not supported; allowed are {', '.join(_ALLOWED)}")
            self._keyword(key, value, where=f"{where}.{key}", depth=depth)

    def _keyword(self, key: str, value: Any, *, where: str, depth: int) -> None:
        if key == "type":
            wrong = not all(isinstance(n, str) and n in _TYPES for n in (value if isinstance(value, list) else [value]))
            _must(not wrong, where, f"one or a list of {', '.join(_TYPES)}")
        elif key in _COUNTS:
            _must(isinstance(value, int) and not isinstance(value, bool) and value >= 0, where, "a count")
        elif key in _BOUNDS:
            good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            _must(good and (key != "multipleOf" or value > 0), where, "a number")
        elif key == "enum":
            _must(isinstance(value, list), where, "a list")
        elif key == "required":
            _must(isinstance(value, list) and all(isinstance(n, str) for n in value), where, "a list of names")
        elif key == "uniqueItems":
            _must(isinstance(value, bool), where, "true or false")
        elif key == "pattern":
            _must(isinstance(value, str), where, "a text")
            try:
                self._patterns[value] = Regex(value)
            except BadPattern as error:
                raise ValueError(f"{where}: {error}") from error
        elif key == "$ref":
            defs = self._root.get("$defs", {}) if isinstance(self._root, dict) else {}
            known = isinstance(value, str) and value.startswith("#/$defs/") and value[8:] in defs
            _must(known, where, "#/$defs/NAME of a name that is there")
        elif key == "properties":
            _must(isinstance(value, dict), where, "a table")
            for name, inner in value.items():
                self._known(inner, f"{where}.{name}", depth + 1)
        elif key in _LISTS:
            _must(isinstance(value, list) and bool(value), where, "a list of schemas")
            for at, inner in enumerate(value):
                self._known(inner, f"{where}[{at}]", depth + 1)
        elif key in _ONE:
            self._known(value, where, depth + 1)

    def _no_circle(self, defs: dict[str, Any]) -> None:
        """A definition may hold itself inside of a property or an item, where the answer's depth ends it; not bare."""

        def reached(schema: Any) -> list[str]:
            if not isinstance(schema, dict):
                return []
            inner = [s for key in ("allOf", "anyOf", "oneOf") for s in schema.get(key, [])] + [schema.get("not")]
            own = [schema["$ref"][8:]] if "$ref" in schema else []
            return own + [name for one in inner for name in reached(one)]

        for name in defs:
            seen: set[str] = set()
            todo = reached(defs[name])
            while todo:
                one = todo.pop()
                if one == name:
                    raise ValueError(f"schema.$defs.{name}: refers to itself")
                if one not in seen:
                    seen.add(one)
                    todo += reached(defs.get(one))

    # --- a value under it ---

    def _check(self, schema: Any, value: Any, where: str, depth: int) -> str | None:
        if isinstance(schema, bool):
            return None if schema else f"{where}: nothing is allowed here"
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            return f"{where}: is nested too deep, or too much to check"
        return (
            _plain(schema, value, where)
            or self._mixed(schema, value, where=where, depth=depth + 1)
            or self._inside(schema, value, where=where, depth=depth + 1)
        )

    def _mixed(self, schema: dict[str, Any], value: Any, *, where: str, depth: int) -> str | None:
        if "$ref" in schema:
            found = self._check(self._root["$defs"][schema["$ref"][8:]], value, where, depth)
            if found:
                return found
        pattern = schema.get("pattern")
        if pattern is not None and isinstance(value, str) and not self._patterns[pattern].found_in(value):
            return f"{where}: does not match its pattern"
        for inner in schema.get("allOf", ()):
            found = self._check(inner, value, where, depth)
            if found:
                return found
        if "not" in schema and self._check(schema["not"], value, where, depth) is None:
            return f"{where}: is what it must not be"
        for key in ("anyOf", "oneOf"):
            if key in schema:
                fits = sum(self._check(inner, value, where, depth) is None for inner in schema[key])
                if not fits or (key == "oneOf" and fits > 1):
                    return f"{where}: fits {fits} of the schemas of {key}"
        return None

    def _inside(self, schema: dict[str, Any], value: Any, *, where: str, depth: int) -> str | None:
        if isinstance(value, list):
            first = schema.get("prefixItems", [])
            rest = schema.get("items", True)
            for at, item in enumerate(value):
                inner = first[at] if at < len(first) else rest
                found = self._check(inner, item, f"{where}[{at}]", depth)
                if found:
                    return found
            contains = schema.get("contains", True)
            if "contains" in schema and all(self._check(contains, item, where, depth) for item in value):
                return f"{where}: holds no item of the kind it must"
        if isinstance(value, dict):
            own = schema.get("properties", {})
            for key, item in value.items():
                inner = own.get(key, schema.get("additionalProperties", True))
                found = self._check(inner, item, f"{where}.{key[:40]}", depth)
                found = found or self._check(schema.get("propertyNames", True), key, f"{where}.{key[:40]}", depth)
                if found:
                    return found
        return None


def _refused(name: str) -> Any:
    raise ValueError(name)


def _must(good: bool, where: str, allowed: str) -> None:
    if not good:
        raise ValueError(f"{where}: allowed is {allowed}")


def _type_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"integer", "number"} if value.is_integer() else {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
        case _:
            return {"object"}


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, and true is no number."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    def plain(inner: Any) -> Any:
        if isinstance(inner, float) and inner.is_integer():
            return int(inner)
        if isinstance(inner, list):
            return [plain(item) for item in inner]
        return {key: plain(item) for key, item in inner.items()} if isinstance(inner, dict) else inner

    return json.dumps(plain(value), sort_keys=True)


def _plain(schema: dict[str, Any], value: Any, where: str) -> str | None:
    """The keywords that need no other schema."""
    types = schema.get("type")
    if types is not None and not _type_of(value) & set(types if isinstance(types, list) else [types]):
        return f"{where}: is of another type than {types}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{where}: is not the value it must be"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{where}: is none of the values allowed"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(schema, value, where)
    sizes = "Length" if isinstance(value, str) else "Items" if isinstance(value, list) else "Properties"
    if isinstance(value, str | list | dict) and not schema.get(f"min{sizes}", 0) <= len(value) <= schema.get(
        f"max{sizes}", math.inf
    ):
        return f"{where}: is too short or too long"
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        if missing:
            return f"{where}: {missing[0]!r} is missing"
    if isinstance(value, list) and schema.get("uniqueItems") and len({_canonical(v) for v in value}) < len(value):
        return f"{where}: holds an item twice"
    return None


def _number(schema: dict[str, Any], value: float, where: str) -> str | None:
    if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
        return f"{where}: is out of its bounds"
    if not schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf):
        return f"{where}: is out of its bounds"
    if "multipleOf" in schema:
        ratio = value / schema["multipleOf"] if abs(value) < 1e300 else math.inf
        if not math.isfinite(ratio) or abs(ratio - round(ratio)) > 1e-9:
            return f"{where}: is no multiple of {schema['multipleOf']}"
    return None
