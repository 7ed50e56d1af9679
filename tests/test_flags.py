"""How many flags make a flag: every k of n by a promise and by costs, from votes asked now or recorded."""

import json
import random
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from model_world import no_proxy_of_the_machine  # noqa: F401
from quorate.cli.flags import FlagCosts, Tally, by_flag_costs, by_promise, point
from quorate.cli.tradeoff import draw_plot
from quorate.errors import RunFailed, UsageError
from quorate.settings import load_settings
from quorate.stats import upper_bound
from quorate.testing.standin import SpawnedStandIn, spawn_standin
from test_cli import Ran, plain, run  # noqa: F401
from test_cli_check import decided, jsonl, started

COSTS = FlagCosts(1, 3, None)


def world(honest: int, violating: int, *, n: int = 3, seed: int = 1, rates: tuple[float, float] = (0.1, 0.7)) -> Any:
    """Rows on which n independent voters flag honest and violating texts at these rates; none abstains."""
    draw = random.Random(seed)
    rows = []
    for violates, count in ((False, honest), (True, violating)):
        for _ in range(count):
            flags = sum(draw.random() < rates[violates] for _ in range(n))
            rows.append(Tally(violates, flags, n - flags))
    return rows


tallies = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.builds(
                lambda bad, flags, passes: Tally(bad, min(flags, n), min(passes, n - min(flags, n))),
                *(st.booleans(), st.integers(0, n), st.integers(0, n)),
            ),
            max_size=40,
        ),
    )
)


# --- every k --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(tallies)
def test_stricter_counts_flag_less(drawn: tuple[int, list[Tally]]) -> None:
    """More flags needed never means more false alarms or more caught; every row has exactly one fate."""
    n, rows = drawn
    points = [point(rows, n, k=k, confidence=0.95) for k in range(1, n + 1)]
    for low, high in pairwise(points):
        assert high["false_alarms"] <= low["false_alarms"] and high["caught"] <= low["caught"]
        assert high["missed"] >= low["missed"]
    for here in points:
        passed = sum(row.passes > n - here["flags"] for row in rows if not row.violates)
        assert here["false_alarms"] + here["caught"] + here["missed"] + here["unsure"] + passed == len(rows)
        assert here["caught_low"] <= here["caught_share"] <= here["caught_high"]


def test_the_promise_takes_the_fewest_certified_flags() -> None:
    """The walk goes from n down and stops at the first that is not certified."""
    rows = world(2000, 300)
    choice = by_promise(rows, 3, target=0.05, confidence=0.95)
    alarms = sum(row.flags >= 2 for row in rows if not row.violates)
    assert choice.bounds == {"flags": 2} and choice.evidence["false_alarms"] == alarms
    assert choice.evidence["false_alarms_bound"] == pytest.approx(upper_bound(alarms, 2000), abs=1e-6)
    assert choice.evidence["false_alarms_bound"] <= 0.05 and choice.evidence["target"] == 0.05
    assert [(here["flags"], here["certified"], here["chosen"]) for here in choice.points] == [
        *((1, False, False), (2, True, True), (3, True, False)),
    ]
    assert by_promise(rows, 3, target=0.005, confidence=0.95).bounds == {"flags": 3}
    assert by_promise(rows, 3, target=0.5, confidence=0.95).bounds == {"flags": 1}


def test_the_walk_does_not_jump_over_a_failure() -> None:
    """Undecided rows are no false alarms, and a k that fails ends the walk whatever stands behind it."""
    rows = [Tally(False, 0, 3)] * 400 + [Tally(False, 3, 0)] * 100
    with pytest.raises(RunFailed, match="even where all 3 flag, 100 of 500"):
        by_promise(rows, 3, target=0.05, confidence=0.95)
    unsure = [Tally(False, 1, 1)] * 400
    choice = by_promise(unsure, 3, target=0.05, confidence=0.95)
    assert choice.bounds == {"flags": 2} and choice.evidence["unsure"] == 400


def test_too_few_rows_are_refused() -> None:
    """299 honest rows are needed for 1 %, 30 of each kind for costs."""
    with pytest.raises(UsageError, match="at least 299 honest rows, there are 298: 1 missing"):
        by_promise(world(298, 50), 3, target=0.01, confidence=0.95)
    for honest, violating in ((29, 50), (50, 29)):
        with pytest.raises(UsageError, match="1 missing"):
            by_flag_costs(world(honest, violating), 3, costs=COSTS, confidence=0.95, violations=None)


