"""Moderation by vote: the rule, who is cut, what is written of each vote, and doubt that never reads as a pass."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import ABSTAIN, FLAG, PASS, Rule, said, subject
from quorate import Moderator, Weighted, moderate
from quorate.apps.moderate import Moderation
from quorate.checks import AfterRefusal, Check, Panel, Template
from quorate.engine import clock
from quorate.errors import RunFailed, UsageError
from quorate.merges import Majority
from quorate.settings import check_settings
from quorate.testing.clock import run_virtual
from quorate.wiring import load, with_model
from strategies import ENGINE

BROKEN = RunFailed("down")
SAYS = {"flag": FLAG, "pass": PASS, "abstain": ABSTAIN, "error": BROKEN}


def panel(*says: Any, after_s: tuple[float, ...] = ()) -> dict[str, Rule]:
    """Evaluators a, b, c ... that say these things after so many seconds."""
    delays = after_s or tuple(float(i) for i in range(len(says)))
    return {chr(97 + i): Rule(say, delay) for i, (say, delay) in enumerate(zip(says, delays, strict=True))}


def ends(outcome: Moderation) -> list[str]:
    return [vote.outcome for vote in outcome.votes]


# --- the vote -------------------------------------------------------------------------------------


async def test_the_vote_ends_when_it_is_settled_and_losers_are_cut() -> None:
    """Two flags of two seconds settle 2 of 4; the slow ones are cancelled at that moment, and say so."""
    voters = panel(FLAG, PASS, FLAG, PASS, after_s=(1, 1.5, 2, 60))
    outcome = await Moderator(voters, 2).moderate("text")
    assert (outcome.flagged, outcome.decided_by, clock.now()) == (True, "c", 2)
    assert ends(outcome) == ["flag", "pass", "flag", "cancelled"]
    assert [vote.elapsed_ms for vote in outcome.votes] == [1000, 1500, 2000, 2000]
    assert outcome.votes[3].reason == outcome.why and "quorum reached" in outcome.why
    assert (voters["d"].answered, outcome.usage.calls) == (0, 4)


async def test_evaluators_run_at_once() -> None:
    """All begin in the same moment, so a vote takes as long as its slowest vote that counts."""
    voters = panel(PASS, PASS, PASS, after_s=(3, 3, 3))
    await Moderator(voters).moderate("text")
    assert [rule.began_s for rule in voters.values()] == [[0], [0], [0]] and clock.now() == 3


async def test_evaluate_all_hears_everybody_and_decides_the_same() -> None:
    """Every evaluator has a vote of its own; outcome and who decided are those of the short vote."""
    voters = panel(FLAG, FLAG, PASS, ABSTAIN)
    short = await Moderator(voters, 2).moderate("text")
    whole = await Moderator(voters, 2).moderate("text", evaluate_all=True)
    assert ends(short) == ["flag", "flag", "cancelled", "cancelled"]
    assert ends(whole) == ["flag", "flag", "pass", "abstain"]
    assert (short.flagged, short.decided_by, short.why) == (whole.flagged, whole.decided_by, whole.why)


@ENGINE
@given(
    st.lists(st.tuples(st.sampled_from(list(SAYS)), st.integers(0, 20)), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_the_early_outcome_is_the_outcome_of_all_votes(votes: list[tuple[str, int]], k: int) -> None:
    """For every mix of votes and every order of arrival: k flags, else too few left, else undecided."""
    k = min(k, len(votes))
    voters = panel(*(SAYS[says] for says, _ in votes), after_s=tuple(at / 4 for _, at in votes))
    outcome = run_virtual(Moderator(voters, k).moderate("text"))
    flags, passes = (sum(says == end for says, _ in votes) for end in ("flag", "pass"))
    wanted = True if flags >= k else False if passes > len(votes) - k else None
    assert outcome.flagged is wanted
    if wanted is None:
        assert ends(outcome) == [says for says, _ in votes]


async def test_doubt_and_failure_are_neither_flag_nor_pass() -> None:
    """An abstention and a failure stay in the denominator: where they could have tipped it, there is no outcome."""
    for missing in (ABSTAIN, BROKEN):
        outcome = await Moderator(panel(FLAG, missing, PASS)).moderate("text")
        assert (outcome.flagged, outcome.categories) == (None, {}) and "undecided" in outcome.why
        assert (await Moderator(panel(FLAG, missing, FLAG)).moderate("text")).flagged is True
        assert (await Moderator(panel(PASS, missing, PASS)).moderate("text")).flagged is False
    failed = await Moderator(panel(BROKEN)).moderate("text")
    assert (failed.flagged, failed.score, failed.votes[0].outcome, failed.votes[0].reason) == (
        *(None, None, "error", "down"),
    )


async def test_an_evaluator_that_hangs_is_a_failed_vote() -> None:
    """Its check's time runs out; the vote goes on without it."""
    slow = Check("slow", "?", Rule(PASS, 3600), kind="moderation", timeout_s=5)
    outcome = await Moderator({"slow": slow, **panel(FLAG, PASS)}).moderate("text")
    assert (outcome.flagged, outcome.votes[0].outcome, clock.now()) == (None, "error", 5)


