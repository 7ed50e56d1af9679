"""The tables of a `quorate.toml` that say who judges and who answers."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from quorate.settings.base import (
    LOCAL,
    Address,
    Count,
    File,
    Mode,
    Name,
    OnError,
    Origin,
    Seconds,
    Share,
    Table,
    Text,
    Variable,
)
from quorate.settings.serving import OutputTable, ServiceTable, UpstreamTable


class Company(Table):
    """Who the checks protect: name, what it does in a sentence or two, and how a customer reaches a person."""

    name: Text
    description: Text
    contact: Text = "our support team"


class KnowledgeTable(Table):
    """The help centre: a folder of Markdown, a file of example questions (one a line), its language."""

    folder: File
    examples: File | None = None
    language: str = "english"


class ModelTable(Table):
    """One model behind an OpenAI-compatible address. Times in seconds, prices in US dollars per million tokens."""

    base_url: Address
    model: Text
    api_key_env: Variable | None = None
    ca_file: File | None = None
    first_s: Seconds = 20.0
    idle_s: Seconds = 20.0
    total_s: Seconds = 120.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_running: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_queued: Annotated[int, Field(ge=0, le=1_000_000)] = 4096
    hedge_after_s: Seconds | None = None
    fallback: Name | None = None
    input_usd: Annotated[float, Field(ge=0)] = 0.0
    output_usd: Annotated[float, Field(ge=0)] = 0.0


class Evidence(Table):
    """What `quorate calibrate` chose a check's bounds by. It writes this; nothing but a warning depends on it.

    Attributes:
        method: what was asked for.
        date: when, as YYYY-MM-DD.
        data: the labelled file's name.
        sha256: of that file.
        version: what judged: weights, prompts and models, as `App.versions` names them.
        confidence: of every bound here.
        honest: labelled rows that should pass.
        violating: labelled rows that should be flagged.
        target: the share that was asked for: of false alarms, or of messages that the first tier gets wrong.
        false_alarms: honest rows flagged.
        false_alarms_bound: upper bound of their share.
        caught: violating rows flagged.
        caught_low: lower bound of their share.
        caught_high: upper bound of their share.
        missed: violating rows passed.
        missed_bound: upper bound of their share.
        unsure: rows left to a person, or to the next tier.
        costs: of a false alarm, a miss, and a person's look.
        violations: share of violations in the traffic that the costs were weighed for.
        mean_cost: of a message, on the data.
    """

    method: Literal["false-alarms", "costs", "tiers"]
    date: Text
    data: Text
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    version: Text
    confidence: Share
    honest: Count
    violating: Count
    target: Share | None = None
    false_alarms: Count
    false_alarms_bound: Share
    caught: Count | None = None
    caught_low: Share | None = None
    caught_high: Share | None = None
    missed: Count | None = None
    missed_bound: Share | None = None
    unsure: Count | None = None
    costs: list[float] | None = None
    violations: Share | None = None
    mean_cost: float | None = None


class VoterTable(Table):
    """A voter with a prompt of its own: a file, or a shipped one by name. With weights the heavier side wins."""

    model: Name
    prompt: File | None = None
    threshold: Share | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] | None = None


class CheckTable(Table):
    """One check.

    `models` are its tiers, cheapest first: "local", the name of a model or of one of `voters`; a list within the list
    is a panel that votes, `flags` of which make a flag. `kind` says what it reads and which shipped prompt and
    classifier answer it; by default the check's own name.
    """

    kind: Literal["scope", "threat", "moderation"] | None = None
    question: Text | None = None
    models: Annotated[list[Name | Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)] = [LOCAL]
    flags: Annotated[int, Field(ge=1)] | None = None
    voters: dict[Name, VoterTable] = {}
    prompt: File | None = None
    threshold: Share | None = None
    pass_below: Share | None = None
    clear_below: Share = 0.0
    flag_above: Share | None = None
    flag_alone: bool = True
    head_start_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    timeout_s: Seconds = 8.0
    on_error: OnError = "block"
    on_abstain: Literal["next_tier", "escalate", "admit"] | None = None
    on_unread: OnError = "block"
    mode: Mode = "enforce"
    egress: bool = False
    max_chars: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    evidence: Evidence | None = None
    tier_evidence: Evidence | None = None


class AnswerTable(Table):
    """Who answers: "quote" quotes the help centre, any other name is a model."""

    model: Name = "quote"
    speculate: bool = True
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    sections: Annotated[int, Field(ge=1, le=50)] = 4
    unknown: Text = (
        "I don't know the answer to that, and I would rather not guess. Here is how to reach a person: {contact}"
    )


class Limits(Table):
    """Times in seconds and sizes in bytes, for one message."""

    decide_timeout_s: Seconds = 10.0
    timeout_s: Seconds = 120.0
    held_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 1 << 20


class Trust(Table):
    """Origins that no check needs to read, because nobody outside can write them."""

    origins: list[Origin] = []


class RefusalTable(Table):
    """What customers are told; word it and translate it as you like. `uniform_refusal` tells everybody `default`."""

    uniform_refusal: bool = False
    default: Text = "Sorry, I can't help with this message here. I'm happy to help with questions about {company}."
    scope: Text = (
        "I can only help with questions about {company}: orders, products, your account and the like. "
        "What can I do for you there?"
    )
    threat: Text = (
        "I can't act on this message as it is written. "
        "If you have a question about {company}, please ask it in your own words."
    )
    moderation: Text = (
        "I'd like to help, but not with a message like this one. "
        "If you have a question about {company}, please put it differently."
    )
    self_harm: Text = (
        "I'm sorry that things are so hard right now. I am only a program, and you deserve a person: please call "
        "someone you trust, a crisis line or your local emergency number now. You can also reach us: {contact}"
    )
    too_long: Text = "This message is too long for me to read. Please send the part that your question is about."
    unread: Text = "I can only read text here. Please describe in words what you have attached."
    error: Text = "I could not check your message just now. Please try again in a moment, or reach a person: {contact}"
    handover: Text = "I'd like a colleague to look at this. They will answer you here; you can also reach us: {contact}"
    checks: dict[Name, Text] = {}


def _mode_alone(value: object) -> object:
    """`output = "hold"` is `[output]` with `mode = "hold"`."""
    return {"mode": value} if isinstance(value, str) else value


class Settings(Table):
    """A whole `quorate.toml`. Paths are relative to the file. `mode` "observe" enforces no check at all."""

    version: Literal[1]
    mode: Mode = "enforce"
    company: Company
    knowledge: KnowledgeTable | None = None
    models: dict[Name, ModelTable] = {}
    checks: Annotated[dict[Name, CheckTable], Field(min_length=1)]
    answer: AnswerTable = AnswerTable()
    limits: Limits = Limits()
    trust: Trust = Trust()
    refusals: RefusalTable = RefusalTable()
    upstream: UpstreamTable | None = None
    output: Annotated[OutputTable, BeforeValidator(_mode_alone)] = OutputTable()
    service: ServiceTable = ServiceTable()