def test_the_promise_is_kept() -> None:
    """Of 600 samples of 300 rows, at most about one in twenty leads to a k that flags more than was promised."""
    truth = {1: 1 - 0.8**3, 2: 3 * 0.04 * 0.8 + 0.008, 3: 0.008}
    broken = 0
    for seed in range(600):
        rows = world(300, 0, seed=seed, rates=(0.2, 0.7))
        try:
            [k] = by_promise(rows, 3, target=0.1, confidence=0.95).bounds.values()
        except RunFailed:
            continue
        broken += truth[int(k)] > 0.1
    assert broken <= 600 * 0.05 + 3 * (600 * 0.05 * 0.95) ** 0.5


def test_costs_choose_the_cheapest_count() -> None:
    """Dear false alarms want many flags, dear misses few; the next best is told with its interval."""
    rows = world(400, 400)
    wanted = {}
    for alarm, miss in ((50, 1), (1, 1), (1, 50)):
        costs = FlagCosts(alarm, miss, None)
        choice = by_flag_costs(rows, 3, costs=costs, confidence=0.95, violations=0.5)
        wanted[alarm, miss] = choice.bounds["flags"]
        means = [here["mean_cost"] for here in choice.points]
        assert min(means) == means[choice.bounds["flags"] - 1] == pytest.approx(choice.evidence["mean_cost"], abs=1e-6)
        here = choice.points[0]
        by_hand = 0.5 * alarm * here["false_alarms"] / 400 + 0.5 * miss * here["missed"] / 400
        assert means[0] == pytest.approx(by_hand) and "the next best" in choice.told[1]
    assert wanted == {(50, 1): 3, (1, 1): 2, (1, 50): 1}
    rare = by_flag_costs(rows, 3, costs=FlagCosts(1, 1, None), confidence=0.95, violations=0.01)
    assert rare.bounds == {"flags": 3} and rare.evidence["violations"] == 0.01


def test_undecided_rows_cost_a_mistake_or_a_person() -> None:
    """Without a person's price doubt is as dear as being wrong; with one, that."""
    rows = [Tally(False, 1, 1)] * 40 + [Tally(True, 2, 0)] * 40
    dear = by_flag_costs(rows, 2, costs=FlagCosts(1, 3, None), confidence=0.95, violations=None)
    assert [here["mean_cost"] for here in dear.points] == pytest.approx([0.5, 0.0])
    mixed = [Tally(False, 0, 1)] * 40 + [Tally(True, 1, 0)] * 40
    for human, mean in ((None, 0.5 * 1), (0.1, 0.5 * 0.1)):
        choice = by_flag_costs(mixed, 2, costs=FlagCosts(1, 3, human), confidence=0.95, violations=None)
        assert choice.points[0]["mean_cost"] == pytest.approx(mean)


def test_the_trade_off_is_drawn(tmp_path: Path) -> None:
    """Every k stands in the drawing with its lines, in plain ASCII where need be; and in the picture."""
    choice = by_promise(world(2000, 300), 3, target=0.05, confidence=0.95)
    out = Console(width=120, record=True, markup=False)
    with out.capture() as captured:
        draw_plot(out, choice.plot)
    drawing = captured.get()
    body = [line[8:] for line in drawing.splitlines()[1:14]]
    assert all(sum(sign in line for line in body) == 1 for sign in "123") and "upper bound" in drawing
    pytest.importorskip("matplotlib")
    from quorate.cli.tradeoff import save_plot

    save_plot(tmp_path / "plot.png", choice.plot, title="panel")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_points_that_coincide_share_a_label(tmp_path: Path) -> None:
    """Numbers of flags with the same figures stand side by side and not on top of each other."""
    pytest.importorskip("matplotlib")
    from quorate.cli.tradeoff import Bar, Plot, save_plot

    bars = [Bar((0.0, y), 0.1, (0.0, 0.5), name) for name, y in (("1", 0.4), ("2", 0.0), ("3", 0.0))]
    save_plot(tmp_path / "plot.svg", Plot([(0.0, 0.4)], [], None, None, "x", "y", bars), title="panel")
    assert "<!-- 2, 3 -->" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


# --- the command ----------------------------------------------------------------------------------

CONFIG = """\
# Ours.
version = 1
[company]
name = "Board"
description = "a notice board"
[models.a]
base_url = "URL"
model = "a-1ms"
[models.b]
base_url = "URL"
model = "b-1ms"
[models.c]
base_url = "URL"
model = "c-1ms"
[checks.KIND]
models = [["a", "b", "c"]]
timeout_s = 5.0  # enough

[answer]
model = "a"
"""


@pytest.fixture(scope="module")
def spare() -> Iterator[SpawnedStandIn]:
    with spawn_standin() as server:
        yield server


