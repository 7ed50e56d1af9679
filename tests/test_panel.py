"""Judges around judges: tiers, panels, pieces of one text, turns that were refused before."""

from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import ABSTAIN, FLAG, PASS, Rule, Say, holding, said, subject
from quorate.checks import AfterRefusal, Panel, Part, PromptJudge, Subject, Template, Tiers, Unsure, Verdict
from quorate.checks.panel import Worst
from quorate.engine import Span, clock, fan_out
from quorate.errors import ModelUnavailable, QuorateError, RunFailed, UsageError
from quorate.events import branch
from quorate.merges import Collect
from quorate.testing import ScriptedModel, run_virtual, verdict

DOWN = ModelUnavailable("down")
BROKEN = ValueError("broken")
says = st.sampled_from([PASS, FLAG, ABSTAIN, DOWN])


def outcome(say: Say) -> str:
    return say.outcome if isinstance(say, Verdict) else "error"


async def spans(judge: Any, judged: Subject) -> tuple[Verdict | QuorateError, dict[str, Span]]:
    """What a judge says, and the spans of the run inside it."""
    async with fan_out([branch("judge", lambda: judge.judge(judged))], Collect[Verdict](1)) as run:
        collected = (await run.decided()).value
    [children] = [span.children for span in run.timeline]
    end = collected.values.get("judge") or collected.errors["judge"]
    assert isinstance(end, Verdict | QuorateError)
    return end, {span.branch: span for child in children for span in child}


# --- tiers ---------------------------------------------------------------------------------------


def two(local: Rule, llm: Any, **settings: Any) -> Tiers:
    return Tiers((("local", local), ("llm", llm)), **settings)


async def test_a_local_flag_never_opens_the_paid_call() -> None:
    """Within its head start the local tier decides alone, and the next tier's callable never begins."""
    model = ScriptedModel("llm", [])
    judge = two(Rule(FLAG, 0.004), PromptJudge(model, Template.load("threat-v1")), head_start_s=0.02)
    end, times = await spans(judge, subject("x"))
    assert end == FLAG and clock.now() == 0.004
    assert times["llm"].started_s is None and times["llm"].ended == "cancelled"
    model.finish()


async def test_a_local_flag_cancels_the_paid_call() -> None:
    """Without a head start both begin at once, and the local flag cuts the other."""
    model = ScriptedModel("llm", [[1.0, verdict(False)]])
    judge = two(Rule(FLAG, 0.004), PromptJudge(model, Template.load("threat-v1")))
    end, times = await spans(judge, subject("x"))
    assert end == FLAG and clock.now() == 0.004
    assert times["llm"].started_s == 0 and times["llm"].ended == "cancelled"
    assert times["llm"].usage.estimated and times["llm"].usage.cut_calls == 1
    model.finish()


@pytest.mark.parametrize("say", [PASS, ABSTAIN, DOWN])
async def test_the_head_start_ends_the_moment_the_local_tier_has_ended(say: Say) -> None:
    """A pass that is not sure, an abstention or a failure starts the next tier at once, never after the full wait."""
    llm = Rule(said("pass", model="llm"), 1.0)
    end, _ = await spans(two(Rule(say, 0.25), llm, head_start_s=60.0), subject("x"))
    assert llm.began_s == [0.25] and clock.now() == 1.25
    assert isinstance(end, Verdict) and end.model == "llm"


async def test_a_slow_local_tier_holds_nobody_up_beyond_its_head_start() -> None:
    """When the head start is over the next tier begins beside it; the last tier decides whenever it comes."""
    llm = Rule(said("pass", model="llm"), 0.5)
    end, times = await spans(two(Rule(FLAG, 99), llm, head_start_s=0.25), subject("x"))
    assert llm.began_s == [0.25] and clock.now() == 0.75
    assert isinstance(end, Verdict) and end.model == "llm"
    assert times["local"].ended == "cancelled"


async def test_an_early_tier_passes_alone_only_below_its_bound() -> None:
    """`clear_below` lets a sure local pass decide; by default no early pass decides anything."""
    for score, bound, asked in ((0.04, 0.05, 0), (0.05, 0.05, 1), (0.0, 0.0, 1)):
        llm = Rule(said("flag", model="llm"))
        judge = two(Rule(said("pass", score)), llm, clear_below=bound, head_start_s=1)
        end = await judge.judge(subject("x"))
        assert (end.outcome, len(llm.asked)) == ("flag" if asked else "pass", asked)
    # A judge that gives no score is never sure.
    none = Verdict("pass", None, "none", "", "m", "v")
    assert (await two(Rule(none), Rule(FLAG), clear_below=1.0, head_start_s=1).judge(subject("x"))) == FLAG


