"""Links may only lead where config says, however they are written, and reading them takes linear time."""

import asyncio
import re
import time
import unicodedata
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from link_tricks import HONEST, HOSTS, TRICKS
from quorate.checks import Part, Subject
from quorate.checks.links import Hosts, LinkJudge, foreign, hosts_of
from quorate.errors import UsageError
from quorate.knowledge import Section
from strategies import PURE

ALLOWED = Hosts(HOSTS)


def subject(*texts: str) -> Subject:
    return Subject(tuple(Part("assistant", text) for text in texts))


def test_there_are_enough_tricks() -> None:
    """The corpus has at least 200 tricks, each once."""
    assert len(TRICKS) == len(set(TRICKS)) >= 200


@pytest.mark.parametrize("text", TRICKS)
def test_a_trick_is_seen_alone_and_in_a_text(text: str) -> None:
    """Whatever a lenient renderer might load or follow is flagged, at the start of a text and in its middle."""
    assert foreign(text, ALLOWED) is not None
    assert foreign(f"Hello there,\n\n{text}\n\nand goodbye.", ALLOWED) is not None


@pytest.mark.parametrize("text", HONEST)
def test_an_honest_text_passes(text: str) -> None:
    """Allowed hosts, relative links, mail, telephone and ordinary prose are let through."""
    assert foreign(text, ALLOWED) is None
    assert foreign(f"Hello there,\n\n{text}\n\nand goodbye.", ALLOWED) is None


@PURE
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_surroundings_hide_a_plain_address(before: str, after: str) -> None:
    """What stands around an address of a foreign host does not make it pass."""
    assert foreign(f"{before} https://evil.test/a {after}", ALLOWED) is not None


