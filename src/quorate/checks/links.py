"""Links and images in an answer may only point to hosts that were named.

A picture whose address holds what the answerer knows is fetched as soon as the answer is shown: the classic way to
carry a conversation out. So this reads a text as the most lenient renderer would (Markdown, HTML, bare addresses,
entities, escapes, line breaks inside of tags) and an address as the strictest parser would: whatever is not plainly
`http(s)://` and an allowed host is flagged, so that no two programs can disagree about where it leads.

Every step is linear in the length of the text: repeats in patterns are possessive or start where no other can.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from quorate.checks.conversation import Subject
from quorate.checks.verdict import Verdict
from quorate.engine import StopFlag, in_thread
from quorate.errors import UsageError
from quorate.knowledge import Section

VERSION = "links@1"
MAX_ROUNDS = 3
"""How often encodings inside of encodings are undone."""
_INLINE_CHARS = 2_000
"""Reading a text up to this long takes a millisecond or a few, less than a thread is worth."""
_QUOTE = 60
_LOOK = 256

_HOST_NAME = re.compile(r"(?:\*\.)?[^\s/\\:@?#%*.]+(?:\.[^\s/\\:@?#%*.]+)*\Z")


class Hosts:
    """The hosts that may be linked to.

    Args:
        names: exact (`help.example.com`) or all below one (`*.example.com`, which is not `example.com` itself).

    Raises:
        UsageError: a name is no host name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._below: set[str] = set()
        for name in names:
            host = unicodedata.normalize("NFC", name).lower().rstrip(".")
            if not _HOST_NAME.match(host):
                raise UsageError(f"hosts: found {name!r}, allowed is a host's name such as help.example.com or *.a.b")
            kept, bare = (self._below, host[2:]) if host.startswith("*.") else (self._exact, host)
            kept |= {bare, ".".join(map(_ascii, bare.split(".")))}

    def allow(self, host: str) -> bool:
        """Whether a host as it stands in a text is one of them, in any case, in Unicode or Punycode."""
        if len(host) > 253:
            return False
        host = unicodedata.normalize("NFC", host).lower()
        labels = host.split(".")
        return host in self._exact or any(".".join(labels[i:]) in self._below for i in range(1, len(labels)))


def _ascii(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


class Found(NamedTuple):
    """A link: what it is, and the host or scheme it leads to. Untrusted text."""

    kind: str
    target: str


class LinkJudge:
    """Flags a text with a link or image that leads elsewhere than to the hosts; relative ones lead to the reader's own.

    `mailto:` (with a subject at most) and `tel:` are let through to anybody: nothing is fetched when they are shown,
    and people see whom they write to before they do. A `mailto:` with a prepared body could carry text out, and is
    flagged.

    Args:
        hosts: see `Hosts`; none at all allows no link but relative ones.

    Raises:
        UsageError: a name is no host name.
    """

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = Hosts(hosts)

    async def judge(self, subject: Subject) -> Verdict:
        """Read every part, a long one in a thread; a cancel stops it at the next part."""
        if sum(len(part.text) for part in subject.parts) <= _INLINE_CHARS:
            return self._judge(subject)
        return await in_thread(partial(self._judge, subject), lane="long")

    def _judge(self, subject: Subject, stop: StopFlag | None = None) -> Verdict:
        for part in subject.parts:
            if stop is not None and stop.pause():
                break
            found = foreign(part.text, self._hosts)
            if found is not None:
                target = found.target[:_QUOTE]
                return Verdict("flag", 1.0, "link", f"{found.kind}: {target!r}", "links", VERSION)
        return Verdict("pass", 0.0, "none", "no link to a foreign host", "links", VERSION)


def foreign(text: str, hosts: Hosts) -> Found | None:
    """The first thing in a text that would lead, or might be made to lead, to a host that is not allowed."""
    if not _SIGNS.search(text):
        return None
    for reading in dict.fromkeys(_readings(text)):
        for scan in (_addresses, _relative_to_scheme, _schemes, _names):
            for found in scan(reading, hosts):
                return found
        tight = "\n".join(map(_tight, _REGION.findall(reading))) if _BREAK.search(reading) else ""
        if tight:
            for scan in (_addresses, _relative_to_scheme, _schemes):
                for found in scan(tight, hosts, True):
                    return found
    return None


def hosts_of(sections: Iterable[Section]) -> frozenset[str]:
    """The hosts that the help centre itself links to, or names with `http(s)://` or `www.`, as they stand there."""
    found: set[str] = set()
    for section in sections:
        for match in (*_HTTP.finditer(section.text), *_WWW.finditer(section.text)):
            start = match.end() if match[0].endswith(":") else match.start()
            start += 2 if section.text.startswith("//", start) else 0
            host = _HOST.match(section.text, start)
            if host and _ends(section.text, _port(section.text, start + len(_trimmed(host[0]))), ""):
                found.add(_trimmed(host[0]).lower())
    return frozenset(host for host in found if _HOST_NAME.match(host) and "." in host)


# --- readings: what a renderer may make of the text ------------------------------------------------

# What no link can do without; most windows of an answer have none of it.
_SIGNS = re.compile(r"[:/\\&%@<\].。．｡：／＼]")
_BREAK = re.compile(r"[\t\n\r]")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})++")
_ESCAPE = re.compile(r"\\(?:u\{?([0-9A-Fa-f]{1,6})\}?|x([0-9A-Fa-f]{2})|([0-9A-Fa-f]{2,6}) ?)")
# As browsers have it: any number of zeros, and the end may be missing. The digits are bounded, as numbers must be.
_ENTITY = re.compile(r"&(?:#0*+([0-9]{1,8})|#[xX]0*+([0-9a-fA-F]{1,7})|[A-Za-z][A-Za-z0-9]{1,31}+);?")
_MARKED = re.compile(r"\\([!-/:-@\[-`{-~])")
_SLASHES = {"⁄": "/", "∕": "/", "⧸": "/", "╱": "/", "。": ".", "․": ".", "∶": ":", "ː": ":", "꞉": ":", "⧵": "\\"}
# Tags, and destinations of Markdown and CSS: places where a browser drops line breaks from an address in quotes.
_REGION = re.compile(r"<[A-Za-z!/?][^<]*+|\]\([^\]]*+|url\([^)]*+", re.IGNORECASE)


