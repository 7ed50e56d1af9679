"""Window mode: an answer released piece by piece, each piece only once the checks have read well beyond it.

What it promises: of a stretch that a check flags, and that is no longer than the overlap, not one character gets out,
wherever the pieces and windows are cut; no link gets out before it is complete and was judged whole; no piece of a
tool call before all of it was. What it does not: what came before the flagged stretch is out already, and so is the
beginning of one that is longer than the overlap. `hold` promises more.

`Windows` is the bookkeeping alone; `Windowed` asks the checks and lets out.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from quorate.checks import Check, Conversation, Verdict, ruling
from quorate.checks.conversation import Said, output_subject
from quorate.checks.openlinks import open_link
from quorate.engine import HELD_BYTES, fan_out
from quorate.errors import BadReply, QuorateError, UsageError
from quorate.events import Answered, Branch
from quorate.merges import OnError, Veto
from quorate.models import ToolCall, ToolCallDelta

WORD_CHARS = 2_000
"""A window begins at the beginning of a word, at most so many characters before its overlap does."""


class AnswerBlocked(QuorateError):
    """A check stopped an answer that is being released; nothing that was held goes out.

    Attributes:
        check: its id, or "deadline".
        verdict: what it said; None where it failed.
    """

    status_hint = 403

    def __init__(self, check: str, verdict: Verdict | None) -> None:
        self.check = check
        self.verdict = verdict
        super().__init__(f"the answer was stopped by {check}")


class Piece(NamedTuple):
    """What a frame says in one choice.

    Attributes:
        choice: which text of the answer it belongs to; a choice's index, or any name for a text beside it.
        delta: a piece of the text or of a tool call; None says that the choice has ended.
    """

    choice: Hashable
    delta: str | ToolCallDelta | None


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    judged: bool = False

    def add(self, delta: ToolCallDelta) -> None:
        self.id += delta.id or ""
        self.name += delta.name or ""
        self.arguments.append(delta.arguments)
        self.judged = False

    @property
    def whole(self) -> ToolCall:
        return ToolCall(self.id, self.name, "".join(self.arguments))


@dataclass(slots=True)
class _Choice:
    """One text: `tail` is what of it may still be judged, and begins `base` characters after its beginning."""

    tail: str = ""
    base: int = 0
    fresh: list[str] = field(default_factory=list)
    length: int = 0
    judged_to: int = 0
    looked_at: int = 0
    ended: bool = False
    closed: bool = False
    calls: dict[int, _Call] = field(default_factory=dict)


class Due(NamedTuple):
    """What is to be judged next: a stretch of a choice's text that ends at `end`, and its tool calls once it ended."""

    choice: Hashable
    end: int
    said: Said
    last: bool


@dataclass(slots=True)
class _Frame:
    raw: bytes
    texts: list[tuple[_Choice, int]] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)


class Windows:
    """Keeps frames until all they say has been judged far enough. Pure bookkeeping: no task, no clock, no check.

    Args:
        window_chars: so many new characters of a text make a window.
        overlap_chars: so many characters of the text before are read again with them, and held.

    Attributes:
        held: bytes of the frames that are kept.
    """

    def __init__(self, *, window_chars: int, overlap_chars: int) -> None:
        if window_chars < 1 or overlap_chars < 0:
            raise UsageError(f"window_chars: found {window_chars}, overlap_chars: {overlap_chars}; at least 1 and 0")
        self.held = 0
        self._window = window_chars
        self._overlap = overlap_chars
        self._frames: deque[_Frame] = deque()
        self._choices: dict[Hashable, _Choice] = {}

    def take(self, raw: bytes, pieces: Sequence[Piece]) -> None:
        """Keep a frame and what it says."""
        frame = _Frame(raw)
        for key, delta in pieces:
            choice = self._choices.setdefault(key, _Choice())
            if delta is None:
                choice.ended = True
                continue
            choice.ended = choice.closed = False
            if isinstance(delta, ToolCallDelta):
                call = choice.calls.setdefault(delta.index, _Call())
                call.add(delta)
                frame.calls.append(call)
            elif delta:
                choice.fresh.append(delta)
                choice.length += len(delta)
                frame.texts.append((choice, choice.length))
        self._frames.append(frame)
        self.held += len(raw)

    def end(self) -> None:
        """Nothing more comes: every choice has ended."""
        for choice in self._choices.values():
            choice.ended = True

    def due(self) -> list[Due]:
        """What can be judged now; tell it to `passed` if all checks let it through."""
        found = (self._due(key, choice) for key, choice in self._choices.items())
        return [due for due in found if due is not None]

    def passed(self, due: Due) -> None:
        """All checks let this through."""
        choice = self._choices[due.choice]
        choice.judged_to = due.end
        if due.last:
            choice.closed = True
            for call in choice.calls.values():
                call.judged = True
        kept = max(choice.judged_to - self._overlap - WORD_CHARS - choice.base, 0)
        choice.tail, choice.base = choice.tail[kept:], choice.base + kept

    def free(self) -> list[bytes]:
        """The frames that may go out now, in order; they are kept no longer."""
        out: list[bytes] = []
        while self._frames and self._may_go(self._frames[0]):
            out.append(self._frames.popleft().raw)
            self.held -= len(out[-1])
        return out

    def _may_go(self, frame: _Frame) -> bool:
        return all(call.judged for call in frame.calls) and all(
            end <= (choice.length if choice.closed else choice.judged_to - self._overlap) for choice, end in frame.texts
        )

    def _due(self, key: Hashable, choice: _Choice) -> Due | None:
        if choice.closed or not (choice.ended or choice.length - choice.looked_at >= self._window):
            return None
        choice.tail += "".join(choice.fresh)
        choice.fresh.clear()
        choice.looked_at = choice.length
        end = choice.length
        if not choice.ended:
            opened = open_link(choice.tail)
            end = choice.length if opened is None else choice.base + opened
            if end <= choice.judged_to:
                return None
        text = choice.tail[self._start(choice) : end - choice.base] if end > choice.judged_to else ""
        calls = tuple(call.whole for call in choice.calls.values()) if choice.ended else ()
        return Due(key, end, Said((text,) if text else (), calls), choice.ended)

    def _start(self, choice: _Choice) -> int:
        """Where in the tail the next window begins: an overlap back, at a word, so that no link is read by half."""
        back = choice.judged_to - self._overlap - choice.base
        return max(choice.tail.rfind(space, 0, max(back, 0)) for space in " \n\t") + 1


