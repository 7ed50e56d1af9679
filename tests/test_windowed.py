"""Window mode: nothing flagged gets out, wherever the cuts fall; frames leave whole, in order, as soon as they may."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from judging import ABSTAIN, FLAG, PASS, Rule, check, holding, said
from link_tricks import HONEST, HOSTS, TRICKS
from quorate.apps.windowed import AnswerBlocked, Piece, Windowed
from quorate.checks import Check, Conversation
from quorate.checks.links import LinkJudge
from quorate.engine import clock
from quorate.errors import BadReply, ModelUnavailable, UsageError
from quorate.models import ToolCallDelta
from quorate.testing import run_virtual
from strategies import PURE

CONVERSATION = Conversation.of([{"role": "system", "content": "rules"}, {"role": "user", "content": "Hi"}])
SECRET = "X17Q"
SIGNS = "[]():/."


def output(name: str, judge: Any, **settings: Any) -> Check:
    return check(name, judge, kind="output", **settings)


class Line:
    """A windowed answer and what of it got out."""

    def __init__(self, *checks: Check, window: int = 20, overlap: int = 6, held: int = 1 << 20) -> None:
        self.out: list[bytes] = []
        self.windowed = Windowed(
            self._emit, checks, CONVERSATION, window_chars=window, overlap_chars=overlap, held_bytes=held
        )

    async def _emit(self, raw: bytes) -> None:
        self.out.append(raw)

    async def say(self, *pieces: str, choice: int = 0) -> None:
        for piece in pieces:
            await self.windowed.frame(piece.encode(), [Piece(choice, piece)])

    @property
    def text(self) -> str:
        return b"".join(self.out).decode()


def cut(text: str, lengths: Sequence[int]) -> list[str]:
    """The text in pieces of these lengths, the last of which may repeat."""
    pieces, at, turn = [], 0, 0
    while at < len(text):
        pieces.append(text[at : at + lengths[turn % len(lengths)]])
        at += lengths[turn % len(lengths)]
        turn += 1
    return pieces


words = st.text(alphabet="ab .\n", max_size=80)
lengths = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@PURE
@given(words, words, lengths, st.integers(1, 40), st.integers(4, 30))
def test_no_character_of_a_flagged_span_gets_out(
    before: str, after: str, sizes: list[int], window: int, overlap: int
) -> None:
    """Whatever the pieces and windows, a span up to the overlap's length stays in; what leaves is a prefix."""
    whole = before + SECRET + after

    async def play() -> None:
        line = Line(output("o", Rule(holding(SECRET))), window=window, overlap=overlap)
        with pytest.raises(AnswerBlocked) as caught:
            await line.say(*cut(whole, sizes))
            await line.windowed.end()
        assert (caught.value.check, caught.value.verdict and caught.value.verdict.outcome) == ("o", "flag")
        assert before.startswith(line.text)
        got = list(line.out)
        with pytest.raises(AnswerBlocked):
            await line.windowed.end()
        with pytest.raises(AnswerBlocked):
            await line.say("more")
        assert line.out == got

    run_virtual(play())


@PURE
@given(words, lengths, st.integers(1, 40), st.integers(0, 30), st.booleans())
def test_a_clean_answer_gets_out_whole_and_unchanged(
    text: str, sizes: list[int], window: int, overlap: int, links: bool
) -> None:
    """Byte for byte, in order, in the frames as they came; and every character was read by every check."""
    rules = [Rule(PASS), Rule(PASS)]
    text += " [x](https://help.lantern.test/a) " * links + text
    text = "".join(char if char.isspace() or char in SIGNS else chr(0x4E00 + i) for i, char in enumerate(text))

    async def play() -> None:
        line = Line(output("a", rules[0]), output("b", rules[1]), window=window, overlap=overlap)
        pieces = cut(text, sizes)
        for i, piece in enumerate(pieces):
            await line.say(piece)
            assert "".join(pieces[: i + 1]).startswith(line.text)
        await line.windowed.end()
        assert line.out == [piece.encode() for piece in pieces]
        for rule in rules:
            read = {char for subject in rule.asked for char in subject.text}
            assert read >= set(text) and all(subject.text in text for subject in rule.asked)

    run_virtual(play())


