"""`POST /v1/chat/completions`: checks beside the upstream's answer, which is held until all of them have passed.

The way of one request: it is read and understood (`wire`), it gets its room (`limits`), its turn's verdicts are
looked up where it carries a tool's result, it goes through the front door, its decision is written down, and only
then the first byte goes out. A caller who leaves cancels all of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from quorate.apps.answer import Answer, Answerer
from quorate.apps.frontdoor import ANSWER, NONE, Decision, Response
from quorate.apps.relay import RelayAnswer
from quorate.apps.report import timeline_json, usage_json, verdicts_json
from quorate.apps.windowed import AnswerBlocked
from quorate.checks import Verdict
from quorate.engine import clock, leaving
from quorate.errors import ClientGone, QuorateError
from quorate.models import ToolCallDelta
from quorate.models.relay import text_in
from quorate.service.callers import Caller
from quorate.service.exchange import EVENTS, JSON, Exchange
from quorate.service.limits import Use
from quorate.service.live import Live
from quorate.service.replies import Completion, Trouble
from quorate.service.state import Service
from quorate.service.wire import Asked, BadRequest, asked, parse
from quorate.store import End, Outcome, Record, Turn

T = TypeVar("T")

ROUTE = "/v1/chat/completions"
HELD = b": held\n\n"
"""The comment that keeps a line open while an answer is held."""
BLOCKED = "content_filter"
_DUST = 1e-6
KEPT_BYTES = 1 << 18
"""Of a relayed answer, for its record."""


async def chat(service: Service, exchange: Exchange) -> None:
    """Answer one request, whatever comes of it."""
    waited = True
    try:
        caller = service.callers.of(exchange)
        caller.need("call")
        with service.configs.use() as live:
            raw = await exchange.json(live.limits.max_body)
            request = understood(raw, live)
            with service.trace(caller, exchange):
                async with leaving(exchange.gone), service.room(caller, live) as use:
                    waited = False
                    await _Passage(service, live, exchange, caller=caller, request=request, use=use).run()
    except ClientGone:  # There is nobody to tell.
        if waited:  # Otherwise its passage has noted it.
            service.metrics.client_gone("queued")
    except QuorateError as error:
        await exchange.fail(Trouble.of(error))


def understood(raw: bytes, live: Live) -> Asked:
    """The request in a body.

    Raises:
        BadRequest: it cannot be served as it is; says which field.
    """
    try:
        return asked(parse(raw), live.limits)
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error


class _Passage:
    """One request on its way through the door."""

    def __init__(
        self, service: Service, live: Live, exchange: Exchange, *, caller: Caller, request: Asked, use: Use
    ) -> None:
        self._service, self._live, self._exchange = service, live, exchange
        self._caller, self._asked, self._use = caller, request, use
        self._relayed = live.app.relay is not None
        self._keepalive_s = live.limits.keepalive_s if request.stream else 0.0
        self._conversation = request.conversation
        self._known: Mapping[str, Verdict] = NONE
        self._prefix: str | None = None
        self._name = _conversation_of(exchange, request)
        self._recorded = False
        self._decision: Decision | None = None
        self._reply: list[str] = []
        self._raw: list[bytes] = []
        self._kept = 0
        self._error: QuorateError | None = None
        self._answerer: Answerer | None = None

    async def run(self) -> None:
        """Go through, and note how it ended."""
        await self._look_up()
        self._answerer = self._live.answerer(self._asked)
        response = self._live.app.door.respond(
            self._conversation,
            answerer=self._answerer,
            reuse=self._known,
            speculate=self._use.speculate,
        )
        outcome: Outcome = "failed"
        try:
            async with response:
                decision = await self._while_held(response.decided)
                await self._record(decision)
                await self._out(response, decision)
            outcome = "done"
        except QuorateError as error:
            self._error = error
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            await self._ended(response, outcome)

    async def _look_up(self) -> None:
        """Take over what an earlier request of the same turn was judged to be, and read only what is new."""
        tools = any(name in self._asked.params for name in ("tools", "functions"))
        if not tools and not self._asked.rounds:
            return
        prefixes = self._asked.prefixes(f"{self._caller.id} {self._live.digest}")
        self._prefix = prefixes[0][0]
        if not self._asked.rounds:
            return
        turn = await self._service.store.recall([key for key, _ in prefixes[1:]])
        if turn is None:
            return
        self._conversation = self._conversation.after(dict(prefixes)[turn.prefix])
        self._known = {row["check"]: _verdict(row) for row in turn.verdicts}
        self._name = turn.conversation

    async def _while_held(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait; meanwhile a comment goes out now and then, where the caller's line would be cut without.

        Comments keep to multiples of their time after the request, so that theirs tells nothing of the decision's.
        """
        every_s, begun_s = self._keepalive_s, self._exchange.begun_s
        if not every_s:
            return await wait()
        while True:
            gone_s = clock.now() - begun_s
            try:
                with clock.timeout((int(gone_s / every_s + _DUST) + 1) * every_s - gone_s):
                    return await wait()
            except TimeoutError:
                await self._start("pending")
                await self._exchange.write(HELD)

    async def _start(self, decision: str) -> None:
        if not self._exchange.started:
            kind = EVENTS if self._asked.stream else JSON
            await self._exchange.start(200, [kind, *self._headers(decision)])

    def _headers(self, decision: str) -> list[tuple[bytes, bytes]]:
        return [(b"x-quorate-decision", decision.encode()), (b"x-quorate-conversation", self._name.encode())]

    async def _out(self, response: Response, decision: Decision) -> None:
        """Let out what was decided on."""
        if decision.decision != "admit":
            await self._while_held(lambda: self._service.floor(self._exchange.begun_s, self._live))
            await self._told(str(decision.reply), decision.decision)
        elif self._relayed:
            await self._relay(response)
        else:
            await self._built_in(response)

    async def _told(self, text: str, decision: str) -> None:
        """A refusal, or a hand-over: an ordinary message of the assistant's."""
        exchange = self._exchange
        self._reply.append(text)
        told = Completion(self._asked.model, self._asked.choices, decision)
        if self._asked.stream:
            await self._start(decision)
            await exchange.end(told.streamed(text, reason=BLOCKED, usage=self._asked.usage))
        else:
            headers = [JSON, *self._headers(decision)]
            await exchange.reply(200, told.whole(text, reason=BLOCKED), headers=headers)

    async def _relay(self, response: Response) -> None:
        """The upstream's own bytes, as they came and as they come."""
        exchange = self._exchange
        try:
            await self._relay_on(response)
        except AnswerBlocked:
            if exchange.started:
                await exchange.end(Completion(self._asked.model, self._asked.choices).end(BLOCKED, usage=None))
            else:
                text = self._live.app.door.policy.refusals.default
                await self._told(text, "refuse")
            raise

    async def _relay_on(self, response: Response) -> None:
        exchange = self._exchange
        first = await self._while_held(response.__anext__)
        if not self._asked.stream:
            pieces = [first, *[piece async for piece in response]]
            for piece in pieces:
                self._keep(piece)
            await exchange.reply(200, b"".join(pieces), headers=[JSON, *self._headers("admit")])
            return
        await self._start("admit")
        await exchange.write(self._all_ready(first, response))
        async for piece in response:
            await exchange.write(self._all_ready(piece, response))
        await exchange.end()

    async def _built_in(self, response: Response) -> None:
        """The door's own answer, in the shape of a completion."""
        exchange, asked = self._exchange, self._asked
        told = Completion(asked.model, asked.choices)
        if not asked.stream:
            async for piece in response:
                self._note(piece)
            answer = response.answer or Answer("")
            calls = [_call(call.id, call.name, call.arguments) for call in answer.tool_calls]
            usage = self._tokens(response)
            body = told.whole(answer.text, reason="tool_calls" if calls else "stop", calls=calls, usage=usage)
            await exchange.reply(200, body, headers=[JSON, *self._headers("admit")])
            return
        piece, calling = await self._while_held(response.__anext__), False
        await self._start("admit")
        await exchange.write(told.chunk(self._note(piece), first=True))
        async for piece in response:
            calling = calling or isinstance(piece, ToolCallDelta)
            await exchange.write(told.chunk(self._note(piece), first=False))
        usage_at_end = self._tokens(response) if asked.usage else None
        await exchange.end(told.end("tool_calls" if calling else "stop", usage=usage_at_end))

    def _all_ready(self, piece: bytes, response: Response) -> bytes:
        """A piece with all that came after it meanwhile: what was held goes out in one go."""
        more = response.ready()
        return self._keep(b"".join((piece, *more)) if more else piece)

    def _keep(self, piece: bytes) -> bytes:
        """Keep the answer's beginning for its record."""
        if self._kept < KEPT_BYTES:
            self._raw.append(piece)
            self._kept += len(piece)
        return piece

    def _note(self, piece: Any) -> Any:
        if isinstance(piece, str):
            self._reply.append(piece)
        return piece

    def _tokens(self, response: Response) -> tuple[int, int]:
        usage = response.run.timeline[ANSWER].usage
        return usage.input_tokens, usage.output_tokens

    async def _record(self, decision: Decision) -> None:
        """Write the decision down before anything of it goes out."""
        self._decision = decision
        asked, live = self._asked, self._live
        verdicts = verdicts_json(decision)
        turn = None
        if self._prefix is not None and decision.decision == "admit":
            passed = [kept for kept in verdicts if kept["outcome"] in ("pass", "abstain")]
            turn = Turn(self._prefix, passed, live.digest)
        record = Record(
            id=self._exchange.id,
            conversation=self._name,
            key=self._caller.id,
            at=datetime.now(UTC),
            route=ROUTE,
            decision=decision.decision,
            decided_by=decision.decided_by,
            why=f"{decision.why}; answered late: {self._use.lost}" if self._use.lost else decision.why,
            verdicts=verdicts,
            config=live.digest,
            config_version=live.version,
            versions=live.app.versions,
            speculated=decision.speculated,
            streamed=asked.stream,
            held_ms=_held_ms(decision),
            elapsed_ms=1000 * (clock.now() - self._exchange.begun_s),
            messages=_new_messages(asked),
            reply=decision.reply,
            turn=turn,
        )
        # Also where the caller leaves meanwhile it is written; only an error of the store's says that it is not.
        self._recorded = True
        try:
            await self._service.store.decided(record)
        except QuorateError:
            self._recorded = False
            raise

    async def _ended(self, response: Response, outcome: Outcome) -> None:
        """Note the end, for the store and for the figures; where the caller left before the decision, that too."""
        timeline, service = response.run.timeline, self._service
        wasted = self._use.wasted = timeline.wasted
        decision = self._decision
        late = self._live.app.door.observes
        if decision is None or late:
            decision = response.report() if response.run.decision is not None else None
        if not self._recorded and outcome == "abandoned":
            await service.store.decided(self._undecided())
            self._recorded = True
        self._use.refused = decision.decision == "refuse" if decision is not None else None
        if self._recorded:
            end = End(
                id=self._exchange.id,
                outcome=outcome,
                error=str(self._error) if self._error is not None else None,
                elapsed_ms=1000 * (clock.now() - self._exchange.begun_s),
                bytes_out=self._exchange.sent,
                usage=usage_json(timeline.usage, wasted),
                timeline=timeline_json(timeline),
                reply=self._spoken(outcome),
                verdicts=verdicts_json(decision) if late and decision is not None else (),
            )
            service.store.ended(end)
        service.passed(self._live, timeline, decision=decision, outcome=outcome)

    def _undecided(self) -> Record:
        """The record of a caller who left before anything was decided."""
        return Record(
            id=self._exchange.id,
            conversation=self._name,
            key=self._caller.id,
            at=datetime.now(UTC),
            route=ROUTE,
            decision="undecided",
            why="the client left",
            config=self._live.digest,
            config_version=self._live.version,
            versions=self._live.app.versions,
            streamed=self._asked.stream,
            elapsed_ms=1000 * (clock.now() - self._exchange.begun_s),
            messages=_new_messages(self._asked),
        )

    def _spoken(self, outcome: Outcome) -> str:
        """What went out of the answer, as text."""
        if self._reply:
            return "".join(self._reply)
        if outcome == "done" and isinstance(self._answerer, RelayAnswer) and self._answerer.text is not None:
            return self._answerer.text  # All of it did, and it need not be read again.
        return text_in(b"".join(self._raw), stream=self._asked.stream)