class Bench:
    """A panel of three voters at the stand-in, and labelled rows on which they flag as marked."""

    def __init__(self, server: SpawnedStandIn, folder: Path, kind: str = "moderation") -> None:
        server.reset()
        self.server, self.kind, self.folder = server, kind, folder
        self.config = folder / "quorate.toml"
        self.text = CONFIG.replace("URL", server.base_url).replace("KIND", kind)
        self.config.write_text(self.text)
        draw = random.Random(4)
        self.rows = []
        for i in range(110):
            violates = i % 11 >= 6
            flagging = [name for name in "abc" if draw.random() < (0.85 if violates else 0.12)]
            text = " ".join([f"message {i}", *(f"[[flag:{name}-1ms]]" for name in flagging)])
            self.rows.append({"id": f"m{i}", "text": text, "label": violates})
        self.data = jsonl(folder / "rows.jsonl", self.rows)

    def run(self, *words: object) -> Ran:
        return run("calibrate", "--check", self.kind, "--data", self.data, "--config", self.config, *words)

    def record(self, *words: object) -> Path:
        out = self.folder / "votes.jsonl"
        ran = run("moderate", self.data, "--config", self.config, "--check", self.kind, "--out", out, *words)
        assert ran.code == 0, ran.err
        return out

    @property
    def table(self) -> dict[str, Any]:
        table: dict[str, Any] = tomllib.loads(self.config.read_text())["checks"][self.kind]
        return table

    def flagged(self, k: int) -> tuple[int, int]:
        """False alarms and caught by hand."""
        votes = [(row["label"], str(row["text"]).count("[[flag:")) for row in self.rows]
        return sum(not bad and flags >= k for bad, flags in votes), sum(bad and flags >= k for bad, flags in votes)


@pytest.mark.parametrize("kind", ["moderation", "threat"])
def test_a_panel_is_asked_and_its_flags_are_written(spare: SpawnedStandIn, tmp_path: Path, kind: str) -> None:
    """Every voter votes on every row; `flags` and its evidence are written and nothing else is changed."""
    bench = Bench(spare, tmp_path, kind)
    ran = bench.run("--max-false-alarms", "20%")
    assert ran.code == 0 and started(spare) == 3 * 110, ran.err
    table = bench.table
    evidence, k = table["evidence"], table["flags"]
    assert 1 < k <= 3 and f"flags = {k}: written to checks.{kind}" in ran.err
    assert (evidence["false_alarms"], evidence["caught"]) == bench.flagged(k)
    assert (evidence["honest"], evidence["violating"], evidence["method"]) == (60, 50, "false-alarms")
    assert evidence["false_alarms_bound"] <= 0.2 < upper_bound(bench.flagged(k - 1)[0], 60)
    assert load_settings(bench.config).checks[kind].flags == k
    kept = [line for line in bench.config.read_text().splitlines() if line in bench.text.splitlines()]
    assert kept == bench.text.splitlines() or [x for x in kept if x] == [x for x in bench.text.splitlines() if x]
    for word in ("1 of 3", "2 of 3", "3 of 3", "chosen", "at most"):
        assert word in ran.out


def test_recorded_votes_give_the_same_and_cost_no_call(spare: SpawnedStandIn, tmp_path: Path) -> None:
    """`moderate --evaluate-all --out votes.jsonl` and `calibrate --votes` come to what asking anew comes to."""
    bench = Bench(spare, tmp_path)
    asked = bench.run("--max-false-alarms", "20%", "--dry-run", "--json").json
    votes = bench.record("--evaluate-all")
    spare.reset()
    read = bench.run("--max-false-alarms", "20%", "--json", "--votes", votes).json
    assert started(spare) == 0 and read["points"] == asked["points"] and read["bounds"] == asked["bounds"]
    assert len(read["points"]) == 3 and (asked["written"], read["written"]) == (False, True)
    shuffled = votes.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(shuffled)
    votes.write_text("".join(shuffled) + shuffled[0].replace('"m', '"other'))
    again = bench.run("--max-false-alarms", "20%", "--json", "--votes", votes)
    assert again.json["points"] == asked["points"] and "1 of 111 lines left out" in again.err


def test_costs_of_a_panel_need_no_person(spare: SpawnedStandIn, tmp_path: Path) -> None:
    """Two costs are enough; misses at fifty times the price take the loosest panel."""
    bench = Bench(spare, tmp_path)
    votes = bench.record("--evaluate-all")
    ran = bench.run("--cost-false-alarm", 1, "--cost-miss", 50, "--votes", votes)
    assert ran.code == 0 and bench.table["flags"] == 1 and bench.table["evidence"]["costs"] == [1.0, 50.0]
    assert bench.run("--cost-false-alarm", 50, "--cost-miss", 1, "--votes", votes).code == 0
    assert bench.table["flags"] == 3
    ran = bench.run("--cost-false-alarm", 50, "--cost-miss", 1, "--cost-human", 2, "--votes", votes)
    assert ran.code == 0 and bench.table["evidence"]["costs"] == [50.0, 1.0, 2.0]


