"""How a job of sections ended: every part, every seam, the time and the price."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quorate.apps.sections.parts import Part
from quorate.apps.sections.speed import Speed
from quorate.engine import Timeline
from quorate.events import Usage

State = Literal["done", "reused", "failed"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """How one part ended.

    Attributes:
        part: the part.
        state: done now, reused from the journal, or failed for good.
        attempts: how often it was tried in this run.
        error: what it failed with, or "".
        problems: what does not hold at its seams, a line each: a heading lost, a code fence left open.
        took_s: seconds of all its attempts.
        usage: what they spent.
    """

    part: Part
    state: State
    attempts: int
    error: str
    problems: tuple[str, ...]
    took_s: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Report:
    """How a job ended.

    Attributes:
        text: all that was said, put together.
        value: what the function `stitch` made of the parts' values; without one, the text.
        parts: each part's end, in order.
        doubled: characters cut at a seam because the part repeated its overlap, by the part's number.
        speed: what working side by side was worth.
        saved_tokens: tokens that the reused parts had cost when they were worked on.
        timeline: who ran when; a reused part's span says so in `why`.
    """

    text: str
    value: Any
    parts: tuple[PartReport, ...]
    doubled: Mapping[int, int]
    speed: Speed
    saved_tokens: int
    timeline: Timeline

    @property
    def failed(self) -> tuple[PartReport, ...]:
        """The parts that failed for good, in order."""
        return tuple(part for part in self.parts if part.state == "failed")

    @property
    def reused(self) -> tuple[PartReport, ...]:
        """The parts that were not worked on again, in order."""
        return tuple(part for part in self.parts if part.state == "reused")

    @property
    def sound(self) -> bool:
        """Whether no part failed and every seam holds."""
        return not any(part.state == "failed" or part.problems for part in self.parts)
