"""A whole review: every reviewer over every section at once, then one list."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quorate.apps.review.analysers import ANALYSERS, TIMEOUT_S, analyse
from quorate.apps.review.findings import SEVERITIES, Clearance, Finding, Opinion, Severity, Unread
from quorate.apps.review.local import LOCAL, review_locally
from quorate.apps.review.panel import Cluster, decide, unread_of
from quorate.apps.review.prompted import LENSES, ask_reviewer, template_of
from quorate.apps.review.source import MAX_TOKENS, Source, units
from quorate.apps.review.suppress import Mark, suppress
from quorate.engine import in_thread
from quorate.errors import UsageError
from quorate.events import NO_USAGE, Usage
from quorate.journal import Journal, key_of
from quorate.models import Model
from quorate.patterns import all_of, work_off

VERSION: Final = "review-1"
"""Part of every journal key; changes when a reviewer's rules do."""

_BATCH: Final = 100
PROMPTED: Final = tuple(f"llm:{lens}" for lens in LENSES)


@dataclass(frozen=True, slots=True)
class Options:
    """How to review.

    Attributes:
        reviewers: who reads; by default everybody who needs no key, and everybody else where there is a model.
        model: for the reviewers that ask one.
        concurrency: pieces of work at once.
        max_tokens: of a section with its context.
        timeout_s: seconds for one static analyser over one batch of files.
    """

    reviewers: tuple[str, ...] = ()
    model: Model | None = None
    concurrency: int = 8
    max_tokens: int = MAX_TOKENS
    timeout_s: float = TIMEOUT_S

    @property
    def chosen(self) -> tuple[str, ...]:
        """The reviewers' names."""
        return self.reviewers or (*LOCAL, *ANALYSERS, *(PROMPTED if self.model is not None else ()))


@dataclass(frozen=True, slots=True)
class Review:
    """What came of it.

    Attributes:
        clusters: all mistakes, ranked; the dismissed and suppressed ones among them.
        unread: what was not fully read, by whom and why.
        marks: comments that were meant to suppress something and do not.
        dropped: findings of models that were not accepted, counted by reason.
        files: how many were reviewed.
        reviewers: who took part.
        usage: what models have cost.
        wasted: what of it went into replies that could not be read, and calls that broke.
        sources: the files.
    """

    clusters: tuple[Cluster, ...]
    unread: tuple[Unread, ...]
    marks: tuple[Mark, ...]
    dropped: Mapping[str, int]
    files: int
    reviewers: tuple[str, ...]
    usage: Usage
    wasted: Usage
    sources: tuple[Source, ...]

    @property
    def reported(self) -> tuple[Cluster, ...]:
        """The mistakes that are neither dismissed nor suppressed."""
        return tuple(c for c in self.clusters if not c.dismissed and not c.suppressed)

    def at_least(self, severity: Severity) -> int:
        """How many of those reported are so grave or graver."""
        return sum(SEVERITIES.index(c.severity) >= SEVERITIES.index(severity) for c in self.reported)


@dataclass(slots=True)
class _Piece:
    """One piece of work: a reviewer over some files, or over one section."""

    reviewer: str
    keys: list[str]
    work: Callable[[], Awaitable[list[Opinion]]]


