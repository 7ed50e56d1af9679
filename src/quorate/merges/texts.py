"""Agree, Pick and Synthesize: one text out of several. Texts are data here: compared and passed on, never read."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Generic, TypeVar

from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Cancelled, Delta, Event, Failed
from quorate.merges.base import NOTHING, UNDECIDED, Cancel, Decision, Start, Step, Undecided
from quorate.merges.ends import abstained, at_least_one, end_of, pass_by

T = TypeVar("T")

MOST_SHINGLED = 20_000
_NO_WORD = re.compile(r"[^\w.,%+-]+|[.,+-](?!\w)", re.UNICODE)


def normal(text: str) -> str:
    """The text without what does not change its meaning: case, width, marks at word ends, kinds of blanks.

    "The answer: 42." and "the  answer: 42" are the same; 4.2 and 42, -1 and 1 are not. Unicode NFKC and case folding.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_NO_WORD.sub(" ", folded).split())


def likeness(first: str, second: str) -> float:
    """The Jaccard similarity of two texts' runs of five characters, 0 to 1; only the first 20,000 count.

    Broder, "On the resemblance and containment of documents", Compression and Complexity of Sequences 1997.
    """
    a, b = _shingles(first), _shingles(second)
    return len(a & b) / len(a | b)


def _shingles(text: str) -> frozenset[str]:
    text = f"  {text[:MOST_SHINGLED]}  "
    return frozenset(text[i : i + 5] for i in range(max(1, len(text) - 4)))


@dataclass(slots=True)
class _Group:
    names: list[str]
    keys: Counter[str]
    texts: dict[str, Any]


