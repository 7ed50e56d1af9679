"""`section()`: a long task divided, its parts worked on at once, their output put together in order while it comes.

::

    async with section(text, Prompted(model, "Translate into Dutch.")) as job:
        async for piece in job:
            print(piece, end="")
    print(job.report().speed)

    report = await section(text, work)  # or all at once
"""

import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from quorate.apps.sections.parts import Part, Splitter, parts_of
from quorate.apps.sections.prompted import CutOff
from quorate.apps.sections.report import PartReport, Report, State
from quorate.apps.sections.seams import Stitcher
from quorate.apps.sections.speed import Speed
from quorate.apps.sections.split import CHARS_PER_TOKEN, Split
from quorate.engine import Run, clock, fan_out
from quorate.errors import ModelRefused, UsageError
from quorate.events import NO_USAGE, Branch, Context, Usage
from quorate.journal import Journal, key_of
from quorate.merges import Sections, Stitched

PART_TIMEOUT_S = 300.0
"""Default time for one attempt at one part, in seconds."""
HELD_BYTES = 16 << 20
"""What a part may have said before its turn, in bytes: far more than a model's longest answer."""
REUSED = "reused"

Work = Callable[[Part, Context], Awaitable[Any]]
Stitch = str | Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class _Mark:
    text: str


async def _call(part: Part, context: Context) -> Any:
    """The work where none is given: the item is an async function of its context."""
    if not callable(part.item):
        raise UsageError(f"{part.name}: give `work`, or async functions as items")
    return await part.item(context)


def section(
    source: str | Sequence[Any] | Mapping[str, Any],
    work: Work = _call,
    *,
    split: Split | Splitter | None = None,
    stitch: Stitch | None = None,
    concurrency: int = 4,
    attempts: int = 2,
    journal: Journal | None = None,
    timeout_s: float | None = PART_TIMEOUT_S,
) -> "Sectioning":
    """Divide a task, work on its parts at once, and put the results together in order.

    Args:
        source: a text; or items, or items by name, which are parts already.
        work: an async function of a `Part` and its context, such as `Prompted(model, task)`. What it emits streams
            out; where it emits nothing, the text it returns does. It may run a vote or sections of its own. Without
            it the items are async functions of the context.
        split: how a text is divided: a `Split`, or a function that gives pieces which joined again are the text.
        stitch: a text puts that between the parts, in place of the white space that stood there in the source; a
            function makes the report's `value` of all parts' values, None for those that failed.
        concurrency: parts at once.
        attempts: how often a part is tried while nothing of it was released.
        journal: where finished parts are kept and looked up. It needs a `work` with an attribute `key` that changes
            with all that its results depend on; `Prompted` has one.
        timeout_s: seconds for one attempt; None for no limit.

    Returns:
        A `Sectioning`: await it for its `Report`, or use it as a context manager and iterate it for the text.

    Raises:
        UsageError: there is nothing to work on, or an argument cannot be.
    """
    if concurrency < 1 or attempts < 1:
        raise UsageError(f"section: found {concurrency} at once and {attempts} attempts, allowed is 1 or more")
    if journal is not None and getattr(work, "key", None) is None:
        raise UsageError("section: a journal needs a `work` with an attribute `key`, or it cannot tell what changed")
    parts = parts_of(source, split)
    overlap = split.overlap * CHARS_PER_TOKEN * 2 if isinstance(split, Split) else 0
    between = stitch if isinstance(stitch, str) else None
    stitcher = Stitcher(between, overlap, exact=between is None and not isinstance(source, str))
    return Sectioning(
        parts,
        work,
        stitcher=stitcher,
        combine=None if stitch is None or isinstance(stitch, str) else stitch,
        concurrency=concurrency,
        attempts=attempts,
        journal=journal,
        timeout_s=timeout_s,
    )


