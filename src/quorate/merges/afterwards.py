"""Afterwards: output guards that are only observed judge an answer once all of it has gone out."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from quorate.events import Answered, Event
from quorate.merges.base import Merge, Observed, Start, Step
from quorate.merges.guarded import OutputGuards

R = TypeVar("R")


class Afterwards(Observed[R]):
    """As `Observed`; and what judges the answer starts when the answer has ended and was released.

    It holds nothing and decides nothing: it sees what the reader saw. An answer that was not released, broke, or was
    longer than `most` is judged by nobody.

    Args:
        merge: what decides.
        keep: branches of the run that are only observed.
        answer: the branch whose output is judged.
        output: the guards of the answer.
        size: the bytes of a delta.
        most: bytes of the answer that are remembered for them.
    """

    def __init__(
        self,
        merge: Merge[R],
        keep: Iterable[str],
        *,
        answer: str,
        output: OutputGuards,
        size: Callable[[Any], int],
        most: int,
    ) -> None:
        super().__init__(merge, keep, later=output.guards)
        self._answer, self._output = answer, output
        self._size, self._left = size, most
        self._said: list[Any] | None = []
        self._end: Answered | None = None
        self._released = False

    def start(self) -> Step[R]:
        """Start as the wrapped merge does."""
        return self._followed(super().start())

    def feed(self, event: Event) -> Step[R]:
        """Pass the event on; once the answer is out, start what judges it."""
        if isinstance(event, Answered) and event.branch == self._answer:
            self._end = event
        return self._followed(super().feed(event))

    def _followed(self, step: Step[R]) -> Step[R]:
        self._released = self._released or self._answer in step.commit
        for delta in step.release:
            self._keep_said(delta.value)
        if self._end is None or not self._released or self._said is None:
            return step
        branches = self._output.review(tuple(self._said), self._end.value)
        self._said = None
        self._running |= {branch.name for branch in branches}
        return step._replace(start=(*step.start, *map(Start, branches)), closed=step.closed or step.done, done=False)

    def _keep_said(self, value: Any) -> None:
        self._left -= self._size(value)
        if self._left < 0:
            self._said = None
        elif self._said is not None:
            self._said.append(value)