@PURE
@given(st.sampled_from([trick for trick in TRICKS if "\n\n" not in trick]), words, lengths, st.integers(1, 60))
def test_no_link_gets_out_by_pieces(trick: str, before: str, sizes: list[int], window: int) -> None:
    """A link is held from its beginning until it was judged whole: of a foreign one nothing that leads there leaves."""
    whole = f"{before} {trick} and so on."

    async def play() -> None:
        line = Line(output("links", LinkJudge(HOSTS)), window=window, overlap=12)
        with pytest.raises(AnswerBlocked):
            await line.say(*cut(whole, sizes))
            await line.windowed.end()
        assert "evil" not in line.text.lower()
        event(f"{len(line.text) > 0}")

    run_virtual(play())


@PURE
@given(st.lists(st.sampled_from(HONEST), min_size=1, max_size=20), lengths, st.integers(1, 60), st.integers(0, 40))
def test_no_cut_makes_an_honest_link_a_foreign_one(
    texts: list[str], sizes: list[int], window: int, overlap: int
) -> None:
    """Windows begin at words and end before open links, so an allowed address is never read by half."""
    whole = "\n\n".join(texts)

    async def play() -> None:
        line = Line(output("links", LinkJudge(HOSTS)), window=window, overlap=overlap)
        await line.say(*cut(whole, sizes))
        await line.windowed.end()
        assert line.text == whole

    run_virtual(play())


@PURE
@given(st.lists(st.tuples(st.integers(0, 2), st.text(alphabet="ab ", min_size=1, max_size=9)), max_size=40))
def test_choices_are_read_apart_and_leave_in_order(pieces: list[tuple[int, str]]) -> None:
    """Several choices interleaved: each has its own text, and no frame overtakes another."""

    async def play() -> None:
        rule = Rule(PASS)
        line = Line(output("o", rule), window=10, overlap=3)
        for choice, text in pieces:
            await line.say(text, choice=choice)
            assert line.out == [text.encode() for _, text in pieces[: len(line.out)]]
        await line.windowed.end()
        assert line.out == [text.encode() for _, text in pieces]
        wholes = ["".join(text for choice, text in pieces if choice == one) for one in range(3)]
        assert all(any(subject.text in whole for whole in wholes) for subject in rule.asked)

    run_virtual(play())


async def test_a_span_across_two_choices_is_none() -> None:
    """What two choices say is never read as one text."""
    line = Line(output("o", Rule(holding(SECRET))), window=4, overlap=4)
    for i, letter in enumerate(SECRET * 3):
        await line.say(letter, choice=i % 4)
    await line.windowed.end()
    assert line.text == SECRET * 3


async def test_frames_without_text_keep_their_place() -> None:
    """A role or usage frame goes out at once where nothing is held before it, and else in its turn."""
    line = Line(output("o", Rule(PASS)), window=10, overlap=4)
    await line.windowed.frame(b"<role>", [])
    assert line.out == [b"<role>"]
    await line.say("hello ")
    await line.windowed.frame(b"<usage>", [])
    assert line.out == [b"<role>"]
    await line.say("world, how ")
    assert line.out == [b"<role>", b"hello ", b"<usage>"]
    await line.windowed.end()
    assert line.text == "<role>hello <usage>world, how "


async def test_progress_is_made_while_the_answer_goes_on() -> None:
    """What lies an overlap before the last window's end is out before the answer ends."""
    line = Line(output("o", Rule(PASS)), window=20, overlap=6)
    await line.say(*["word "] * 40)
    assert 150 <= len(line.text) <= 194


async def test_all_checks_read_a_window_at_the_same_time() -> None:
    """A window costs its slowest check, not the sum; one that flags ends it at once."""
    line = Line(output("a", Rule(PASS, 0.5)), output("b", Rule(PASS, 0.3)), window=5, overlap=1)
    await line.say("hello there ")
    assert clock.now() == 0.5
    line = Line(output("a", Rule(PASS, 0.5)), output("b", Rule(FLAG, 0.1)), window=5, overlap=1)
    with pytest.raises(AnswerBlocked, match="stopped by b"):
        await line.say("hello there ")
    assert clock.now() == 0.6


@pytest.mark.parametrize(
    ("say", "settings", "passes"),
    [
        (PASS, {}, True),
        (FLAG, {}, False),
        (ABSTAIN, {}, False),
        (ABSTAIN, {"on_abstain": "admit"}, True),
        (ModelUnavailable("down"), {}, False),
        (ModelUnavailable("down"), {"on_error": "escalate"}, False),
        (ModelUnavailable("down"), {"on_error": "allow"}, True),
    ],
)
async def test_only_a_pass_lets_on(say: Any, settings: dict[str, Any], passes: bool) -> None:
    """A doubt or a failure stops the answer unless the config says that it admits."""
    line = Line(output("o", Rule(say), **settings))
    if passes:
        await line.say("hello")
        await line.windowed.end()
        assert line.text == "hello"
        return
    with pytest.raises(AnswerBlocked) as caught:
        await line.say("hello")
        await line.windowed.end()
    assert line.out == [] and caught.value.check == "o"
    assert (caught.value.verdict is None) == isinstance(say, Exception)