def _conversation_of(exchange: Exchange, request: Asked) -> str:
    """The conversation's name: as the caller gives it, else the request's own."""
    metadata = request.params.get("metadata")
    within = metadata.get("conversation_id") if isinstance(metadata, Mapping) else None
    for named in (exchange.header(b"x-conversation-id"), within):
        if isinstance(named, str) and named.isascii() and named.isprintable() and 0 < len(named) <= 200:
            return named
    return exchange.id


def _verdict(row: Mapping[str, Any]) -> Verdict:
    """A verdict as it was kept."""
    fields = (row["outcome"], row["score"], row["category"], row["reason"], row["model"], row["version"])
    return Verdict(*fields, row["check"])


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _held_ms(decision: Decision) -> float:
    """How long the answer's first piece waited for the decision."""
    timeline = decision.timeline
    span = next((span for span in timeline if span.branch == ANSWER), None)
    if span is None or span.first_s is None or timeline.decided_s is None:
        return 0.0
    return max(0.0, 1000 * (timeline.decided_s - span.first_s))


def _new_messages(request: Asked) -> list[Mapping[str, Any]]:
    """What came with this request and not with the ones before: all since somebody else spoke last."""
    messages = request.messages
    start = len(messages)
    while start and (messages[start - 1]["role"] != "assistant" or messages[start - 1].get("tool_calls")):
        start -= 1
    return list(messages[start:])
