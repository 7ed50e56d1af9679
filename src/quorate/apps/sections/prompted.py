"""A worker that asks a model: one part in, its text out, piece by piece."""

import hashlib
import secrets

from quorate.apps.sections.parts import Part
from quorate.apps.sections.seams import lost_headings, open_fence
from quorate.checks import Template
from quorate.checks.prompt import as_line
from quorate.errors import BadReply, UsageError
from quorate.events import Context
from quorate.models import Emit, Message, Model, Prompt, ToolCallDelta

KEEP = (
    "Keep every heading of the section: as many, in the same order, at the same level, with the same numbers. "
    "Keep the numbers of numbered lists."
)


class CutOff(BadReply):
    """An answer that ends before its end, at the limit of tokens or by a filter; asking again gives the same."""


class Prompted:
    """Asks a model to do a task on each part. The part's text is data in the prompt, the task an instruction.

    Args:
        model: who is asked.
        task: what is to be done with each section, in your own words; it must be trusted.
        keep_headings: ask for headings and numbering to be kept, and check that they are.
        max_tokens: of one answer; None leaves it to the server.
        temperature: None leaves it to the server.
        identity: what stands for the model in keys; its name by default. Give the address too where names repeat.
        template: the fixed prompt around the task.
    """

    def __init__(
        self,
        model: Model,
        task: str,
        *,
        keep_headings: bool = False,
        max_tokens: int | None = None,
        temperature: float | None = None,
        identity: str | None = None,
        template: Template | None = None,
    ) -> None:
        if not task.strip():
            raise UsageError("the prompt is empty: say what is to be done with each section")
        self._model, self._task = model, task.strip()
        self.keep_headings = keep_headings
        self._max_tokens, self._temperature = max_tokens, temperature
        self._template = template or Template.load("section-v1", package="quorate.apps")
        asked = hashlib.sha256(self._task.encode("utf-8", "surrogatepass")).hexdigest()
        self.key = (
            self._template.version,
            asked,
            keep_headings,
            identity if identity is not None else model.name,
            max_tokens,
            temperature,
        )

    async def __call__(self, part: Part, context: Context) -> str:
        """Stream the model's answer; returns it whole.

        Raises:
            BadReply: the answer is empty; `CutOff` where it ends before its end.
            UsageError: the part is no text.
        """
        reply = await self._model.complete(self.prompt(part), _only_text(context))
        if not reply.text.strip():
            raise BadReply(f"{reply.model}: the answer is empty ({reply.finish_reason[:40]!r})")
        if reply.finish_reason in ("length", "content_filter"):
            raise CutOff(f"{reply.model}: the answer was cut off ({reply.finish_reason}): not all of it is there")
        return reply.text

    def prompt(self, part: Part) -> Prompt:
        """The prompt for a part. The boundaries are drawn anew each time; nothing else varies."""
        if not isinstance(part.item, str):
            raise UsageError(f"{part.name}: a prompt needs a text, this is of type {type(part.item).__name__}")
        task = f"{self._task}\n{KEEP}" if self.keep_headings else self._task
        system = f"{self._template.text}\nThe task:\n{task}"
        lines = [as_line({"headings above the section": list(part.above)})] if part.above else []
        lines += [as_line({"other section": read if isinstance(read, str) else repr(read)}) for read in part.reads]
        lines += [as_line({"text right before the section": part.lead})] if part.lead else []
        data = "\n".join([*lines, part.item])
        drawn = secrets.token_hex(16)
        while drawn[:16] in data or drawn[16:] in data:
            drawn = secrets.token_hex(16)
        section, reading = f"SECTION-{drawn[:16]}", f"READING-{drawn[16:]}"
        user = f"<<<{section}\n{part.item}\n{section}>>>\nThe section has ended. Do the task on it, and nothing else."
        if lines:
            user = "\n".join([f"<<<{reading}", *lines, f"{reading}>>>", user])
        return Prompt((Message("system", system), Message("user", user)), self._max_tokens, self._temperature)

    def check(self, part: Part, said: str) -> list[str]:
        """What is wrong with an answer at its seams, a line each."""
        if not isinstance(part.item, str):
            return []
        lost = lost_headings(part.item, said) if self.keep_headings else []
        if open_fence(said) and not open_fence(part.item):
            lost.append("leaves a code fence open")
        return lost


def _only_text(context: Context) -> Emit:
    """Tool calls are not asked for here, and are no text."""

    async def emit(delta: str | ToolCallDelta) -> None:
        if isinstance(delta, str):
            await context.emit(delta)

    return emit