@PURE
@given(st.text(alphabet="htps:/\\.@?#%&;<>()[]!\"' \n\tabeg=w", max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    """Any text has a verdict."""
    foreign(text, ALLOWED)


UNITS = ["https://", "//", "/ ", "<a ", "](", "&#", "&#1", "%25", "www.", "\\", "[", "a.", "http:", "<img src=", "h\n"]
UNITS += ["data:", "mailto:?", "\n//", " \t//", "url(", "<a on", "onx =", "\\u0041", "https:\n", "&amp;", "[x](", "a"]
UNITS += ['https://help.lantern.test"', "]: ", "`", "https://a.", "0", "&#0", "\\0", ": ", "@a.", "\u00ad", "。"]


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_text_costs_no_more_than_its_length(unit: str) -> None:
    """Eight times the text is no more than a few times eight times the work (quadratic: 64), whatever it repeats."""

    def cost_s(length: int) -> float:
        text, best_s = (unit * length)[:length], float("inf")
        for _ in range(3):
            start_s = time.process_time()
            foreign(text, ALLOWED)
            best_s = min(best_s, time.process_time() - start_s)
        return best_s

    assert cost_s(32_000) <= 30 * cost_s(4_000) + 0.02


@pytest.mark.parametrize(
    ("names", "text", "allowed"),
    [
        (["a.test"], "https://a.test/x", True),
        (["A.Test."], "https://a.test./x", True),
        (["a.test"], "https://b.a.test/x", False),
        (["*.a.test"], "https://b.a.test/x", True),
        (["*.a.test"], "https://c.b.a.test", True),
        (["*.a.test"], "https://a.test", False),
        (["*.a.test"], "https://ba.test", False),
        (["*.bücher.test"], "https://a.xn--bcher-kva.test", True),
        (["straße.test"], "https://strasse.test", False),
        (["strasse.test"], "https://straße.test", False),
        (["xn--strae-oqa.test"], "https://straße.test", False),
        ([], "https://a.test", False),
        ([], "[x](/a)", True),
    ],
)
def test_hosts_are_exact_or_all_below_one(names: list[str], text: str, allowed: bool) -> None:
    """A name allows itself, a star all below it and nothing beside it; no letter is taken for another."""
    assert (foreign(text, Hosts(names)) is None) == allowed


@pytest.mark.parametrize(
    "name", ["", "https://a.test", "a.test/x", "a.test:80", "a@b", "*", "*.", "a.*.b", "a b", "a..b"]
)
def test_a_host_that_is_none_is_refused(name: str) -> None:
    """A mistake in the list of hosts is told with the way out, not taken for a host that nobody links to."""
    with pytest.raises(UsageError, match="allowed is a host's name"):
        LinkJudge(frozenset((name,)))


async def test_the_judge_reads_every_part_and_quotes_the_host() -> None:
    """One bad part flags the whole; the reason names the host on one line, and quotes no more of it than needed."""
    judge = LinkJudge(HOSTS)
    clean = await judge.judge(subject("[x](https://help.lantern.test)", "hello"))
    assert (clean.outcome, clean.score, clean.model) == ("pass", 0.0, "links")
    bad = await judge.judge(subject("hello", "[x](https://evil.test/\x1b[0m)" + "z" * 500))
    assert (bad.outcome, bad.score, bad.category) == ("flag", 1.0, "link")
    assert bad.reason == "link to a foreign host: 'evil.test'"
    hostile = await judge.judge(subject("https://\x1bx\u2028" + "y" * 500))
    assert hostile.reason.isprintable() and len(hostile.reason) < 120


def test_a_long_answer_is_read_in_a_thread_to_its_end() -> None:
    """A link behind a long text is seen."""
    text = "Some words. " * 5_000 + "![x](//evil.test/a)"
    assert asyncio.run(LinkJudge(HOSTS).judge(subject(text))).outcome == "flag"


def test_the_help_centres_own_hosts() -> None:
    """Hosts it links to or names with a scheme or www are found; what is no plain host is not."""
    texts = [
        "See [us](https://help.lantern.test/a) and <http://Shop.Lantern.test:80>.",
        "![x](https://img.lantern.test) www.lantern.test, https://help.lantern.test.",
        "https://user@evil.test https://evil.test\\x http://localhost/ [r](/x) mailto:a@b.test",
    ]
    found = hosts_of(Section("t", "h", text, "f.md") for text in texts)
    assert found == {"help.lantern.test", "shop.lantern.test", "img.lantern.test", "www.lantern.test"}
    assert foreign(texts[0], Hosts(found)) is None and foreign(texts[1], Hosts(found)) is None


# Against a real renderer: what it makes a browser load or follow, read as a browser reads an address.


class Targets(HTMLParser):
    """Every address in the attributes of a rendered page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def rendered(text: str) -> list[str]:
    """The addresses of a text as a renderer shows it that filters nothing."""
    renderer = MarkdownIt("commonmark", {"html": True})
    renderer.validateLink = lambda _url: True  # type: ignore[method-assign]
    parser = Targets()
    parser.feed(renderer.render(text))
    return parser.found


def leads_to(address: str) -> str | None:
    """Where a browser on an https page goes (after the WHATWG URL standard): a host, a scheme, or None if it stays."""
    address = re.sub(r"[\t\n\r]", "", address.strip("".join(map(chr, range(33)))))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", address)
    if scheme and scheme[1].lower() not in ("http", "https"):
        return scheme[1] if scheme[1].lower() in ("javascript", "data") else None
    rest = address[scheme.end() :] if scheme else address
    slashes = re.match(r"[/\\]*", rest)
    if not slashes or (len(slashes[0]) < 2 and not (scheme and scheme[1].lower() == "http")):
        return None
    authority = re.split(r"[/\\?#]", rest[slashes.end() :])[0].rpartition("@")[2]
    host = unicodedata.normalize("NFKC", unquote(authority)).replace("。", ".").lower()
    host = re.sub(r"[\u00ad\u200b\u2060]", "", host)
    host = re.sub(r":\d*\Z", "", host).removesuffix(".")
    # A host with one of these characters is an error to a browser, and no top-level domain has a sign in it.
    known = re.fullmatch(r"(?:[^\s<>\[\]^|#%/:?@\\]*\.)?[a-z0-9]+", host)
    return host if known else None


PIECES = ["[x](", "![x](", "](", ")", "https", "http", ":", "//", "/", "\\", "evil.test", "help.lantern.test", "@", "."]
PIECES += [" ", "\n", "\t", "<", ">", "&sol;", "&#58;", "&Tab;", "&NewLine;", "&period;", "%2F", "%2e", '"', "'", "="]
PIECES += [
    "<img src=",
    "<a\nhref='",
    "[r]",
    "[r]: ",
    "javascript",
    "data",
    "a",
    ",",
    "?",
    "#",
    "(",
    "\u200b",
    "。",
    "*",
]
PIECES += [
    "*",
    "https://",
    "https://help.lantern.test",
    "mailto",
    "&bsol;",
    "&commat;",
    "`",
    "\n\n",
    "80",
    "[",
    "]",
    "<b>",
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=14).map("".join))
def test_what_a_renderer_would_load_is_flagged(text: str) -> None:
    """If the page would lead to a host that is not allowed, the text is flagged; the renderer is not ours."""
    targets = [target for address in rendered(text) if (target := leads_to(address)) is not None]
    abroad = [target for target in targets if not ALLOWED.allow(target)]
    event(f"{bool(abroad)}")
    assert not abroad or foreign(text, ALLOWED) is not None