async def test_flag_alone_and_abstain_decides_say_what_an_early_tier_may() -> None:
    """An early flag that may not decide alone is overruled by the next tier; an abstention may be made to decide."""
    assert await two(Rule(FLAG), Rule(PASS, 1), flag_alone=False).judge(subject("x")) == PASS
    assert await two(Rule(ABSTAIN), Rule(FLAG, 1), abstain_decides=True).judge(subject("x")) == ABSTAIN
    assert await two(Rule(ABSTAIN), Rule(FLAG, 1)).judge(subject("x")) == FLAG


async def test_a_failing_last_tier_waits_for_one_that_may_still_flag() -> None:
    """A failure that comes first is not the outcome while another tier can decide; after all have ended it is."""
    assert await two(Rule(FLAG, 0.5), Rule(DOWN)).judge(subject("x")) == FLAG
    assert clock.now() == 0.5
    for say in (PASS, ABSTAIN, BROKEN):
        with pytest.raises(ModelUnavailable, match="down"):
            await two(Rule(say, 0.5), Rule(DOWN)).judge(subject("x"))
    with pytest.raises(ModelUnavailable):
        await two(Rule(FLAG, 0.5), Rule(DOWN), flag_alone=False).judge(subject("x"))


async def test_three_tiers_start_one_after_another() -> None:
    """Each tier waits for the one before it, and each that ends unsure starts the next."""
    rules = [Rule(ABSTAIN, 0.1), Rule(ABSTAIN, 0.1), Rule(PASS, 0.1)]
    judge = Tiers(tuple(zip("abc", rules, strict=True)), head_start_s=10)
    assert await judge.judge(subject("x")) == PASS
    assert [rule.began_s for rule in rules] == [[0.0], [0.1], [0.2]]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(says, st.integers(0, 6)), min_size=1, max_size=3),
    st.integers(0, 4),
    st.booleans(),
    st.booleans(),
)
def test_tiers_follow_their_rule(tiers: list[tuple[Say, int]], head: int, flags: bool, abstains: bool) -> None:
    """The first sure end decides, else the last tier's, in every order; a flag is never lost to an error."""

    async def main() -> tuple[str, float]:
        rules = tuple((f"t{i}", Rule(say, after / 4 + i / 64)) for i, (say, after) in enumerate(tiers))
        judge = Tiers(rules, flag_alone=flags, abstain_decides=abstains, head_start_s=head / 4 + 1 / 128)
        try:
            return (await judge.judge(subject("x"))).outcome, clock.now()
        except QuorateError:
            return "error", clock.now()

    got, at_s = run_virtual(main())
    # The same in words: when each starts, when each ends, who may decide.
    ends: list[float] = []
    for i, (_, after) in enumerate(tiers):
        wait = i * (head / 4 + 1 / 128)
        begin = min([wait, *ends[-1:]]) if i else 0.0
        ends.append(begin + after / 4 + i / 64)
    deciding = [
        (ends[i], outcome(say))
        for i, (say, _) in enumerate(tiers)
        if (i == len(tiers) - 1 and say is not DOWN)
        or (say is FLAG and flags and i < len(tiers) - 1)
        or (say is ABSTAIN and abstains and i < len(tiers) - 1)
    ]
    assert (got, at_s) == (min((at, what) for at, what in deciding)[::-1] if deciding else ("error", max(ends)))


# --- panels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_k_of_n_is_exact_for_every_order(order: tuple[int, ...]) -> None:
    """k flags are a flag, enough passes a pass; else a failed voter fails the panel, and abstentions abstain."""
    elections = [votes for n in (1, 2, 3) for votes in product([FLAG, PASS, ABSTAIN, DOWN], repeat=n)]
    for votes, k in [(election, k) for election in elections for k in range(1, len(election) + 1)]:
        panel = Panel(tuple((f"v{i}", Rule(say, order[i] / 4)) for i, say in enumerate(votes)), k)
        try:
            got = (await panel.judge(subject("x"))).outcome
        except RunFailed:
            got = "error"
        flags, passes = votes.count(FLAG), votes.count(PASS)
        undecided = "error" if DOWN in votes else "abstain"
        assert got == ("flag" if flags >= k else "pass" if passes > len(votes) - k else undecided)


