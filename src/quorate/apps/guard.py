"""`guard`: the front door's gate around any handler of yours, an async function or an async generator."""

import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, get_args

from quorate.apps.answer import Answer, Effects
from quorate.apps.frontdoor import Decision, FrontDoor, Policy, Refusals, Response, Source
from quorate.checks import Check, Conversation
from quorate.errors import QuorateError, UsageError
from quorate.events import Context

P = ParamSpec("P")
T = TypeVar("T")

_PLAIN = Refusals({}, "Sorry, I cannot help with this message.", "A colleague will look at this message.")


class Refused(QuorateError):
    """A guarded handler's message was not admitted, so there is nothing of the handler's to return.

    Attributes:
        decision: what was decided and why; `decision.reply` is the text for the customer.
    """

    status_hint = 403

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(f"{decision.decision}: {decision.why}")


class _Handler:
    """A handler as an answerer: its arguments are bound, its pieces are emitted."""

    def __init__(self, call: Callable[..., Any], arguments: Mapping[str, Any], effects: Effects) -> None:
        self.effects = effects
        self._call = call
        self._arguments = arguments

    async def answer(self, _conversation: Conversation, context: Context) -> Answer:
        signature = inspect.signature(self._call)
        given = {**self._arguments, "committed": context.committed} if self.effects == "gated" else self._arguments
        ordered = OrderedDict((name, given[name]) for name in signature.parameters if name in given)
        bound = inspect.BoundArguments(signature, ordered)
        result = self._call(*bound.args, **bound.kwargs)
        if not hasattr(result, "__aiter__"):
            return Answer("", value=await result)
        try:
            async for piece in result:
                await context.emit(piece)
        finally:
            await result.aclose()
        return Answer("")


class Guard(Generic[P]):
    """A guarded handler. Call it as the handler: `await guarded(...)` or `async for piece in guarded(...)`.

    `respond(...)` gives the whole `Response` instead, with decision and timeline.
    """

    def __init__(
        self,
        handler: Callable[P, Any],
        checks: Sequence[Check],
        *,
        effects: Effects | None = None,
        text: Callable[..., Source] | None = None,
        policy: Policy | None = None,
    ) -> None:
        if not inspect.iscoroutinefunction(handler) and not inspect.isasyncgenfunction(handler):
            raise UsageError("guard() wraps an async function or an async generator function")
        if effects not in (None, *get_args(Effects)):
            raise UsageError(f"effects: found {effects!r}, allowed are {', '.join(get_args(Effects))}")
        signature = inspect.signature(handler)
        gated = "committed" in signature.parameters
        if gated and effects not in (None, "gated"):
            raise UsageError(f"a handler that takes `committed` is gated, got effects={effects!r}")
        if effects == "gated" and not gated:
            raise UsageError("a gated handler takes a parameter named `committed` and awaits it before any effect")
        self.effects: Effects = effects or ("gated" if gated else "unknown")
        self._streams = inspect.isasyncgenfunction(handler)
        self._handler = handler
        self._signature = signature.replace(
            parameters=[p for name, p in signature.parameters.items() if name != "committed"]
        )
        self._text = text
        self._checks = tuple(checks)
        self._policy = policy or Policy(_PLAIN)
        FrontDoor(self._checks, policy=self._policy)
        self.__wrapped__ = handler
        self.__doc__ = handler.__doc__

    def respond(self, *args: P.args, **kwargs: P.kwargs) -> Response:
        """The run of one call; use as `async with guarded.respond(...) as response`."""
        bound = self._signature.bind(*args, **kwargs)
        source = self._text(*args, **kwargs) if self._text else next(iter(bound.arguments.values()), None)
        if source is None:
            raise UsageError("what is to be checked? The handler's first argument, or give text=")
        answerer = _Handler(self._handler, bound.arguments, self.effects)
        return FrontDoor(self._checks, answerer, policy=self._policy).respond(source)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the handler behind its checks.

        Raises:
            Refused: from the await or the iteration, when a check refuses or escalates.
            Exception: whatever the handler raises, once it is admitted.
        """
        return self._stream(*args, **kwargs) if self._streams else self._await(*args, **kwargs)

    async def _await(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        async with self.respond(*args, **kwargs) as response:
            decision = await response.decided()
            if decision.decision == "admit":
                await response.run.finished()
                return response.answer.value if response.answer is not None else None
        raise Refused(response.report())

    async def _stream(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        async with self.respond(*args, **kwargs) as response:
            decision = await response.decided()
            if decision.decision == "admit":
                async for piece in response:
                    yield piece
                return
        raise Refused(response.report())


def guard(
    handler: Callable[P, Awaitable[T]] | Callable[P, AsyncIterator[T]],
    checks: Sequence[Check],
    *,
    effects: Effects | None = None,
    text: Callable[..., Source] | None = None,
    policy: Policy | None = None,
) -> Guard[P]:
    """Put checks beside a handler; nothing of it leaves, and nothing happens, before all of them pass.

    Args:
        handler: an async function, or an async generator function whose pieces are held.
        checks: what must pass.
        effects: "none" for a handler without side effects, which then overlaps its checks. A handler that takes
            a parameter `committed` is "gated": it overlaps too and does `await committed()` before any effect.
            Any other is "unknown" and waits for the verdict.
        text: takes the handler's arguments and gives what is to be checked; by default its first argument, a
            text or a list of messages.
        policy: texts and times; by default plain ones.

    Raises:
        UsageError: the handler is of another kind, or its effects contradict its parameters.
    """
    return Guard(handler, checks, effects=effects, text=text, policy=policy)
