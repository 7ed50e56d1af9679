"""Agree, Pick and Synthesize: the group that wins, the draft that is best in both orders, the text that is written."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from electing import after, ballots, check, events_of
from quorate.errors import RunFailed, UsageError
from quorate.events import Answered, Branch, Context, Delta, Failed, Queued
from quorate.merges import UNDECIDED, Agree, Draft, Pick, Synthesize, likeness, normal
from quorate.patterns import poll, vote
from strategies import PURE, play


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The answer:  42.", "the ANSWER 42", True),
        ("ｆｕｌｌ　width", "full width", True),
        ("Straße!", "STRASSE", True),
        ("4.2", "42", False),
        ("-1", "1", False),
        ("10 %", "10", False),
        ("yes\u200b", "no", False),
        ("", "  ...  ", True),
    ],
)
def test_normal(one: str, other: str, same: bool) -> None:
    """What changes no meaning is dropped, what makes a number is kept."""
    assert (normal(one) == normal(other)) == same


@given(st.text(max_size=40))
def test_normal_is_stable(text: str) -> None:
    """What is normal stays as it is, for any text."""
    assert normal(normal(text)) == normal(text)


def test_likeness() -> None:
    """From 0 for nothing in common to 1 for the same; a word changed in a sentence is most of it still."""
    one = "refund the order within thirty days of delivery"
    assert likeness(one, one) == 1 and likeness("", "") == 1
    assert likeness(one, "refund the order within sixty days of delivery") > 0.6
    assert likeness(one, "we never take anything back") < 0.1


# Agree.


@PURE
@given(st.data())
def test_agreement_settles_early_and_right(data: st.DataObject) -> None:
    """Laws 1, 2, 5: the group of more than half of all, or none, at the first event that tells."""
    n = data.draw(st.integers(1, 4))
    k = data.draw(st.integers(n // 2 + 1, n))

    def full(votes: tuple[Any, ...]) -> Any:
        return next((side for side in "abc" if votes.count(side) >= k), UNDECIDED)

    votes, order = data.draw(ballots("abc", n))
    waited = check(Agree[str](n, k=k), full, sides="abc", votes=votes, order=order)
    event(f"settled after {waited} of {n}")


@PURE
@given(st.data())
def test_likes_join_to_the_same_groups_in_every_order(data: st.DataObject) -> None:
    """With `alike` groups are chained pairs: whether one of more than half is found does not hang on the order."""
    texts = ("red apples", "red apples are", "ed apples are good", "blue", "blue sky", "")
    n = data.draw(st.integers(1, 5))
    votes, order = data.draw(ballots(texts, n))
    found = []
    for each in (order, sorted(order)):
        merge: Agree[str] = Agree(n, alike=0.5)
        decision = play(merge, events_of(votes, each))[-1].decision
        assert decision is not None
        found.append(decision.value is UNDECIDED)
    assert found[0] == found[1]


def test_the_commonest_wording_stands_for_its_group() -> None:
    """Of a group's texts the one most often said is returned, as it was first written."""
    merge: Agree[str] = Agree(5, alike=0.4)
    said = ("It is Paris, France.", "it is paris", "It is  PARIS!", "it is Lyon")
    [*_, last] = play(merge, [Answered(f"b{i}", 0, text) for i, text in enumerate(said)])
    assert last.decision is not None and last.decision.value == "it is paris"


def test_agree_by_a_key() -> None:
    """A key of the caller's: the last number of a text; None abstains; deltas are for nobody."""
    merge: Agree[str] = Agree(3, key=lambda text: next((w for w in text.split()[::-1] if w.isdigit()), None))
    votes = [Delta("a", 0, "x"), Answered("a", 0, "so 7"), Answered("b", 0, "none"), Answered("c", 0, "is it 7")]
    [*_, last] = play(merge, votes)
    assert last.decision is not None and last.decision.value == "so 7"


@pytest.mark.parametrize("arguments", [{"k": 1}, {"k": 3}, {"alike": 0.0}, {"alike": 1.1}])
def test_agreement_is_of_more_than_half(arguments: dict[str, Any]) -> None:
    """With half or fewer, two groups could agree."""
    with pytest.raises(UsageError):
        Agree(2, **arguments)


# Pick.


def judging(better: Callable[[str, str], str | None]) -> Callable[[str, tuple[Draft[Any], Draft[Any]]], Branch[Any]]:
    def compare(name: str, drafts: tuple[Draft[Any], Draft[Any]]) -> Branch[Any]:
        async def work(_context: Context, /) -> str | None:
            return better(drafts[0].value, drafts[1].value)

        return Branch(name, work)

    return compare


def longer(first: str, second: str) -> str | None:
    return None if len(first) == len(second) else "first" if len(first) > len(second) else "second"


def saying(value: Any) -> Callable[[], Any]:
    async def call() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return call


async def test_the_best_in_both_orders_wins() -> None:
    """Every pair is judged twice; the outcome is the draft with its author."""
    drafts = {"a": saying("xx"), "b": saying("xxx"), "c": saying("x")}
    async with poll(None, drafts, rule=lambda n: Pick(n, compare=judging(longer))) as run:
        assert (await run.decided()).value == Draft("b", "xxx")
    judged = {span.branch for span in run.timeline} - set(drafts)
    assert judged == {f"judge: {one} | {other}" for one, other in permutations("abc", 2)}