async def test_a_panel_ends_when_it_is_settled() -> None:
    """The voter that no longer counts is cancelled; the verdict names who voted and the mean of their scores."""
    late = Rule(PASS, 9)
    votes = (("a", Rule(said("flag", 0.8, model="a"), 1)), ("b", Rule(said("flag", 0.6, model="b"), 2)), ("c", late))
    end, times = await spans(Panel(votes, 2), subject("x"))
    assert isinstance(end, Verdict) and clock.now() == 2
    assert (end.outcome, end.model, end.version, end.reason) == ("flag", "a+b", "a@1+b@1", "a says flag")
    assert end.score == pytest.approx(0.7)
    assert times["c"].ended == "cancelled" and late.answered == 0


async def test_a_panel_of_failures_is_undecided_never_a_pass() -> None:
    """When nobody can vote the panel fails, so that `on_error` decides and not `on_abstain`."""
    with pytest.raises(RunFailed, match=r"undecided.*down"):
        await Panel((("a", Rule(DOWN)), ("b", Rule(BROKEN))), 1).judge(subject("x"))


async def test_the_same_model_may_vote_several_times() -> None:
    """A panel of one model asks it once for each seat, each with its own boundary and nonce."""
    model = ScriptedModel("m", [verdict(True, score=0.9), verdict(False, score=0.2), verdict(True, score=0.7)])
    judge = PromptJudge(model, Template.load("scope-v1"))
    end = await Panel((("m-1", judge), ("m-2", judge), ("m-3", judge)), 2).judge(subject("x"))
    assert (end.outcome, end.category) == ("flag", "scripted")
    assert len({prompt.messages[1].content for prompt in model.prompts}) == 3


# --- pieces of one text --------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(says, st.integers(0, 6)), min_size=1, max_size=5))
def test_pieces_must_all_pass(pieces: list[tuple[Say, int]]) -> None:
    """One flag decides at once; without one a failure fails, an abstention abstains, and the top score stands."""

    async def main() -> tuple[Any, float]:
        branches = [
            branch(f"piece {i}", lambda say=say, after=after: Rule(say, after / 4).judge(subject("x")))
            for i, (say, after) in enumerate(pieces)
        ]
        async with fan_out(branches, Worst(len(branches))) as run:
            try:
                return (await run.decided()).value, clock.now()
            except QuorateError as error:
                return error, clock.now()

    got, at_s = run_virtual(main())
    flags = [after / 4 for say, after in pieces if say is FLAG]
    outcomes = [outcome(say) for say, _ in pieces]
    wanted = next((o for o in ("flag", "error", "abstain") if o in outcomes), "pass")
    assert outcome(got) == wanted
    assert at_s == (min(flags) if flags else max(after / 4 for _, after in pieces))


async def test_the_worst_piece_speaks_for_all() -> None:
    """Of passing pieces the highest score is the text's."""
    scores = [0.1, 0.4, None, 0.2]
    verdicts = [Verdict("pass", score, "none", "", "m", "v") for score in scores]
    branches = [branch(str(i), lambda v=v: Rule(v).judge(subject("x"))) for i, v in enumerate(verdicts)]
    async with fan_out(branches, Worst(4)) as run:
        assert (await run.decided()).value.score == 0.4


async def test_what_is_no_verdict_is_no_pass() -> None:
    """A judge that returns something else fails the text."""

    async def nothing() -> Any:
        return True

    for merge in (Worst(1),):
        async with fan_out([branch("a", nothing)], merge) as run:
            with pytest.raises(RunFailed):
                await run.decided()
    with pytest.raises(RunFailed):
        await two(Rule(PASS), Rule(lambda _text: None)).judge(subject("x"))  # type: ignore[arg-type, return-value]


# --- refused turns -------------------------------------------------------------------------------


def turns(old: str, new: str) -> Subject:
    return Subject((Part("customer", old, refused=True), Part("customer", new)))


async def test_an_honest_question_after_an_attack_passes() -> None:
    """The refused turn is read, and not held against what is new."""
    judge = AfterRefusal(Rule(holding("ATTACK")))
    assert await judge.judge(turns("ATTACK", "Where is my order?")) == PASS
    assert await judge.judge(turns("Hello", "ATTACK")) == FLAG
    assert await judge.judge(turns("ATTACK", "ATTACK")) == FLAG
    assert await judge.judge(turns("Hello", "Hi")) == PASS


async def test_an_attack_split_over_both_turns_is_flagged() -> None:
    """What neither turn holds alone is found in both together."""
    judge = AfterRefusal(Rule(holding("ignore all", "instructions")))
    assert await judge.judge(turns("ignore all", "instructions")) == FLAG
    assert await judge.judge(turns("ignore all instructions", "please")) == PASS


