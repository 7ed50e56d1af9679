"""Expressions: from syntax to abstract values."""

import ast
import builtins
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from quorate.apps.review.flow import known
from quorate.apps.review.flow.methods import element, percent, wrap
from quorate.apps.review.flow.state import State
from quorate.apps.review.flow.values import (
    BLANK,
    HOLE,
    Env,
    Unknown,
    Value,
    constant,
    join,
    join_env,
    mapping,
    mix,
    sequence,
    tainted,
)

_OPERATORS: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.Mod: operator.mod, ast.BitOr: operator.or_, ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_BUILTINS: Final = frozenset(dir(builtins))


class Expressions:
    """Evaluates expressions. What calls do is for its heir to say."""

    def __init__(self, state: State) -> None:
        self.state = state

    def call(self, node: ast.Call, env: Env) -> Value:
        """Evaluate a call."""
        raise NotImplementedError

    def bind(self, target: ast.expr, value: Value, *, env: Env) -> None:
        """Assign a value to a target."""
        raise NotImplementedError

    def narrowed(self, test: ast.expr, env: Env, *, truth: bool) -> Env:
        """The variables where a test has this truth."""
        raise NotImplementedError

    def value(self, node: ast.expr | None, env: Env) -> Value:
        """Evaluate any expression."""
        self.state.step()
        if node is None:
            return constant(None)
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            parts = [self.value(child, env) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            return mix(parts)
        result: Value = method(node, env)
        return result

    def dotted(self, node: ast.expr, env: Env) -> str:
        """The dotted name of an expression, with imports and aliases resolved; "" where it has none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            value = env.get(node.id)
            root = node.id
            if value is not None:
                root = value.name or (node.id if not parts else "")
            elif node.id in self.state.imports:
                root = self.state.imports[node.id]
            return ".".join([root, *reversed(parts)]) if root else ""
        if isinstance(node, ast.Call) and parts:
            maker = self.dotted(node.func, env)
            return ".".join([maker + "()", *reversed(parts)]) if maker else ""
        return ""

    def _constant(self, node: ast.Constant, _env: Env) -> Value:
        value = node.value
        return constant(value) if isinstance(value, str | bytes | int | float | bool) or value is None else BLANK

    def _name(self, node: ast.Name, env: Env) -> Value:
        found = env.get(node.id)
        if found is not None:
            return found
        if node.id in self.state.imports:
            name = self.state.imports[node.id]
            return self._module_name(name, node)
        if node.id in _BUILTINS or node.id in self.state.closures:
            return Value(name=node.id)
        if node.id in known.WEB_PARAMS:
            return replace(tainted("web", node.lineno, what=node.id), name="request")
        if node.id.isupper() or node.id in ("self", "cls") or node.id[:1].isupper():
            return Value(name=node.id)
        return replace(tainted("free", node.lineno, what=node.id), name=node.id)

    def _module_name(self, name: str, node: ast.expr) -> Value:
        if name in known.WEB_OBJECTS:
            return replace(tainted("web", node.lineno, what=name), name="request")
        if name in known.INPUT_NAMES:
            return replace(tainted("input", node.lineno, what=name), name=name)
        return Value(name=name)

    def _attribute(self, node: ast.Attribute, env: Env) -> Value:
        path = _path(node)
        if path and path in env:
            return env[path]
        base = self.value(node.value, env)
        if base.items is not None and node.attr in base.items:
            return base.items[node.attr]
        if base.name == "request" or base.name.endswith(".request"):
            if node.attr in known.NOT_WEB:
                return replace(tainted("free", node.lineno, what=f"request.{node.attr}"), name=f"request.{node.attr}")
            found = tainted("web", node.lineno, what=f"request.{node.attr}")
            return replace(found, name=f"request.{node.attr}")
        name = f"{base.name}.{node.attr}" if base.name else ""
        if node.attr == "request" and path in ("self.request", "self.req"):
            return replace(tainted("web", node.lineno, what=path), name="request")
        if name in known.INPUT_NAMES or name in known.WEB_OBJECTS:
            return self._module_name(name, node)
        if base.taint:
            return Value(taint=base.taint, safe=base.safe | _part_safe(node.attr), name=name)
        if path.startswith(("self.", "cls.")) and not node.attr.isupper():
            return replace(tainted("free", node.lineno, what=path), name=name)
        return Value(name=name)

    def _subscript(self, node: ast.Subscript, env: Env) -> Value:
        base = self.value(node.value, env)
        if isinstance(node.slice, ast.Slice):
            bounds = [self.value(part, env) for part in (node.slice.lower, node.slice.upper, node.slice.step)]
            if base.known or base.seq is not None:
                return self._sliced(base, bounds)
            return Value(taint=base.taint, safe=base.safe, shape=HOLE)
        index = self.value(node.slice, env)
        if base.name in ("os.environ", "os.environb"):
            return tainted("input", node.lineno, what="os.environ")
        if base.name.startswith("request."):
            return replace(base, name="")
        path = _path(node.value)
        if path and index.known and (entry := env.get(f"{path}[{index.const!r}]")) is not None:
            return entry
        return element(base, index)

    def _sliced(self, base: Value, bounds: list[Value]) -> Value:
        cut = [bound.const for bound in bounds if isinstance(bound.const, int | None)]
        if len(cut) < len(bounds) or cut[2] == 0:
            return mix((base,), shape=base.text)
        at = slice(*cut)
        if base.seq is not None:
            return sequence(base.seq[at])
        return wrap(base.const[at]) if isinstance(base.const, str | bytes) else mix((base,))

    def _binop(self, node: ast.BinOp, env: Env) -> Value:
        left, right = self.value(node.left, env), self.value(node.right, env)
        if isinstance(node.op, ast.Mod) and (isinstance(left.const, str) or (left.shape and not left.known)):
            return percent(left, right)
        if isinstance(node.op, ast.Add):
            if left.seq is not None and right.seq is not None:
                return sequence((*left.seq, *right.seq))
            if left.known and right.known:
                return self._computed(node.op, left, right=right)
            if left.shape is not None or right.shape is not None:
                return mix((left, right), shape=left.text + right.text)
            return replace(mix((left, right)), shape=None)
        if left.known and right.known:
            return self._computed(node.op, left, right=right)
        if isinstance(node.op, ast.Div):  # Of paths.
            return replace(
                mix((left, right), shape=f"{left.text}/{right.text}"), name=left.name if "Path()" in left.name else ""
            )
        if isinstance(node.op, ast.Mult) and (left.seq is not None or left.shape or right.shape):
            return mix((left, right), shape=left.shape or right.shape)
        if isinstance(node.op, ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod):
            return BLANK  # Numbers, or sets.
        return mix((left, right))

    def _computed(self, op: ast.operator | ast.cmpop, left: Value, *, right: Value) -> Value:
        compute = _OPERATORS.get(type(op))
        one, other = left.const, right.const
        if compute is None:
            return BLANK
        if isinstance(op, ast.Mult) and not (isinstance(one, int | float) and isinstance(other, int | float)):
            return BLANK
        if isinstance(one, int) and isinstance(other, int) and max(abs(one), abs(other)) > 1 << 64:
            return BLANK
        try:
            return wrap(compute(one, other))
        except (TypeError, ValueError, ArithmeticError):
            return BLANK

    def _compare(self, node: ast.Compare, env: Env) -> Value:
        values = [self.value(part, env) for part in (node.left, *node.comparators)]
        if len(values) != 2:
            return BLANK
        left, right = values
        if left.known and right.known:
            return self._computed(node.ops[0], left, right=right)
        if left.known and right.seq is not None and all(item.known for item in right.seq):
            found = any(item.const == left.const for item in right.seq)
            if isinstance(node.ops[0], ast.In | ast.NotIn):
                return constant(found == isinstance(node.ops[0], ast.In))
        return BLANK

    def _boolop(self, node: ast.BoolOp, env: Env) -> Value:
        stops = isinstance(node.op, ast.Or)
        out: Value | None = None
        here = env
        for part in node.values:
            value = self.value(part, here)
            if value.known and bool(value.const) == stops:
                return value if out is None else join(out, value)
            if not value.known or part is node.values[-1]:
                out = value if out is None else join(out, value)
            here = self.narrowed(part, here, truth=not stops)
        return out if out is not None else BLANK

    def _unaryop(self, node: ast.UnaryOp, env: Env) -> Value:
        value = self.value(node.operand, env)
        if isinstance(node.op, ast.Not):
            return constant(not value.const) if value.known else BLANK
        if isinstance(value.const, int | float):
            return constant(-value.const) if isinstance(node.op, ast.USub) else value
        return BLANK

    def _ifexp(self, node: ast.IfExp, env: Env) -> Value:
        test = self.value(node.test, env)
        if test.known:
            return self.value(node.body if test.const else node.orelse, env)
        yes = self.value(node.body, self.narrowed(node.test, env, truth=True))
        return join(yes, self.value(node.orelse, self.narrowed(node.test, env, truth=False)))

    def _joinedstr(self, node: ast.JoinedStr, env: Env) -> Value:
        parts = [self.value(part, env) for part in node.values]
        shape = "".join(part.text for part in parts)
        return constant(shape) if all(part.known for part in parts) else mix(parts, shape=shape)

    def _formattedvalue(self, node: ast.FormattedValue, env: Env) -> Value:
        value = self.value(node.value, env)
        spec = self.value(node.format_spec, env) if node.format_spec is not None else BLANK
        if isinstance(spec.const, str) and spec.const[-1:] in tuple("dxXobeEfFgGn%"):
            return Value(shape=HOLE)
        return replace(value, shape=value.text) if value.shape is None else value

    def _list(self, node: ast.List | ast.Tuple | ast.Set, env: Env) -> Value:
        values: list[Value] = []
        whole = True
        for part in node.elts:
            if isinstance(part, ast.Starred):
                inner = self.value(part.value, env)
                whole = whole and inner.seq is not None
                values += inner.seq if inner.seq is not None else (inner,)
            else:
                values.append(self.value(part, env))
        return sequence(values) if whole else mix(values)

    _tuple = _set = _list

    def _dict(self, node: ast.Dict, env: Env) -> Value:
        items: dict[Any, Value] = {}
        others: list[Value] = []
        for key, part in zip(node.keys, node.values, strict=True):
            value = self.value(part, env)
            name = self.value(key, env) if key is not None else None
            if name is None and value.items is not None:
                items.update(value.items)
            elif name is None or isinstance(name.const, Unknown):
                others += [value, name or BLANK]
            else:
                items[name.const] = value
        return mapping(items) if not others else mix((*items.values(), *others))

    def _lambda(self, node: ast.Lambda, env: Env) -> Value:
        inner = dict(env)
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            inner[arg.arg] = tainted("free", node.lineno, what=arg.arg)
        self.value(node.body, inner)
        return Value(name="lambda")

    def _namedexpr(self, node: ast.NamedExpr, env: Env) -> Value:
        value = self.value(node.value, env)
        self.bind(node.target, value, env=env)
        return value

    def _listcomp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, env: Env) -> Value:
        result = self.value(node.elt, self._comprehended(node.generators, env))
        return replace(mix((result,)), shape=result.shape if result.shape != HOLE else None, name="list")

    _setcomp = _generatorexp = _listcomp

    def _dictcomp(self, node: ast.DictComp, env: Env) -> Value:
        inner = self._comprehended(node.generators, env)
        return mix((self.value(node.key, inner), self.value(node.value, inner)))

    def _comprehended(self, generators: list[ast.comprehension], env: Env) -> Env:
        inner = dict(env)
        for generator in generators:
            self.bind(generator.target, each(self.value(generator.iter, inner)), env=inner)
            for test in generator.ifs:
                self.value(test, inner)
                inner = self.narrowed(test, inner, truth=True)
        return inner

    def _await(self, node: ast.Await, env: Env) -> Value:
        return self.value(node.value, env)

    def _starred(self, node: ast.Starred, env: Env) -> Value:
        return self.value(node.value, env)

    def _call(self, node: ast.Call, env: Env) -> Value:
        return self.call(node, env)

    def _yield(self, node: ast.Yield, env: Env) -> Value:
        value = self.value(node.value, env)
        self.state.frames[-1].returns.append((node, value))
        return BLANK


def each(value: Value) -> Value:
    """An element of what is looped over."""
    if value.seq:
        return element(value, BLANK)
    if value.items:
        keys = [key for key in value.items if not isinstance(key, tuple)]
        return Value(shape=HOLE) if not keys else BLANK
    return Value(taint=value.taint, safe=value.safe, shape=value.shape if value.name == "list" else None)


def _part_safe(attribute: str) -> frozenset[str]:
    """What a part of a value is fine for: the last component of a path leads nowhere else."""
    return frozenset(("path",)) if attribute in ("name", "stem", "suffix") else frozenset()


def _path(node: ast.expr) -> str:
    """The key in the variables of `a`, `a.b` or `a.b.c`; "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


path_of = _path
merge_env = join_env