def _readings(text: str) -> Iterator[str]:
    yield text
    clear = text
    for _ in range(MAX_ROUNDS):
        before = clear
        clear = _ENTITY.sub(_unentity, clear) if "&" in clear else clear
        clear = _PERCENT.sub(_unpercent, clear) if "%" in clear else clear
        clear = _ESCAPE.sub(_unescape, clear) if "\\" in clear else clear
        if clear == before:
            break
    table = {ord(char): _fold(char) for char in set(clear) if not " " <= char <= "~"}
    clear = clear.translate(table) if table else clear
    yield clear
    yield _MARKED.sub(r"\1", clear)
    if "%" in text or "&" in text:
        yield _MARKED.sub(r"\1", _ENTITY.sub(_unentity, text))


def _unpercent(match: re.Match[str]) -> str:
    return unquote_to_bytes(match[0]).decode("utf-8", "replace")


def _unentity(match: re.Match[str]) -> str:
    if match[1] or match[2]:
        return html.unescape(f"&#{match[1]};" if match[1] else f"&#x{match[2]};")
    return html.unescape(match[0])


def _unescape(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3], 16)
    return chr(code) if code < 0x110000 else ""


def _fold(char: str) -> str:
    """One character or none: invisible ones go, full-width and other forms become plain."""
    if char in "\t\n\r":
        return char
    if unicodedata.category(char) in ("Cf", "Cc", "Cs", "Co", "Cn") or 0xFE00 <= ord(char) <= 0xFE0F:
        return ""
    wide = unicodedata.normalize("NFKC", char)
    return _SLASHES.get(wide, wide if len(wide) == 1 else char)


def _tight(region: str) -> str:
    return _BREAK.sub("", region)


# --- addresses: where one begins, and whether it is plainly an allowed host -------------------------

_HTTP = re.compile(r"https?:", re.IGNORECASE)
_PAIR = re.compile(r"[/\\]{2,}+")
_SLASH_RUN = re.compile(r"[/\\\t\n\r]*+")
_WWW = re.compile(r"(?<![A-Za-z0-9.@/\\_-])www[0-9]{0,3}\.", re.IGNORECASE)
_HOST = re.compile(r"[\w.\-]++")
_ASCII_HOST = re.compile(r"[A-Za-z0-9_.\-]++")
_DOTTED = re.compile(r"[\w-]++(?:\.[\w-]++)++|\[|[0-9]{6,}")
_PORT = re.compile(r":[0-9]{1,5}(?![0-9A-Za-z])")
# No host holds these, whoever parses it.
_END = re.compile(r"[\s<>|^\[\]/?#]")
_STOP = re.compile(r"[\s<>|^]")
_MORE = re.compile(r"[.%@\\。．｡]")
_CLOSERS = {"(": ")", '"': '"', "'": "'", "`": "`", "<": ">"}
# What ends the part of an address in which an at sign makes a name of a user of all that stands before it: in quotes
# and brackets not even white space does.
_USERS = {closer: re.compile(rf"[{closer}/?#]") for closer in _CLOSERS.values()} | {"": re.compile(r"[\s/?#]")}
_VALUES = frozenset("=:[,({")
_OPENERS = frozenset("(\"'=<,`{[")
_QUOTED = frozenset("(\"'<")


