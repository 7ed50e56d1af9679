"""How a model of the stand-in server behaves: its latency, its pace, its text, its faults.

A model that is not configured is read from its own name, so that a client in another process can choose::

    name  = base ["-" latency ["-" tokens]] { "+" fault }
    latency = TIME                                        the first byte comes after TIME
            | "lognormal-" TIME ["-" SIGMA]               median TIME, sigma 0.5 if not given
            | "heavy-" TIME ["-" SIGMA "-" SHARE "-" TIME]  and a share of stragglers (0.02 take 20 x TIME)
    tokens  = COUNT "x" TIME                              COUNT tokens, TIME apart, after the first byte
    TIME    = number and unit: 50ms, 1.5s, 200us
    fault   = KIND [":" TIME] ["@" PROBABILITY]           +429:2s   +500@0.1

`check-50ms`, `answer-300ms`, `check-lognormal-50ms-1.0`, `check-heavy-50ms-0.5-0.05-2s`, `answer-50ms-20x10ms`,
`check-50ms+429`. Several faults take turns, one for each request: `check+500+500+ok` fails twice and then works.
A name without a latency answers at once. A probability holds for the whole list. The word `threat`, `security`
or `check` in the base makes the model judge by threat keywords, `scope` or `legit` by off-topic keywords.

Faults:

- `400` ... `599`: that status in OpenAI's error shape; 429 and 503 carry Retry-After (the fault's TIME, or 1 s).
- `malformed` (a body or an SSE line that is not JSON), `empty-body`, `empty` (no text), `huge` (tens of MB),
  `redirect` (307 to another host name), `slow-drip` (a byte every TIME, 20 ms if not given).
- `stall` (no byte ever, or none before TIME), `stall-mid`, `cut` (the connection), `cut-mid`: half of the tokens,
  or of the body, goes out first.
- of a verdict: `wrong-nonce`, `no-nonce`, `second-verdict`, `extra-text`, `bad-verdict` (broken JSON),
  `bad-types` (a score of 7, a violation that is a string).
- `no-schema` (400 to a json_schema response format), `no-format` (400 to any): as servers do that lack them.
- `tool` is no fault: the model calls a tool (the first that the request offers) instead of talking; it answers
  once the request ends in a tool's result.
- `ok`: none.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, Protocol

KINDS = frozenset(
    {
        *("malformed", "empty-body", "empty", "huge", "redirect", "slow-drip"),
        *("stall", "stall-mid", "cut", "cut-mid"),
        *("wrong-nonce", "no-nonce", "second-verdict", "extra-text", "bad-verdict", "bad-types"),
        *("no-schema", "no-format", "ok"),
    }
)
REPLY = "Thank you for your message. Our help centre has an article on this; our team is glad to help you."
"""What a model says that was told nothing else: 20 tokens."""

_MAX_TOKENS = 100_000
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_TIME = r"\d+(?:\.\d+)?(?:us|ms|s)"
_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(
    rf"(?P<base>.*?)-(?:"
    rf"lognormal-(?P<median>{_TIME})(?:-(?P<sigma>{_NUMBER}))?"
    rf"|heavy-(?P<heavy>{_TIME})(?:-(?P<heavy_sigma>{_NUMBER})-(?P<share>{_NUMBER})-(?P<straggler>{_TIME}))?"
    rf"|(?P<fixed>{_TIME}))"
    rf"(?:-(?P<count>\d{{1,6}})x(?P<gap>{_TIME}))?",
    re.DOTALL,
)
_FAULT = re.compile(rf"(?P<kind>[a-z0-9-]+)(?::(?P<time>{_TIME}))?(?:@(?P<share>{_NUMBER}))?")


class Ruling(NamedTuple):
    """What a rule says of a text; the server adds the nonce."""

    violation: bool
    score: float
    category: str
    reason: str


Rule = Callable[[str], Ruling | tuple[bool, float, str, str]]
"""A verdict rule: takes the judged text, returns a `Ruling` or a tuple of its four fields."""


class Latency(Protocol):
    """The time to the first byte, as a distribution."""

    def draw(self, rng: random.Random) -> float:
        """Return seconds, drawn with `rng` and nothing else."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same.

    Attributes:
        seconds: time to the first byte.
    """

    seconds: float = 0.0

    def draw(self, rng: random.Random) -> float:
        """Return the fixed time in seconds."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Lognormal, as response times of real services roughly are.

    Attributes:
        median_s: half of the draws are below.
        sigma: standard deviation of the logarithm; 0.5 gives a 99th percentile of 3.2 medians, 1.0 of 10.
    """

    median_s: float
    sigma: float = 0.5

    def draw(self, rng: random.Random) -> float:
        """Return seconds."""
        return self.median_s * rng.lognormvariate(0.0, self.sigma)


@dataclass(frozen=True, slots=True)
class HeavyTail:
    """Lognormal, but now and then a request straggles.

    Attributes:
        median_s: median of the requests that do not straggle.
        sigma: their sigma.
        straggler_share: probability that a request straggles.
        straggler_s: what a straggler takes, in seconds.
    """

    median_s: float
    sigma: float = 0.5
    straggler_share: float = 0.02
    straggler_s: float = 1.0

    def draw(self, rng: random.Random) -> float:
        """Return seconds."""
        # Both are always drawn, so that changing the share does not change the other requests' times.
        straggles, body = rng.random(), rng.lognormvariate(0.0, self.sigma)
        return self.straggler_s if straggles < self.straggler_share else self.median_s * body


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model makes instead of an answer.

    Attributes:
        name: the function's name; empty takes the first tool of the request.
        arguments: its arguments, as JSON text.
    """

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one request.

    Attributes:
        kind: see the list at the top of this module.
        seconds: the fault's own time, or None for its default.
    """

    kind: str
    seconds: float | None = None

    @property
    def status(self) -> int:
        """The HTTP status that the kind stands for, or 0."""
        return int(self.kind) if self.kind.isdigit() else 0


OK = Fault("ok")


@dataclass(frozen=True, slots=True)
class Profile:
    """The behaviour of one model.

    Attributes:
        latency: time to the first byte (streamed), and the fixed part of an answer that is not streamed.
        token_s: seconds between tokens after the first. An answer that is not streamed takes
            `latency + (tokens - 1) * token_s`: as long as the same answer streamed.
        total_s: what an answer that is not streamed takes instead, where given.
        reply: the answer's text, or a callable that makes it of the request's JSON object.
        tokens: the answer is repeated or cut to this many tokens, where given.
        verdict: the rule for verdict requests; None judges by the model's name.
        tool_calls: tools that the model calls instead of answering.
        faults: faults that take turns, as `parse_fault` reads them; "ok" is a turn without.
        fault_share: probability that a request takes its turn at all.
        huge_bytes: size of the `huge` fault's body.
    """

    latency: Latency = Fixed()
    token_s: float = 0.0
    total_s: float | None = None
    reply: str | Callable[[Mapping[str, object]], str] = REPLY
    tokens: int | None = None
    verdict: Rule | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    faults: tuple[str, ...] = ()
    fault_share: float = 1.0
    huge_bytes: int = 32 * 1024 * 1024
    plan: tuple[Fault, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        """Read the faults once, so that a mistake in them shows here and not in the middle of a test."""
        object.__setattr__(self, "plan", tuple(parse_fault(text) for text in self.faults))


def parse_time(text: str) -> float:
    """Read `50ms`, `1.5s` or `200us` as seconds.

    Raises:
        ValueError: it is none of these.
    """
    if not re.fullmatch(_TIME, text):
        raise ValueError(f"{text[:80]!r} is not a time; write 50ms, 1.5s or 200us")
    unit = "us" if text.endswith("us") else "ms" if text.endswith("ms") else "s"
    return float(text.removesuffix(unit)) * _UNITS[unit]


def parse_fault(text: str) -> Fault:
    """Read a fault such as `500`, `429:2s` or `wrong-nonce`.

    Raises:
        ValueError: no such fault; the message lists them.
    """
    found = _FAULT.fullmatch(text)
    kind = found["kind"] if found else ""
    if found is None or found["share"] or not (kind in KINDS or re.fullmatch(r"[45]\d\d", kind)):
        raise ValueError(f"no fault {text[:80]!r}; there are 400 to 599, {', '.join(sorted(KINDS))}")
    return Fault(kind, parse_time(found["time"]) if found["time"] else None)


def with_faults(profile: Profile, suffixes: list[str]) -> Profile:
    """Return the profile with the `+fault` suffixes of a model name added.

    Raises:
        ValueError: one of them is no fault.
    """
    if not suffixes:
        return profile
    faults, share, tools = [], 1.0, profile.tool_calls
    for suffix in suffixes:
        name, _, probability = suffix.partition("@")
        if name == "tool":
            tools = tools or (ToolCall("", '{"order": "A-1001"}'),)
            continue
        if probability:
            if not re.fullmatch(_NUMBER, probability):
                raise ValueError(f"{probability[:80]!r} is not a probability; write for example +500@0.1")
            share = float(probability)
        faults.append(name)
    return replace(profile, faults=(*profile.faults, *faults), fault_share=share, tool_calls=tools)


@lru_cache(maxsize=4096)
def parse_model(name: str) -> tuple[str, Profile]:
    """Read a model name by the grammar at the top of this module.

    Returns:
        The base (the name without latency and faults) and the profile.

    Raises:
        ValueError: the name means a latency or a fault but is not well formed.
    """
    stem, *suffixes = name.split("+")
    found = _NAME.fullmatch(stem)
    if found is None:
        if re.search(r"-(?:lognormal|heavy)-", stem):
            raise ValueError(f"cannot read the latency in {name[:80]!r}; write for example check-heavy-50ms")
        return stem, with_faults(Profile(), suffixes)
    latency: Latency
    if found["median"]:
        latency = Lognormal(parse_time(found["median"]), float(found["sigma"] or 0.5))
    elif found["heavy"]:
        median = parse_time(found["heavy"])
        straggler = parse_time(found["straggler"]) if found["straggler"] else 20 * median
        latency = HeavyTail(median, float(found["heavy_sigma"] or 0.5), float(found["share"] or 0.02), straggler)
    else:
        latency = Fixed(parse_time(found["fixed"]))
    profile = Profile(latency=latency)
    if found["count"]:
        tokens = min(int(found["count"]), _MAX_TOKENS)
        profile = replace(profile, tokens=tokens, token_s=parse_time(found["gap"]))
    return found["base"], with_faults(profile, suffixes)