async def test_a_check_that_hangs_is_stopped_by_its_timeout() -> None:
    """A window waits no longer than its checks' own timeouts."""
    line = Line(output("o", Rule(PASS, 1e6), timeout_s=2.0))
    with pytest.raises(AnswerBlocked):
        await line.say("hello " * 10)
    assert clock.now() == 2.0


def call(index: int, arguments: str, *, name: str | None = None, choice: int = 0) -> Piece:
    return Piece(choice, ToolCallDelta(index, f"id{index}" if name else None, name, arguments))


async def test_a_tool_call_is_judged_whole_and_held_until_then() -> None:
    """Name and arguments are one part of their own; its frames wait for the end of their choice."""
    rule = Rule(PASS)
    line = Line(output("o", rule), window=3, overlap=1)
    await line.say("Look: ")
    for raw, piece in ((b"1", call(0, '{"a', name="find")), (b"2", call(1, "{", name="go")), (b"3", call(0, '":1}'))):
        await line.windowed.frame(raw, [piece])
    assert b"1" not in line.out
    await line.windowed.frame(b"4", [call(1, "}")])
    await line.windowed.frame(b"5", [Piece(0, None)])
    assert line.out[-5:] == [b"1", b"2", b"3", b"4", b"5"]
    last = rule.asked[-1]
    assert [part.text for part in last.parts][-2:] == ['find\n{"a":1}\nid0', "go\n{}\nid1"]
    assert {part.origin for part in last.parts} == {"assistant"}
    assert [part.text for part in last.context] == ["rules"]


@PURE
@given(st.text(alphabet='{}":ab ', max_size=40), lengths, st.integers(0, 40))
def test_no_piece_of_a_flagged_tool_call_gets_out(filler: str, sizes: list[int], at: int) -> None:
    """Wherever in the arguments it stands, and however they are cut, not one of their frames leaves."""
    arguments = filler[:at] + SECRET + filler[at:]

    async def play() -> None:
        line = Line(output("o", Rule(holding(SECRET))), window=2, overlap=1)
        await line.say("Look here: ")
        with pytest.raises(AnswerBlocked):
            for piece in cut(arguments, sizes):
                await line.windowed.frame(b"!", [call(0, piece, name="go")])
            await line.windowed.end()
        assert b"!" not in line.out

    run_virtual(play())


async def test_a_choice_that_goes_on_after_its_end_is_judged_again() -> None:
    """A server that says more after the end of a choice gets nothing out unjudged."""
    line = Line(output("o", Rule(holding(SECRET))), window=100, overlap=6)
    await line.windowed.frame(b"ab X1", [Piece(0, "ab X1"), Piece(0, None)])
    assert line.text == "ab X1"
    with pytest.raises(AnswerBlocked):
        await line.say("7Q")
        await line.windowed.end()
    assert line.text == "ab X1"


async def test_an_endless_link_does_not_fill_the_memory() -> None:
    """What has to be held is bounded; beyond that the answer fails."""
    line = Line(output("o", Rule(PASS)), window=10, overlap=2, held=5_000)
    with pytest.raises(BadReply, match="more than 5000 bytes"):
        await line.say(*["https://help.lantern.test/", *["x" * 50] * 1_000])
    assert line.out == []


async def test_the_verdict_is_told_to_the_caller_and_not_in_the_error() -> None:
    """The error names the check; what the verdict quotes of the text stands in the verdict alone."""
    line = Line(output("o", Rule(said("flag", 0.9, category="prompt"))))
    with pytest.raises(AnswerBlocked) as caught:
        await line.say("hello " * 10)
    assert caught.value.verdict is not None and caught.value.verdict.category == "prompt"
    assert str(caught.value) == "the answer was stopped by o"


@pytest.mark.parametrize(("window", "overlap"), [(0, 1), (1, -1)])
def test_sizes_that_cannot_be_are_refused(window: int, overlap: int) -> None:
    """A window of nothing, or a negative overlap, is the caller's mistake; so is a mode without a check."""
    with pytest.raises(UsageError, match="window_chars"):
        Line(output("o", Rule(PASS)), window=window, overlap=overlap)
    with pytest.raises(UsageError, match="at least one output check"):
        Line()
