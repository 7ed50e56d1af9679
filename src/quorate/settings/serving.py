"""The tables of a `quorate.toml` that say how the front door is served: `[service]`, `[upstream]`, `[output]`."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from quorate.settings.base import Address, File, Seconds, Share, Table, Text, Variable

__all__ = ["KeyTable", "OutputTable", "ServiceTable", "UpstreamTable"]

Host = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9.:\[\]-]{1,253}$")]
Size = Annotated[int, Field(ge=1, le=1 << 30)]


class UpstreamTable(Table):
    """The bot behind the door: an OpenAI-compatible address. Without this table the built-in answer replies.

    `models` is the allow-list: the names that callers may ask for, and what each is called at the upstream.
    `effects` "none" is your word that answering changes nothing in the world; only then does it overlap the checks.
    """

    base_url: Address
    models: Annotated[dict[str, Text], Field(min_length=1)]
    api_key_env: Variable | None = None
    ca_file: File | None = None
    effects: Literal["none", "unknown"] = "unknown"
    first_s: Seconds = 30.0
    idle_s: Seconds = 30.0
    total_s: Seconds = 120.0
    max_running: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_queued: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    input_usd: Annotated[float, Field(ge=0)] = 0.0
    output_usd: Annotated[float, Field(ge=0)] = 0.0


class OutputTable(Table):
    """What is checked of an answer before it gets out.

    `mode` "hold" holds the whole answer until its checks have passed; "window" lets out what lies more than
    `overlap_chars` behind a checked window; "observe" holds nothing and judges afterwards what went out, for the
    record; "off" checks nothing. `hosts` are those that links may point to, beside those of the help centre. `canary`
    adds a line with a random marker to the first system message that callers send, for the leak check to find; prompts
    of our own have one anyway.
    """

    mode: Literal["off", "hold", "window", "observe"] = "off"
    checks: Annotated[list[Literal["leak", "links", "moderation"]], Field(min_length=1)] = ["leak", "links"]
    hosts: list[Host] = []
    window_chars: Annotated[int, Field(ge=100, le=100_000)] = 2000
    overlap_chars: Annotated[int, Field(ge=20, le=50_000)] = 500
    canary: bool = False
    timeout_s: Seconds = 8.0


class KeyTable(Table):
    """What one API key may use, where the key itself does not say otherwise. None is no bound.

    Attributes:
        per_minute: requests.
        concurrency: requests at once.
        waste_tokens: tokens an hour that did not count, such as of cut answers; beyond it the answers of a key wait
            for the verdict.
        waste_usd: the same in US dollars.
        refusal_share: of the decisions of ten minutes; beyond it the answers of a key wait for the verdict.
    """

    per_minute: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    waste_tokens: Annotated[int, Field(ge=0)] | None = None
    waste_usd: Annotated[float, Field(ge=0)] | None = None
    refusal_share: Share | None = None


class ServiceTable(Table):
    """How `quorate serve` serves. Times in seconds unless a name says milliseconds, sizes in bytes.

    Attributes:
        host: the address to listen on; any but a loopback address needs API keys.
        port: 0 takes a free one.
        workers: processes.
        store: where decisions, keys and versions are kept; a relative SQLite path starts at the config's folder.
        audit: "strict" writes a decision down before its first byte goes out, "async" soon after.
        text: what is kept of messages and replies.
        retention_days: records older than this are deleted.
        keepalive_s: while an answer is held, a comment goes out this often; 0 sends none.
        max_running: requests at once, of one process.
        max_queued: requests that wait for room.
        max_body: of a request.
        max_messages: of one request.
        max_tools: of one request.
        max_n: choices of one request.
        max_tokens: that a request may ask for.
        refusal_floor_ms: refusals go out at multiples of this after the request, so that their time tells nothing.
        drain_s: that running requests get after a SIGTERM.
        inert: more request fields that are passed on unread.
        hosts: names that the Host header may carry beside loopback ones, where there are no keys.
        keys: bounds of every key.
        traces: where OpenTelemetry spans go, an OTLP address over HTTP such as http://localhost:4318/v1/traces.
        traces_share: of the requests that are traced; a caller with the right `details` may ask for more.
    """

    host: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    store: Annotated[str, StringConstraints(pattern=r"^(sqlite:///|postgresql(\+psycopg)?://).+")] = (
        "sqlite:///quorate.db"
    )
    audit: Literal["strict", "async"] = "strict"
    text: Literal["redacted", "full", "none"] = "redacted"
    retention_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    max_running: Annotated[int, Field(ge=1, le=100_000)] = 256
    max_queued: Annotated[int, Field(ge=0, le=1_000_000)] = 512
    max_body: Size = 2 << 20
    max_messages: Annotated[int, Field(ge=1, le=100_000)] = 500
    max_tools: Annotated[int, Field(ge=0, le=10_000)] = 128
    max_n: Annotated[int, Field(ge=1, le=128)] = 4
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 16_384
    refusal_floor_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    drain_s: Seconds = 30.0
    inert: list[Text] = []
    hosts: list[Host] = []
    keys: KeyTable = KeyTable()
    traces: Address | None = None
    traces_share: Share = 0.1
