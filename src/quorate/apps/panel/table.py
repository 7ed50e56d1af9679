"""The labelled votes of a panel, and how they are read from JSON Lines."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.errors import UsageError

MOST_VOTERS = 64
MOST_TOLD = 20
CUT = 0.5
_OUTCOMES = {"flag": True, "pass": False}
_SHOWN = 60
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of several voters on the same items.

    Attributes:
        voters: their names, in the order of their first vote.
        scores: shape (items, voters), each in [0, 1]; nan where a voter gave no vote. A yes is at or above 0.5.
        labels: shape (items,); what is right.
        known: shape (items,); which items have a label. The others count for agreement only.
    """

    voters: tuple[str, ...]
    scores: Scores
    labels: Flags
    known: Flags

    def labelled(self) -> "Votes":
        """The items that have a label."""
        return self.at(self.known)

    def at(self, rows: NDArray[Any]) -> "Votes":
        """Some of the items, by index or mask."""
        return Votes(self.voters, self.scores[rows], self.labels[rows], self.known[rows])

    @property
    def given(self) -> Flags:
        """Which votes were given. Shape (items, voters)."""
        return ~np.isnan(self.scores)

    @property
    def yes(self) -> Flags:
        """Which votes are a yes; a vote that was not given is none. Shape (items, voters)."""
        return np.asarray(np.nan_to_num(self.scores, nan=-1.0) >= CUT)

    @property
    def wrong(self) -> Flags:
        """Which votes are not right; a vote that was not given is not. Shape (items, voters)."""
        return np.asarray(~self.given | (self.yes != self.labels[:, None]))


def read_votes(lines: Iterable[str], *, source: str) -> Votes:
    """Read rows of `{"id", "label", "votes": {"voter": true | false | a score from 0 to 1 | null}}`.

    Votes may also be a list of `{"voter", "outcome": "flag" | "pass" | ...}`, as `quorate moderate` writes them.
    A label is true, false, or null (or left out) where nobody knows. A voter that a row does not name has not voted.

    Args:
        lines: of the file; blank ones are passed over.
        source: the file's name, for errors.

    Raises:
        UsageError: rows cannot be used; it names file, line and field of each, at most 20 of them. Or there is no row.
    """
    labels: list[bool | None] = []
    found: list[dict[str, float]] = []
    voters: dict[str, int] = {}
    seen: dict[str, int] = {}
    bad: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, votes = _row(line, number, seen)
        except UsageError as error:
            bad.append(f"{source}: line {number}: {error}")
            continue
        labels.append(label)
        found.append(votes)
        for voter in votes:
            voters.setdefault(voter, len(voters))
    if bad:
        more = [f"{source}: and {len(bad) - MOST_TOLD} more lines"] if len(bad) > MOST_TOLD else []
        raise UsageError("\n".join(bad[:MOST_TOLD] + more))
    if not found or not voters:
        raise UsageError(f"{source}: no row has a vote")
    if len(voters) > MOST_VOTERS:
        raise UsageError(f'{source}: "votes" names {len(voters)} voters, allowed are {MOST_VOTERS}')
    scores = np.full((len(found), len(voters)), np.nan)
    for i, votes in enumerate(found):
        for voter, score in votes.items():
            scores[i, voters[voter]] = score
    return Votes(
        tuple(voters), scores, np.array([label is True for label in labels]), np.array([x is not None for x in labels])
    )


def _row(line: str, number: int, seen: dict[str, int]) -> tuple[bool | None, dict[str, float]]:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {error}"[:_SHOWN]) from error
    if not isinstance(row, dict):
        raise UsageError('is not an object; needs "id", "label" and "votes"')
    name = row.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise UsageError(f'"id": found {_told(name)}, allowed is a text or a whole number')
    first = seen.setdefault(json.dumps(name), number)
    if first != number:
        raise UsageError(f'"id": {_told(name)} stands in line {first} already')
    label = row.get("label")
    if label is not None and not isinstance(label, bool):
        raise UsageError(f'"label": found {_told(label)}, allowed is true, false or null')
    votes = row.get("votes")
    if isinstance(votes, list):
        votes = _listed(votes)
    if not isinstance(votes, dict):
        raise UsageError(f'"votes": found {_told(votes)}, allowed is an object of votes by voter, or a list of them')
    return label, {voter: _score(voter, vote) for voter, vote in votes.items()}


def _listed(votes: list[Any]) -> dict[str, Any]:
    """Votes as `quorate moderate` writes them: a flag is a yes, a pass a no, anything else no vote."""
    found: dict[str, Any] = {}
    for vote in votes:
        voter = vote.get("voter") if isinstance(vote, dict) else None
        if not isinstance(voter, str) or voter in found:
            raise UsageError(f'"votes": found {_told(vote)}, allowed in a list are objects with a "voter" each')
        found[voter] = _OUTCOMES.get(str(vote.get("outcome")))
    return found


def _score(voter: str, vote: Any) -> float:
    if vote is None:
        return math.nan
    # bool is a kind of int: true is 1, false is 0.
    if not isinstance(vote, int | float) or not 0 <= vote <= 1:
        raise UsageError(f'"votes", {_told(voter)}: found {_told(vote)}, allowed is true, false, null or 0 to 1')
    return float(vote)


def _told(value: Any) -> str:
    return json.dumps(value)[:_SHOWN]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UsageError("names a field or a voter twice")
    return found
