"""The rules for what web handlers return, and for XML, archives and cookies, in which several values matter."""

import ast
import re
from typing import Final

from quorate.apps.review.flow.calls import Site
from quorate.apps.review.flow.sinks import origin
from quorate.apps.review.flow.state import Frame, Returned, State
from quorate.apps.review.flow.values import HOLE, STRENGTH, Value, mix

_TAG: Final = re.compile(r"<\s*/?[a-zA-Z][\w-]*(\s[^<>]*)?(>|\0|$)|&[a-z]+;")
_XML_CALLS: Final = re.compile(
    r"(lxml\.etree|xml\.(etree\.(c?ElementTree)|dom\.(minidom|pulldom|expatbuilder)|sax))\.(parse|fromstring|parseString|"
    r"XML|iterparse|fromstringlist)$|.*parser.*\.(parse|feed)$|xml\.sax\.make_parser\(\)\.parse$"
)


def page(returned: Returned, state: State) -> None:
    """The rule for what a handler returns: it is read as HTML unless it says otherwise."""
    node, value, frame = returned
    body = value.seq[0] if value.seq else value
    if not frame.handler:
        _fragment(node, body, state)
        return
    if body.name in ("flask.jsonify()", "flask.redirect()", "flask.render_template()", "json.dumps()", "dict"):
        return
    if body.items is not None or ("(" in body.name and body.shape is None):
        return
    if body.is_safe("html"):
        if body.taint:
            state.fine(79, node, why="the value was escaped for HTML")
        return
    if body.strength >= STRENGTH["web"] and (body.shape is not None or _echoes(frame)):
        message = f"{origin(body)} is returned as part of a page without being escaped"
        state.hit("page", 79, node=node, value=body, message=message, severity="high")


def _fragment(node: ast.AST, body: Value, state: State) -> None:
    """A function that makes HTML of what it is given, for others to put into a page."""
    shape = body.shape or ""
    page_like = HOLE in shape and shape.count("<") > 1 and _TAG.search(shape)
    if page_like and not body.is_safe("html") and body.taint:
        message = f"{origin(body)} is put into HTML by hand without being escaped"
        state.hit("markup", 79, node=node, value=body, message=message, severity="medium")


def _echoes(frame: Frame) -> bool:
    """Whether a handler is one of those frameworks that take a returned text for a page."""
    decorators = getattr(frame.node, "decorator_list", [])
    return bool(decorators) or getattr(frame.node, "name", "").startswith("render_")


def markup(site: Site, state: State) -> None:
    """The rule for HTML that is put together by hand and passed on."""
    if site.method not in (
        "write",
        "append",
        "send",
        "Markup",
        "mark_safe",
        "SafeString",
        "respond",
        "set_body",
    ):
        return
    for value in site.args[:1]:
        shape = value.shape or ""
        page_like = HOLE in shape and shape.count("<") > 1 and _TAG.search(shape)
        if page_like and not value.is_safe("html") and value.strength >= STRENGTH["param"]:
            message = f"{origin(value)} is put into HTML by hand without being escaped"
            state.hit("markup", 79, node=site.node, value=value, message=message, severity="medium")
            return


def xml(site: Site, state: State) -> None:
    """The rule for XML parsers: one that resolves external entities must not read an outsider's text."""
    if site.method == "setFeature" and len(site.args) == 2 and site.args[1].const in (True, 1):
        _mark(site, site.args[0].name + str(site.args[0].const))
        return
    if site.name in ("lxml.etree.XMLParser", "lxml.etree.XMLPullParser"):
        return
    if not _XML_CALLS.match(site.name) and not (site.method == "parse" and site.receiver.name == "xml:external"):
        return
    parsers = [*site.args[1:], *site.kwargs.values(), site.receiver]
    external = any(p.name == "xml:external" for p in parsers)
    lenient = any(p.name == "lxml:lenient" for p in parsers)
    data = site.args[0] if site.args else mix(site.kwargs.values())
    if (external or lenient) and data.taint and data.strength >= STRENGTH["param"]:
        message = f"{origin(data)} is read by an XML parser that resolves external entities"
        state.hit("xxe", 611, node=site.node, value=data, message=message, severity="high")
    elif site.name.startswith("lxml.") and data.strength >= STRENGTH["input"] and not any(p.name for p in parsers):
        message = (
            f"{origin(data)} is read by lxml with its default parser, which before lxml 5 resolved external entities"
        )
        state.hit("xxe-default", 611, node=site.node, value=data, message=message, severity="medium")
    else:
        if data.taint or data.fixed:
            why = "what is parsed is constant" if not data.taint else "the parser resolves no external entities"
            state.fine(611, site.node, why=why)


def _mark(site: Site, feature: str) -> None:
    """Note in the variables that a parser was told to resolve external entities."""
    target = site.node.func.value if isinstance(site.node.func, ast.Attribute) else None
    if isinstance(target, ast.Name) and re.search("external|load_dtd|DTD", feature):
        site.env[target.id] = Value(name="xml:external")
