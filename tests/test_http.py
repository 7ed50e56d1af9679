"""The shared session: its connections, proxies and certificates; reading within bounds; foreign errors made ours."""

import asyncio
import errno
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from model_world import (
    HASTE,
    KEY,
    QUESTION,
    Asked,
    answer,
    complete,
    error,
    forward_proxy,
    model_at,
    no_proxy_of_the_machine,
    open_files,
    other_tasks,
    raw_server,
    until,
)
from quorate.errors import ConfigError, ModelRefused, ModelUnavailable
from quorate.models.http import Session, mapped, proxy_for
from quorate.testing.standin import StandIn

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# Connections


async def test_a_session_is_used_inside_its_block() -> None:
    """Outside of its block a session says so; inside, it counts what is in use; after, everything is closed."""
    session = Session()
    assert session.in_use == 0
    with pytest.raises(ConfigError, match="async with"):
        _ = session.client
    async with StandIn() as server:
        before = open_files(), other_tasks()
        async with session:
            model = model_at(server.base_url, session, "answer-50ms")
            calls = [asyncio.create_task(complete(model, stream=stream)) for stream in (False, True) * 5]
            await until(lambda: session.in_use == 10)
            await asyncio.gather(*calls)
            assert session.in_use == 0
            assert server.stats()["connections_open"] == 10
        await until(lambda: server.stats()["connections_open"] == 0)
        assert (open_files(), other_tasks()) == before
        with pytest.raises(ConfigError):
            await model.complete(QUESTION)
        async with session:
            assert (await model.complete(QUESTION)).text


@pytest.mark.parametrize(("most", "peak"), [(3, 3), (0, 150)])
async def test_connections_are_bounded(most: int, peak: int) -> None:
    """No more connections are open than allowed, idle ones included; without a bound nothing stands in the way."""
    async with StandIn() as server, Session(max_connections=most) as session:
        model = model_at(server.base_url, session, "answer-100ms" if most == 0 else "answer-5ms")
        await asyncio.gather(*(model.complete(QUESTION) for _ in range(150 if most == 0 else 30)))
        stats = server.stats()
        assert stats["total"]["peak_in_flight"] == peak
        assert stats["connections_open"] <= peak
        assert stats["total"]["finished"] == stats["total"]["started"]


async def test_a_cancel_in_the_queue_for_a_connection() -> None:
    """A call cancelled while it waits for a connection takes none, and the others go on."""
    async with StandIn() as server, Session(max_connections=1) as session:
        model = model_at(server.base_url, session, "answer-30ms")
        calls = [asyncio.create_task(model.complete(QUESTION)) for _ in range(6)]
        await until(lambda: session.in_use == 1)
        for call in calls[1:4]:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False, True, True, True, False, False]
        assert (server.stats()["total"]["started"], session.in_use) == (3, 0)


async def test_nothing_of_the_machine_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials from .netrc and no cookies are sent; the key is the only secret that travels."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with raw_server(answer()) as server, Session() as session:
        await model_at(server.base_url, session).complete(QUESTION)
        await model_at(server.base_url, session, api_key=KEY).complete(QUESTION)
        assert [asked.headers.get("authorization") for asked in server.asked] == [None, f"Bearer {KEY}"]
        assert not any("cookie" in asked.headers for asked in server.asked)


# Proxies