class Windowed:
    """Judges an answer window by window and lets its frames out, whole and in order.

    For use inside of an answer's branch. `frame` waits for the checks, so the source is read no faster than they are.

    Args:
        emit: takes each frame that may go out.
        checks: the output checks, at least one; all of them read every window, at the same time.
        conversation: what is answered.
        window_chars: as for `Windows`.
        overlap_chars: as for `Windows`.
        held_bytes: the most bytes of frames that are kept; an answer that needs more fails.

    Raises:
        UsageError: no check, or sizes that cannot be.
    """

    def __init__(
        self,
        emit: Callable[[bytes], Awaitable[None]],
        checks: Sequence[Check],
        conversation: Conversation,
        *,
        window_chars: int,
        overlap_chars: int,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        if not checks:
            raise UsageError("window mode needs at least one output check; without one, say output = off")
        self._emit = emit
        self._checks = {check.id: check for check in checks}
        self._conversation = conversation
        self._windows = Windows(window_chars=window_chars, overlap_chars=overlap_chars)
        self._held_bytes = held_bytes
        self._blocked: AnswerBlocked | None = None

    async def frame(self, raw: bytes, pieces: Sequence[Piece]) -> None:
        """Take a frame as it came and what it says; judge what is due, let out what may go.

        Raises:
            AnswerBlocked: a check flagged, could not decide or failed; every later call raises it too.
            BadReply: more than `held_bytes` would have to be kept.
        """
        self._windows.take(raw, pieces)
        await self._advance()
        if self._windows.held > self._held_bytes:
            raise BadReply(f"the answer needs more than {self._held_bytes} bytes to be held until it can be judged")

    async def end(self) -> None:
        """Judge what is left and let it out. Raises as `frame` does."""
        self._windows.end()
        await self._advance()

    async def _advance(self) -> None:
        if self._blocked is not None:
            raise self._blocked
        if due := self._windows.due():
            await self._judge([one.said for one in due if one.said.texts or one.said.calls])
            for one in due:
                self._windows.passed(one)
        for raw in self._windows.free():
            await self._emit(raw)

    async def _judge(self, said: list[Said]) -> None:
        """Ask all checks about all of it at once; returns only if every one of them lets it through."""
        branches: list[Branch[Verdict]] = []
        guards: dict[str, OnError] = {}
        asked: dict[str, str] = {}
        for number, one in enumerate(said, 1):
            subject = output_subject(self._conversation, one)
            for check in self._checks.values():
                name = check.id if len(said) == 1 else f"{check.id} {number}"
                branches.append(Branch(name, partial(check.run, subject), check.timeout_s))
                guards[name], asked[name] = check.on_error, check.id
        if not branches:
            return
        # Each check has its own timeout; this only has to be longer than all of them.
        limit_s = max(check.timeout_s for check in self._checks.values()) + 1.0
        veto: Veto[Verdict] = Veto(guards, rule=partial(ruling, self._checks), decide_timeout_s=limit_s)
        async with fan_out(branches, veto, timeout_s=None) as run:
            decision = await run.decided()
            end = run.ended.get(decision.by or "")
        if decision.value != "admit":
            verdict = end.value if isinstance(end, Answered) else None
            self._blocked = AnswerBlocked(asked.get(decision.by or "", "deadline"), verdict)
            raise self._blocked