class Agree(Generic[T]):
    """The answer that more than half of `n` voters gave in other words or the same, else `UNDECIDED`.

    Self-consistency over free text (Wang et al., arXiv 2203.11171). Which of the group's texts stands for it may vary
    with the order of arrival: the commonest so far, of those the first. Which group wins may not. With `key` alone it
    stops at the first settled event, either way; with `alike` only a win is settled early, because any text still to
    come could join two groups.

    Args:
        n: how many voters there are; failures and abstentions stay in it.
        k: how many must agree, more than half; by default the fewest that are.
        key: what two texts must share to be the same; None abstains. By default `normal`.
        alike: two texts with at least this `likeness` of keys belong together as well, and groups that share such a
            pair are one.

    Raises:
        UsageError: k is not more than half of n, or alike not in (0, 1].
    """

    def __init__(
        self,
        n: int,
        *,
        k: int | None = None,
        key: Callable[[T], str | None] | None = None,
        alike: float | None = None,
    ) -> None:
        self._n = self._pending = at_least_one(n)
        self._k = n // 2 + 1 if k is None else k
        if not n < 2 * self._k <= 2 * n or (alike is not None and not 0 < alike <= 1):
            raise UsageError(f"agreement needs n / 2 < k <= n and 0 < alike <= 1, got k={k}, n={n}, alike={alike}")
        self._key, self._alike = key, alike
        self._groups: list[_Group] = []

    def start(self) -> Step[T | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[T | Undecided]:
        """Put an answer to its like; decide once a group has won or none can."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        self._pending -= 1
        if error is None and not abstained(value):
            key = self._key(value) if self._key else normal(str(value))
            if key is not None:
                self._join(event.branch, key, value)
        largest = max(self._groups, key=lambda group: len(group.names), default=None)
        count = len(largest.names) if largest is not None else 0
        if largest is not None and count >= self._k:
            [(key, _)] = largest.keys.most_common(1)
            why = f"agreement: {count} of {self._n}"
            return Step(decision=Decision(largest.texts[key], why, by=event.branch), done=True)
        answers = sum(len(group.names) for group in self._groups)
        reach = (answers if self._alike is not None and self._pending else count) + self._pending
        if reach < self._k:
            why = f"no agreement: at most {reach} of {self._n}"
            return Step(decision=Decision(UNDECIDED, why, by=event.branch), done=True)
        return NOTHING

    def _join(self, name: str, key: str, value: T) -> None:
        mine = [group for group in self._groups if any(self._same(key, other) for other in group.keys)]
        joined = _Group([], Counter(), {})
        for group in (*mine, _Group([name], Counter((key,)), {key: value})):
            joined.names += group.names
            joined.keys.update(group.keys)
            joined.texts = group.texts | joined.texts
        self._groups = [group for group in self._groups if group not in mine] + [joined]

    def _same(self, key: str, other: str) -> bool:
        return key == other or (self._alike is not None and likeness(key, other) >= self._alike)


@dataclass(frozen=True, slots=True)
class Draft(Generic[T]):
    """A voter's text on its way to a judge or a writer. Untrusted: it goes into a prompt as data."""

    name: str
    value: T


Comparing = Callable[[str, tuple[Draft[Any], Draft[Any]]], Branch[Any]]
Scoring = Callable[[str, Draft[Any]], Branch[Any]]


class Pick(Generic[T]):
    """The best of `n` drafts by a judge that compares them two by two in both orders, or that scores each.

    Comparing: every pair is judged twice, with the drafts swapped. A judge that prefers the first place both times has
    shown its bias and nothing else: each draft gets half. The outcome is the `Draft` with the most wins, decided once
    nobody can overtake it. It costs n (n - 1) judgements, all at once after the last draft.
    Scoring: each draft is judged as soon as it is there, n judgements; the highest score wins.

    A judgement that failed could have gone either way. A tie, or a lead that it could have turned, is `UNDECIDED`.
    Statistical: what it risks is the judge's own error, which swapping the order does not show. Measure the judge
    against people's choices.

    Args:
        n: how many drafts there are.
        compare: gives the branch of this name that returns which of two drafts is better: "first", "second", or None
            for neither; anything else is a failed judgement.
        score: gives the branch of this name that returns a finite number for a draft. One of the two is needed.

    Raises:
        UsageError: not exactly one judge is given.
    """

    def __init__(self, n: int, *, compare: Comparing | None = None, score: Scoring | None = None) -> None:
        if (compare is None) == (score is None):
            raise UsageError("Pick needs `compare` or `score`, and not both")
        self._drafting = at_least_one(n)
        self._compare, self._score = compare, score
        self._drafts: dict[str, Draft[T]] = {}
        self._open: dict[str, tuple[str, ...]] = {}
        self._points: Counter[str] = Counter()
        self._scores: dict[str, float] = {}
        self._missing: Counter[str] = Counter()

    def start(self) -> Step[Draft[T] | Undecided]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[Draft[T] | Undecided]:
        """Take a draft or a judgement; start judgements; decide once nobody can overtake the best."""
        ended, value, error = end_of(event)
        if not ended:
            return pass_by(event)
        judged = self._open.pop(event.branch, None)
        if judged is not None:
            self._judged(judged, value if error is None else error)
            return self._settle(event.branch)
        self._drafting -= 1
        if error is None and not abstained(value):
            self._drafts[event.branch] = Draft(event.branch, value)
        step = self._settle(event.branch)
        return Step(start=self._judge(event.branch)) if step is NOTHING else step

    def _judge(self, latest: str) -> tuple[Start, ...]:
        if self._score is not None:
            draft = self._drafts.get(latest)
            if draft is None:
                return ()
            name = f"judge: {latest}"
            self._open[name] = (latest,)
            return (Start(self._score(name, draft)),)
        starts: list[Start] = []
        if self._compare is not None and not self._drafting:
            for one, other in permutations(self._drafts, 2):
                name = f"judge: {one} | {other}"
                self._open[name] = (one, other)
                starts.append(Start(self._compare(name, (self._drafts[one], self._drafts[other]))))
        return tuple(starts)

    def _judged(self, judged: tuple[str, ...], said: Any) -> None:
        if len(judged) == 1:
            finite = isinstance(said, int | float) and not isinstance(said, bool) and abs(said) < float("inf")
            if finite:
                self._scores[judged[0]] = said
            else:
                self._missing[judged[0]] += 1
        elif said == "first" or said == "second":
            self._points[judged[said == "second"]] += 2
        elif said is None:
            self._points.update(judged)
        else:
            self._missing.update(judged)

    def _settle(self, branch: str) -> Step[Draft[T] | Undecided]:
        if self._drafting:
            return NOTHING
        if not self._drafts:
            return Step(fail=RunFailed("no branch gave a draft"), done=True)
        if len(self._drafts) == 1:
            [only] = self._drafts.values()
            return Step(decision=Decision(only, "the only draft", by=only.name), done=True)
        if self._compare is not None and not self._open and not self._points and not self._missing:
            return NOTHING  # Comparisons have not begun.
        best = self._best()
        if best is not None:
            return Step(decision=Decision(self._drafts[best], f"{best} was judged best", by=branch), done=True)
        if self._open:
            return NOTHING
        return Step(decision=Decision(UNDECIDED, "undecided: no draft is ahead of all others", by=branch), done=True)

    def _best(self) -> str | None:
        """The draft that no outcome of the open and missing judgements can put behind or beside another."""
        if self._score is not None:
            ranked = sorted(self._scores, key=lambda name: self._scores[name], reverse=True)
            clear = len(ranked) > 1 and self._scores[ranked[0]] > self._scores[ranked[1]]
            return ranked[0] if clear and not self._open and not self._missing else None
        unknown = Counter(self._missing)
        for pair in self._open.values():
            unknown.update(pair)
        for name in self._drafts:
            others = (self._points[other] + 2 * unknown[other] for other in self._drafts if other != name)
            if all(self._points[name] > most for most in others):
                return name
        return None


class Synthesize(Generic[T]):
    """A last branch writes one text from the drafts; what it says is released as it comes.

    Args:
        n: how many drafts there are.
        write: gives the last branch from the drafts, in the order in which their branches were queued.
        k: start it as soon as so many drafts are there, and cancel the others; by default wait for all.
        least: with fewer drafts than this the run fails.

    Raises:
        UsageError: not 1 <= least <= k <= n.
    """

    def __init__(
        self,
        n: int,
        write: Callable[[tuple[Draft[T], ...]], Branch[Any]],
        *,
        k: int | None = None,
        least: int = 1,
    ) -> None:
        self._pending = at_least_one(n)
        self._k = n if k is None else k
        self._least = least
        if not 1 <= least <= self._k <= n:
            raise UsageError(f"a synthesis needs 1 <= least <= k <= n, got least={least}, k={k}, n={n}")
        self._write = write
        self._drafts: dict[str, Draft[T]] = {}
        self._known: list[str] = []
        self._over: set[str] = set()
        self._last: str | None = None

    def start(self) -> Step[Any]:
        """Nothing to say before the first event."""
        return NOTHING

    def feed(self, event: Event) -> Step[Any]:
        """Collect drafts, start the last branch, release what it says and decide with its value."""
        if event.branch == self._last:
            return self._writing(event)
        if event.branch not in self._known:
            self._known.append(event.branch)
        ended, value, error = end_of(event)
        if not ended or self._last is not None:
            return pass_by(event)
        self._pending -= 1
        self._over.add(event.branch)
        if error is None and not abstained(value):
            self._drafts[event.branch] = Draft(event.branch, value)
        if len(self._drafts) + self._pending < self._least:
            failure = RunFailed(f"at most {len(self._drafts) + self._pending} drafts, {self._least} are needed")
            return Step(fail=failure, done=True)
        if self._pending and len(self._drafts) < self._k:
            return NOTHING
        last = self._write(tuple(self._drafts[name] for name in self._known if name in self._drafts))
        self._last = last.name
        late = tuple(Cancel(name, "enough drafts") for name in self._known if name not in self._over)
        return Step(start=(Start(last),), commit=(last.name,), cancel=late)

    def _writing(self, event: Event) -> Step[Any]:
        match event:
            case Delta():
                return Step(release=(event,))
            case Answered(value=value):
                why = f"written from {len(self._drafts)} drafts"
                return Step(decision=Decision(value, why, by=event.branch), done=True)
            case Failed(error=error):
                failure = error if isinstance(error, Exception) else RunFailed(f"{event.branch}: {error!r}")
                return Step(fail=failure, done=True)
            case Cancelled(why=why):
                return Step(fail=RunFailed(f"{event.branch} was cancelled: {why}"), done=True)
            case _:
                return NOTHING
