"""The bot behind the door: the caller's own request, sent to the upstream beside the checks."""

from collections.abc import Callable, Sequence

from quorate.apps.answer import Answer, Effects
from quorate.checks import Conversation
from quorate.events import Context
from quorate.models.relay import Relay


class RelayAnswer:
    """Passes one request on and emits the upstream's bytes as they come.

    Args:
        relay: the upstream.
        body: makes the request from the numbers of the messages that the upstream may see: refused turns are not
            among them.
        stream: whether the reply is streamed.
        effects: what answering may do to the world.
    """

    def __init__(self, relay: Relay, body: Callable[[Sequence[int]], bytes], *, stream: bool, effects: Effects) -> None:
        self.effects = effects
        self._relay = relay
        self._body = body
        self._stream = stream

    async def answer(self, conversation: Conversation, context: Context) -> Answer:
        """Relay; see `Answerer`. Its text is in the bytes that were emitted; the answer's value says how it ended."""
        end = await self._relay.send(self._body(conversation.numbers), context.emit, stream=self._stream)
        return Answer("", model=end.model, value=end)
