"""What the store keeps: decisions and their ends, turns that passed, keys, config versions, workers, admin acts."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Decided = Literal["admit", "refuse", "escalate", "undecided"]
Outcome = Literal["done", "failed", "abandoned"]
Mode = Literal["enforce", "observe"]
Right = Literal["call", "details", "admin"]

RIGHTS: tuple[Right, ...] = ("call", "details", "admin")
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was admitted: its verdicts can be used again while its tools are called.

    Attributes:
        prefix: hash of all that was judged up to here, with whose it is; whoever knows it gets the verdicts.
        verdicts: as in `Record`.
        config: hash of the config they were given under.
        conversation: of the record that it was kept with; filled in when it is read back.
    """

    prefix: str
    verdicts: Sequence[JSON]
    config: str
    conversation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A decision, written before the first byte of what it let out.

    Attributes:
        id: the request's, unique.
        conversation: whose turns belong together; what `forget` takes.
        key: id of the API key, None without keys.
        at: when it was decided, with a time zone.
        route: the API's route that was called.
        decision: "admit", "refuse", "escalate", or "undecided" where the client left before.
        decided_by: the check (or "deadline") that decided, None where all passed.
        why: one line for people.
        verdicts: check, outcome, score, category, reason, model, version, elapsed_ms, mode.
        timeline: one object for each branch.
        usage: calls, tokens, money and waste so far.
        config: hash of the config.
        config_version: its number in the store, None where it is not kept there.
        versions: of prompts and weights, by name.
        speculated: the answer ran beside the checks.
        streamed: the caller asked for a stream.
        held_ms: how long the first delta was held.
        elapsed_ms: from the request to the decision.
        messages: what the customer sent, as it came; the store redacts it.
        reply: what a customer was told instead of an answer, or a whole answer that was not streamed.
        turn: kept for the next tool round where the decision is "admit".
    """

    id: str
    conversation: str
    at: datetime
    route: str
    decision: Decided
    key: str | None = None
    decided_by: str | None = None
    why: str = ""
    verdicts: Sequence[JSON] = ()
    timeline: Sequence[JSON] = ()
    usage: JSON = field(default_factory=dict)
    config: str = ""
    config_version: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    speculated: bool = False
    streamed: bool = False
    held_ms: float = 0.0
    elapsed_ms: float = 0.0
    messages: Sequence[JSON] | None = None
    reply: str | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the request of a record ended, written after its last byte.

    Attributes:
        id: the record's.
        outcome: "done", "failed" (the upstream broke) or "abandoned" (the client left).
        error: what broke, None where nothing did.
        elapsed_ms: from the request to the end.
        bytes_out: bytes that the client was sent.
        usage: of the whole request.
        timeline: of the whole request.
        reply: the text that went out; the store redacts it.
        verdicts: all of them once more where some came after the decision, as those of observed checks do; else none.
    """

    id: str
    outcome: Outcome
    error: str | None = None
    elapsed_ms: float = 0.0
    bytes_out: int = 0
    usage: JSON = field(default_factory=dict)
    timeline: Sequence[JSON] = ()
    reply: str | None = None
    verdicts: Sequence[JSON] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it was kept, with its end.

    Attributes:
        record: the decision; its `turn` is not read back.
        end: None while the request runs, and for ever where its process died.
    """

    record: Record
    end: End | None

    @property
    def outcome(self) -> Outcome | Literal["unfinished"]:
        """How it ended, "unfinished" where no end was written."""
        return "unfinished" if self.end is None else self.end.outcome

    @property
    def verdicts(self) -> Sequence[JSON]:
        """What each check said, late ones too."""
        return (self.end.verdicts if self.end is not None else ()) or self.record.verdicts


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. The secret itself is nowhere: only its SHA-256 is.

    Attributes:
        id: the public part, in records and logs.
        name: for people.
        rights: of "call", "details", "admin".
        limits: figures by name, such as {"per_minute": 60}; what they mean is the service's.
        created: when.
        revoked: when, None while it is good.
        digest: hex SHA-256 of the secret.
    """

    id: str
    name: str
    rights: tuple[Right, ...]
    limits: Mapping[str, float]
    created: datetime
    revoked: datetime | None
    digest: str = field(repr=False)

    def matches(self, secret: str) -> bool:
        """Whether this is the key's secret and the key is good; takes the same time for every wrong one."""
        same = hmac.compare_digest(digest_of(secret), self.digest)
        return same and self.revoked is None


def digest_of(secret: str) -> str:
    """Hex SHA-256. A plain hash is enough: the secrets are 256 random bits, there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret of `qk_<id>_<secret>`, None where it is no key of ours."""
    kind, _, rest = text.partition("_")
    id, _, secret = rest.partition("_")
    return (id, secret) if kind == "qk" and id and secret else None


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """A config that all workers are to run.

    Attributes:
        version: counts up; the highest is the active one.
        digest: hash of the config.
        mode: "observe" where nothing is to be refused, the break-glass.
        text: the config's text.
        by: who proposed it.
        why: what for.
        at: when.
    """

    version: int
    digest: str
    mode: Mode
    text: str
    by: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's last sign of life.

    Attributes:
        worker: its name.
        version: of the config it runs, None before the first.
        ready: whether it takes requests.
        error: why not, or why it kept its old config; empty where all is well.
        seen: when, by the database's clock.
    """

    worker: str
    version: int | None
    ready: bool
    error: str
    seen: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """An administrator's act: reload, rejected reload, observe on or off, a key created or revoked, forget.

    Attributes:
        id: counts up.
        kind: which act.
        by: who.
        detail: more about it, without texts of customers.
        at: when, by the database's clock.
    """

    id: int
    kind: str
    by: str
    detail: JSON
    at: datetime
