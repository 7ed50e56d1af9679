"""The fault matrix over real sockets: with every fault in any one branch, the outcome is the one that was promised."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from door_world import ATTACK, HONEST, TEXTS, Doors, Heard, check, hear
from model_world import no_proxy_of_the_machine, other_tasks, until
from quorate.apps.frontdoor import Policy
from quorate.apps.guard import Refused, guard
from quorate.errors import BadReply, ModelError, QuorateError, StreamBroken
from quorate.events import Context
from quorate.merges import OnError
from quorate.models.http import Session
from quorate.models.policies import Fallback, Limit, Limiter, Retry
from quorate.testing.standin import Fixed, Profile, StandIn
from quorate.testing.standin.profiles import KINDS, REPLY

__all__ = ["no_proxy_of_the_machine"]
pytestmark = pytest.mark.sockets

STATUSES = ("400", "401", "403", "404", "408", "413", "422", "429", "429:20ms", "500", "502", "503", "504", "529")
FAULTS = (*sorted(KINDS - {"ok"}), "stall:900ms", *STATUSES)
LEARNED = ("no-schema", "no-format")
OF_VERDICTS = ("wrong-nonce", "no-nonce", "second-verdict", "bad-verdict", "bad-types")
HARMLESS_TO_ANSWERS = (*LEARNED, *OF_VERDICTS, "extra-text")
ON_ERROR: tuple[OnError, ...] = ("block", "allow", "escalate")
OUTCOME = {"block": "refuse", "allow": "admit", "escalate": "escalate"}
CHECKS = ("scope", "threat")
both_ways = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])

PROFILES = {
    "answer": Profile(tokens=20, token_s=0.002),
    "late-answer": Profile(Fixed(0.03), tokens=20, token_s=0.002),
    "slow-scope": Profile(Fixed(0.04)),
    "slow-threat": Profile(Fixed(0.04)),
    "long-answer": Profile(tokens=2000, token_s=0.01),
}


@asynccontextmanager
async def world(*, hasty: bool = True) -> AsyncIterator[Doors]:
    """Doors over a stand-in; at the end nothing may be left of any message."""
    async with StandIn(PROFILES) as server:
        before = other_tasks()
        async with Session() as session:
            yield Doors(server.base_url, session, hasty)
            assert other_tasks() == before
            assert session.in_use == 0
            await until(lambda: server.stats()["total"]["in_flight"] == 0)
        counts = server.stats()["total"]
        assert counts["started"] == counts["finished"] + counts["cut"] + counts["failed"]
        assert counts["tokens_after_cut"] == 0


def promised(heard: Heard, outcome: str, by: str | None) -> None:
    """The outcome and its author; and nothing but the whole answer, or nothing but the text that stands for it."""
    assert heard.verdict == (outcome, by)
    assert heard.error is None
    if outcome == "admit":
        assert heard.text == REPLY
    elif outcome == "escalate":
        assert heard.pieces == [TEXTS.handover]
    else:
        assert heard.pieces[1:] == []
        assert heard.pieces[0] in TEXTS.all
    assert heard.decision is not None
    assert heard.decision.reply == heard.text


# A check that breaks


@pytest.mark.parametrize("on_error", ON_ERROR)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_in_a_check(fault: str, on_error: OnError) -> None:
    """A check that breaks ends as its `on_error` says, whichever it is, also beside an answer that is ready."""
    async with world() as doors:

        async def one(broken: str, stream: bool) -> None:
            door = doors.door(**{broken: f"{broken}+{fault}"}, stream=stream, on_error={broken: on_error})
            heard = await hear(door)
            if fault in LEARNED:
                assert heard.row(broken) == "pass"
                promised(heard, "admit", None)
            else:
                assert heard.row(broken) == "error"
                promised(heard, OUTCOME[on_error], None if on_error == "allow" else broken)

        await asyncio.gather(*(one(broken, stream) for broken in CHECKS for stream in (True, False)))


@pytest.mark.parametrize("on_error", ON_ERROR)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_beside_a_flag(fault: str, on_error: OnError) -> None:
    """A check that breaks before, or after, the other one flags never lets an attack in, nor makes it an escalation."""
    async with world() as doors:

        async def one(broken: str, flagging: str, slow: str) -> None:
            door = doors.door(**{broken: f"{broken}+{fault}", flagging: slow}, on_error={broken: on_error})
            heard = await hear(door, f"{ATTACK} [[flag:{flagging}]]")
            outcome, by = heard.verdict
            assert outcome == "refuse"
            assert by == flagging or (by == broken and on_error == "block") or fault in LEARNED
            promised(heard, outcome, by)

        ways = [("scope", "threat"), ("threat", "scope")]
        await asyncio.gather(*(one(b, f, slow) for b, f in ways for slow in (f, f"slow-{f}")))


@pytest.mark.parametrize("on_error", ["allow", "escalate"])
@pytest.mark.parametrize("fault", ["500", "cut", "wrong-nonce", "malformed", "429"])
async def test_an_error_first_waits_for_the_verdict(fault: str, on_error: OnError) -> None:
    """An error that arrives before an undecided check ends in that check's verdict, whatever that is."""
    async with world() as doors:
        door = doors.door(scope=f"scope+{fault}", threat="slow-threat", on_error={"scope": on_error})
        promised(await hear(door, ATTACK), "refuse", "threat")
        promised(await hear(door, HONEST), OUTCOME[on_error], "scope" if on_error == "escalate" else None)


