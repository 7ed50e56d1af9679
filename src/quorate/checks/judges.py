"""The judges that ship: a language model with a versioned prompt, and the local classifiers."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

from quorate.checks.conversation import Part, Subject
from quorate.checks.panel import Worst
from quorate.checks.prompt import Template, data_lines, parse, render
from quorate.checks.readings import readings
from quorate.checks.verdict import Verdict
from quorate.checks.windows import WINDOW_SIZE, TooLong, Window, windows
from quorate.engine import Lane, StopFlag, fan_out, in_thread
from quorate.events import branch
from quorate.models import Model

CHUNK_CHARS = 12_000
CHUNK_OVERLAP = 1_000
CHUNK_LIMIT = 16
CONTEXT_CHARS = 4_000
LOCAL_WINDOW_LIMIT = 1_000
SCREEN = 64
"""Windows that a local classifier scores in full; of a text with more, the worst ones by its cheap half."""
_LONG_CHARS = 4_000
_LINES_UP_TO = 120_000
"""Reading a longer text line by line would take seconds."""
_INLINE_CHARS = 1_000
"""Decoding a text up to this long takes well under a millisecond, less than a thread would cost."""
_QUOTE = 80
_SHORT, _LINE = 40, 160
_CLOSER, _SPANS, _BEFORE = 5, 24, 200
"""Stretches of a long text that are looked at again, windows in each, and characters before it that count to it."""
_SEAM = re.compile(r"(?<=[.!?:;。！？])\s+|\n\s*")


def too_long(error: TooLong, *, model: str, version: str) -> Verdict:
    """The verdict on a text that nobody reads to its end: a flag, since a pass would let it in unread."""
    return Verdict("flag", 1.0, "too_long", str(error), model, version)


def chunks(subject: Subject, *, size: int, overlap: int, limit: int) -> list[Subject]:
    """Divide what is judged into overlapping pieces of at most `size` characters, across the seams of its parts.

    Raises:
        TooLong: more than `limit` pieces would be needed.
    """
    text = subject.text
    if len(text) <= size:
        return [subject]
    pieces: list[Subject] = []
    for window in windows(text, size=size, overlap=overlap, limit=limit):
        parts: list[Part] = []
        start = 0
        for part in subject.parts:
            end = start + len(part.text)
            low, high = max(window.start, start), min(window.end, end)
            if low < high:
                parts.append(replace(part, text=text[low:high]))
            start = end + 1
        pieces.append(replace(subject, parts=tuple(parts)))
    return pieces


def recent(context: tuple[Part, ...], limit: int = CONTEXT_CHARS) -> tuple[Part, ...]:
    """The newest `limit` characters of a context. It is not what is judged, so its beginning may be left out."""
    kept: list[Part] = []
    for part in reversed(context):
        if limit <= 0:
            break
        kept.append(replace(part, text=part.text[-limit:]))
        limit -= len(part.text)
    return tuple(reversed(kept))


@dataclass(frozen=True, slots=True)
class PromptJudge:
    """Asks a language model with a versioned prompt.

    Attributes:
        model: who is asked.
        template: the prompt.
        company: what the prompt says about the company.
        decode: add decoded readings of the text to the data.
        threshold: flag at this score or above; None takes the model's own yes or no.
    """

    model: Model
    template: Template
    company: str = ""
    decode: bool = False
    threshold: float | None = None

    def judge(self, subject: Subject) -> Coroutine[Any, Any, Verdict]:
        """Ask once, or once for each piece of a long text, all at the same time; every piece must pass."""
        return self._ask(subject) if len(subject.text) <= CHUNK_CHARS else self._ask_pieces(subject)

    async def _ask_pieces(self, subject: Subject) -> Verdict:
        try:
            pieces = chunks(subject, size=CHUNK_CHARS, overlap=CHUNK_OVERLAP, limit=CHUNK_LIMIT)
        except TooLong as error:
            return too_long(error, model=self.model.name, version=self.template.version)
        calls = [branch(f"piece {i}", partial(self._ask, piece), timeout_s=None) for i, piece in enumerate(pieces, 1)]
        async with fan_out(calls, Worst(len(calls)), timeout_s=None) as run:
            return (await run.decided()).value

    async def _ask(self, subject: Subject) -> Verdict:
        if subject.context:
            subject = replace(subject, context=recent(subject.context))
        if self.decode and len(subject.text) > _INLINE_CHARS:
            lines = await in_thread(lambda _stop: data_lines(subject, decode=True), lane=_lane(subject))
        else:
            lines = data_lines(subject, decode=self.decode)
        prompt, nonce = render(self.template, lines, company=self.company)
        reply = await self.model.complete(prompt)
        verdict = parse(reply.text, nonce, model=reply.model, version=self.template.version)
        if self.threshold is None or verdict.score is None:
            return verdict
        return verdict._replace(outcome="flag" if verdict.score >= self.threshold else "pass")


class Scored(Protocol):
    """What a local classifier says of one text."""

    @property
    def score(self) -> float:
        """Probability of a violation."""

    @property
    def category(self) -> str:
        """What it looks like."""


class WindowClassifier(Protocol):
    """Scores one window of text."""

    version: str
    threshold: float

    def score(self, text: str) -> Scored:
        """Probability that the window is a violation."""

    def over(self, score: float, windows: int) -> float:
        """The probability for a whole text whose highest of so many windows has this score."""


@runtime_checkable
class Screening(Protocol):
    """A window classifier that can tell cheaply which windows of a long text are worth its `score`."""

    def promising(self, windows: Sequence[str], *, most: int, pause: Callable[[], object]) -> Sequence[int]:
        """Places of at most so many windows, the likeliest violations; fewer if `pause` says to stop."""


class ScopeClassifier(Protocol):
    """Scores a customer's text for one company; reads it whole, however long it is."""

    version: str
    low: float
    high: float

    def score(self, text: str, *, context: str = "", pause: Callable[[], object] = bool) -> Scored:
        """Probability that the text is out of scope; `pause` is called between the pieces of a long one."""