def _addresses(text: str, hosts: Hosts, inside: bool = False) -> Iterator[Found]:
    """`http:` and `https:` addresses, and slash pairs after any other scheme."""
    for match in _HTTP.finditer(text):
        if inside and _before(text, match.start())[1] not in _QUOTED:
            continue
        slashes = _SLASH_RUN.match(text, match.end())
        end = slashes.end() if slashes else match.end()
        closer = _closer(text, match.start())
        named = _names_host(text, end, closer)
        if end == match.end():
            named = text[end : end + 1].isalnum() or text[end : end + 1] in tuple("%&[@")
        if end == match.end() + 2 and text.startswith("//", match.end()):
            if named and not _plain(text, end, hosts, closer):
                yield Found("link to a foreign host", _target(text, end))
        elif named:
            # Not "://" and a host: browsers mend it, each in its way.
            yield Found("malformed link", text[match.start() : match.start() + _QUOTE])


def _relative_to_scheme(text: str, hosts: Hosts, inside: bool = False) -> Iterator[Found]:
    """`//host` without a scheme, and `scheme://` that is not the web's."""
    for match in _PAIR.finditer(text):
        start, prior = _before(text, match.start())
        left = text[match.start() - 1 : match.start()] if match.start() else ""
        end = match.end()
        closer = _closer(text, match.start())
        if not _names_host(text, end, closer):
            continue
        scheme = _scheme(text, match.start())
        if scheme.lower().endswith(("http", "https")):
            continue
        bare = not (inside or left.isalnum() or left in tuple("/\\:._-"))
        opened = prior in (_QUOTED if inside else _OPENERS) or text[max(start - 1, 0) : start + 1] == "]:"
        if scheme:
            yield Found("link of a foreign scheme", f"{scheme}:{text[match.start() : match.start() + _QUOTE]}")
        elif (opened or (bare and _DOTTED.match(text, end))) and not (
            match[0] == "//" and _plain(text, end, hosts, closer)
        ):
            yield Found("link without a scheme to a foreign host", _target(text, end))


def _plain(text: str, start: int, hosts: Hosts, closer: str) -> bool:
    """Whether an allowed host begins here and plainly ends, so that every parser reads the same one."""
    # A name in other letters, or one in plain ones that stands before words in others.
    for pattern in (_HOST, _ASCII_HOST):
        match = pattern.match(text, start)
        host = _trimmed(match[0]) if match else ""
        if hosts.allow(host):
            end = start + len(host)
            end += text.startswith(("./", ".?", ".#"), end)
            return _ends(text, _port(text, end), closer)
    return False


def _trimmed(host: str) -> str:
    return host.rstrip("._-")


def _port(text: str, end: int) -> int:
    port = _PORT.match(text, end)
    return port.end() if port else end


def _ends(text: str, end: int, closer: str) -> bool:
    """Whether a host ends here for everybody: nothing follows by which it could go on to another domain."""
    char = text[end : end + 1]
    if char in ("?", "#"):
        # Old parsers look for a user's name up to the first slash.
        return "@" not in _cut(text, end + 1) and "\\" not in _cut(text, end + 1)
    if _has_user(text, end, closer):
        return False
    if char and char == closer:
        return True
    return not _MORE.search(_cut(text, end).rstrip(".,;:!*_~)}\"'`。．｡"))


def _cut(text: str, start: int) -> str:
    """What follows up to a character that no host holds."""
    rest = text[start : start + _LOOK]
    end = _END.search(rest)
    return rest[: end.start()] if end else rest


def _names_host(text: str, start: int, closer: str) -> bool:
    """Whether anything follows that a host could be made of."""
    if _has_user(text, start, closer):
        return True
    stop = _STOP.search(text, start, start + _LOOK)
    return any(char.isalnum() or char in "%[&\\" for char in text[start : stop.start() if stop else start + _LOOK])


def _has_user(text: str, start: int, closer: str) -> bool:
    """Whether an at sign follows, so that all before it is a user's name and the host comes after it."""
    stop = _USERS[closer].search(text, start)
    return text.find("@", start, stop.start() if stop else len(text)) >= 0


def _target(text: str, start: int) -> str:
    return _cut(text, start) or text[start : start + _QUOTE]


