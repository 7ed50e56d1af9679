"""Calls: what they return, what they change, and where they lead within the file."""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quorate.apps.review.flow import known
from quorate.apps.review.flow.expressions import Expressions, path_of
from quorate.apps.review.flow.guards import names_in
from quorate.apps.review.flow.methods import looked_up, mutated, on_constant, on_text
from quorate.apps.review.flow.state import MAX_DEPTH, Closure, State
from quorate.apps.review.flow.values import (
    ANY,
    BLANK,
    CERTAIN,
    HOLE,
    STRENGTH,
    Const,
    Env,
    Taint,
    Unknown,
    Value,
    constant,
    mapping,
    mix,
    sequence,
    tainted,
)

_COPIES: Final = frozenset(
    ("list", "tuple", "set", "sorted", "reversed", "frozenset", "iter", "copy.copy", "copy.deepcopy")
)
_TEXTS: Final = frozenset(
    ("str", "unicode", "bytes", "bytearray", "io.StringIO", "io.BytesIO", "str.format", "os.fspath")
)
_PATHS: Final = frozenset(("os.path.join", "pathlib.Path", "pathlib.PurePath", "Path", "posixpath.join"))
_STORES: Final = frozenset(
    ("configparser.ConfigParser", "configparser.RawConfigParser", "configparser.SafeConfigParser")
)
_PURE: Final = re.compile(r"(base64|codecs|urllib\.parse|html|json|binascii|textwrap|zlib|string|math)\.\w+$")
_PATH_METHODS: Final = frozenset(("resolve", "absolute", "expanduser", "joinpath", "with_name", "with_suffix"))
_PATH_NAMES: Final = frozenset(("pathlib.Path()", "pathlib.PurePath()", "Path()"))
_GETTERS: Final = frozenset(("get", "getlist", "getvalue", "getfirst", "getone", "get_all"))


@dataclass(frozen=True, slots=True)
class Site:
    """A call, evaluated: full name, last part of it, receiver, arguments."""

    node: ast.Call
    name: str
    method: str
    receiver: Value
    args: tuple[Value, ...]
    kwargs: dict[str, Value]
    env: Env
    open_kwargs: bool = False

    def arg(self, position: int, *keys: str) -> Value | None:
        """An argument by position or by one of its names; None where it is not given."""
        for key in keys:
            if key in self.kwargs:
                return self.kwargs[key]
        return self.args[position] if position < len(self.args) else None