LANGUAGE = "language"
"""Category of an abstention from a text in a language that the classifier was not trained on."""


_Ranked = tuple[Scored, str, Window]
"""What a classifier says of a window, the name of its reading, and the window."""


def _highest(one: _Ranked) -> float:
    return -one[0].score


@dataclass(frozen=True, slots=True)
class _WindowJudge:
    classifier: WindowClassifier
    threshold: float | None = None
    foreign: Callable[[str], str | None] | None = None
    _clean: ClassVar[str]

    async def judge(self, subject: Subject) -> Verdict:
        """Judge in a thread; a cancel stops it at the next window."""
        return await in_thread(partial(self._judge, subject), lane=_lane(subject))

    def _cut(self, text: str) -> Iterable[Window]:
        raise NotImplementedError

    def _judge(self, subject: Subject, stop: StopFlag) -> Verdict:
        classifier = self.classifier
        threshold = classifier.threshold if self.threshold is None else self.threshold
        version = classifier.version
        try:
            if len(subject.text) > LOCAL_WINDOW_LIMIT * WINDOW_SIZE:
                raise TooLong(f"a text of {len(subject.text)} characters needs more than {LOCAL_WINDOW_LIMIT} windows")
            texts = list(_texts(subject, stop))
            found, count = self._windows(texts, stop)
        except TooLong as error:
            return too_long(error, model="local", version=version)
        ranked = self._ranked(self._screened(found, stop), stop)
        if len(found) > SCREEN:
            ranked = sorted([*ranked, *self._ranked(self._closer(ranked, dict(texts)), stop)], key=_highest)
        top = classifier.over(ranked[0][0].score if ranked else 0.0, count)
        if ranked and top >= threshold:
            scored, name, window = ranked[0]
            where = f"{name} text at {window.start}: {' '.join(window.text.split())[:_QUOTE]!r}"
            reason = f"looks like {scored.category} in {where}"
            return Verdict("flag", top, scored.category, reason, "local", version)
        language = _language(self.foreign, _clear(texts), stop=stop) if self.foreign else None
        if language is not None:
            return Verdict("abstain", top, LANGUAGE, f"language not covered: {language}", "local", version)
        return Verdict("pass", top, "none", self._clean, "local", version)

    def _ranked(self, found: Iterable[tuple[str, Window]], stop: StopFlag) -> list[_Ranked]:
        """The windows with what the classifier says of them, the highest first."""
        scored = [(self.classifier.score(one.text), name, one) for name, one in found if not stop.pause()]
        return sorted(scored, key=_highest)

    def _closer(self, ranked: Sequence[_Ranked], texts: Mapping[str, str]) -> Iterable[tuple[str, Window]]:
        """Further windows of a long text that are worth a score, in view of the highest so far."""
        return ()

    def _windows(self, texts: Sequence[tuple[str, str]], stop: StopFlag) -> tuple[list[tuple[str, Window]], int]:
        """Every window with its reading's name, each text once, and how many there were with the repeated ones."""
        found: dict[str, tuple[str, Window]] = {}
        count = 0
        for name, text in texts:
            for window in self._cut(text):
                if stop.pause():
                    break
                count += 1
                # Most readings differ from the others in a few places only.
                found.setdefault(window.text, (name, window))
        return list(found.values()), count

    def _screened(self, found: list[tuple[str, Window]], stop: StopFlag) -> Iterable[tuple[str, Window]]:
        """All windows of a short text; of a long one those that a cheap look at every window finds worst."""
        if len(found) <= SCREEN or not isinstance(self.classifier, Screening):
            return found
        texts = [window.text for _, window in found]
        return [found[at] for at in self.classifier.promising(texts, most=SCREEN, pause=stop.pause)]