@pytest.mark.parametrize("bias", ["first", "second", None])
async def test_a_judge_that_looks_at_places_decides_nothing(bias: str | None) -> None:
    """A judge that always prefers one place gives each draft half: undecided, never list order."""
    drafts = {"a": saying("xx"), "b": saying("xxx")}
    assert await vote(None, drafts, rule=lambda n: Pick(n, compare=judging(lambda *_: bias))) is UNDECIDED


@PURE
@given(st.data())
def test_pick_settles_on_the_same_draft_in_every_order(data: st.DataObject) -> None:
    """A winner that is named early is the one that all judgements would have named; failures only make it undecided."""
    n = data.draw(st.integers(2, 4))
    names = [f"b{i}" for i in range(n)]
    pairs = list(permutations(names, 2))
    said = {pair: data.draw(st.sampled_from(("first", "second", None, "fail"))) for pair in pairs}

    def run(order: list[tuple[str, str]]) -> Any:
        merge: Pick[str] = Pick(n, compare=lambda name, drafts: Branch(name, None))  # type: ignore[arg-type]
        step = [merge.feed(Answered(name, 0, name)) for name in names][-1]
        assert {start.branch.name for start in step.start} == {f"judge: {one} | {other}" for one, other in pairs}
        for one, other in order:
            name, what = f"judge: {one} | {other}", said[one, other]
            step = merge.feed(Failed(name, 0, ValueError()) if what == "fail" else Answered(name, 0, what))
            if step.decision is not None:
                break
        assert step.decision is not None
        return step.decision.value

    points = dict.fromkeys(names, 0)
    open_ = dict.fromkeys(names, 0)
    for (one, other), what in said.items():
        if what == "fail":
            open_[one], open_[other] = open_[one] + 1, open_[other] + 1
        elif what is None:
            points[one], points[other] = points[one] + 1, points[other] + 1
        else:
            points[one if what == "first" else other] += 2
    best = [x for x in names if all(points[x] > points[y] + 2 * open_[y] for y in names if y != x)]
    got = run(data.draw(st.permutations(pairs)))
    assert got == (Draft(best[0], best[0]) if best else UNDECIDED)


async def test_pick_by_score() -> None:
    """Each draft is scored as soon as it is there; the highest alone wins; a score that is none leaves it undecided."""

    def scoring(scores: dict[str, Any]) -> Any:
        def score(name: str, draft: Draft[Any]) -> Branch[Any]:
            async def work(_context: Context, /) -> Any:
                return scores[draft.value]

            return Branch(name, work)

        return lambda n: Pick(n, score=score)

    drafts = {"a": saying("x"), "b": saying("y"), "c": saying(ValueError())}
    assert await vote(None, drafts, rule=scoring({"x": 0.2, "y": 0.9})) == Draft("b", "y")
    assert await vote(None, drafts, rule=scoring({"x": 0.9, "y": 0.9})) is UNDECIDED
    for bad in (None, float("nan"), float("inf"), True, "1"):
        assert await vote(None, drafts, rule=scoring({"x": 0.2, "y": bad})) is UNDECIDED


async def test_pick_of_one_or_none() -> None:
    """The only draft needs no judge; without any the run fails; exactly one kind of judge is needed."""
    rule = lambda n: Pick(n, compare=judging(longer))  # noqa: E731
    assert await vote(None, {"a": saying("x"), "b": saying(None)}, rule=rule) == Draft("a", "x")
    with pytest.raises(RunFailed, match="draft"):
        await vote(None, {"a": saying(ValueError()), "b": saying(None)}, rule=rule)
    with pytest.raises(UsageError):
        Pick(2)


# Synthesize.


def writing(drafts: tuple[Draft[Any], ...]) -> Branch[str]:
    async def work(context: Context, /) -> str:
        for draft in drafts:
            await context.emit(str(draft.value))
        await context.committed()
        return " ".join(draft.name for draft in drafts)

    return Branch("synthesis", work)


async def test_the_last_branch_writes_from_all_drafts() -> None:
    """Its text is released as it comes, the drafts' is not; their order is the voters', whoever ends first."""
    drafts = {"a": after(3, "1"), "b": after(1, "2"), "c": after(2, ValueError())}
    async with poll(None, drafts, rule=lambda n: Synthesize(n, writing)) as run:
        assert [delta.value async for delta in run] == ["1", "2"]
        assert (await run.decided()).value == "a b"
    async with poll(None, drafts | {"d": after(60, "4")}, rule=lambda n: Synthesize(n, writing, k=2)) as run:
        assert [delta.value async for delta in run] == ["1", "2"]
    assert (run.timeline["d"].why, run.timeline.ended_s) == ("enough drafts", 3)


async def test_too_few_drafts_write_nothing() -> None:
    """Once `least` drafts cannot be had any more the run fails, before the others have ended."""
    rule = lambda n: Synthesize(n, writing, least=2)  # noqa: E731
    with pytest.raises(RunFailed, match="2 are needed"):
        await vote(None, {"a": saying("x"), "b": saying(None)}, rule=rule)
    for arguments in ({"k": 3}, {"least": 3}, {"least": 0}):
        with pytest.raises(UsageError):
            Synthesize(2, writing, **arguments)


def test_a_last_branch_that_breaks_fails_the_run() -> None:
    """Its error is the run's; drafts that come late are passed by."""
    events = [Queued("a", 0), Answered("a", 0, "x"), Delta("synthesis", 0, "t"), Failed("synthesis", 0, KeyError("k"))]
    steps = play(Synthesize(1, writing), events)
    assert len(steps[2].start) == 1 and len(steps[3].release) == 1
    assert isinstance(steps[4].fail, KeyError)
