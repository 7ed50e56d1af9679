"""The one HTTP session that all calls share, the reading of what comes back, and foreign errors as ours.

Keys travel in headers, so nothing here follows a redirect, reads .netrc, or shows a header in a repr or error.
"""

import json
import ssl
import urllib.request
from http.cookies import SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic_core import from_json
from yarl import URL

from quorate.errors import BadReply, ConfigError, ModelError, ModelRefused, ModelUnavailable, RateLimited

CONNECT_TIMEOUT_S = 5.0
IDLE_S = 30.0
MAX_REPLY_BYTES = 8 << 20
_SHOWN = 300


class _NoCookies(aiohttp.DummyCookieJar):
    """Keeps no cookie and sends none, without making an empty jar for every request."""

    _NONE: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        return self._NONE


class Session:
    """A pool of connections for every model of a process.

    Idle connections are kept for 30 s and never number more than `max_connections`.

    Args:
        max_connections: the most connections open at once, 0 for no bound; never below the limiters' sum.
        ca_file: PEM file of the certificate authorities to trust, instead of the system's.

    Entering it raises `ConfigError` where `ca_file` cannot be read.
    """

    def __init__(self, *, max_connections: int = 0, ca_file: Path | None = None) -> None:
        self._max_connections = max_connections
        self._ca_file = ca_file
        self._client: aiohttp.ClientSession | None = None
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=IDLE_S,
            ssl=_trusting(self._ca_file) if self._ca_file else True,
        )
        self._client = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=_NoCookies(),
            headers={"Accept-Encoding": "identity", "User-Agent": "quorate"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = self._connector = None

    @property
    def client(self) -> aiohttp.ClientSession:
        """The session to send with.

        Raises:
            ConfigError: it is used outside of its `async with` block.
        """
        if self._client is None:
            raise ConfigError("session", ["it is not open: use it inside `async with`"])
        return self._client

    @property
    def in_use(self) -> int:
        """Connections that carry a request at this moment."""
        return len(self._connector._acquired) if self._connector is not None else 0


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError among them.
        raise ConfigError(str(ca_file), [f"not a PEM file of certificates: {error.strerror or error}"]) from error


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) names for an address, or None.

    One without a scheme, as curl takes it, is an HTTP proxy.
    Looked up once for each model: aiohttp's own way asks the environment again for every request, and reads
    credentials from .netrc.
    """
    proxies = urllib.request.getproxies()
    if not url.host or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    proxy = proxies.get(url.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def mapped(where: str, error: aiohttp.ClientError | OSError | ModelUnavailable) -> ModelUnavailable:
    """Our error for what the HTTP client raised; ours stay as they are."""
    if isinstance(error, ModelUnavailable):
        return error
    # The client's own text may quote addresses and headers; its type says enough.
    if isinstance(error, aiohttp.ClientError):
        return ModelUnavailable(f"{where}: {_plain(error)}")
    if isinstance(error, TimeoutError):
        return ModelUnavailable(f"{where}: no answer in time")
    return ModelUnavailable(f"{where}: {error.strerror or type(error).__name__}")


def _plain(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    return type(error).__name__


def read_json(data: bytes | str) -> Any:
    """Read JSON as `json.loads` does, in a fifth of the time where it can be.

    Raises:
        ValueError: it is not JSON; `RecursionError` where it is nested too deeply.
    """
    try:
        return from_json(data, cache_strings="keys")  # Not what people say: it would stay in memory.
    except ValueError:
        # Half a surrogate pair, a deep nest or UTF-16 may be no mistake: the one that takes them has the last word.
        return json.loads(data)


async def read_bounded(response: aiohttp.ClientResponse, limit: int = MAX_REPLY_BYTES) -> bytes:
    """Read a whole body.

    Raises:
        BadReply: it is longer than `limit` bytes.
    """
    chunks: list[bytes] = []
    size = 0
    content = response.content
    while chunk := await content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise BadReply(f"the reply is longer than {limit} bytes")
        if content.at_eof():
            break
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_start(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body's first `limit` bytes; the rest is nobody's business."""
    text = b""
    while len(text) < limit and (chunk := await response.content.readany()):
        text += chunk
    return text[:limit]


def status_error(where: str, response: aiohttp.ClientResponse, *, message: str) -> ModelError:
    """The error for a status other than 200. `message` is the server's text: shown quoted and shortened."""
    status = response.status
    said = f"{where}: HTTP {status} {message[:_SHOWN]!r}"
    after_s = retry_after_s(response.headers.get("Retry-After"))
    if status == 429:
        return RateLimited(said, retry_after_s=after_s)
    if status >= 500 or status in (408, 409, 425):
        return ModelUnavailable(said, retry_after_s=after_s)
    if 300 <= status < 400:
        return ModelRefused(
            f"{where}: HTTP {status}: redirects are not followed, since keys would travel", status=status
        )
    return ModelRefused(said, status=status)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is rare among model servers and read as absent."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
