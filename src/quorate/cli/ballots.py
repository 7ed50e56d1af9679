"""What the voters of a panel said of labelled rows: asked now, or as `quorate moderate --evaluate-all` kept it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from quorate.apps.moderate import Moderator
from quorate.cli.flags import Tally
from quorate.cli.rows import Row, as_text, read_bytes, say
from quorate.errors import RunFailed, UsageError
from quorate.journal import key_of
from quorate.settings import CheckTable, Settings

_TOLD_BAD = 20
_OUTCOMES = ("flag", "pass", "abstain")
Said = Mapping[str, str]


def alone(settings: Settings, check: str) -> Settings:
    """The settings with one check and no other, so that nobody waits for, or pays for, what is not asked."""
    refusals = settings.refusals.model_copy(update={"checks": {}})
    return settings.model_copy(update={"checks": {check: settings.checks[check]}, "refusals": refusals})


def is_panel(table: CheckTable) -> bool:
    """Whether a check is a panel and nothing else, so that its flags decide it."""
    return len(table.models) == 1 and isinstance(table.models[0], list)


def countable(table: CheckTable, *, check: str) -> None:
    """Refuse a panel whose flags are not counted.

    Raises:
        UsageError: its voters have weights.
    """
    [tier] = table.models
    if any(name in table.voters and table.voters[name].weight is not None for name in tier):
        raise UsageError(
            f"checks.{check}: its voters have weights, so no number of flags decides; take the weights out of "
            f"checks.{check}.voters to calibrate `flags`"
        )


async def asked(moderator: Moderator, row: Row) -> dict[str, str]:
    """What every voter says of a row, by name.

    Raises:
        RunFailed: one broke.
    """
    outcome = await moderator.moderate(row.source, evaluate_all=True)
    broken = [f"{vote.voter}: {vote.reason}" for vote in outcome.votes if vote.outcome not in _OUTCOMES]
    if broken:
        raise RunFailed("; ".join(broken))
    return {vote.voter: vote.outcome for vote in outcome.votes}


def panel_key(table: CheckTable, version: str) -> str:
    """Changes with anything that a voter's vote depends on, and not with how votes are counted.

    Args:
        table: the check.
        version: what judges it, as `App.versions` has it.
    """
    return key_of(table.model_dump(mode="json", exclude={"flags", "evidence", "tier_evidence"}), version)[:16]


def recorded(file: str, rows: Sequence[Row], *, voters: Sequence[str], panel: str) -> dict[int, Said]:
    """The votes on each row, by line, from a file that `quorate moderate --evaluate-all --out` wrote; joined by id.

    Args:
        file: its path, or "-".
        rows: labelled.
        voters: of the panel, all of whom must have voted.
        panel: its `panel_key`.

    Raises:
        UsageError: it has no line, no vote, or another panel's vote for a row.
    """
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    problems: list[str] = []
    for number, line in enumerate(as_text(read_bytes(file)).split("\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            outcomes = {vote["voter"]: vote["outcome"] for vote in data["votes"]}
            found[json.dumps(data["id"])] = (data["panel"], outcomes)
        except (ValueError, LookupError, TypeError, RecursionError):
            problems.append(f"line {number}: is not a line of `quorate moderate`")
    said: dict[int, Said] = {}
    for row in rows:
        by, votes = found.get(json.dumps(row.id), (None, {}))
        problem = "has no line there" if by is None else _missing(votes, voters, same=by == panel)
        if problem:
            problems.append(f"id {json.dumps(row.id)}: {problem}")
        else:
            said[row.number] = votes
    if problems:
        more = [f"and {len(problems) - _TOLD_BAD} more"] if len(problems) > _TOLD_BAD else []
        told = "\n".join([f"--votes {file}: {len(problems)} row(s) without usable votes", *problems[:_TOLD_BAD], *more])
        raise UsageError(told)
    if len(found) > len(rows):
        say(f"--votes {file}: {len(found) - len(rows)} of {len(found)} lines left out: no labelled row has their id")
    return said


def _missing(votes: Mapping[str, Any], voters: Sequence[str], *, same: bool) -> str:
    if set(votes) != set(voters):
        return f"has votes of {_listed(votes)}; the panel is {_listed(voters)}"
    if not same:
        return "was voted on with other prompts, models or bounds than the config has now; record anew"
    for name, outcome in votes.items():
        if outcome == "cancelled":
            return f"{name} was cut before it voted; record with --evaluate-all"
        if outcome not in _OUTCOMES:
            return f"{name} failed; `quorate moderate --resume` asks again"
    return ""


def _listed(names: Any) -> str:
    return ", ".join(json.dumps(name) for name in sorted(names, key=str)[:_TOLD_BAD])


def tallied(said: Mapping[int, Said], rows: Sequence[tuple[Row, bool]]) -> list[Tally]:
    """The votes counted, row by row."""
    counted = []
    for row, violates in rows:
        outcomes = list(said[row.number].values())
        counted.append(Tally(violates, outcomes.count("flag"), outcomes.count("pass")))
    return counted