def _before(text: str, start: int) -> tuple[int, str]:
    """The last character before this place that is no white space, and where it stands."""
    at = start - 1
    while at >= 0 and text[at].isspace():
        at -= 1
    return at, text[at] if at >= 0 else ""


def _closer(text: str, start: int) -> str:
    """What ends an address that begins here, where it stands in a destination, an attribute or a quoted value."""
    at, prior = _before(text, start)
    if prior == "(":
        return ")" if text[max(at - 1, 0) : at] == "]" or text[max(at - 3, 0) : at].lower() == "url" else ""
    return _CLOSERS.get(prior, "") if prior == "<" or _before(text, at)[1] in _VALUES else ""


def _scheme(text: str, slashes: int) -> str:
    """The scheme that ends right before a pair of slashes, or ""."""
    before = _BREAK.sub("", text[max(slashes - 40, 0) : slashes])
    match = re.search(r"[A-Za-z0-9+.\-]{1,32}:\Z", before)
    return match[0][:-1] if match else ""


# --- schemes, tags and bare names ------------------------------------------------------------------

_DESTINATION = re.compile(r"\]\([\s<\"'(]*+([A-Za-z][A-Za-z0-9+.\-]*+):", re.IGNORECASE)
_DEFINITION = re.compile(r"\]:\s*+<?([A-Za-z][A-Za-z0-9+.\-]*+):(?=\S)", re.IGNORECASE)
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.\-]{1,31}):[^\s<>]++>")
_ACTIVE = re.compile(
    r"(?:java|vb|live)script:(?=\S)|data:(?=[a-z]++/[a-z]|[;,])|(?<![a-z])(?:blob|filesystem|view-source|intent):(?=[a-z/])",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"<\s*+/?(?:script|base)(?![A-Za-z0-9-])|<[A-Za-z][^<>]*?[\s\"'/]on[A-Za-z]{3,30}\s*+=", re.IGNORECASE
)
_ATTRIBUTE = re.compile(r"=\s*+[\"']?\s*+(data|javascript|vbscript|blob|filesystem)\s*+:", re.IGNORECASE)
_MAIL = re.compile(r"mailto:[^\s\"'<>)?]*+\?(?!subject=[^\s\"'<>)&;]*+(?:[\s\"'<>)]|\Z))", re.IGNORECASE)
_KNOWN = frozenset(("http", "https", "mailto", "tel"))
_NAME = re.compile(r"(?<![\w.@/\\:%=&?#-])[A-Za-z0-9][A-Za-z0-9-]*+(?:\.[A-Za-z0-9-]++)++(?!@)")
_TOP = frozenset(
    (
        *("com", "net", "org", "info", "biz", "edu", "gov", "mil", "pro", "xyz", "top", "site", "online", "link"),
        *("click", "shop", "store", "live", "app", "dev", "cloud", "page", "host"),
    )
)
_ENDINGS = frozenset(("py", "md", "sh", "rs", "pl", "cc", "so", "ps", "st", "ml", "mk", "am", "pm"))
_PATH = re.compile(r"(?::[0-9]{1,5})?[/?#][\w.%&=-]")


def _schemes(text: str, _hosts: Hosts, inside: bool = False) -> Iterator[Found]:
    """Destinations with a scheme that is neither the web's nor mail or telephone; tags that run or move things."""
    for pattern in (_DESTINATION, _ATTRIBUTE) if inside else (_DESTINATION, _ATTRIBUTE, _DEFINITION, _AUTOLINK):
        for match in pattern.finditer(text):
            if match[1].lower() not in _KNOWN:
                yield Found("link of a foreign scheme", match[1])
    for match in _ACTIVE.finditer(text):
        if not inside or _before(text, match.start())[1] in _QUOTED:
            yield Found("link of a foreign scheme", match[0])
    for match in _MAIL.finditer(text):
        yield Found("prepared mail", match[0])
    for match in _TAG.finditer(text):
        yield Found("active markup", match[0][:_QUOTE])


def _names(text: str, hosts: Hosts) -> Iterator[Found]:
    """Names of hosts without a scheme, which many programs make links of."""
    for match in _WWW.finditer(text):
        if _HOST.match(text, match.end()) and not _plain(text, match.start(), hosts, ""):
            yield Found("link to a foreign host", _target(text, match.start()))
    for match in _NAME.finditer(text):
        labels = match[0].split(".")
        top = labels[-1]
        long = len(labels) > 2 and min(map(len, labels)) > 1 and top not in _ENDINGS
        country = len(top) == 2 and top.isalpha() and top.islower() and (long or _PATH.match(text, match.end()))
        if (top.lower() in _TOP or country) and not _plain(text, match.start(), hosts, ""):
            yield Found("link to a foreign host", match[0])