class Sectioning:
    """One job; made by `section`. It can be run once.

    Attributes:
        parts: its parts, in order.
        run: the run that works on them, once the block is entered.
    """

    def __init__(
        self,
        parts: tuple[Part, ...],
        work: Work,
        *,
        stitcher: Stitcher,
        combine: Callable[[Sequence[Any]], Any] | None,
        concurrency: int,
        attempts: int,
        journal: Journal | None,
        timeout_s: float | None,
    ) -> None:
        self.parts = parts
        self._work, self._stitcher, self._combine = work, stitcher, combine
        self._concurrency, self._attempts, self._timeout_s = concurrency, attempts, timeout_s
        self._journal = journal
        self._by_branch: dict[str, Part] = {}
        self._branches: dict[str, list[str]] = {part.name: [] for part in parts}
        self._final: set[str] = set()
        self._reused: dict[str, int] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._text: list[str] = []
        self._first_s: float | None = None
        self._closed = False
        by_name = {part.name: part for part in parts}

        def again(name: str, attempt: int) -> Branch[Any] | None:
            if attempt > self._attempts or name in self._final:
                return None
            return self._branch(by_name[name], attempt)

        merge = Sections(
            list(by_name),
            retry=again,
            mark=_marked,
            branches=[self._branch(part, 1) for part in parts],
            at_once=concurrency,
        )
        self.run: Run[Stitched] = fan_out([], merge, timeout_s=None, held_bytes=HELD_BYTES)

    @property
    def keys(self) -> list[str]:
        """The parts' keys in a journal, in order; a changed key is a part that has to be worked on."""
        return [self._key(part) for part in self.parts]

    async def __aenter__(self) -> Self:
        self._start_s = clock.now()
        await self.run.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.run.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of text, in order. Nothing of a part comes before all of the parts before it."""
        while True:
            try:
                delta = await anext(self.run)
            except StopAsyncIteration:
                if self._closed:
                    raise
                self._closed = True
                out = self._stitcher.close()
            else:
                part = self._by_branch[delta.branch]
                if isinstance(delta.value, _Mark):
                    out = self._stitcher.mark(part, delta.value.text)
                else:
                    out = self._stitcher.feed(part, delta.value) if isinstance(delta.value, str) else ""
            if out:
                if self._first_s is None:
                    self._first_s = clock.now() - self._start_s
                self._text.append(out)
                return out

    def __await__(self) -> Generator[Any, None, Report]:
        return self._whole().__await__()

    async def _whole(self) -> Report:
        async with self:
            async for _ in self:
                pass
        return self.report()

    def report(self) -> Report:
        """How it ended; ask when the text has been read to its end.

        Raises:
            UsageError: it still runs, or was left before its end.
        """
        if self.run.decision is None or not self._closed:
            raise UsageError("the report is there when the text has been read to its end")
        rows = tuple(self._row(part) for part in self.parts)
        text = "".join(self._text)
        values = self.run.decision.value.values
        speed = Speed.of(
            [(row.part.name, row.took_s) for row in rows],
            took_s=self.run.timeline.ended_s or 0.0,
            first_s=self._first_s,
            at_once=self._concurrency,
        )
        return Report(
            text,
            text if self._combine is None else self._combine(values),
            rows,
            self._stitcher.doubled,
            speed,
            sum(self._reused.values()),
            self.run.timeline,
        )

    def _row(self, part: Part) -> PartReport:
        names = set(self._branches[part.name])
        spans = [span for span in self.run.timeline if span.branch in names and span.started_s is not None]
        last = spans[-1]
        state: State = "failed" if last.ended != "answered" else "reused" if part.name in self._reused else "done"
        return PartReport(
            part,
            state,
            0 if state == "reused" else len(spans),
            last.why if state == "failed" else "",
            self._problems.get(part.name, ()),
            sum((span.ended_s or 0.0) - (span.started_s or 0.0) for span in spans),
            sum((span.usage for span in spans), NO_USAGE),
        )

    def _branch(self, part: Part, attempt: int) -> Branch[Any]:
        name = part.name if attempt == 1 else f"{part.name}#{attempt}"
        self._by_branch[name] = part
        self._branches[part.name].append(name)

        async def work(context: Context) -> Any:
            return await self._one(part, name, context)

        return Branch(name, work, self._timeout_s)

    def _key(self, part: Part) -> str:
        return key_of("section/1", getattr(self._work, "key", None), part.content)

    async def _one(self, part: Part, name: str, context: Context) -> Any:
        key = self._key(part) if self._journal is not None else ""
        kept = self._journal.results.get(key) if self._journal is not None else None
        if isinstance(kept, dict) and isinstance(kept.get("said"), str):
            self._reused[part.name] = tokens if isinstance(tokens := kept.get("tokens"), int) else 0
            self.run.timeline[name].why = REUSED
            self._note(part, kept["said"])
            if kept["said"]:
                await context.emit(kept["said"])
            return kept.get("value", kept["said"])
        heard = _Heard(context)
        try:
            value = await self._work(part, heard)
        except (ModelRefused, UsageError, CutOff):
            self._final.add(part.name)  # Asking again gives the same.
            raise
        said = heard.said if heard.spoke else value if isinstance(value, str) else ""
        sound = self._note(part, said)
        if self._journal is not None and sound:
            self._keep(part, key, said=said, value=value, spoke_data=heard.data)
        return value

    def _note(self, part: Part, said: str) -> bool:
        """Check a part's seams; returns whether they hold. What does not hold is asked again in the next run."""
        check = getattr(self._work, "check", None)
        problems = tuple(check(part, said)) if check is not None else ()
        if problems:
            self._problems[part.name] = problems
        return not problems

    def _keep(self, part: Part, key: str, *, said: str, value: Any, spoke_data: bool) -> None:
        result: dict[str, Any] = {"said": said, "tokens": self.run.timeline[self._branches[part.name][-1]].usage.tokens}
        if value != said:
            result["value"] = value
        try:
            whole = not spoke_data and json.loads(json.dumps(result)) == result
        except (TypeError, ValueError):
            whole = False
        if not whole:
            self._final.add(part.name)
            raise UsageError(f"{part.name}: with a journal, a part emits texts and returns what JSON can hold")
        if self._journal is not None:
            self._journal.add(key, result)


def _marked(name: str, error: BaseException) -> _Mark:
    """What stands in the output for a failed part: our words and the kind of error, nothing that came from outside."""
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return _Mark(f"[{shown} failed: {type(error).__name__}]")


class _Heard:
    """A part's context that remembers what was said."""

    def __init__(self, context: Context) -> None:
        self.name = context.name
        self.data = False
        self._context = context
        self._said: list[str] = []

    @property
    def spoke(self) -> bool:
        return bool(self._said) or self.data

    @property
    def said(self) -> str:
        return "".join(self._said)

    async def emit(self, delta: Any, /) -> None:
        if isinstance(delta, str):
            self._said.append(delta)
        else:
            self.data = True
        await self._context.emit(delta)

    async def committed(self) -> None:
        await self._context.committed()

    def spend(self, usage: Usage, /) -> None:
        self._context.spend(usage)

    def closing(self, grace_s: float, /) -> AbstractAsyncContextManager[None]:
        return self._context.closing(grace_s)