async def review(
    sources: Sequence[Source],
    options: Options | None = None,
    *,
    journal: Journal | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Review:
    """Review some files.

    Args:
        sources: the files.
        options: who reads them, and how.
        journal: keeps finished pieces, and has those of a run that was stopped.
        advance: told how many pieces are done, of how many, whenever one is.

    Raises:
        UsageError: an option is wrong.
    """
    chosen = options or Options()
    unknown = sorted(set(chosen.chosen) - {*LOCAL, *ANALYSERS, *PROMPTED})
    if unknown or chosen.concurrency < 1:
        raise UsageError(f"found reviewers {unknown}, allowed are {', '.join((*LOCAL, *ANALYSERS, *PROMPTED))}")
    kept = journal.results if journal is not None else {}
    opinions: list[Opinion] = []
    todo: list[_Piece] = []
    for reviewer in chosen.chosen:
        for piece in _pieces(reviewer, sources, options=chosen):
            if all(key in kept for key in piece.keys):
                opinions += [opinion_from(kept[key]) for key in piece.keys]
            else:
                todo.append(piece)
    usage, wasted = await _work(todo, opinions, options=chosen, journal=journal, advance=advance)
    dropped: Counter[str] = Counter()
    for opinion in opinions:
        dropped.update(dict(opinion.dropped))
    by_path = {source.path: source for source in sources}
    clusters = [found for found in decide(opinions) if _touched(found, by_path[found.head.path])]
    marked, left = suppress(named(clusters, by_path), sources)
    return Review(
        tuple(marked), tuple(unread_of(opinions)), tuple(left), dict(sorted(dropped.items())), len(sources),
        chosen.chosen, usage, wasted, tuple(sources),
    )  # fmt: skip


async def _work(
    todo: Sequence[_Piece], opinions: list[Opinion], *, options: Options, journal: Journal | None,
    advance: Callable[[int, int], None] | None,
) -> tuple[Usage, Usage]:  # fmt: skip
    """Do all pieces; what that cost, and what of it was wasted."""
    done, wasted = 0, NO_USAGE

    async def do(piece: _Piece) -> None:
        nonlocal done, wasted
        given, timeline = await all_of({piece.reviewer: piece.work})
        found = given[piece.reviewer]
        wasted += timeline.usage if any(map(_broke, found)) else timeline.wasted
        for key, opinion in zip(piece.keys, found, strict=True):
            if journal is not None and not _broke(opinion):
                journal.add(key, dataclasses.asdict(opinion))
        opinions.extend(found)
        done += 1
        if advance is not None:
            advance(done, len(todo))

    usage = await work_off(todo, do, concurrency=options.concurrency)
    return usage, wasted


def _broke(opinion: Opinion) -> bool:
    """Whether a piece was not read for a reason that may pass; such a one is done again by `--resume`."""
    passing = ("took longer", "gave no report", "is not installed", "Error", "Unavailable", "Reply", "Timeout", "Limit")
    return any(word in unread.why for unread in opinion.unread for word in passing)


def _pieces(reviewer: str, sources: Sequence[Source], *, options: Options) -> Iterable[_Piece]:
    if reviewer in LOCAL:
        for source in sources:
            yield _Piece(reviewer, [_key(reviewer, source)], _locally(source, reviewer))
    elif reviewer in ANALYSERS:
        for start in range(0, len(sources), _BATCH):
            batch = sources[start : start + _BATCH]
            yield _Piece(reviewer, [_key(reviewer, s) for s in batch], _analysed(reviewer, batch, options.timeout_s))
    else:
        if options.model is None:
            raise UsageError(f"{reviewer} asks a model: give one")
        lens = reviewer.partition(":")[2]
        version = template_of(lens).version
        for source in sources:
            for unit in units(source, max_tokens=options.max_tokens):
                key = key_of(
                    VERSION, reviewer, version, options.model.name, source.path, unit.first, unit.code, unit.context
                )
                work = _prompted(options.model, lens, source=source, unit=unit)
                yield _Piece(reviewer, [key], work)


def _key(reviewer: str, source: Source) -> str:
    return key_of(VERSION, reviewer, source.path, source.text)


def _locally(source: Source, reviewer: str) -> Callable[[], Awaitable[list[Opinion]]]:
    async def work() -> list[Opinion]:
        return [await in_thread(lambda _stop: review_locally(source, reviewer), lane="long")]

    return work


def _analysed(reviewer: str, batch: Sequence[Source], timeout_s: float) -> Callable[[], Awaitable[list[Opinion]]]:
    async def work() -> list[Opinion]:
        return await analyse(reviewer, batch, timeout_s=timeout_s)

    return work


def _prompted(model: Model, lens: str, *, source: Source, unit: Any) -> Callable[[], Awaitable[list[Opinion]]]:
    async def work() -> list[Opinion]:
        return [await ask_reviewer(model, lens, source=source, unit=unit)]

    return work


def _touched(found: Cluster, source: Source) -> bool:
    """Whether a mistake lies in a function that a change touched; always, where all of a file is reviewed."""
    if source.changed is None:
        return True
    sections = [(u.first, u.last) for u in units(source)]
    return any(first <= finding.line <= last for finding in found.findings for first, last in sections)


def named(clusters: Sequence[Cluster], by_path: Mapping[str, Source]) -> list[Cluster]:
    """The clusters with fingerprints: of file, kind, normalised line, and how many such lines stand before it."""
    seen: Counter[str] = Counter()
    out: dict[int, Cluster] = {}
    for found in sorted(clusters, key=lambda c: (c.head.path, c.line)):
        line = "".join(by_path[found.head.path].lines[found.line - 1].split())
        base = f"{found.head.path}\0{found.family}\0{line}"
        digest = hashlib.sha256(f"{base}\0{seen[base]}".encode("utf-8", "replace")).hexdigest()[:32]
        seen[base] += 1
        out[id(found)] = dataclasses.replace(found, fingerprint=digest)
    return [out[id(found)] for found in clusters]


def opinion_from(kept: Mapping[str, Any]) -> Opinion:
    """An opinion as the journal keeps it.

    Raises:
        TypeError: it is of another version.
    """
    return Opinion(
        tuple(Finding(**{**item, "trace": tuple(item["trace"])}) for item in kept["findings"]),
        tuple(Clearance(**item) for item in kept["cleared"]),
        tuple(Unread(**item) for item in kept["unread"]),
        tuple((why, count) for why, count in kept["dropped"]),
    )
