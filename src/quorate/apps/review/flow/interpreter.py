"""Statements, functions and classes; and what is looked at first in a file."""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from quorate.apps.review.flow import known
from quorate.apps.review.flow.calls import Calls, Site
from quorate.apps.review.flow.expressions import each, path_of
from quorate.apps.review.flow.guards import cleaned_by_check, names_in, narrowed
from quorate.apps.review.flow.state import Closure, Exhausted, Frame, Returned, State, Stored
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

Rule = Callable[[Site, State], None]
Store = Callable[[Stored, State], None]
Return = Callable[[Returned, State], None]
_NUMBERS: Final = frozenset(("int", "float", "bool", "datetime", "date", "Decimal", "UUID"))
_NUMERIC_ROUTE: Final = re.compile(r"<\s*(?:int|float|uuid)(?:\(.*?\))?\s*:\s*(\w+)\s*>")


class Interpreter(Calls):
    """Runs a file's module body, then each function of it with arguments that somebody else chose.

    Args:
        state: of this run.
        rules: look at every call.
        stores: look at every assignment to an attribute or an element.
        returns: look at what a function that a web framework calls returns.
    """

    def __init__(
        self, state: State, rules: Sequence[Rule], *, stores: Sequence[Store], returns: Sequence[Return]
    ) -> None:
        super().__init__(state, rules)
        self._stores = stores
        self._returns = returns

    def run(self, tree: ast.Module) -> bool:
        """Run a whole file; returns False where it was too large to finish."""
        try:
            env = self.block(tree.body, {}) or {}
            done: set[str] = set()
            while waiting := [key for key in self.state.closures if key not in done]:
                for key in waiting:
                    done.add(key)
                    closure = self.state.closures[key]
                    if "." not in key or closure.owner:
                        closure.env = {**closure.env, **env} if "<" not in key else {**env, **closure.env}
                    self._root(key, closure)
        except (Exhausted, RecursionError):
            return False
        return True

    def _root(self, key: str, closure: Closure) -> None:
        """Run a function as its framework, or anybody, would call it."""
        node = closure.node
        if isinstance(node, ast.Lambda) or ("<" in key and key in self.state.called and not node.decorator_list):
            return
        decorators = [self._decorator(d, closure.env) for d in node.decorator_list]
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        routed = any(known.HANDLER_DECORATORS.search(name) for name in decorators if name != "property")
        handler = routed or (bool(closure.owner) and node.name in known.HANDLER_METHODS) or "request" in names[:2]
        numbers = {n for d in node.decorator_list for n in _NUMERIC_ROUTE.findall(ast.unparse(d))}
        env = dict(closure.env)
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            env[arg.arg] = self._parameter(arg, closure, routed=routed and arg.arg not in numbers)
            if arg.arg in numbers:
                env[arg.arg] = BLANK
        for extra in (node.args.vararg, node.args.kwarg):
            if extra is not None:
                env[extra.arg] = tainted("param", extra.lineno, what=extra.arg)
        self.state.stack.append(key)
        try:
            self.run_function(closure, env, handler=handler)
        finally:
            self.state.stack.pop()

    def _parameter(self, arg: ast.arg, closure: Closure, *, routed: bool) -> Value:
        if arg.arg in ("self", "cls"):
            return Value(name=f"self:{closure.owner}" if closure.owner else arg.arg)
        if arg.arg in known.WEB_PARAMS:
            return replace(tainted("web", arg.lineno, what=arg.arg), name="request")
        if arg.annotation is not None and _NUMBERS & names_in(arg.annotation):
            return BLANK
        return tainted("web" if routed else "param", arg.lineno, what=arg.arg)

    def _decorator(self, node: ast.expr, env: Env) -> str:
        called = node.func if isinstance(node, ast.Call) else node
        return self.dotted(called, env) or ast.unparse(called)

    def run_function(self, closure: Closure, env: Env, *, handler: bool | None = None) -> Value:
        """Run the body of a function with its parameters bound; returns what it returns."""
        frame = Frame(closure.node, handler=bool(handler))
        self.state.frames.append(frame)
        try:
            body = [] if isinstance(closure.node, ast.Lambda) else closure.node.body
            ended = self.block(body, env)
        finally:
            self.state.frames.pop()
        if handler is not None:  # It was not called from the file, but by whoever calls it.
            for node, value in frame.returns:
                for look in self._returns:
                    look(Returned(node, value, frame), self.state)
        values = [value for _, value in frame.returns]
        if ended is not None or not values:
            values.append(constant(None))
        out = values[0]
        for value in values[1:]:
            out = join(out, value) if not (value.known and value.const is None) else out
        return out

    # --- statements -------------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt], env: Env | None) -> Env | None:
        """Run statements in order; None where the end is not reached."""
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and env is not None:
                self._define(statement, env)
        for statement in body:
            if env is None:
                return None
            self.state.step()
            env = self._statement(statement, env)
        return env

    def _statement(self, node: ast.stmt, env: Env) -> Env | None:
        method = getattr(self, f"_on_{type(node).__name__.lower()}", None)
        if method is not None:
            result: Env | None = method(node, env)
            return result
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not isinstance(node, ast.Global | ast.Nonlocal):
                self.value(child, env)
        return None if isinstance(node, ast.Raise) else env

    def _on_expr(self, node: ast.Expr, env: Env) -> Env | None:
        self.value(node.value, env)
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call):
            return env
        if self.dotted(call.func, env) in known.EXITS:
            return None
        return cleaned_by_check(call, env)

    def _on_assign(self, node: ast.Assign, env: Env) -> Env:
        value = self.value(node.value, env)
        for target in node.targets:
            self.bind(target, value, env=env)
            if isinstance(target, ast.Name):
                self.state.derived[target.id] = names_in(node.value) - {target.id}
        return env

    def _on_annassign(self, node: ast.AnnAssign, env: Env) -> Env:
        if node.value is not None:
            self.bind(node.target, self.value(node.value, env), env=env)
        return env

    def _on_augassign(self, node: ast.AugAssign, env: Env) -> Env:
        read = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
        self.bind(node.target, self.value(read, env), env=env)
        return env

    def bind(self, target: ast.expr, value: Value, *, env: Env) -> None:
        """Assign a value to a target."""
        if isinstance(target, ast.Name):
            env[target.id] = value
            for key in [k for k in env if k.startswith((f"{target.id}.", f"{target.id}["))]:
                del env[key]
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value, env=env)
        elif isinstance(target, ast.Tuple | ast.List):
            whole = value.seq if value.seq is not None and len(value.seq) == len(target.elts) else None
            for position, part in enumerate(target.elts):
                self.bind(part, whole[position] if whole else each(value), env=env)
        elif isinstance(target, ast.Attribute):
            base = self.value(target.value, env)
            for look in self._stores:
                look(Stored(f"{base.name}.{target.attr}", target, constant(target.attr), value), self.state)
            path = path_of(target)
            if path:
                env[path] = value
        elif isinstance(target, ast.Subscript):
            self._bind_element(target, value, env)

    def _bind_element(self, target: ast.Subscript, value: Value, env: Env) -> None:
        base = self.value(target.value, env)
        key = self.value(target.slice, env) if not isinstance(target.slice, ast.Slice) else BLANK
        for look in self._stores:
            look(Stored(f"{base.name}[]", target, key, value), self.state)
        path = path_of(target.value)
        if not path:
            return
        if base.items is not None and not isinstance(key.const, Unknown):
            env[path] = mapping({**base.items, key.const: value}, name=base.name)
        elif base.seq is not None and isinstance(key.const, int) and -len(base.seq) <= key.const < len(base.seq):
            changed = list(base.seq)
            changed[key.const] = value
            env[path] = sequence(changed)
        elif base.strength < 3 or value.taint:
            env[path] = replace(mix((base, value)), name=base.name)

    def _on_return(self, node: ast.Return, env: Env) -> None:
        self.state.frames[-1].returns.append((node, self.value(node.value, env)))

    def _on_break(self, _node: ast.Break | ast.Continue, env: Env) -> None:
        self.state.frames[-1].breaks.append(env)

    _on_continue = _on_break

    def narrowed(self, test: ast.expr, env: Env, *, truth: bool) -> Env:
        """The variables where a test has this truth."""
        return narrowed(test, env, truth=truth, value=self.value, derived=self.state.derived)

    def _on_if(self, node: ast.If, env: Env) -> Env | None:
        test = self.value(node.test, env)
        if test.known:
            return self.block(node.body if test.const else node.orelse, env)
        yes = self.block(node.body, dict(self.narrowed(node.test, env, truth=True)))
        no = self.block(node.orelse, dict(self.narrowed(node.test, env, truth=False)))
        return join_env(yes, no)

    def _loop(self, body: Sequence[ast.stmt], env: Env, *, bind: Callable[[Env], Env], passes: int = 2) -> Env:
        frame = self.state.frames[-1]
        outer, frame.breaks = frame.breaks, []
        out: Env | None = env
        for _ in range(passes):
            inside = self.block(body, bind(dict(out or env)))
            for broken in frame.breaks:
                inside = join_env(inside, broken)
            out = join_env(out, inside)
        frame.breaks = outer
        return out if out is not None else env

    def _on_for(self, node: ast.For | ast.AsyncFor, env: Env) -> Env | None:
        over = self.value(node.iter, env)

        def bind(inner: Env) -> Env:
            self.bind(node.target, each(over), env=inner)
            return inner

        if over.seq is not None and 0 < len(over.seq) <= 8 and not _leaves(node.body):
            inside: Env | None = env
            for item in over.seq:
                if inside is not None:
                    self.bind(node.target, item, env=inside)
                    inside = self.block(node.body, inside)
            return self.block(node.orelse, inside)
        return self.block(node.orelse, self._loop(node.body, env, bind=bind))

    _on_asyncfor = _on_for

    def _on_while(self, node: ast.While, env: Env) -> Env | None:
        test = self.value(node.test, env)
        if test.known and not test.const:
            return self.block(node.orelse, env)
        out = self._loop(node.body, env, bind=lambda inner: self.narrowed(node.test, inner, truth=True))
        if test.known and not _leaves(node.body):
            return None
        return self.block(node.orelse, self.narrowed(node.test, out, truth=False))

    def _on_with(self, node: ast.With | ast.AsyncWith, env: Env) -> Env | None:
        for item in node.items:
            value = self.value(item.context_expr, env)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value, env=env)
        return self.block(node.body, env)

    _on_asyncwith = _on_with

    def _on_try(self, node: ast.Try, env: Env) -> Env | None:
        before = dict(env)
        after = self.block(node.body, env)
        if after is not None:
            after = self.block(node.orelse, after)
        out = after
        for handler in node.handlers:
            start = dict(join_env(before, after) or before)
            if handler.name:
                start[handler.name] = Value(name="exception", shape=HOLE)
            out = join_env(out, self.block(handler.body, start))
        if not node.finalbody:
            return out
        return (
            self.block(node.finalbody, dict(out if out is not None else before))
            if out
            else (self.block(node.finalbody, dict(before)) and None)
        )

    _on_trystar = _on_try

    def _on_match(self, node: ast.Match, env: Env) -> Env | None:
        subject = self.value(node.subject, env)
        out: Env | None = None
        for case in node.cases:
            verdict = _case(case.pattern, subject) if case.guard is None else None
            if verdict is False:
                continue
            inner = dict(env)
            for part in ast.walk(case.pattern):
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if isinstance(name, str) and isinstance(part, ast.MatchAs | ast.MatchStar | ast.MatchMapping):
                    inner[name] = subject if part is case.pattern else each(subject)
            if isinstance(case.pattern, ast.MatchValue) and path_of(node.subject) in inner:
                inner[path_of(node.subject)] = self.value(case.pattern.value, env)
            out = join_env(out, self.block(case.body, inner))
            if verdict is True:
                return out
        return join_env(out, env)

    def _on_delete(self, node: ast.Delete, env: Env) -> Env:
        for target in node.targets:
            env.pop(path_of(target), None)
        return env

    def _on_assert(self, node: ast.Assert, env: Env) -> Env:
        self.value(node.test, env)
        return env  # Assertions are gone under -O: they prove nothing.

    # --- definitions ------------------------------------------------------------------------------

    def _on_import(self, node: ast.Import, env: Env) -> Env:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.state.imports[name] = alias.name if alias.asname else name
            env.pop(name, None)
        return env

    def _on_importfrom(self, node: ast.ImportFrom, env: Env) -> Env:
        for alias in node.names:
            name = alias.asname or alias.name
            self.state.imports[name] = f"{node.module}.{alias.name}" if node.module else alias.name
            env.pop(name, None)
        return env

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> None:
        nested = self.state.frames[-1].node is not None
        key = f"{node.name}<{node.lineno}>" if nested else node.name
        self.state.closures[key] = Closure(node, env)
        env[node.name] = Value(name=f"closure:{key}")

    def _on_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> Env:
        for part in (*node.decorator_list, *node.args.defaults, *[d for d in node.args.kw_defaults if d]):
            self.value(part, env)
        return env

    _on_asyncfunctiondef = _on_functiondef

    def _on_classdef(self, node: ast.ClassDef, env: Env) -> Env:
        inner = dict(env)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.state.closures[f"{node.name}.{statement.name}"] = Closure(statement, env, node.name)
                self._on_functiondef(statement, inner)
            else:
                self._statement(statement, inner)
        for name, value in inner.items():
            if env.get(name) is not value and "." not in name:
                env[f"self.{name}"] = value
        env[node.name] = Value(name=f"class:{node.name}")
        return env


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return any(isinstance(n, ast.Break | ast.Continue) for s in body for n in ast.walk(s))


def _case(pattern: ast.pattern, subject: Value) -> bool | None:
    """Whether a case certainly matches, certainly does not, or may."""
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        return True
    if not subject.known:
        return None
    if isinstance(pattern, ast.MatchValue) and isinstance(pattern.value, ast.Constant):
        return bool(pattern.value.value == subject.const)
    if isinstance(pattern, ast.MatchSingleton):
        return pattern.value is subject.const
    if isinstance(pattern, ast.MatchOr):
        verdicts = [_case(part, subject) for part in pattern.patterns]
        return True if True in verdicts else None if None in verdicts else False
    return None