@pytest.mark.parametrize("on_error", ON_ERROR)
async def test_both_checks_break(on_error: OnError) -> None:
    """The worse of two failures counts: block over escalate over allow."""
    async with world() as doors:
        for other, outcome in (("block", "refuse"), ("escalate", None), ("allow", None)):
            door = doors.door(scope="scope+500", threat="threat+cut", on_error={"scope": on_error, "threat": other})
            heard = await hear(door)
            worst = "refuse" if "block" in (on_error, other) else None
            worst = worst or ("escalate" if "escalate" in (on_error, other) else "admit")
            assert heard.verdict[0] == (outcome or worst)
            promised(heard, *heard.verdict)


@pytest.mark.parametrize("on_error", ON_ERROR)
@pytest.mark.parametrize("fault", ["stall", "stall-mid", "slow-drip"])
async def test_the_time_to_decide(fault: str, on_error: OnError) -> None:
    """A check that is undecided when the time to decide is up becomes its `on_error`, and is cut at the server."""
    async with world(hasty=False) as doors:
        door = doors.door(threat=f"threat+{fault}", on_error={"threat": on_error}, decide_timeout_s=0.2)
        heard = await hear(door)
        promised(heard, OUTCOME[on_error], None if on_error == "allow" else "deadline")
        assert heard.row("threat") == "cancelled"


async def test_policies_around_a_fault() -> None:
    """A fault that a retry, or another model, gets over changes nothing; one that lasts does what `on_error` says."""
    async with world() as doors:
        door = doors.door()

        def around(name: str, attempts: int, spare: str | None = None) -> None:
            model = Retry(Limit(doors.model(name), Limiter()), attempts=attempts, base_s=0.01)
            door.checks["threat"] = check("threat", Fallback([model, doors.model(spare)]) if spare else model)

        around("threat+500+cut+ok", 3)
        promised(await hear(door), "admit", None)
        promised(await hear(door, ATTACK), "refuse", "threat")
        around("threat+500", 3)
        promised(await hear(door), "refuse", "threat")
        around("threat+401", 3, "threat")
        promised(await hear(door), "admit", None)
        promised(await hear(door, ATTACK), "refuse", "threat")
        around("threat+wrong-nonce", 3, "threat")
        promised(await hear(door), "refuse", "threat")


# An answer that breaks


def broken_answer(heard: Heard) -> None:
    """Admitted, and then an error of ours that the caller sees, behind a strict prefix of the answer."""
    assert heard.verdict == ("admit", None)
    assert isinstance(heard.error, ModelError)
    assert REPLY.startswith(heard.text)
    assert heard.text != REPLY
    assert heard.decision is not None
    assert heard.decision.reply is None


@both_ways
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_in_the_answer(fault: str, stream: bool) -> None:
    """An answer that breaks, before its admission or after its release, ends in an error, never in a short answer.

    A message that is refused, or handed over, is so in spite of it, with none of it out.
    """
    async with world() as doors:

        async def one(answer: str, checks: str, text: str) -> None:
            name = f"{answer}+{fault}"
            door = doors.door(answer=name, scope=f"{checks}scope", threat=f"{checks}threat", stream=stream)
            heard = await hear(door, text)
            if text == ATTACK:
                promised(heard, "refuse", "threat")
            elif fault == "extra-text":
                assert heard.error is None
                assert heard.verdict == ("admit", None)
            elif fault in HARMLESS_TO_ANSWERS:
                promised(heard, "admit", None)
            elif fault == "empty" and not stream:  # The answerer of these tests hands on what it is told.
                assert (heard.text, heard.error) == ("", None)
            else:
                broken_answer(heard)

        async def handed_over() -> None:
            door = doors.door(
                answer=f"answer+{fault}", threat="slow-threat+500", on_error={"threat": "escalate"}, stream=stream
            )
            promised(await hear(door), "escalate", "threat")

        early = [one("answer", "slow-", text) for text in (HONEST, ATTACK)]
        late = [one("late-answer", "", text) for text in (HONEST, ATTACK)]
        await asyncio.gather(*early, *late, handed_over())