class LocalThreatJudge(_WindowJudge):
    """The local threat classifier over every reading and every window; the highest score counts.

    Attributes:
        classifier: scores one window.
        threshold: flag at this score or above; None takes the classifier's own.
        foreign: names the language of a text that is not in one the classifier knows; such a text is flagged or
            abstained from, never passed. None asks nobody.
    """

    __slots__ = ()
    _clean = "nothing that looks like an attack"

    def _cut(self, text: str) -> Iterable[Window]:
        return pieces(text)

    def _closer(self, ranked: Sequence[_Ranked], texts: Mapping[str, str]) -> Iterable[tuple[str, Window]]:
        """Whole sentences around the highest windows: cut by length, an attack shares its window with others' words."""
        looked: list[tuple[str, Window]] = []
        for _, name, one in ranked:
            if all(name != other or one.start >= two.end or one.end <= two.start for other, two in looked):
                looked.append((name, one))
                yield from ((name, span) for span in sentences_at(texts[name], one.start, end=one.end))
            if len(looked) == _CLOSER:
                return


class LocalModerationJudge(_WindowJudge):
    """The local moderation classifier, as `LocalThreatJudge` has the threat classifier; lines are not read apart."""

    __slots__ = ()
    _clean = "nothing inappropriate"

    def _cut(self, text: str) -> Iterable[Window]:
        return windows(text, limit=LOCAL_WINDOW_LIMIT)


@dataclass(frozen=True, slots=True)
class LocalScopeJudge:
    """The local scope classifier of one company; between its two bounds it abstains.

    Attributes:
        classifier: fitted to the company's help centre and example questions.
        pass_below: pass up to this score; None takes the classifier's own bound.
        flag_above: flag from this score on; None takes the classifier's own bound.
        foreign: names the language of a text that is not in English; None asks nobody.
        spoken: the language of the company's own texts as `foreign` names it. What is in another one is passed or
            abstained from, never flagged: the classifier has no words to tell it by.
    """

    classifier: ScopeClassifier
    pass_below: float | None = None
    flag_above: float | None = None
    foreign: Callable[[str], str | None] | None = None
    spoken: str | None = None

    async def judge(self, subject: Subject) -> Verdict:
        """Judge in a thread; a cancel stops it at the next piece of a long text."""
        return await in_thread(partial(self._judge, subject), lane=_lane(subject))

    def _judge(self, subject: Subject, stop: StopFlag) -> Verdict:
        version = self.classifier.version
        context = "\n".join(part.text for part in recent(subject.context))
        worst = self.classifier.score(subject.text, context=context, pause=stop.pause)
        high = self.classifier.high if self.flag_above is None else self.flag_above
        low = self.classifier.low if self.pass_below is None else self.pass_below
        asked = self.foreign if worst.score > low else None
        language = _language(asked, subject.text, stop=stop) if asked else self.spoken
        if language != self.spoken:
            reason = f"language not covered: {language or 'English'}"
            return Verdict("abstain", worst.score, LANGUAGE, reason, "local", version)
        if worst.score >= high:
            return Verdict("flag", worst.score, worst.category, "not about this company", "local", version)
        if worst.score > low:
            return Verdict(
                "abstain", worst.score, "none", "not sure whether it is about this company", "local", version
            )
        return Verdict("pass", worst.score, "none", "about this company, or small talk", "local", version)


