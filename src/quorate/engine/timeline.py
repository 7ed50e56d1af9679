"""Who ran when, why it ended, what it cost and what of that was wasted. Every run has one; others only draw it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from quorate.events import NO_USAGE, Usage

MAX_CHILDREN = 64
"""Nested runs that a span lists; of those beyond, as a worker with a long queue has them, only the usage is kept."""

Ending = Literal["answered", "failed", "cancelled"]


@dataclass(slots=True)
class Span:
    """One branch's part of a timeline. Times are seconds since the start of its run.

    Attributes:
        branch: the branch's name.
        queued_s: when the run learned of it.
        started_s: when its callable began, None if it never did.
        first_s: when it first said something, None if it never did.
        ended_s: when it ended, None while it runs.
        ended: how it ended, None while it runs.
        why: why it ended, where it did not simply answer.
        abandoned: True where it ignored its cancellation and was left to the reaper.
        usage: what it spent, nested runs included.
        wasted: True where that did not count for the outcome.
        children: timelines of the runs nested in it, the first `MAX_CHILDREN` of them.
        unlisted_waste: what the runs beyond those wasted.
    """

    branch: str
    queued_s: float
    started_s: float | None = None
    first_s: float | None = None
    ended_s: float | None = None
    ended: Ending | None = None
    why: str = ""
    abandoned: bool = False
    usage: Usage = NO_USAGE
    wasted: bool = False
    children: tuple["Timeline", ...] = ()
    unlisted_waste: Usage = NO_USAGE

    def add(self, child: "Timeline") -> None:
        """Take in the timeline of a nested run that has ended, and its usage."""
        self.usage = self.usage + child.usage
        if len(self.children) < MAX_CHILDREN:
            self.children += (child,)
        else:
            self.unlisted_waste = self.unlisted_waste + child.wasted

    @property
    def waste(self) -> Usage:
        """What was spent here for nothing, nested runs looked into."""
        if self.wasted:
            return self.usage
        return sum((child.wasted for child in self.children), self.unlisted_waste)


@dataclass(slots=True)
class Timeline:
    """The picture of one run.

    Attributes:
        run_id: names the run in records and logs.
        spans: one for each branch, in the order they were queued.
        decided_s: when the outcome was settled, in seconds since the start; None if it never was.
        closed_s: when the merge was through and nothing more could be released, in seconds since the start; None
            before, and where the run ended in another way.
        ended_s: when the run was over, None while it runs.
        critical: names of the branches that the decision and the end waited for, in that order.
        parent: (run id, branch) that this run is nested in, or None.
        start_s: when the run began, in seconds on the engine's clock; all other times count from here.
    """

    run_id: str
    spans: list[Span] = field(default_factory=list)
    decided_s: float | None = None
    closed_s: float | None = None
    ended_s: float | None = None
    critical: tuple[str, ...] = ()
    parent: tuple[str, str] | None = None
    start_s: float = 0.0

    def __getitem__(self, branch: str) -> Span:
        """The span of a branch; raises KeyError."""
        for span in self.spans:
            if span.branch == branch:
                return span
        raise KeyError(branch)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def waited_for(self, cause: str | None) -> None:
        """Note a branch as one that the decision or the end waited for; what is no branch is no cause."""
        if cause not in self.critical and any(span.branch == cause for span in self.spans):
            self.critical += (str(cause),)

    @property
    def usage(self) -> Usage:
        """What all branches spent together."""
        return sum((span.usage for span in self.spans), NO_USAGE)

    @property
    def wasted(self) -> Usage:
        """What was spent on branches that did not count."""
        return sum((span.waste for span in self.spans), NO_USAGE)

    @property
    def sequential_s(self) -> float:
        """What the started branches would have taken one after another, as far as they ran, in seconds."""
        return sum(
            span.ended_s - span.started_s
            for span in self.spans
            if span.started_s is not None and span.ended_s is not None
        )