def test_votes_that_do_not_fit_are_refused(spare: SpawnedStandIn, tmp_path: Path) -> None:
    """Cut, failed, missing, foreign and outdated votes are told by id, and nothing is written."""
    bench = Bench(spare, tmp_path)
    good = decided(bench.record("--evaluate-all"))
    hostile = "\x1b[31mx"

    def said(change: Any) -> str:
        lines = json.loads(json.dumps(good))
        change(lines)
        votes = jsonl(tmp_path / "bad.jsonl", lines)
        ran = bench.run("--max-false-alarms", "20%", "--votes", votes)
        assert ran.code == 2 and bench.config.read_text() == bench.text and "\x1b" not in ran.err
        return ran.err

    assert "was cut before it voted; record with --evaluate-all" in said(
        lambda lines: lines[3]["votes"][1].update(outcome="cancelled")
    )
    assert "failed; `quorate moderate --resume`" in said(lambda lines: lines[3]["votes"][1].update(outcome="error"))
    assert 'id "m0": has no line there' in said(lambda lines: lines.pop(0))
    assert "has votes of" in said(lambda lines: lines[0]["votes"].pop())
    assert "has votes of" in said(lambda lines: lines[0]["votes"][0].update(voter=hostile))
    assert "record anew" in said(lambda lines: lines[0].update(panel=hostile))
    assert "is not a line of" in said(lambda lines: lines.append([hostile]))
    assert "and 90 more" in said(lambda lines: lines.clear())


def test_what_does_not_fit_a_panel_is_refused(spare: SpawnedStandIn, tmp_path: Path) -> None:
    """Tiers, weights, a journal beside votes; and --votes or a missing cost for a check that is no panel."""
    bench = Bench(spare, tmp_path)
    votes = bench.record("--evaluate-all")
    for words in (
        ("--tier", "local", "--max-local-error", "5%"),
        ("--max-false-alarms", "20%", "--votes", votes, "--journal", tmp_path / "journal"),
        ("--max-false-alarms", "20%", "--votes", tmp_path / "nowhere"),
        ("--cost-false-alarm", 1, "--votes", votes),
        ("--max-false-alarms", "1%", "--votes", votes),
    ):
        assert bench.run(*words).code == 2, words
    weighted = bench.text.replace('[["a"', '[["w"').replace(
        "[answer]", 'voters.w = { model = "a", weight = 2 }\n[answer]'
    )
    bench.config.write_text(weighted)
    ran = bench.run("--max-false-alarms", "20%")
    assert ran.code == 2 and "have weights" in ran.err
    bench.config.write_text(bench.text.replace('[["a", "b", "c"]]', '["a"]'))
    assert "is no panel" in bench.run("--max-false-alarms", "20%", "--votes", votes).err
    assert "all three" in bench.run("--cost-false-alarm", 1, "--cost-miss", 2).err


def test_a_journal_of_a_panel_goes_on(spare: SpawnedStandIn, tmp_path: Path) -> None:
    """What was voted on is not asked again; a voter that broke stops the command, and --resume asks only that row."""
    bench = Bench(spare, tmp_path)
    spare.inject("b-1ms", "400")
    journal = tmp_path / "journal"
    ran = bench.run("--max-false-alarms", "20%", "--journal", journal)
    assert ran.code == 1 and "1 of 110 rows could not be scored" in ran.err and bench.config.read_text() == bench.text
    spare.reset()
    ran = bench.run("--max-false-alarms", "20%", "--journal", journal, "--resume")
    assert ran.code == 0 and started(spare) == 3 and bench.table["flags"] >= 2


def test_votes_are_stale_when_a_voter_changes_and_not_when_the_count_does(
    spare: SpawnedStandIn, tmp_path: Path
) -> None:
    """Another `flags` counts the same votes; another threshold, prompt or model is another panel."""
    bench = Bench(spare, tmp_path)
    votes = bench.record("--evaluate-all")
    words = ("--max-false-alarms", "20%", "--votes", votes, "--dry-run")
    for change in ("flags = 1", "threshold = 0.9"):
        bench.config.write_text(bench.text.replace("timeout_s = 5.0", f"{change}\ntimeout_s = 5.0"))
        ran = bench.run(*words)
        assert (ran.code, "record anew" in ran.err) == ((0, False) if change.startswith("flags") else (2, True))
    bench.config.write_text(bench.text.replace('"c-1ms"', '"c-2ms"'))
    assert "record anew" in bench.run(*words).err
