"""The stand-in server's books: what was started, finished, cut by the client, broken on purpose."""

import hashlib
import random
from collections import Counter, deque
from collections.abc import Iterable
from typing import TypedDict

from quorate.testing.standin.profiles import OK, Fault, Profile

_MAX_MODELS = 10_000
_MAX_STREAKS = 100_000
_KEPT_CUTS = 200
_FAULT_STREAM = 0x9E3779B97F4A7C15  # keeps the draws of faults apart from those of latencies
OTHER = "(other models)"


class Counts(TypedDict):
    """Counters of one model, or of all together.

    `started == finished + cut + failed + in_flight` holds at any time. A call that a fault was injected into ends
    as failed, or as cut if the client left first. `tokens_cut` are the tokens generated for calls that were cut;
    `tokens_after_cut` those generated after the client had left.
    """

    started: int
    finished: int
    cut: int
    cut_streamed: int
    cut_plain: int
    failed: int
    tokens_generated: int
    tokens_cut: int
    tokens_after_cut: int
    in_flight: int
    peak_in_flight: int


class Cut(TypedDict):
    """One call whose client left before the end: how it showed, when, and after how many tokens."""

    model: str
    streamed: bool
    seen_as: str
    after_s: float
    tokens: int


class Stats(TypedDict):
    """What `/stats` answers.

    Connections that only ever asked for `/stats` and the like are not counted. `cuts` are the last 200.
    """

    total: Counts
    models: dict[str, Counts]
    faults: dict[str, int]
    rejected: int
    redirects_followed: int
    connections_open: int
    connections_opened: int
    cuts: list[Cut]


def _counts(in_flight: int = 0) -> Counts:
    return Counts(
        started=in_flight,
        finished=0,
        cut=0,
        cut_streamed=0,
        cut_plain=0,
        failed=0,
        tokens_generated=0,
        tokens_cut=0,
        tokens_after_cut=0,
        in_flight=in_flight,
        peak_in_flight=in_flight,
    )


class Ledger:
    """Counts calls and connections."""

    def __init__(self) -> None:
        self.total = _counts()
        self.models: dict[str, Counts] = {}
        self.faults: Counter[str] = Counter()
        self.cuts: deque[Cut] = deque(maxlen=_KEPT_CUTS)
        self.rejected = self.redirects_followed = 0
        self.connections_open = self.connections_opened = 0

    def start(self, model: str) -> Counts:
        """Book the start of a call.

        Returns:
            The model's counters, to be handed back at its end. Beyond 10,000 models the rest share one set.
        """
        own = self.models.get(model)
        if own is None:
            own = self.models.setdefault(model if len(self.models) < _MAX_MODELS else OTHER, _counts())
        for counts in (self.total, own):
            counts["started"] += 1
            counts["in_flight"] += 1
            if counts["in_flight"] > counts["peak_in_flight"]:
                counts["peak_in_flight"] = counts["in_flight"]
        return own

    def end(self, own: Counts, *, failed: bool) -> None:
        """Book the end of a call whose client stayed."""
        for counts in (self.total, own):
            counts["in_flight"] -= 1
            counts["failed" if failed else "finished"] += 1

    def cut(self, own: Counts, cut: Cut) -> None:
        """Book the end of a call whose client left; its tokens must have been booked before."""
        self.cuts.append(cut)
        for counts in (self.total, own):
            counts["in_flight"] -= 1
            counts["cut"] += 1
            counts["cut_streamed" if cut["streamed"] else "cut_plain"] += 1
            counts["tokens_cut"] += cut["tokens"]

    def tokens(self, own: Counts, count: int, *, after_cut: bool = False) -> None:
        """Book generated tokens."""
        for counts in (self.total, own):
            counts["tokens_generated"] += count
            if after_cut:
                counts["tokens_after_cut"] += count

    def reset(self) -> None:
        """Start again from zero; what is in flight or open stays counted as such."""
        # In place: calls in flight hold on to their counters.
        self.models = {name: counts for name, counts in self.models.items() if counts["in_flight"]}
        for counts in (self.total, *self.models.values()):
            counts.update(_counts(counts["in_flight"]))
        self.faults.clear()
        self.cuts.clear()
        self.rejected = self.redirects_followed = 0
        self.connections_opened = self.connections_open

    def stats(self) -> Stats:
        """Return a copy of the books."""
        return Stats(
            total=self.total.copy(),
            models={name: counts.copy() for name, counts in self.models.items()},
            faults=dict(self.faults),
            rejected=self.rejected,
            redirects_followed=self.redirects_followed,
            connections_open=self.connections_open,
            connections_opened=self.connections_opened,
            cuts=list(self.cuts),
        )


class Dice:
    """Everything that is drawn: latencies and faults, the same again for the same seed, model and text.

    Calls of the same model and text *at the same time* (votes, a hedge and its first call) get draws of their own;
    one after another they get the same ones, so that two clients can be compared on the same messages. A call
    repeated because of a drawn fault gets a new draw for its fault, or no retry could ever succeed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._live: dict[int, int] = {}
        self._streaks: dict[int, int] = {}
        self._turns: dict[str, int] = {}
        self._queues: dict[str, deque[Fault]] = {}

    def roll(self, model: str, text: str, *, profile: Profile) -> tuple[float, Fault, int]:
        """Draw for one call.

        Returns:
            The latency in seconds, the fault, and a key to hand to `release` when the call has ended.
        """
        digest = hashlib.blake2b(f"{self._seed}\0{model}\0{text}".encode("utf-8", "surrogatepass"), digest_size=8)
        key = int.from_bytes(digest.digest())
        at_once = self._live.get(key, 0)
        self._live[key] = at_once + 1
        latency = profile.latency.draw(random.Random(key + at_once))
        return max(0.0, latency), self._fault(model, key, profile=profile), key

    def release(self, key: int) -> None:
        """Tell that a call has ended."""
        left = self._live[key] - 1
        if left:
            self._live[key] = left
        else:
            del self._live[key]

    def inject(self, model: str, faults: Iterable[Fault]) -> None:
        """Queue faults for the next calls of a model; they go before those of its profile."""
        if model not in self._queues and len(self._queues) >= _MAX_MODELS:
            raise ValueError(f"faults are queued for {_MAX_MODELS} models already")
        self._queues.setdefault(model, deque()).extend(faults)

    def reset(self) -> None:
        """Forget turns, repeats and queued faults, as if the server had just started."""
        self._streaks.clear()
        self._turns.clear()
        self._queues.clear()

    def _fault(self, model: str, key: int, *, profile: Profile) -> Fault:
        queue = self._queues.get(model)
        if queue:
            fault = queue.popleft()
            if not queue:
                del self._queues[model]
            return fault
        if not profile.plan:
            return OK
        if profile.fault_share < 1.0:
            streak = self._streaks.pop(key, 0)
            if len(self._streaks) >= _MAX_STREAKS:
                self._streaks.clear()
            rng = random.Random((key ^ _FAULT_STREAM) + streak)
            if rng.random() >= profile.fault_share:
                return OK
            self._streaks[key] = streak + 1
            return rng.choice(profile.plan)
        if model not in self._turns and len(self._turns) >= _MAX_MODELS:
            self._turns.clear()
        turn = self._turns.get(model, 0)
        self._turns[model] = turn + 1
        return profile.plan[turn % len(profile.plan)]
