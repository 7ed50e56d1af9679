"""Methods of texts, lists and dictionaries, on constants and on what is only partly known."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from quorate.apps.review.flow.values import (
    BLANK,
    HOLE,
    MAX_SHAPE,
    UNKNOWN,
    Unknown,
    Value,
    constant,
    join,
    mapping,
    mix,
    sequence,
)

_PURE: Final = frozenset(
    ("upper", "lower", "strip", "lstrip", "rstrip", "replace", "startswith", "endswith", "find", "index", "split",
     "join", "title", "capitalize", "isdigit", "isalpha", "isalnum", "count", "zfill", "encode", "decode", "rfind",
     "removeprefix", "removesuffix", "swapcase", "casefold", "splitlines", "partition", "rpartition")
)  # fmt: skip
_KEEP_TEXT: Final = frozenset(("strip", "lstrip", "rstrip", "encode", "decode", "expandtabs", "rstrip", "format_map"))
_MUTATORS: Final = frozenset(
    ("append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add", "appendleft", "reverse",
     "sort", "popleft", "set", "add_section", "write", "put", "push", "put_nowait", "writelines", "add_argument")
)  # fmt: skip
QUOTES: Final = frozenset(("'", '"'))


def is_mutator(method: str) -> bool:
    """Whether a method of this name may change its receiver."""
    return method in _MUTATORS


def wrap(result: object) -> Value:
    """A Python result as a value."""
    if isinstance(result, str | bytes | int | float | bool) or result is None:
        return constant(result)
    if isinstance(result, list | tuple):
        return sequence(wrap(item) for item in result[:1000])
    return BLANK


def plain(value: Value) -> Any:
    """A value as a Python object; raises ValueError where it is not a constant or a list of them."""
    if value.seq is not None:
        return [plain(item) for item in value.seq]
    if isinstance(value.const, Unknown):
        raise ValueError
    return value.const


def on_constant(receiver: Value, method: str, *, args: Sequence[Value]) -> Value | None:
    """The result of a harmless text method on constants; None where it is not one."""
    if not isinstance(receiver.const, str | bytes) or method not in _PURE:
        return None
    try:
        given = [plain(arg) for arg in args]
        if sum(len(str(item)) for item in given) > MAX_SHAPE:
            return None
        return wrap(getattr(receiver.const, method)(*given))
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def on_text(receiver: Value, method: str, *, args: Sequence[Value], kwargs: dict[str, Value]) -> Value | None:
    """The result of a text method where parts are not known; None for any other method."""
    if method == "format":
        return formatted(receiver, args, kwargs=kwargs)
    if method == "join" and len(args) == 1:
        return joined(receiver, args[0])
    if method == "replace" and len(args) >= 2:
        return _replaced(receiver, args)
    if method in ("split", "rsplit", "partition", "rpartition", "splitlines"):
        return replace(receiver, const=UNKNOWN, shape=HOLE, seq=None, items=None)
    if method in _KEEP_TEXT:
        return replace(receiver, const=UNKNOWN, shape=receiver.shape, seq=None, items=None)
    return None


def _replaced(receiver: Value, args: Sequence[Value]) -> Value:
    """Taking quotes or path separators out of a value cleans it for the uses in which these do the harm."""
    out = mix((receiver, *args))
    old, new = args[0].const, args[1].const
    safe = set(out.safe)
    if isinstance(new, str) and isinstance(old, str) and old not in new:
        if old in QUOTES:
            safe |= {"xpath", "sql?"}
        if old in ("<", "&"):
            safe.add("html")
        if old in ("..", "../", "/", "."):
            safe.add("path?" if old == "../" else "path")
        if old in ("\n", "\r", "\r\n"):
            safe |= {"log", "header"}
    elif isinstance(new, str) and old == "'" and new in ("''", "\\'"):
        safe |= {"sql?", "xpath?"}
    return replace(out, safe=frozenset(safe), shape=receiver.shape)


def formatted(template: Value, args: Sequence[Value], *, kwargs: dict[str, Value]) -> Value:
    """`str.format`: holes are filled in order where the template is known."""
    whole = mix((template, *args, *kwargs.values()))
    if not isinstance(template.const, str):
        return replace(whole, shape=template.text if template.shape else HOLE)
    if all(value.known for value in (*args, *kwargs.values())):
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            if "{" in template.const and len(template.const) < MAX_SHAPE and not _wide(template.const):
                given: list[Any] = [arg.const for arg in args]
                named: dict[str, Any] = {key: value.const for key, value in kwargs.items()}
                return constant(template.const.format(*given, **named))
    used: list[Value] = []
    shape = _fill(template.const, list(args), kwargs=kwargs, used=used)
    return mix(used if used else (*args, *kwargs.values()), shape=shape)


def _wide(template: str) -> bool:
    """Whether a format spec asks for padding: a width of a billion would be the end of us."""
    return ":" in template or "!" in template or "[" in template or ("{}" not in template and "." in template)


def _fill(template: str, args: list[Value], *, kwargs: dict[str, Value], used: list[Value]) -> str:
    out: list[str] = []
    at, automatic = 0, 0
    while at < len(template):
        char = template[at]
        if char in "{}" and template[at + 1 : at + 2] == char:
            out.append(char)
            at += 2
            continue
        if char != "{":
            out.append(char)
            at += 1
            continue
        end = template.find("}", at)
        if end < 0:
            break
        field = template[at + 1 : end]
        name = field.partition(":")[0].partition("!")[0].partition(".")[0].partition("[")[0]
        if not name:
            value = args[automatic] if automatic < len(args) else None
            automatic += 1
        elif name.isdigit() and len(name) < 5:
            value = args[int(name)] if int(name) < len(args) else None
        else:
            value = kwargs.get(name)
        if value is not None:
            used.append(value)
        out.append(HOLE if value is None else value.text)
        at = end + 1
    return "".join(out)


def percent(template: Value, given: Value) -> Value:
    """The % operator on a text: `%d` and its like let only numbers through."""
    values = list(given.seq) if given.seq is not None else [given]
    if not isinstance(template.const, str):
        return mix((template, given), shape=template.text if template.shape else HOLE)
    out: list[str] = []
    used: list[Value] = []
    pieces = template.const.replace("%%", "\1").split("%")
    out.append(pieces[0])
    for number, piece in enumerate(pieces[1:]):
        body = piece
        if body.startswith("(") and ")" in body:
            key, _, body = body[1:].partition(")")
            value = (given.items or {}).get(key, mix((given,)))
        else:
            value = values[number] if number < len(values) else mix(values)
        body = re.sub(r"^[#0\- +.*\d]+", "", body)
        kind, rest = body[:1], body[1:]
        used.append(BLANK if kind in "diouxXeEfFgG" and kind else value)
        out += [value.text if value.known or kind == "s" else HOLE, rest]
    return mix((template, *used), shape="".join(out).replace("\1", "%"))


def joined(separator: Value, parts: Value) -> Value:
    """`separator.join(parts)`."""
    if parts.seq is not None:
        shape = separator.text.join(part.text for part in parts.seq)
        if HOLE not in shape and all(part.known for part in parts.seq) and separator.known:
            return constant(shape)
        return mix((separator, *parts.seq), shape=shape)
    if not separator.taint and not parts.taint:
        return Value(shape=HOLE)
    return mix((separator, parts), shape=(parts.shape or "") + HOLE)


def mutated(receiver: Value, method: str, *, args: Sequence[Value]) -> tuple[Value, Value] | None:
    """What a list or dictionary is after a method that changes it, and what the method returns."""
    if receiver.seq is not None:
        return _list_method(receiver, list(receiver.seq), method=method, args=args)
    if receiver.items is not None and method in ("update", "setdefault", "pop", "clear", "set", "add_section"):
        return _dict_method(receiver, method, args=args)
    if not is_mutator(method):
        return None
    grown = mix((receiver, *args))
    # What has taken in something unknown is as doubtful as the worst of it.
    kept = replace(receiver, const=UNKNOWN, taint=grown.taint, safe=grown.safe, shape=_appended(receiver, args))
    return kept, mix((receiver, *args)) if method in ("pop", "setdefault", "popleft") else BLANK


def _appended(receiver: Value, args: Sequence[Value]) -> str | None:
    return None if receiver.shape is None else receiver.shape + "".join(arg.text for arg in args)


def _list_method(
    receiver: Value, items: list[Value], *, method: str, args: Sequence[Value]
) -> tuple[Value, Value] | None:
    result = BLANK
    try:
        match method:
            case "append" | "add":
                items.append(args[0])
            case "appendleft":
                items.insert(0, args[0])
            case "extend" if args[0].seq is not None:
                items.extend(args[0].seq)
            case "insert" if isinstance(args[0].const, int):
                items.insert(args[0].const, args[1])
            case "popleft":
                result = items.pop(0)
            case "pop" if not args:
                result = items.pop()
            case "pop" if isinstance(args[0].const, int):
                result = items.pop(args[0].const)
            case "remove" if args[0].known:
                items.remove(next(item for item in items if item.known and item.const == args[0].const))
            case "clear":
                items = []
            case "reverse":
                items.reverse()
            case _:
                if not is_mutator(method):
                    return None
                grown = mix((receiver, *args))
                return replace(grown, name=receiver.name), grown if method == "pop" else BLANK
    except (LookupError, StopIteration):
        return mix((receiver, *args)), mix((receiver,))
    return replace(sequence(items), name=receiver.name), result


def _dict_method(receiver: Value, method: str, *, args: Sequence[Value]) -> tuple[Value, Value]:
    items = dict(receiver.items or {})
    unsure = mix((receiver, *args)), mix((receiver, *args))
    if method == "clear":
        return mapping({}, name=receiver.name), BLANK
    if method == "add_section":
        return receiver, BLANK
    if method == "update":
        if len(args) == 1 and args[0].items is not None:
            return mapping({**items, **args[0].items}, name=receiver.name), BLANK
        return unsure[0], BLANK
    if method == "set":
        if len(args) == 3 and not isinstance(args[0].const, Unknown) and not isinstance(args[1].const, Unknown):
            items[(args[0].const, args[1].const)] = args[2]
            return mapping(items, name=receiver.name), BLANK
        return unsure[0], BLANK
    if not args or isinstance(args[0].const, Unknown):
        return unsure
    key = args[0].const
    default = args[1] if len(args) > 1 else BLANK
    result = items.pop(key, default) if method == "pop" else items.setdefault(key, default)
    return mapping(items, name=receiver.name), result


def looked_up(receiver: Value, args: Sequence[Value]) -> Value | None:
    """`.get(key)` and the like of a dictionary of which all is known; None where it is not."""
    if receiver.items is None or not args:
        return None
    if len(args) >= 2 and (args[0].const, args[1].const) in receiver.items:
        return receiver.items[(args[0].const, args[1].const)]  # type: ignore[index]
    key = args[0].const
    if isinstance(key, Unknown):
        return mix(receiver.items.values())
    return receiver.items.get(key, args[1] if len(args) > 1 else constant(None))


def element(receiver: Value, index: Value) -> Value:
    """`receiver[index]`."""
    if receiver.seq is not None and isinstance(index.const, int):
        try:
            return receiver.seq[index.const]
        except LookupError:
            return BLANK
    if receiver.items is not None:
        if isinstance(index.const, Unknown):
            values = list(receiver.items.values())
            return _any_of(values) if values else BLANK
        return receiver.items.get(index.const, mix((receiver,)))
    if receiver.seq:
        return _any_of(receiver.seq)
    if isinstance(receiver.const, str) and isinstance(index.const, int):
        with contextlib.suppress(LookupError):
            return constant(receiver.const[index.const])
    return Value(taint=receiver.taint, safe=receiver.safe)


def _any_of(values: Sequence[Value]) -> Value:
    out = values[0]
    for value in values[1:50]:
        out = join(out, value)
    return out