@both_ways
@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://user:hunter2@127.0.0.1:{}/"])
async def test_a_proxy_of_the_environment(form: str, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY, with a scheme or without, is gone through; what it says to fail shows no password."""
    async with StandIn() as server, forward_proxy() as proxy, Session() as session:
        monkeypatch.setenv("HTTP_PROXY", form.format(proxy.port))
        monkeypatch.setenv("http_proxy", form.format(proxy.port))
        model = model_at(f"http://model.invalid:{server.port}/v1", session, "answer", api_key=KEY)
        assert (await complete(model, stream=stream)).text
        assert [asked.line for asked in proxy.asked] == [
            f"POST http://model.invalid:{server.port}/v1/chat/completions HTTP/1.1"
        ]
        assert ("proxy-authorization" in proxy.asked[0].headers) == ("hunter2" in form)
        assert server.stats()["total"]["finished"] == 1
    async with Session() as session:
        lost = model_at("http://model.invalid/v1", session, api_key=KEY)
        with pytest.raises(ModelUnavailable) as caught:
            await lost.complete(QUESTION)
        assert "hunter2" not in f"{caught.value} {lost!r}"


@pytest.mark.parametrize("lead", ["model.invalid:1", "http://[", "::::", "ftp://127.0.0.1:1", "http://u:hunter2@"])
async def test_a_proxy_that_is_none(lead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is an error of ours that shows no password; it is never gone around."""
    monkeypatch.setenv("http_proxy", lead)
    async with StandIn() as server, Session() as session:
        with pytest.raises(ModelUnavailable) as caught:
            await model_at(server.base_url, session, "answer", timeouts=HASTE).complete(QUESTION)
        assert "hunter2" not in str(caught.value)
        assert server.stats()["total"]["started"] == 0


def test_hosts_that_go_around_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names hosts, domains and ports that are reached directly; the scheme chooses the proxy."""
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://safe:2")
    monkeypatch.setenv("no_proxy", "internal.test,.corp.test,ported.test:8000")
    ways = {
        "http://example.test/v1": "http://plain:1",
        "https://example.test/v1": "http://safe:2",
        "http://internal.test/v1": None,
        "http://a.corp.test/v1": None,
        "https://a.internal.test:99/v1": None,
        "http://ported.test:8000/v1": None,
        "http://ported.test/v1": "http://plain:1",
        "http://notinternal.test/v1": "http://plain:1",
    }
    assert {url: proxy_for(URL(url)) for url in ways} == ways
    monkeypatch.setenv("no_proxy", "*")
    assert proxy_for(URL("http://example.test")) is None


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "ca.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=stand-in"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this openssl command makes no such certificate")
    yield certificate, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_ca_file_of_ones_own(certificate: tuple[Path, Path], tls: ssl.SSLContext) -> None:
    """A server signed by the given authority is trusted, for its own name only; without the file it is not asked."""
    async with raw_server(answer("hi"), context=tls) as server:
        async with Session(ca_file=certificate[0]) as session:
            assert (await model_at(server.base_url, session, api_key=KEY).complete(QUESTION)).text == "hi"
            elsewhere = model_at(f"https://localhost:{server.port}/v1", session, api_key=KEY)
            with pytest.raises(ModelUnavailable):
                await elsewhere.complete(QUESTION)
            assert session.in_use == 0
        async with Session() as session:
            with pytest.raises(ModelUnavailable) as caught:
                await model_at(server.base_url, session, api_key=KEY).complete(QUESTION)
            assert KEY not in str(caught.value)
        assert len(server.asked) == 1


@both_ways
async def test_tls_through_a_proxy(
    certificate: tuple[Path, Path], tls: ssl.SSLContext, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To an https address the proxy only opens a tunnel: it never sees the key."""
    async with raw_server(answer("hi"), context=tls) as server, forward_proxy() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        async with Session(ca_file=certificate[0]) as session:
            assert (await model_at(server.base_url, session, api_key=KEY).complete(QUESTION)).text == "hi"
        assert [asked.line for asked in proxy.asked] == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
        assert KEY not in str(proxy.asked)
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_cancel_closes_tls_too(certificate: tuple[Path, Path], tls: ssl.SSLContext) -> None:
    """A cancelled call over TLS is seen by the server as a client that left."""
    reached = asyncio.Event()

    async def silent(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        reached.set()

    async with raw_server(silent, context=tls) as server:
        before = other_tasks()
        async with Session(ca_file=certificate[0]) as session:
            call = asyncio.create_task(model_at(server.base_url, session).complete(QUESTION))
            await reached.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await until(lambda: server.left == 1)
            assert session.in_use == 0
        await until(lambda: other_tasks() <= before)  # The server of this test has a task for each client.


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
async def test_a_ca_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    """A file of authorities that cannot be read fails when the session opens, and opens nothing."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    session = Session(ca_file=path)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        async with session:
            pass
    with pytest.raises(ConfigError):
        _ = session.client


# Foreign errors


FOREIGN = [
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    OSError(f"socket to {KEY} broke"),
    TimeoutError(KEY),
    aiohttp.ClientPayloadError(KEY),
    aiohttp.ServerDisconnectedError(KEY),
    aiohttp.InvalidURL(f"http://{KEY}/"),
    aiohttp.ClientConnectionResetError(KEY),
    aiohttp.ServerTimeoutError(KEY),
    aiohttp.TooManyRedirects(aiohttp.RequestInfo(URL("http://x"), "POST", None, URL("http://x")), ()),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda e: type(e).__name__)
def test_foreign_errors_become_ours(foreign: aiohttp.ClientError | OSError) -> None:
    """An error of the network is one of ours, says where it happened, and repeats nothing of the client's text."""
    ours = mapped("m at host", foreign)
    assert type(ours) is ModelUnavailable
    assert str(ours).startswith("m at host: ")
    assert KEY not in str(ours)


def test_our_own_errors_stay() -> None:
    """What is ours already keeps its kind and its waiting time."""
    ours = ModelUnavailable("x", retry_after_s=3.0)
    assert mapped("m", ours) is ours


async def test_nobody_listens() -> None:
    """An address where nobody listens is unavailable, and says so without the address's query."""
    async with raw_server() as gone:
        pass
    async with Session() as session:
        with pytest.raises(ModelUnavailable, match="cannot connect") as caught:
            await model_at(f"{gone.base_url}?code={KEY}", session).complete(QUESTION)
        assert KEY not in str(caught.value)
        assert session.in_use == 0


async def test_refusals_show_the_servers_words_quoted() -> None:
    """What a server says of its refusal is shortened and quoted, so that no control byte of it reaches a terminal."""
    said = error("\x1b]8;;http://evil\x07click\u202e\n" * 99, "418 Teapot")
    async with raw_server(said) as server, Session() as session:
        with pytest.raises(ModelRefused) as caught:
            await model_at(server.base_url, session).complete(QUESTION)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000
    assert caught.value.status == 418
