"""Sections: independent parts, worked on together, let out in order.

The text that leaves is the same for every interleaving: part i streams as soon as all parts before it are
complete, and what comes earlier is held. A part that fails is tried again only while nothing of it was released.

Where the merge starts the parts itself, so many at once, the first that has not begun begins whenever a part has
ended for good; a retry keeps its part's place. The part that everything waits for is therefore always under way,
however many others are held up by a slow reader.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Event, Failed
from quorate.merges.base import EVERY, NOTHING, Decision, Start, Step

Retry = Callable[[str, int], Branch[Any] | None]
Mark = Callable[[str, BaseException], Any]


@dataclass(frozen=True, slots=True)
class Stitched:
    """What `Sections` put together.

    Attributes:
        values: each part's answer in order, None where it failed.
        failed: names of the parts that failed for good, in order.
    """

    values: tuple[Any, ...]
    failed: tuple[str, ...]


@dataclass(slots=True)
class _Part:
    name: str
    attempt: int = 1
    held: list[Delta] = field(default_factory=list)
    spoke: bool = False
    released: bool = False
    ended: bool = False
    value: Any = None
    error: BaseException | None = None

    @property
    def branch(self) -> str:
        return self.name if self.attempt == 1 else f"{self.name}#{self.attempt}"


class Sections:
    """Releases the parts' output in the order of `names`.

    Args:
        names: the parts in order; each is the name of a branch.
        retry: gives the branch for another attempt of a part (it must be named `name#attempt`), or None to give
            up. Called with the part's name and the attempt's number, 2 first.
        mark: gives what stands in the output for a part that failed for good, after what its last attempt had
            said (released or not: the text is the same for every interleaving); without it such a part fails the
            run, and nothing after it is released.
        branches: the parts' first branches, for the merge to start itself; without them they run already.
        at_once: how many of `branches` run at the same time.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        retry: Retry | None = None,
        mark: Mark | None = None,
        branches: Sequence[Branch[Any]] = (),
        at_once: int = 1,
    ) -> None:
        if not names or len(set(names)) != len(names):
            raise UsageError("sections need at least one name, each once")
        if branches and ([branch.name for branch in branches] != list(names) or at_once < 1):
            raise UsageError("sections start one branch for each name, in the same order, 1 or more at once")
        self._branches, self._at_once = tuple(branches), at_once
        self._later: deque[Branch[Any]] = deque(branches[at_once:])
        self._parts = {name: _Part(name) for name in names}
        self._waiting = list(self._parts.values())
        self._by_branch = dict(self._parts)
        self._retry, self._mark = retry, mark

    def start(self) -> Step[Stitched]:
        """Every part counts, so every part may have side effects."""
        starts = [Start(branch, 0.0 if at < self._at_once else math.inf) for at, branch in enumerate(self._branches)]
        return Step(start=tuple(starts), commit=EVERY)

    def feed(self, event: Event) -> Step[Stitched]:
        """Hold or release a part's output; decide when the last part has ended."""
        part = self._by_branch.get(event.branch)
        if part is None or part.ended or part.branch != event.branch:
            return NOTHING
        match event:
            case Delta():
                part.spoke = True
                part.held.append(event)
            case Answered(value=value, at_s=at_s):
                part.ended, part.value = True, value
                if not part.spoke and value is not None:
                    part.held.append(Delta(part.branch, at_s, value))
                return self._advance(self._next())
            case Failed(error=error, at_s=at_s):
                return self._failed(part, error, at_s)
            case Cancelled(why=why, at_s=at_s):
                return self._failed(part, RunFailed(f"cancelled: {why}"), at_s)
            case _:
                return NOTHING
        return self._advance()

    def _failed(self, part: _Part, error: BaseException, at_s: float) -> Step[Stitched]:
        if not part.released and self._retry is not None:
            again = self._retry(part.name, part.attempt + 1)
            if again is not None:
                part.attempt += 1
                dropped, part.held, part.spoke = tuple(part.held), [], False
                if again.name != part.branch or again.name in self._by_branch:
                    raise UsageError(f"a retry of {part.name!r} must be named {part.branch!r}, and no other branch")
                self._by_branch[again.name] = part
                return Step(start=(Start(again),), discard=dropped)
        if self._mark is None:
            failure = error if isinstance(error, Exception) else RunFailed(f"{part.name}: {error!r}")
            return Step(fail=failure, done=True)
        part.ended, part.error = True, error
        part.held.append(Delta(part.branch, at_s, self._mark(part.name, error)))
        return self._advance(self._next())

    def _next(self) -> tuple[Start, ...]:
        """The part whose turn it is, now that one has ended for good."""
        return (Start(self._later.popleft()),) if self._later else ()

    def _advance(self, start: tuple[Start, ...] = ()) -> Step[Stitched]:
        out: list[Delta] = []
        while self._waiting:
            head = self._waiting[0]
            if head.held:
                out += head.held
                head.held, head.released = [], True
            if not head.ended:
                return Step(start=start, release=tuple(out)) if out or start else NOTHING
            self._waiting.pop(0)
        parts = self._parts.values()
        stitched = Stitched(
            tuple(part.value for part in parts), tuple(part.name for part in parts if part.error is not None)
        )
        return Step(release=tuple(out), decision=Decision(stitched, "all sections ended"), done=True)