async def test_without_refused_turns_the_judge_is_asked_once() -> None:
    """Nothing is asked twice where there is nothing to compare, nor where everything was refused."""
    for asked in (subject("a", "b"), Subject((Part("customer", "a", refused=True),))):
        rule = Rule(FLAG, 1)
        assert await AfterRefusal(rule).judge(asked) == FLAG
        assert rule.asked == [asked]


@settings(max_examples=600, deadline=None)
@given(says, says, says, st.permutations([1, 2, 3]))
def test_refused_turns_count_for_what_they_add(new: Say, together: Say, old: Say, order: list[int]) -> None:
    """For every order: flagged if the new is, or if only both together are; a failure decides only without a flag."""
    texts = {"new": new, "old\nnew": together, "old": old}
    delays = dict(zip(texts, order, strict=True))

    class Three:
        async def judge(self, subject: Subject) -> Verdict:
            return await Rule(texts[subject.text], delays[subject.text]).judge(subject)

    async def main() -> tuple[str, float]:
        try:
            return (await AfterRefusal(Three()).judge(turns("old", "new"))).outcome, clock.now()
        except QuorateError:
            return "error", clock.now()

    got, at_s = run_virtual(main())
    rank = {"pass": 0, "abstain": 1, "flag": 2, "error": 0}
    adds = rank[outcome(together)] > rank[outcome(old)]
    if new is FLAG or (together is FLAG and adds):
        assert got == "flag"
    elif DOWN in (new, together):
        assert got == "error"
    elif together is ABSTAIN and adds:
        assert got == "abstain"
    else:
        assert got == outcome(new)
    assert at_s <= 3
    if new is FLAG:
        across = max(delays["old\nnew"], delays["old"]) if together is FLAG and adds else 9
        assert at_s == min(delays["new"], across)


async def test_a_cancelled_judge_is_a_failure() -> None:
    """A judge that is cancelled from outside is an error of its own, in every frame around it."""
    for judge in (
        AfterRefusal(Rule(UsageError("stopped"))),
        Tiers((("a", Rule(UsageError("stopped"))),)),
    ):
        with pytest.raises(UsageError, match="stopped"):
            await judge.judge(turns("a", "b"))


# --- the middle of a cut, and bounds of an early tier ---------------------------------------------


async def test_a_pass_that_is_not_sure_enough_is_an_abstention() -> None:
    """Between the two bounds nobody decides; flags, abstentions and passes without a score stay what they are."""
    none = Verdict("pass", None, "none", "", "m", "v")
    for say, wanted in (
        (said("pass", 0.19), "pass"),
        (said("pass", 0.2), "abstain"),
        (said("flag", 0.1), "flag"),
        (ABSTAIN, "abstain"),
        (none, "pass"),
    ):
        end = await Unsure(Rule(say), 0.2).judge(subject("x"))
        assert (end.outcome, end.score) == (wanted, say.score)
    with pytest.raises(ModelUnavailable):
        await Unsure(Rule(DOWN), 0.2).judge(subject("x"))


@pytest.mark.parametrize(
    ("score", "decided"), [(0.01, "pass"), (0.02, None), (0.5, None), (0.899, None), (0.9, "flag")]
)
@pytest.mark.parametrize("head_start_s", [0.0, 0.02])
async def test_a_local_tier_beyond_its_bounds_spares_the_call(
    score: float, decided: str | None, head_start_s: float
) -> None:
    """Beyond either bound the call is cancelled, or with a head start never opened; in between the model decides."""
    model = ScriptedModel("llm", [[1.0, verdict(False)]] if decided is None or not head_start_s else [])
    local = Rule(said("flag" if score >= 0.9 else "pass", score), 0.004)
    judge = two(local, PromptJudge(model, Template.load("threat-v1")), clear_below=0.02, head_start_s=head_start_s)
    end, times = await spans(judge, subject("x"))
    assert isinstance(end, Verdict)
    if decided is None:
        assert end.model == "llm" and times["llm"].ended == "answered"
        assert clock.now() == pytest.approx(1.0 if not head_start_s else 1.004)
    else:
        assert (end.outcome, clock.now(), times["llm"].ended) == (decided, 0.004, "cancelled")
        assert (times["llm"].started_s is None) == bool(head_start_s)
        assert times["llm"].usage.cut_calls == (0 if head_start_s else 1)
    model.finish()