class Calls(Expressions):
    """Evaluates calls; what a function's body does is for the interpreter to say."""

    def __init__(self, state: State, rules: Sequence[Callable[[Site, State], None]]) -> None:
        super().__init__(state)
        self._rules = rules

    def run_function(self, closure: Closure, env: Env) -> Value:
        """Run the body of a function with its parameters bound; returns what it returns."""
        raise NotImplementedError

    def call(self, node: ast.Call, env: Env) -> Value:
        """Evaluate a call: look at it with every rule, then at what it returns."""
        site = self._site(node, env)
        for rule in self._rules:
            rule(site, self.state)
        return self._local(site) or self._modelled(site) or self._unknown(site)

    def _site(self, node: ast.Call, env: Env) -> Site:
        receiver, method = BLANK, ""
        if isinstance(node.func, ast.Attribute):
            receiver, method = self.value(node.func.value, env), node.func.attr
            name = self.dotted(node.func, env) or f"{receiver.name or '?'}.{method}"
            if receiver.name and (name.startswith("?") or receiver.name.startswith(("self:", "class:"))):
                name = f"{receiver.name}.{method}"
        else:
            target = self.value(node.func, env)
            name = self.dotted(node.func, env) or target.name
            method = name.rpartition(".")[2]
        args: list[Value] = []
        for arg in node.args:
            value = self.value(arg, env)
            if isinstance(arg, ast.Starred) and value.seq is not None:
                args += value.seq
            else:
                args.append(value)
        kwargs: dict[str, Value] = {}
        opened = False
        for keyword in node.keywords:
            value = self.value(keyword.value, env)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif value.items is not None:
                kwargs.update({key: item for key, item in value.items.items() if isinstance(key, str)})
            else:
                kwargs["**"] = value
                opened = True
        return Site(node, name, method, receiver, tuple(args), kwargs, env, opened)

    # --- functions of the file --------------------------------------------------------------------

    def _local(self, site: Site) -> Value | None:
        name = site.name
        if name.startswith("class:") and "." not in name:
            made = mapping({}, name="self:" + name.removeprefix("class:"))
            closure = self.state.closures.get(name.removeprefix("class:") + ".__init__")
            if closure is None or not isinstance(closure.node, ast.FunctionDef):
                return replace(made, taint=mix(site.args).taint, items=None)
            return replace(made, taint=mix((*site.args, *site.kwargs.values())).taint, items=None)
        key = name.removeprefix("closure:")
        is_method = name.startswith(("self:", "class:"))
        if is_method:
            key = name.partition(":")[2]
        closure = self.state.closures.get(key)
        if closure is None or isinstance(closure.node, ast.Lambda):
            return None
        self.state.called.add(key)
        if key in self.state.stack or len(self.state.stack) >= MAX_DEPTH:
            return mix((*site.args, *site.kwargs.values()))
        env = dict(closure.env)
        if is_method and site.receiver.items is not None:
            env["self"] = site.receiver
        self._parameters(closure, env, site=site, skip_self=bool(closure.owner))
        self.state.stack.append(key)
        try:
            result = self.run_function(closure, env)
        finally:
            self.state.stack.pop()
        uses = _by_name(key)
        return result.clean_for(*uses) if uses and result.taint else result

    def _parameters(self, closure: Closure, env: Env, *, site: Site, skip_self: bool) -> None:
        node = closure.node
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in getattr(node, "decorator_list", []))
        if skip_self and not static and names:
            env.setdefault(names[0], Value(name=f"self:{closure.owner}"))
            names = names[1:]
        defaults = dict(zip(reversed(names), reversed(node.args.defaults), strict=False))
        for position, name in enumerate(names):
            given = site.kwargs.get(name) or (site.args[position] if position < len(site.args) else None)
            env[name] = given if given is not None else self.value(defaults[name], env) if name in defaults else BLANK
        for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            given = site.kwargs.get(arg.arg)
            env[arg.arg] = given if given is not None else self.value(default, env) if default else BLANK
        if node.args.vararg is not None:
            env[node.args.vararg.arg] = sequence(site.args[len(names) :])
        if node.args.kwarg is not None:
            env[node.args.kwarg.arg] = mix(value for key, value in site.kwargs.items() if key not in names)

    # --- libraries that are known -----------------------------------------------------------------

    def _modelled(self, site: Site) -> Value | None:
        name, method = site.name, site.method
        everything = (*site.args, *site.kwargs.values())
        if name in known.CLEANERS:
            return self._cleaned(site, known.CLEANERS[name])
        if name in known.NUMERIC:
            return Value(name=f"{name}()")
        if name in known.INPUT_CALLS:
            return tainted("input", site.node.lineno, what=f"{name}()")
        if name in known.WEB_CALLS or (method in known.WEB_METHODS and name.startswith("self")):
            return tainted("web", site.node.lineno, what=f"{method}()")
        if method in known.INPUT_METHODS and isinstance(site.node.func, ast.Attribute):
            return replace(tainted("input", site.node.lineno, what=f"{method}()"), name=f"{name}()")
        if site.receiver.name == "request" or site.receiver.name.startswith("request."):
            return mix((site.receiver,))
        if name in ("lxml.etree.XMLParser", "lxml.etree.XMLPullParser"):
            entities = site.kwargs.get("resolve_entities")
            return Value(name="lxml:lenient" if entities is None or entities.const is True else "lxml:strict")
        if name in _STORES:
            return mapping({}, name="configparser")
        if name in ("dict", "collections.OrderedDict", "collections.defaultdict") and not site.args:
            return mapping(dict[Const | tuple[Const, ...], Value](site.kwargs.items()))
        if name in _PATHS:
            whole = "/".join(arg.text for arg in site.args)
            return replace(mix(everything, shape=whole), name=f"{name}()")
        if name in _TEXTS and len(site.args) >= 1:
            first = site.args[0]
            return (
                constant(str(first.const))
                if name == "str" and first.known
                else replace(
                    mix(site.args), shape=first.text if first.shape else None, name="io()" if "IO" in name else ""
                )
            )
        if name in _COPIES:
            return site.args[0] if site.args else sequence(())
        if name == "getattr" and len(site.args) >= 2 and isinstance(site.args[1].const, str):
            return Value(taint=site.args[0].taint, name=f"{site.args[0].name}.{site.args[1].const}")
        if name in ("__import__", "importlib.import_module") and site.args and isinstance(site.args[0].const, str):
            return Value(name=site.args[0].const)
        if isinstance(site.node.func, ast.Attribute):
            return self._method(site)
        return None

    def _cleaned(self, site: Site, uses: tuple[str, ...]) -> Value:
        source = site.args[0] if site.args else mix(site.kwargs.values())
        if ANY in uses:
            return BLANK
        out = mix((*site.args, *site.kwargs.values()))
        shape = source.shape if source.known or source.shape else HOLE
        return replace(
            out, safe=source.safe | out.safe | frozenset((*uses, CERTAIN)), shape=shape, name=f"{site.name}()"
        )

    def _method(self, site: Site) -> Value | None:
        receiver, method = site.receiver, site.method
        found = on_constant(receiver, method, args=site.args)
        if found is not None:
            return found
        if method in _GETTERS and receiver.items is not None:
            return looked_up(receiver, site.args)
        if method in known.CLEANER_METHODS and (site.args or receiver.taint):
            return mix((receiver, *site.args)).clean_for(*known.CLEANER_METHODS[method])
        text = on_text(receiver, method, args=site.args, kwargs=site.kwargs)
        if text is not None and (
            receiver.shape is not None or receiver.known or method in ("format", "replace", "join")
        ):
            return text
        if method == "items" and receiver.items is not None:
            return sequence(
                sequence((constant(key), value)) for key, value in receiver.items.items() if not isinstance(key, tuple)
            )
        if method == "values" and receiver.items is not None:
            return sequence(receiver.items.values())
        if method == "keys" and receiver.items is not None:
            return sequence(constant(key) for key in receiver.items if not isinstance(key, tuple))
        if method in _PATH_METHODS and receiver.name in _PATH_NAMES:
            whole = "/".join(part.text for part in (receiver, *site.args))
            return replace(mix((receiver, *site.args), shape=whole), name=receiver.name)
        changed = mutated(receiver, method, args=site.args)
        if changed is not None:
            self._store(site, changed[0])
            return changed[1]
        if method in known.NUMERIC_METHODS:
            return BLANK
        return None

    def _store(self, site: Site, value: Value) -> None:
        target = site.node.func.value if isinstance(site.node.func, ast.Attribute) else None
        path = path_of(target) if target is not None else ""
        if path and not (site.receiver.name.startswith(("self:", "class:")) and not value.taint):
            site.env[path] = value
        elif target is not None:
            for name in names_in(target):
                if name in site.env and value.taint:
                    site.env[name] = replace(
                        site.env[name], taint=site.env[name].taint | value.taint, items=None, seq=None
                    )

    # --- anything else ----------------------------------------------------------------------------

    def _unknown(self, site: Site) -> Value:
        uses = _by_name(site.name)
        out = mix((*site.args, *site.kwargs.values()))
        receiver = site.receiver
        if receiver.taint:
            passed = receiver if receiver.strength >= STRENGTH["input"] or receiver.shape else _weaker(receiver)
            out = mix((passed, out))
        if uses:
            if not site.args and not receiver.taint:
                return Value(name=f"{site.name}()")
            out = out.clean_for(*uses)
        if not out.taint and site.args and _PURE.match(site.name):
            fixed = all(arg.fixed for arg in (*site.args, *site.kwargs.values()))
            return Value(shape="" if fixed else HOLE)  # A constant, though not one that was worked out.
        if not out.taint and not site.args and self._foreign(site):
            out = tainted("free", site.node.lineno, what=f"{site.method}()")
        if not out.taint and site.args and all(not isinstance(arg.const, Unknown) for arg in site.args):
            out = tainted("free", site.node.lineno, what=f"{site.method}()") if self._foreign(site) else out
        return replace(out, name=f"{site.name}()" if len(site.name) < 120 else "", seq=None, items=None)

    def _foreign(self, site: Site) -> bool:
        return not site.name[:1].isupper() and not site.name.isupper() and not site.name.startswith("self:")


def _weaker(value: Value) -> Value:
    return replace(value, taint=frozenset(Taint("free", t.line, t.what) for t in value.taint), name="")


def _by_name(name: str) -> tuple[str, ...]:
    last = name.rpartition(".")[2].lower()
    for pattern, uses in known.CLEANER_NAMES:
        if pattern.search(last):
            return uses
    return ()
