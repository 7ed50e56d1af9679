"""A model that does what its script says: for tests and demos, without a network, a key or chance.

Each call of the model takes the next entry of the script. An entry is a step, or several in a list::

    model = ScriptedModel("answer", [
        "Hello.",                                 # says it in one piece
        [0.3, "Hel", 0.05, "lo."],                # numbers are seconds to wait on the engine's clock
        [0.05, verdict(True, category="spam")],   # a verdict that echoes the nonce of the prompt it answers
        RateLimited("busy", retry_after_s=1),     # raised; after texts it breaks the stream
        Reply("...", "gpt", tool_calls=(call,)),  # a whole reply, its own usage and tool calls with it
    ])
    ...
    model.finish()                                # fails unless all of it was used, and nothing beyond

In place of a list, a function from the prompt to an entry makes a model that answers by rule.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from quorate.engine import clock, spend
from quorate.errors import UsageError
from quorate.events import NO_USAGE, Usage
from quorate.models import Emit, Prompt, Reply, ToolCallDelta

_CHARS_PER_TOKEN = 4
_NONCE = re.compile(r"^nonce: (\S+)\Z", re.MULTILINE)


class ScriptExhausted(UsageError):
    """A scripted model was called more often than its script has entries."""


class ScriptUnfinished(UsageError):
    """A scripted model was called less often than its script has entries."""


@dataclass(frozen=True, slots=True)
class VerdictStep:
    """A step: say a verdict as JSON. Made by `verdict`; fields as there."""

    violation: bool
    score: float
    category: str
    reason: str
    nonce: str | None = None

    def text(self, prompt: Prompt) -> str:
        """The verdict as it goes over the wire.

        Raises:
            UsageError: the prompt gives no nonce to echo.
        """
        nonce = self.nonce if self.nonce is not None else nonce_of(prompt)
        return json.dumps({**asdict(self), "nonce": nonce})


Step = str | float | Exception | Reply | VerdictStep
Entry = Step | Sequence[Step]


def verdict(
    violation: bool,
    *,
    score: float | None = None,
    category: str | None = None,
    reason: str = "as scripted",
    nonce: str | None = None,
) -> VerdictStep:
    """Make the step that answers a check's prompt with a verdict.

    Args:
        violation: whether it flags.
        score: probability of a violation; by default 0.99 or 0.01.
        category: by default "scripted" for a violation and "none" otherwise.
        reason: one line.
        nonce: said in place of the prompt's own, to forge one.
    """
    if score is None:
        score = 0.99 if violation else 0.01
    return VerdictStep(violation, score, category or ("scripted" if violation else "none"), reason, nonce)


def nonce_of(prompt: Prompt) -> str:
    """The nonce that a check's prompt asks for.

    Raises:
        UsageError: it asks for none.
    """
    found = _NONCE.findall(prompt.messages[-1].content) if prompt.messages else []
    if not found:
        raise UsageError("a verdict was scripted, but the prompt gives no nonce: is this a check's prompt?")
    return str(found[-1])


class ScriptedModel:
    """A `quorate.models.Model` that follows a script; see this module's docstring.

    Usage is counted as four characters a token, rounded up: of the whole prompt, and of what was said. It is
    marked as estimated where a call was cancelled or broke off; a call that fails before it spoke costs no tokens.

    Args:
        name: its name in verdicts and timelines.
        script: an entry for each call, or a function that makes one of a prompt.

    Attributes:
        name: as given.
        prompts: every prompt it got, in the order of the calls.

    Raises:
        UsageError: an entry is of no known form.
    """

    def __init__(self, name: str, script: Sequence[Entry] | Callable[[Prompt], Entry]) -> None:
        self.name = name
        self.prompts: list[Prompt] = []
        if isinstance(script, str):
            raise UsageError("a script is a list of entries; for one text write [text]")
        self._rule = script if callable(script) else None
        self._entries = [] if callable(script) else [_steps(entry) for entry in script]

    async def complete(self, prompt: Prompt, emit: Emit | None = None) -> Reply:
        """Do what the next entry says; see `quorate.models.Model`.

        Raises:
            ScriptExhausted: there is no next entry.
            Exception: what the entry says.
        """
        self.prompts.append(prompt)
        steps = self._next(prompt)
        read = _tokens(sum(len(message.content) for message in prompt.messages))
        said: list[str] = []
        usage = Usage(1, read, estimated=True, cut_calls=1)  # What a cancel leaves.
        try:
            reply = await self._play(steps, prompt, emit, said)
            usage = Usage(1, read) if reply.usage is NO_USAGE else reply.usage
        except Exception:
            usage = Usage(1, read, estimated=True) if said else Usage(1)
            raise
        finally:
            usage = replace(usage, output_tokens=usage.output_tokens or _tokens(sum(map(len, said))))
            spend(usage)
        return replace(reply, usage=usage)

    def finish(self) -> None:
        """Check that the script was used up, and no more than that.

        Raises:
            ScriptUnfinished: entries are left.
            ScriptExhausted: there were more calls than entries.
        """
        over = len(self.prompts) - len(self._entries) if self._rule is None else 0
        if over < 0:
            raise ScriptUnfinished(f"{self.name}: {-over} of {len(self._entries)} scripted calls were never made")
        if over > 0:
            raise ScriptExhausted(f"{self.name}: call {len(self.prompts)} of a script of {len(self._entries)}")

    def _next(self, prompt: Prompt) -> tuple[Step, ...]:
        if self._rule is not None:
            return _steps(self._rule(prompt))
        if len(self.prompts) > len(self._entries):
            raise ScriptExhausted(f"{self.name}: call {len(self.prompts)} of a script of {len(self._entries)}")
        return self._entries[len(self.prompts) - 1]

    async def _play(self, steps: tuple[Step, ...], prompt: Prompt, emit: Emit | None, said: list[str]) -> Reply:
        whole = Reply("", self.name)
        for step in steps:
            if isinstance(step, int | float):
                await clock.sleep(step)
                continue
            if isinstance(step, Exception):
                raise step
            whole = step if isinstance(step, Reply) else whole
            text = step.text(prompt) if isinstance(step, VerdictStep) else step if isinstance(step, str) else step.text
            said.append(text)
            if emit is not None and text:
                await emit(text)
        if emit is not None:
            for index, call in enumerate(whole.tool_calls):
                await emit(ToolCallDelta(index, call.id, call.name, call.arguments))
        return replace(whole, text="".join(said))


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS_PER_TOKEN)


def _steps(entry: Entry) -> tuple[Step, ...]:
    steps = tuple(entry) if isinstance(entry, list | tuple) else (entry,)
    for step in steps:
        if isinstance(step, bool) or not isinstance(step, str | int | float | Exception | Reply | VerdictStep):
            raise UsageError(f"a step is a text, seconds, an exception, a Reply or verdict(...), not {step!r}")
        if isinstance(step, int | float) and not 0 <= step < float("inf"):
            raise UsageError(f"a step waits 0 seconds or more, not {step!r}")
    if any(isinstance(step, Exception | Reply) for step in steps[:-1]):
        raise UsageError("an exception or a Reply ends an entry: nothing can follow it")
    return steps