async def test_weights_and_other_rules() -> None:
    """Any merge over True, False and None decides: one heavy voter outweighs two light ones, or does not."""
    voters = panel(FLAG, PASS, PASS)
    assert (await Moderator(voters, lambda _n: Weighted({"a": 3, "b": 1, "c": 1})).moderate("x")).flagged is True
    assert (await Moderator(voters, lambda _n: Weighted({"a": 1, "b": 1, "c": 1})).moderate("x")).flagged is False
    assert (await Moderator(panel(FLAG, PASS), Majority).moderate("x")).flagged is None
    assert (await Moderator(panel(FLAG, PASS), 1).moderate("x")).flagged is True


# --- what is told ---------------------------------------------------------------------------------


async def test_score_and_categories() -> None:
    """The score is the mean of the votes cast; each category has the highest score it was named with."""
    voters = panel(
        said("flag", 0.9, category="hate"),
        said("flag", 0.7, category="hate"),
        said("flag", 0.8, category="violence"),
        said("pass", 0.2),
        said("abstain", 0.6),
    )
    outcome = await Moderator(voters, 3).moderate("x", evaluate_all=True)
    assert outcome.score == pytest.approx((0.9 + 0.7 + 0.8 + 0.2) / 4)
    assert outcome.categories == {"hate": 0.9, "violence": 0.8}
    below = await Moderator(voters, 4).moderate("x", evaluate_all=True)
    assert (below.flagged, below.categories) == (None, {}) and below.votes[0].category == "hate"


async def test_functions_are_evaluators() -> None:
    """True flags, False passes, None abstains, a Verdict is itself; anything else is a failed vote, never a pass."""

    async def swears(text: str) -> bool:
        return "damn" in text

    async def doubtful(_text: str) -> None:
        return None

    async def scored(_text: str) -> Any:
        return said("pass", 0.25)

    async def wrong(_text: str) -> Any:
        return "no"

    async def crashes(_text: str) -> bool:
        raise ZeroDivisionError

    voters = {"swears": swears, "doubtful": doubtful, "scored": scored, "wrong": wrong, "crashes": crashes}
    outcome = await Moderator(voters, 1).moderate("damn it", evaluate_all=True)
    assert ends(outcome) == ["flag", "abstain", "pass", "error", "error"]
    assert (outcome.flagged, outcome.categories) == (True, {"other": None})
    assert "returns a Verdict" in outcome.votes[3].reason and outcome.votes[4].reason == "ZeroDivisionError"


async def test_what_nobody_can_read_whole_is_flagged_or_unsure_never_passed() -> None:
    """A text over the limit is flagged as too long; an image does what the check says of unread parts."""
    outcome = await Moderator(panel(PASS, PASS)).moderate("x" * 300_000)
    assert (outcome.flagged, outcome.categories) == (True, {"too_long": 1.0})
    image: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    assert (await Moderator(panel(PASS)).moderate(image)).categories == {"unread": 1.0}
    unsure = Check("c", "?", Rule(PASS), kind="moderation", on_unread="escalate")
    assert (await Moderator({"c": unsure}).moderate(image)).flagged is None


@pytest.mark.sockets
async def test_without_evaluators_the_local_classifier_decides() -> None:
    """No key, no config; another language than English is doubt."""
    bad = await moderate("You are a stupid, worthless idiot and nobody here likes you.")
    assert bad.flagged is True and [vote.voter for vote in bad.votes] == ["local"] and bad.usage.calls == 0
    assert (await moderate("The soup was lovely, thank you all.")).flagged is False
    assert (await moderate("Wo ist mein Paket, bitte sagen Sie mir das heute noch?")).flagged is None
    assert (await moderate("")).flagged is False


async def test_moderate_takes_evaluators_and_a_rule() -> None:
    """The call is the moderator's, in one line."""
    assert (await moderate("x", panel(FLAG, PASS, PASS), rule=1)).flagged is True


def test_what_cannot_be_is_refused() -> None:
    """No evaluator, no flags, or more flags than evaluators."""
    for evaluators, rule in (({}, None), (panel(PASS), 2), (panel(PASS), 0)):
        with pytest.raises(UsageError):
            Moderator(evaluators, rule)


# --- panels of a config ---------------------------------------------------------------------------


