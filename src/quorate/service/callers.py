"""Who asks: API keys and their rights, or, for a first try on this machine, anybody on it."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quorate.errors import QuorateError
from quorate.service.exchange import Exchange
from quorate.store import Key, Right, digest_of, parse_key

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class Unauthorized(QuorateError):
    """No key, or none that is good."""

    status_hint = 401
    code = "invalid_api_key"


class Forbidden(QuorateError):
    """A good key without the right for this."""

    status_hint = 403


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        id: of the key, None for anybody on this machine where there are no keys.
        rights: what the caller may do.
        limits: bounds of this key by name; the config's are used where it names none.
    """

    id: str | None = None
    rights: frozenset[Right] = frozenset(("call",))
    limits: Mapping[str, float] = field(default_factory=dict)

    def need(self, right: Right) -> None:
        """Go on only with a right.

        Raises:
            Forbidden: the key lacks it.
        """
        if right not in self.rights:
            raise Forbidden(f"this takes a key with the right {right!r}: `quorate keys create NAME --right {right}`")


_ANYBODY = Caller()


class Callers:
    """The keys in force. `refresh` replaces them whole; the store's watcher calls it.

    Args:
        hosts: names that the Host header may carry beside loopback ones while there is no key.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = LOOPBACK | frozenset(host.lower().strip("[]") for host in hosts)
        self._by_digest: dict[str, Caller] = {}
        self.keyed = False

    def refresh(self, keys: Iterable[Key]) -> None:
        """Take these keys and no others. Once there has been a key, none is never enough again."""
        known = list(keys)
        self.keyed = self.keyed or bool(known)
        self._by_digest = {
            key.digest: Caller(key.id, frozenset(key.rights), key.limits) for key in known if key.revoked is None
        }

    def of(self, exchange: Exchange) -> Caller:
        """Who sent this.

        Raises:
            Unauthorized: keys are in force and this carries none that is good.
            Forbidden: there are no keys, and this comes from a page or a name that is not this machine's.
        """
        if not self.keyed:
            self._local(exchange)
            return _ANYBODY
        kind, _, token = exchange.header(b"authorization").partition(" ")
        if kind.lower() != "bearer":
            token = exchange.header(b"api-key") or exchange.header(b"x-api-key")
        key = parse_key(token.strip())
        # A look-up by a digest of 256 random bits: its time tells nothing that helps to guess one.
        caller = self._by_digest.get(digest_of(key[1])) if key is not None else None
        if caller is None or key is None or key[0] != caller.id:
            raise Unauthorized("give a good API key: `Authorization: Bearer qk_...`")
        return caller

    def _local(self, exchange: Exchange) -> None:
        """Without keys, a web page that a person on this machine has open must not be able to ask."""
        host = _hostname(exchange.header(b"host"))
        if host not in self._hosts:
            raise Forbidden(f"without keys only this machine may ask, not {host[:100]!r}: see [service] hosts")
        origin = exchange.header(b"origin")
        if origin and _hostname(origin.partition("//")[2]) not in self._hosts:
            raise Forbidden("without keys no page from elsewhere may ask")


def _hostname(value: str) -> str:
    """The host of `host:port`, lower case, without brackets."""
    value = value.strip().lower()
    if value.startswith("["):
        inside, _, rest = value[1:].partition("]")
        return inside if not rest or rest.startswith(":") else value
    return value.partition(":")[0].rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's own alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