@pytest.mark.parametrize(
    ("fault", "kind"), [("cut-mid", StreamBroken), ("stall-mid", StreamBroken), ("malformed", BadReply)]
)
async def test_an_answer_that_breaks_after_release(fault: str, kind: type[ModelError]) -> None:
    """What was released stays a prefix; the error comes behind it, and the decision stays an admission."""
    async with world() as doors:
        async with doors.door(answer=f"late-answer+{fault}").respond(HONEST) as response:
            assert (await response.decided()).decision == "admit"
            pieces = []
            with pytest.raises(kind):
                async for piece in response:
                    pieces.append(piece)
            with pytest.raises(kind):
                await anext(response)
            assert (await response.decided()).decision == "admit"
        assert len(pieces) == (0 if fault == "malformed" else 10)
        assert REPLY.startswith("".join(pieces))
        assert (response.answer, response.report().reply) == (None, None)


async def test_an_answer_that_is_empty() -> None:
    """A model that says nothing at all has not answered: the caller gets an error, not silence."""
    async with world() as doors:
        for checks in ("", "slow-"):
            heard = await hear(doors.door(answer="answer+empty", threat=f"{checks}threat"))
            assert isinstance(heard.error, BadReply)
            broken_answer(heard)


async def test_leaving_an_answer_early_cuts_it() -> None:
    """A caller that leaves in the middle of an answer, or before its decision, cuts it at the server."""
    async with world(hasty=False) as doors:
        door = doors.door(answer="long-answer")
        async with door.respond(HONEST) as response:
            async for _ in response:
                break
        assert response.run.outcome == "abandoned"
        async with doors.door(answer="long-answer", threat="threat+stall").respond(HONEST) as response:
            await asyncio.sleep(0.05)
        assert response.run.outcome == "abandoned"
        with pytest.raises(QuorateError):
            await response.decided()


# The same around a handler


@pytest.mark.parametrize("on_error", ON_ERROR)
@pytest.mark.parametrize("fault", ["500", "429", "cut", "stall", "wrong-nonce", "second-verdict", "malformed", "huge"])
async def test_a_fault_around_a_handler(fault: str, on_error: OnError) -> None:
    """A guarded handler's effects happen, and its pieces and value come out, only where the failure means allow."""
    async with world() as doors:
        done: list[str] = []
        checks = [check("scope", doors.model("scope")), check("threat", doors.model(f"threat+{fault}"), on_error)]

        async def handler(text: str, committed: object = None) -> str:
            assert callable(committed)
            await committed()
            done.append("effect")
            return f"did {text}"

        async def generator(text: str) -> AsyncIterator[str]:
            done.append("effect")
            yield "did "
            yield text

        guarded = guard(handler, checks, policy=Policy(TEXTS))
        streamed = guard(generator, checks, policy=Policy(TEXTS), effects="unknown")
        pieces: list[str] = []
        if on_error == "allow":
            assert await guarded("it") == "did it"
            pieces = [piece async for piece in streamed("it")]
            assert (pieces, done) == (["did ", "it"], ["effect"] * 2)
            return
        with pytest.raises(Refused) as caught:
            await guarded("it")
        assert (caught.value.decision.decision, caught.value.decision.decided_by) == (OUTCOME[on_error], "threat")
        with pytest.raises(Refused):
            pieces = [piece async for piece in streamed("it")]
        assert (pieces, done) == ([], [])


async def test_a_handler_that_asks_a_broken_model() -> None:
    """A handler's own error comes out once it is admitted, and is a refusal where it is not."""
    async with world() as doors:
        checks = [check("scope", doors.model("scope")), check("threat", doors.model("slow-threat"))]

        async def handler(text: str, committed: object = None) -> str:
            raise StreamBroken("the upstream broke")

        async def emitter(text: str) -> AsyncIterator[str]:
            yield "half"
            raise StreamBroken("the upstream broke")

        for wrapped in (guard(handler, checks), guard(handler, checks, policy=Policy(TEXTS))):
            with pytest.raises(StreamBroken):
                await wrapped(HONEST)
            with pytest.raises(Refused):
                await wrapped(ATTACK)
        streamed = guard(emitter, checks, effects="none")
        pieces: list[str] = []
        with pytest.raises(StreamBroken):
            async for piece in streamed(HONEST):
                pieces.append(piece)
        assert pieces == ["half"]
        with pytest.raises(Refused):
            async for piece in streamed(ATTACK):
                pieces.append(piece)
        assert pieces == ["half"]


async def test_faults_of_answerers_are_not_ours_alone() -> None:
    """An answerer that raises something foreign is an error that the caller sees, and no reason to admit or refuse."""

    class Foreign:
        effects = "none"

        async def answer(self, conversation: object, context: Context) -> object:
            await context.emit("half")
            raise ZeroDivisionError

    async with world() as doors:
        door = doors.door(threat="slow-threat")
        door.answerer = Foreign()  # type: ignore[assignment]
        heard = await hear(door)
        assert (heard.verdict, heard.pieces, type(heard.error)) == (("admit", None), ["half"], ZeroDivisionError)
        promised(await hear(door, ATTACK), "refuse", "threat")
