"""The adaptive limiter: its decisions, its room in virtual time, and one real server that refuses."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_world import PROMPT, QUESTION, Asked, Fake, answer, error, no_proxy_of_the_machine, raw_server, until
from quorate.engine import clock
from quorate.errors import LimitExceeded, ModelError, RateLimited, UsageError
from quorate.models import Emit, Prompt, Reply
from quorate.models.adaptive import CUT, GROWTH, LEAST, REST_S, Aimd, Pace, duration_s
from quorate.models.http import Session
from quorate.models.openai import OpenAIModel
from quorate.models.policies import Fallback, Limit, Limiter, Retry, RetryBudget
from quorate.testing.clock import run_virtual
from quorate.testing.standin import StandIn

__all__ = ["no_proxy_of_the_machine"]


# The decisions.

seen = st.tuples(
    st.sampled_from(("good", "refused", "troubled")),
    st.floats(0, 20),
    st.floats(0, 20),
    st.integers(1, 200),
    st.sampled_from((0.0, 1.0, 30.0)),
    st.booleans(),
)


@given(st.integers(1, 200), st.none() | st.integers(1, 300), st.lists(seen, max_size=120))
def test_the_limit_keeps_its_bounds_and_its_rests(most: int, start: int | None, came: list[Any]) -> None:
    """For anything seen: within bounds, one cut in a rest at most, none by calls sent before it, small steps up."""
    aimd, now_s, rest_s, complained = Aimd(most, start=start), 0.0, -1.0, False
    least = min(LEAST, most, aimd.limit)
    for what, gap_s, latency_s, running, wait_s, wanted in came:
        now_s += gap_s
        before, sent_s = aimd.limit, now_s - latency_s
        if what == "good":
            aimd.good(sent_s, wanted=wanted)
            assert aimd.limit >= before
            assert aimd.limit <= max(before + 1, before * (GROWTH if complained else 2))
            if sent_s < rest_s or not wanted:
                assert aimd.limit == before
        elif what == "refused":
            complained = True
            aimd.refused(now_s, sent_s, running=running, wait_s=wait_s)
            assert aimd.limit <= before
            if now_s < rest_s:
                assert aimd.limit == before
            if aimd.limit < before:
                assert aimd.limit == max(least, int(CUT * min(before, running)))
                rest_s = now_s + REST_S
            rest_s = max(rest_s, now_s + wait_s)
        else:
            aimd.troubled()
            assert aimd.limit == before
        assert least <= aimd.limit <= most
    if not complained and start is None:
        assert aimd.limit == most


def test_trouble_spoils_a_round() -> None:
    """A 5xx or a timeout neither cuts nor lets grow: the round begins anew."""
    aimd = Aimd(100, start=10)
    for _ in range(9):
        aimd.good(0.0, wanted=True)
    aimd.troubled()
    aimd.good(0.0, wanted=True)
    assert aimd.limit == 10
    for _ in range(9):
        aimd.good(0.0, wanted=True)
    assert aimd.limit == 20


# The room, in virtual time.


class Server:
    """A model behind a pace: takes so many calls at once and refuses the others, as a server with a quota does."""

    name = "server"

    def __init__(self, pace: Pace, takes: int, *, call_s: float = 1.0, wait_s: float | None = None) -> None:
        self.pace, self.takes, self.call_s, self.wait_s = pace, takes, call_s, wait_s
        self.running = self.peak = self.served = self.refused = 0

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        self.running += 1
        self.peak = max(self.peak, self.running)
        start_s = clock.now()
        try:
            if self.running > self.takes:
                self.refused += 1
                await clock.sleep(0.05)
                headers = {} if self.wait_s is None else {"retry-after": str(self.wait_s)}
                self.pace.saw(429, headers, latency_s=clock.now() - start_s)
                raise RateLimited("slow down", retry_after_s=self.wait_s)
            await clock.sleep(self.call_s)
            self.served += 1
            self.pace.saw(200, {}, latency_s=clock.now() - start_s)
            return Reply("up", self.name)
        finally:
            self.running -= 1


async def load(model: Any, callers: int, until_s: float) -> None:
    """So many callers, each of whom asks again and again."""

    async def caller() -> None:
        while clock.now() < until_s:
            try:
                await model.complete(PROMPT)
            except (ModelError, LimitExceeded):
                await clock.sleep(0.25)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def test_it_finds_what_a_server_takes() -> None:
    """Under more load than the server takes, refusals become rare and the server stays in use."""
    pace = Pace(max_running=200, max_queued=400)
    server = Server(pace, takes=40)
    await load(Limit(server, pace), 150, 120)
    early, served = server.refused, server.served
    await load(Limit(server, pace), 150, 600)
    assert pace.cuts >= 3
    assert 30 <= pace.limit <= 48
    asked = server.refused - early + server.served - served
    assert (server.refused - early) / asked < 0.05
    assert (server.served - served) / 480 > 0.75 * 40
    assert (pace.running, pace.queued) == (0, 0)


async def test_it_grows_back_when_the_server_takes_more() -> None:
    """After the server has got room again, the limit climbs by its small steps, and stays at its bound."""
    pace = Pace(max_running=60, max_queued=100)
    server = Server(pace, takes=20)
    await load(Limit(server, pace), 60, 60)
    assert pace.limit < 30
    server.takes = 1000
    await load(Limit(server, pace), 100, 150)
    assert pace.limit == server.peak == 60


async def test_a_slow_start_doubles() -> None:
    """With a start below its bound it doubles with each clean round."""
    pace = Pace(max_running=100, start=10)
    limits = [pace.limit]
    server = Server(pace, takes=1000)
    for second in (1.5, 2.5, 3.5, 5.5):
        await load(Limit(server, pace), 150, second)
        limits.append(pace.limit)
    assert limits[0] == 10
    assert limits == sorted(limits)
    assert limits[-1] == 100


async def test_retry_after_lets_nobody_start() -> None:
    """A short pause that the server asked for is waited out by all, and nobody is refused for it."""
    pace = Pace(max_running=3)
    model = Limit(Fake([(0.0, (), "up")]), pace)
    pace.saw(429, {"retry-after": "4"}, latency_s=0.1)
    assert (pace.limit, pace.paused_s) == (0, 4)
    started: list[float] = []

    async def call() -> None:
        await model.complete(PROMPT)
        started.append(clock.now())

    await asyncio.gather(*(call() for _ in range(5)))
    assert started == [4] * 5
    assert (pace.running, pace.queued, pace.paused_s) == (0, 0, 0)


async def test_a_long_pause_is_an_error_at_once() -> None:
    """Where the server asks for more than a few seconds, who waits and who comes is told, so another is asked."""
    pace = Pace(max_running=1)
    slow, other = Fake([(50.0, (), "up")], name="slow"), Fake([(0.0, (), "up")], name="other")
    model = Fallback([Limit(slow, pace), other])
    first, waits = (asyncio.create_task(model.complete(PROMPT)) for _ in range(2))
    await clock.sleep(1)
    assert pace.queued == 1
    pace.saw(429, {"retry-after": "30"}, latency_s=0.5)
    assert (await waits).model == "other"
    assert (await model.complete(PROMPT)).model == "other"
    with pytest.raises(RateLimited) as caught:
        await Limit(slow, pace).complete(PROMPT)
    assert (caught.value.retry_after_s, clock.now()) == (30, 1)
    await first
    assert (pace.running, pace.queued) == (0, 0)
    pace.saw(429, {"retry-after": "80000"}, latency_s=0.5)
    assert pace.paused_s == 60


async def test_a_cancel_in_the_moment_of_a_long_pause() -> None:
    """A waiting caller that is cancelled as it is told takes no room along."""
    pace = Pace(max_running=1)
    assert pace.take()
    task = asyncio.create_task(pace.turn())
    await clock.sleep(1)
    pace.saw(429, {"retry-after": "30"}, latency_s=0.5)
    task.cancel()
    await asyncio.wait({task})
    pace.leave()
    assert (pace.running, pace.queued) == (0, 0)


def head(**fields: object) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": str(value) for name, value in fields.items()}


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        (head(remaining_requests=7, reset_requests="30s"), 7),
        (head(remaining_requests=0, reset_requests="30s", limit_requests=60), 0),
        (head(remaining_requests=0, reset_requests="1ms"), 0),
        (head(remaining_requests=500, reset_requests="30s"), 100),
        (head(remaining_tokens=0, reset_tokens="6m0s", limit_tokens=90_000), 0),
        (head(remaining_tokens=900, reset_tokens="6m0s", limit_tokens=90_000), 10),
        (head(remaining_tokens=80_000, reset_tokens="6m0s", limit_tokens=90_000), 100),
        (
            head(
                remaining_requests=50, reset_requests="9s", remaining_tokens=90, reset_tokens="9s", limit_tokens=9_000
            ),
            10,
        ),
        (head(remaining_requests=0), 100),
        (head(remaining_requests="-3", reset_requests="9s"), 100),
        (head(remaining_requests="9" * 5000, reset_requests="9s"), 100),
        (head(remaining_requests="٣", reset_requests="9s"), 100),
        (head(remaining_requests=3, reset_requests="tomorrow"), 100),
        (head(remaining_requests="nan", reset_requests="nan"), 100),
    ],
)
async def test_headers_are_read_ahead_of_a_refusal(headers: Mapping[str, str], limit: int) -> None:
    """What remains bounds what runs; what is no number, or has no time, bounds nothing; news replace what was."""
    pace = Pace(max_running=100)
    pace.saw(200, headers, latency_s=0.1)
    assert pace.limit == limit
    pace.saw(200, {}, latency_s=0.1)
    assert pace.limit == limit
    pace.saw(200, head(remaining_requests=9_000, reset_requests="1s"), latency_s=0.1)
    assert (pace.limit, pace.cuts) == (100, 0)


async def test_what_was_foreseen_passes() -> None:
    """With nothing left one call starts as soon as one request is back; after the reset all may."""
    pace = Pace(max_running=50)
    pace.saw(200, head(remaining_requests=0, limit_requests=60, reset_requests="60s"), latency_s=0.1)
    moments: list[float] = []

    async def call() -> None:
        if not pace.take():
            await pace.turn()
        moments.append(clock.now())
        await clock.sleep(30)
        pace.leave()

    await asyncio.gather(*(call() for _ in range(4)))
    assert moments == [1, 31, 60, 60]
    assert pace.limit == 50


async def test_a_server_that_always_says_nothing_remains() -> None:
    """Headers alone stop nobody for longer than five seconds at a time, and are no error."""
    pace = Pace(max_running=50)
    for _ in range(3):
        pace.saw(200, head(remaining_requests=0, reset_requests="3600s"), latency_s=0.1)
        start_s = clock.now()
        if not pace.take():
            await pace.turn()
        assert clock.now() - start_s == 5
        pace.leave()


@given(st.text(max_size=50) | st.from_regex(r"\d{0,4}h?\d{0,4}m?\d{0,3}\.?\d{0,3}m?s?", fullmatch=True))
def test_any_text_is_a_duration_or_none(text: str) -> None:
    """No text breaks the reading of durations, and none is negative or longer than a day."""
    seconds = duration_s(text)
    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("12", 12), ("0s", 0), ("5m", 300)),
        *((text, None) for text in ("", "s", "1d", "-1s", "99999999999", "1m30", None)),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    """The forms that servers use are read, and others are no duration."""
    assert duration_s(text) == seconds


def test_a_start_without_room() -> None:
    """A pace that begins with nothing would never begin."""
    with pytest.raises(UsageError):
        Pace(start=0)


calls = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 3), st.none() | st.integers(0, 6), st.sampled_from((200, 500, None, 429))
    ),
    max_size=14,
)


def play(limiter: Limiter, drawn: list[Any], waits: list[str]) -> list[Any]:
    """Who began when and how each ended; each call is (comes, runs, is cancelled at, what it comes to)."""
    out: list[Any] = []

    async def call(n: int, comes: int, runs: int, status: int | None) -> None:
        await clock.sleep(comes)
        if not limiter.take():
            await limiter.turn()
        try:
            out.append((n, clock.now()))
            assert limiter.running <= limiter.max_running
            assert limiter.queued <= limiter.max_queued
            await clock.sleep(runs)
            if isinstance(limiter, Pace):
                wait = {"retry-after": waits[n % len(waits)]} if waits else {}
                limiter.saw(status, wait if status == 429 else {}, latency_s=runs)
        finally:
            limiter.leave()

    async def main() -> None:
        tasks = [asyncio.create_task(call(n, c, r, s)) for n, (c, r, _, s) in enumerate(drawn)]
        loop = asyncio.get_running_loop()
        for task, (_, _, at, _) in zip(tasks, drawn, strict=True):
            if at is not None:
                loop.call_later(at + 0.5, task.cancel)
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            assert end is None or isinstance(end, LimitExceeded | RateLimited | asyncio.CancelledError)
            out.append(type(end).__name__)
        assert (limiter.running, limiter.queued) == (0, 0)

    run_virtual(main())
    return out


@given(st.integers(1, 3), st.integers(0, 6), calls)
def test_without_complaints_it_is_the_limiter(running: int, queued: int, drawn: list[Any]) -> None:
    """For any calls that the server takes, also 5xx, everybody begins and ends as with a `Limiter`."""
    taken = [(c, r, at, 200 if status == 429 else status) for c, r, at, status in drawn]
    pace, limiter = (kind(max_running=running, max_queued=queued) for kind in (Pace, Limiter))
    assert play(pace, taken, []) == play(limiter, taken, [])


@given(st.integers(1, 3), st.integers(0, 6), calls, st.lists(st.sampled_from(("1", "3", "20", "x")), max_size=3))
def test_no_room_is_lost_whatever_the_server_says(
    running: int, queued: int, drawn: list[Any], waits: list[str]
) -> None:
    """For any calls, cancels and refusals, bounds hold, nobody waits for ever, and all room comes back."""
    play(Pace(max_running=running, max_queued=queued), drawn, waits)


# A real server.


@pytest.mark.sockets
async def test_a_real_server_that_refuses() -> None:
    """429s of a server over sockets cut the shared limit once and pause all of its models; then they all answer."""
    busy = most = 0

    async def talk(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        refused = busy > 12
        await asyncio.sleep(0.02)
        busy -= 1
        said = error("slow down", "429 Too Many Requests", "Retry-After: 0.1") if refused else answer("up")
        writer.write(said)
        await writer.drain()

    async with raw_server(talk) as server, Session() as session:
        pace = Pace(max_running=30, max_queued=100)
        models = [
            Limit(OpenAIModel(name, base_url=server.base_url, session=session, pace=pace), pace) for name in ("a", "b")
        ]
        first = await asyncio.gather(*(models[n % 2].complete(QUESTION) for n in range(60)), return_exceptions=True)
        refused = sum(isinstance(end, RateLimited) for end in first)
        assert 0 < refused < 60
        assert sum(isinstance(end, Reply) for end in first) == 60 - refused
        assert pace.cuts == 1
        await until(lambda: not pace.paused_s)
        assert LEAST <= pace.limit <= 24
        assert json.loads(server.asked[0].body)["model"] in ("a", "b")
        assert (pace.running, pace.queued, most) == (0, 0, 30)


@pytest.mark.sockets
async def test_the_stand_in_with_429s() -> None:
    """Calls that are refused with Retry-After wait and are tried again; all are answered, and the limit was cut."""
    async with StandIn() as server, Session() as session:
        pace = Pace(max_running=20, max_queued=200)
        # One in five is refused, in turn, streamed and plain alike.
        upstream = OpenAIModel("answer-2ms+429:0.05s+ok+ok+ok+ok", base_url=server.base_url, session=session, pace=pace)
        model = Retry(Limit(upstream, pace), attempts=8, base_s=0.01, budget=RetryBudget(ratio=1, most=100))
        heard: list[Any] = []

        async def emit(delta: Any) -> None:
            heard.append(delta)

        replies = await asyncio.gather(*(model.complete(QUESTION, emit if n % 2 else None) for n in range(40)))
        assert all(reply.text for reply in replies)
        assert pace.cuts == 1
        assert (pace.running, pace.queued, session.in_use) == (0, 0, 0)


@pytest.mark.sockets
async def test_a_server_that_is_not_there() -> None:
    """A lost connection is reported too: it spoils the round, and cuts nothing."""
    async with Session() as session:
        pace = Pace(max_running=30, start=1)
        model = Limit(OpenAIModel("a", base_url="http://127.0.0.1:9/v1", session=session, pace=pace), pace)
        with pytest.raises(ModelError):
            await model.complete(QUESTION)
        assert (pace.cuts, pace.limit) == (0, 1)
