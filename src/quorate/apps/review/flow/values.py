"""What the interpreter knows about a value: its constant, who can choose it, what it was cleaned for, its contents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

Const = str | bytes | int | float | bool | None

HOLE: Final = "\0"
"""Stands in a `shape` where a part of the text is not known."""

ANY: Final = "*"
"""In `Value.safe`: cleaned for every use, as by an allow-list."""

CERTAIN: Final = "!"
"""In `Value.safe`: what cleaned it is known, and no guess from a function's name."""

MAX_SHAPE = 4000
MAX_ITEMS = 200
STRENGTH: Final[Mapping[str, int]] = {"free": 0, "param": 1, "input": 2, "web": 3}
"""Who can choose a value: nobody knows, a caller, the outside of the process, a web client."""


class Unknown:
    """The constant of a value that is not known."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


class Taint(NamedTuple):
    """Where a value came in: kind of source (a key of `STRENGTH`), line, and its name."""

    kind: str
    line: int
    what: str


NO_TAINT: Final[frozenset[Taint]] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """An abstract value.

    Attributes:
        const: the constant it certainly is, or `UNKNOWN`.
        taint: who can choose it, or a part of it.
        safe: uses that it was cleaned for, such as "sql"; `ANY` for all.
        name: dotted name of what it is (a function, a module) or was made by.
        shape: its text with `HOLE` for unknown parts, or None where it is no text made here.
        seq: its elements, where it is a list or tuple of which all are known.
        items: its entries, where it is a dictionary or object of which all are known.
    """

    const: Const | Unknown = UNKNOWN
    taint: frozenset[Taint] = NO_TAINT
    safe: frozenset[str] = frozenset()
    name: str = ""
    shape: str | None = None
    seq: tuple["Value", ...] | None = None
    items: Mapping[Const | tuple[Const, ...], "Value"] | None = None

    @property
    def known(self) -> bool:
        """Whether it is a constant."""
        return not isinstance(self.const, Unknown)

    @property
    def fixed(self) -> bool:
        """Whether nothing about it can change: a constant, or one of several."""
        if self.seq is not None:
            return all(value.fixed for value in self.seq)
        return self.known or (self.shape is not None and HOLE not in self.shape and not self.taint)

    @property
    def text(self) -> str:
        """Its text with holes."""
        if self.shape is not None:
            return self.shape
        if isinstance(self.const, Unknown):
            return HOLE
        return self.const.decode("latin-1") if isinstance(self.const, bytes) else str(self.const)

    @property
    def strength(self) -> int:
        """That of its strongest source; -1 where nobody can choose it."""
        return max((STRENGTH[t.kind] for t in self.taint), default=-1)

    def clean_for(self, *uses: str) -> "Value":
        """The same, cleaned for some uses."""
        return replace(self, safe=self.safe | frozenset(uses))

    def is_safe(self, use: str) -> bool:
        """Whether nobody can choose it, or it was cleaned for this use."""
        return not self.taint or ANY in self.safe or use in self.safe


BLANK: Final = Value()


def constant(value: Const) -> Value:
    """A value that is certainly this."""
    if isinstance(value, str | bytes) and len(value) > MAX_SHAPE:
        return Value(shape=str(value[:MAX_SHAPE]))
    return Value(const=value, shape=value if isinstance(value, str) else None)


def tainted(kind: str, line: int, *, what: str) -> Value:
    """A value that somebody else chooses."""
    return Value(taint=frozenset((Taint(kind, line, what),)))


def mix(values: Iterable[Value], *, shape: str | None = None) -> Value:
    """What is made of several values: anybody who chooses one of them chooses a part of it."""
    taint: frozenset[Taint] = NO_TAINT
    safe: frozenset[str] | None = None
    for value in values:
        if value.taint:
            taint |= value.taint
            safe = _both(safe, value.safe)
    return Value(taint=taint, safe=safe or frozenset(), shape=shape[:MAX_SHAPE] if shape is not None else None)


def _both(first: frozenset[str] | None, second: frozenset[str]) -> frozenset[str]:
    if first is None:
        return second
    if ANY in first:
        return second
    return first if ANY in second else first & second


def join(first: Value, second: Value) -> Value:
    """What a value may be after two ways through the code."""
    if first is second or first == second:
        return first
    mixed = mix((first, second))
    same = type(first.const) is type(second.const) and first.const == second.const
    seq = None
    if first.seq is not None and second.seq is not None and len(first.seq) == len(second.seq):
        seq = tuple(join(a, b) for a, b in zip(first.seq, second.seq, strict=True))
    items = None
    if first.items is not None and second.items is not None and first.items.keys() == second.items.keys():
        items = {key: join(value, second.items[key]) for key, value in first.items.items()}
    return Value(
        const=first.const if same else UNKNOWN,
        taint=mixed.taint,
        safe=mixed.safe,
        name=first.name if first.name == second.name else _name(first, second),
        shape=_longer(first, second),
        seq=seq,
        items=items,
    )


def _name(first: Value, second: Value) -> str:
    """Of a value that may be None on one way, what it is on the other."""
    if first.known and first.const is None:
        return second.name
    return first.name if second.known and second.const is None else ""


def _longer(first: Value, second: Value) -> str | None:
    if first.shape is None and second.shape is None:
        return None
    one, other = first.text, second.text
    longer = one if len(one) >= len(other) else other
    # A text that differs from way to way is not fixed, though each of its forms is.
    return longer if HOLE in longer or (not first.taint and not second.taint) else longer + HOLE


def sequence(values: Iterable[Value]) -> Value:
    """A list or tuple of known length."""
    seq = tuple(values)
    whole = mix(seq)
    return replace(whole, seq=seq if len(seq) <= MAX_ITEMS else None)


def mapping(items: Mapping[Const | tuple[Const, ...], Value], *, name: str = "") -> Value:
    """A dictionary, or an object's attributes, of which all is known."""
    whole = mix(items.values())
    return replace(whole, items=dict(items) if len(items) <= MAX_ITEMS else None, name=name)


Env = dict[str, Value]


def join_env(first: Env | None, second: Env | None) -> Env | None:
    """The variables after two ways; None is a way that never gets here."""
    if first is None or second is None:
        return second if first is None else first
    if first is second:
        return first
    out = dict(first)
    for name, value in second.items():
        mine = out.get(name)
        out[name] = value if mine is None else join(mine, value)
    return out