async def test_a_checks_panel_is_taken_apart() -> None:
    """Its voters, its k, and its limits; any other check is one evaluator."""
    judges = tuple(panel(FLAG, PASS, PASS).items())
    check = Check("m", "?", AfterRefusal(Panel(judges, 1)), kind="moderation", timeout_s=3, max_chars=5)
    moderator = Moderator.of(check)
    assert list(moderator.checks) == ["a", "b", "c"] and moderator.checks["b"].timeout_s == 3
    assert (await moderator.moderate("text")).flagged is True
    assert (await moderator.moderate("longer")).categories == {"too_long": 1.0}
    single = Check("m", "?", Rule(FLAG), kind="moderation")
    assert list(Moderator.of(single).checks) == ["m"]


CONFIG = """
version = 1
company = { name = "Lamps", description = "a shop" }
models.small = { base_url = "http://127.0.0.1:9/v1", model = "s" }
answer = { model = "small" }
[checks.moderation]
models = [["local", "strict", "mine", "small", "strict2", "strict2"]]
[checks.moderation.voters]
strict = { model = "small", prompt = "moderation-strict-v1", weight = 2 }
strict2 = { model = "small", prompt = "moderation-legal-v1", threshold = 0.7 }
mine = { model = "small", prompt = "mine.md" }
"""


@pytest.mark.sockets
async def test_voters_of_a_config_have_prompts_of_their_own(tmp_path: Path) -> None:
    """Shipped prompts by name, own ones by file; names are kept, and numbered where they stand twice."""
    (tmp_path / "quorate.toml").write_text(CONFIG)
    (tmp_path / "mine.md").write_text("Judge. nonce")
    async with load(tmp_path / "quorate.toml") as app:
        judge: Any = app.door.checks["moderation"].judge
    inner: Panel = judge.inner
    assert [name for name, _ in inner.judges] == ["local-1", "strict", "mine", "small-4", "strict2-5", "strict2-6"]
    prompted: list[Any] = [each for _, each in inner.judges[1:]]
    assert [each.template.name for each in prompted] == [
        *("moderation-strict-v1", "mine", "moderation-v1", "moderation-legal-v1", "moderation-legal-v1"),
    ]
    assert [each.threshold for each in prompted] == [None, None, None, 0.7, 0.7]
    assert inner.weights is not None and inner.weights["strict"] == 2.0 and inner.weights["mine"] == 1.0


@pytest.mark.sockets
async def test_one_model_for_all_takes_the_place_of_voters(tmp_path: Path) -> None:
    """--base-url gives every check to that model, whatever its voters are named."""
    raw = tomllib.loads(CONFIG.replace("strict = {", "llm = {").replace('"strict",', '"llm",'))
    (tmp_path / "mine.md").write_text("Judge. nonce")
    chosen = with_model(check_settings(raw, source=tmp_path / "q"), base_url="http://127.0.0.1:9/v1", model="m")
    async with load(tmp_path / "quorate.toml", settings=chosen) as app:
        assert app.versions["moderation"].startswith("moderation-v1@") and app.versions["moderation"].endswith(" by m")


async def test_a_check_counts_weights() -> None:
    """In the front door too the heavier side of a panel wins, and a tie is doubt."""
    judges = tuple(panel(FLAG, PASS, PASS).items())
    for weights, wanted in (((3, 1, 1), "flag"), ((1, 1, 1), "pass"), ((2, 1, 1), "abstain")):
        named = dict(zip("abc", weights, strict=True))
        assert (await Panel(judges, 2, named).judge(subject("text"))).outcome == wanted


def test_voters_of_a_config_are_checked(tmp_path: Path) -> None:
    """A voter named as a model, of no model, or that nobody knows, is told with its place."""
    for old, new, told in (
        ("strict = {", "small = {", "voters.small: is a model's name"),
        ('strict = { model = "small"', 'strict = { model = "none"', "voters.strict.model: found 'none'"),
        ('"strict",', '"nobody",', "checks.moderation.models: found 'nobody'"),
    ):
        raw = tomllib.loads(CONFIG.replace(old, new))
        with pytest.raises(UsageError) as caught:
            check_settings(raw, source=tmp_path / "q")
        assert told in str(caught.value)


def test_the_page_of_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Its Python block does what its comments say."""
    page = (Path(__file__).parents[1] / "docs" / "moderate.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/moderate.md", "exec"), {})
    assert capsys.readouterr().out == "False True flag\n"


def test_every_view_asks_for_the_same_form() -> None:
    """The shipped points of view differ in what they look for, and end as the plain prompt does."""
    plain = Template.load("moderation-v1").text.split("\n\n")
    views = [Template.load(f"moderation-{view}-v1").text.split("\n\n") for view in ("strict", "legal", "context")]
    for view in views:
        assert view[-2:] == plain[-2:] and json.dumps(view[:-2]) != json.dumps(plain[:-2])
    assert len({view[1] for view in views}) == 3