def pieces(text: str) -> Iterator[Window]:
    """The windows of a text; of one longer than a window its lines as well, since an attack may stand among others.

    Raises:
        TooLong: more than `LOCAL_WINDOW_LIMIT` windows would be needed.
    """
    whole = windows(text, limit=LOCAL_WINDOW_LIMIT)
    yield from whole
    if len(whole) == 1 or len(text) > _LINES_UP_TO:
        return
    start = end = 0
    for line in text.splitlines(keepends=True):
        end += len(line)
        # Short lines go together: a text of empty lines must not cost a window for each.
        if end - start < _SHORT and end < len(text):
            continue
        for window in windows(text[start:end], size=_LINE, overlap=_LINE // 4, limit=len(text)):
            yield Window(start + window.start, start + window.end, window.text)
        start = end


_HIDDEN = frozenset(("tags", "selectors", "the customer's"))
"""Readings of a part of the text only."""


def sentences_at(text: str, start: int, *, end: int) -> list[Window]:
    """Runs of whole sentences that begin in or shortly before a stretch of a text, at most `WINDOW_SIZE` long."""
    low, high = max(0, start - _BEFORE), min(len(text), end + WINDOW_SIZE)
    begins = [low, *(low + seam.end() for seam in _SEAM.finditer(text[low:high])), high]
    found = []
    for at, begin in enumerate(begins[:-1]):
        if begin >= end:
            break
        fit = [stop for stop in begins[at + 1 :] if stop - begin <= WINDOW_SIZE]
        # The sentence alone, as many as fit, and what a text that began here would have as its first window.
        stops = {*fit[:1], *fit[-1:], begin + windows(text[begin : begin + WINDOW_SIZE + 1])[0].end}
        found += [Window(begin, stop, text[begin:stop]) for stop in sorted(stops) if stop - begin >= _SHORT]
    return found[:_SPANS]


def _language(foreign: Callable[[str], str | None], text: str, *, stop: StopFlag) -> str | None:
    """The first language other than English in a text; a long one is looked at in pieces, so that others go first."""
    if len(text) <= _LONG_CHARS:
        return foreign(text)
    parts = windows(text, size=_LONG_CHARS, overlap=0, limit=len(text))
    return next(filter(None, (foreign(part.text) for part in parts if not stop.pause())), None)


def _clear(texts: Sequence[tuple[str, str]]) -> str:
    """The reading in which most is undone, so that English in disguise is not taken for another language."""
    return next(text for name, text in reversed(texts) if name not in _HIDDEN)


def _texts(subject: Subject, stop: StopFlag) -> Iterator[tuple[str, str]]:
    """Everything as it came and in its readings; then the customer's turns alone, since an attack may span them."""
    whole = subject.text
    for reading in readings(whole, pause=stop.pause):
        yield reading.name, reading.text
    turns = [part.text for part in subject.parts if part.origin == "customer"]
    if 1 < len(turns) < len(subject.parts):
        yield "the customer's", " ".join(turns)


def _lane(subject: Subject) -> Lane:
    return "short" if len(subject.text) <= _LONG_CHARS else "long"
