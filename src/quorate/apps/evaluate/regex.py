r"""Regular expressions that take linear time, whatever the text: the author of a suite is trusted, an answer is not.

A pattern becomes an automaton that is run over the text once (K. Thompson, CACM 1968), its sets of states remembered as
they are met. The dialect: literal characters, `.` (anything but a line feed), `[a-z]`, `[^a-z]`, `\d \w \s` and their
capitals, `\n \r \t`, escaped punctuation, `( )`, `(?: )`, `|`, `* + ? {m} {m,} {m,n}`, `^` and `$` for the ends of the
whole text, and `(?i)` at the very beginning. What it leaves out (back-references, look-around, `\b`) has no place in a
check that must end; a pattern that uses it is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

MAX_STATES = 2_000
_MAX_CACHE = 20_000
_EVERY = 4_096
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "w": lambda char: char.isalnum() or char == "_",
    "s": str.isspace,
}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}

Test = Callable[[str], bool]
Node = tuple[object, ...]
"""("char", test), ("cat", nodes), ("or", nodes), ("repeat", node, low, high or None), ("begin",), ("end",)."""


class BadPattern(ValueError):
    """A pattern is not of the dialect; says where and why."""


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.fold = pattern.startswith("(?i)")
        self._text = pattern.removeprefix("(?i)")
        self._offset = len(pattern) - len(self._text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._at < len(self._text):
            raise self._bad("a ) without its (")
        return node

    def _bad(self, why: str) -> BadPattern:
        return BadPattern(f"at character {self._offset + self._at + 1}: {why}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._bad("the pattern ends too early")
        self._at += 1
        return char

    def _either(self) -> Node:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else ("or", tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return ("cat", tuple(parts))

    def _repeated(self, node: Node) -> Node:
        while self._peek() and self._peek() in "*+?{":
            char = self._take()
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._counts()
            if self._peek() == "?":  # Lazy or greedy: the same texts match.
                self._at += 1
            node = ("repeat", node, low, high)
        return node

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at : end].partition(",")
        if end < 0 or not low.isdecimal() or (high and not high.isdecimal()) or len(low + high) > 8:
            raise self._bad("a { that is no {m}, {m,} or {m,n}; a literal one is \\{")
        self._at = end + 1
        most = int(high) if high else None if comma else int(low)
        if max(int(low), most or 0) > MAX_STATES or (most is not None and most < int(low)):
            raise self._bad(f"a {{m,n}} with n below m, or above {MAX_STATES}")
        return int(low), most

    def _atom(self) -> Node:
        char = self._take()
        match char:
            case "(":
                return self._group()
            case "[":
                return ("char", self._class())
            case ".":
                return ("char", lambda c: c != "\n")
            case "^":
                return ("begin",)
            case "$":
                return ("end",)
            case "\\":
                return ("char", self._escape())
            case "*" | "+" | "?" | "{":
                raise self._bad("nothing to repeat")
            case _:
                return ("char", self._same(char))

    def _group(self) -> Node:
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise self._bad("of groups there are ( ) and (?: ); (?i) stands at the beginning only")
            self._at += 2
        self._depth += 1
        if self._depth > 50:
            raise self._bad("groups nested more than 50 deep")
        node = self._either()
        if self._peek() != ")":
            raise self._bad("a ( without its )")
        self._at += 1
        self._depth -= 1
        return node

    def _escape(self) -> Test:
        char = self._take()
        if char.lower() in _CLASSES:
            inside = _CLASSES[char.lower()]
            return inside if char.islower() else lambda c: not inside(c)
        return self._same(self._literal(char))

    def _literal(self, char: str) -> str:
        if char.isalnum() and char not in _CONTROLS:
            raise self._bad(f"\\{char} is not part of this dialect")
        return _CONTROLS.get(char, char)

    def _same(self, char: str) -> Test:
        if self.fold:
            wanted = char.casefold()
            return lambda c: c.casefold() == wanted
        return lambda c: c == char

    def _class(self) -> Test:
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        while self._peek() != "]" or not tests:
            char = self._take()
            if char == "\\" and self._peek().lower() in _CLASSES:
                tests.append(self._escape())
                continue
            low = self._literal(self._take()) if char == "\\" else char
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                char = self._take()
                high = self._literal(self._take()) if char == "\\" else char
                if high < low:
                    raise self._bad("a range that runs backwards")
                tests.append(self._range(low, high))
            else:
                tests.append(self._same(low))
        self._at += 1
        return (lambda c: not any(test(c) for test in tests)) if negated else (lambda c: any(test(c) for test in tests))

    def _range(self, low: str, high: str) -> Test:
        if self.fold:
            return lambda c: low <= c <= high or low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high


@dataclass(slots=True)
class _State:
    """One instruction: a test for a character, one of the two ends, or neither; then where to go on."""

    test: Test | None = None
    end: str = ""
    out: list[int] = field(default_factory=list)


_Set = frozenset[int]


class Regex:
    """A compiled pattern; `found_in` takes time linear in the text.

    Args:
        pattern: of the dialect above.
        whole: the pattern must match the whole text, not a part of it.

    Raises:
        BadPattern: it is not of the dialect, or too large.
    """

    def __init__(self, pattern: str, *, whole: bool = False) -> None:
        node = _Parser(pattern).whole()
        self._states: list[_State] = []
        self._accept = self._add(_State())
        self._first = self._build(("cat", (("begin",), node, ("end",))) if whole else node, self._accept)
        self._next: dict[tuple[_Set, str], _Set] = {}
        self._again = self._closure({self._first}, begin=False, end=False)

    def found_in(self, text: str, pause: Callable[[], bool] | None = None) -> bool:
        """Whether the pattern matches; False also where `pause`, called now and then, says to stop."""
        now = self._closure({self._first}, begin=True, end=not text)
        for at, char in enumerate(text):
            if self._accept in now:
                return True
            if at % _EVERY == 0 and pause is not None and pause():
                return False
            key = (now, char)
            found = self._next.get(key)
            if found is None:
                found = self._step(now, char)
                if len(self._next) >= _MAX_CACHE:
                    self._next.clear()
                self._next[key] = found
            now = found
        return self._accept in self._closure(set(now), begin=not text, end=True)

    def _step(self, now: _Set, char: str) -> _Set:
        states = self._states
        moved = {state.out[0] for at in now if (state := states[at]).test is not None and state.test(char)}
        return self._closure(moved, begin=False, end=False) | self._again

    def _closure(self, starts: set[int], *, begin: bool, end: bool) -> _Set:
        """What can be reached without a character. States that wait for one, or for an end, are kept."""
        seen, todo, kept = set(starts), list(starts), set()
        while todo:
            at = todo.pop()
            state = self._states[at]
            if state.test is not None or at == self._accept or (state.end == "end" and not end):
                kept.add(at)
                continue
            if state.end == "begin" and not begin:
                continue
            for following in state.out:
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return frozenset(kept)

    def _add(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise BadPattern(f"needs more than {MAX_STATES} states; use smaller counts")
        self._states.append(state)
        return len(self._states) - 1

    def _build(self, node: Node, following: int) -> int:
        """Add the states of a node that goes on to `following`; returns its first."""
        match node:
            case ("char", test):
                return self._add(_State(test=test, out=[following]))  # type: ignore[arg-type]
            case ("begin" | "end" as which,):
                return self._add(_State(end=which, out=[following]))
            case ("cat", parts):
                for part in reversed(parts):  # type: ignore[call-overload]
                    following = self._build(part, following)
                return following
            case ("or", options):
                return self._add(_State(out=[self._build(option, following) for option in options]))  # type: ignore[attr-defined]
            case ("repeat", inner, low, high):
                return self._repeat(inner, low, high, following=following)  # type: ignore[arg-type]
        raise BadPattern("unknown node")

    def _repeat(self, inner: Node, low: int, high: int | None, *, following: int) -> int:
        if high is None:
            loop = self._add(_State())
            self._states[loop].out = [self._build(inner, loop), following]
            following = loop
        else:
            after = following
            for _ in range(high - low):
                following = self._add(_State(out=[self._build(inner, following), after]))
        for _ in range(low):
            following = self._build(inner, following)
        return following
