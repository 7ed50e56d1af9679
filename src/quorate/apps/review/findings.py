"""What reviewers say about code: findings, clearances, and what they could not read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
Strength = Literal["", "free", "param", "input", "web"]

FAMILIES: Final[Mapping[str, tuple[int, ...]]] = {
    "sql": (89, 564, 943),
    "command": (77, 78, 88),
    "code": (94, 95, 96, 98, 470, 1336),
    "path": (22, 23, 24, 35, 36, 73, 99, 59),
    "xss": (79, 80, 83, 87, 116),
    "deserialisation": (502, 915),
    "crypto": (310, 320, 321, 326, 327, 328, 325, 329, 916, 760, 759, 780),
    "random": (330, 331, 335, 337, 338),
    "secrets": (255, 256, 257, 259, 321, 522, 798, 312),
    "tls": (295, 297, 319, 757, 322),
    "xml": (611, 776, 827, 112),
    "redirect": (601,),
    "ssrf": (918, 441),
    "ldap": (90,),
    "xpath": (91, 643),
    "cookie": (614, 1004, 1275),
    "trust": (501,),
    "permissions": (276, 281, 732),
    "temporary": (377, 378, 379),
    "log": (117, 532),
    "header": (93, 113),
    "regex": (1333, 730, 625, 400),
    "auth": (287, 288, 306, 345, 347, 352, 384, 613, 640, 862, 863, 285, 284),
    "race": (362, 366, 367),
    "exposure": (200, 209, 215, 489, 605, 668),
    "checks": (20, 390, 391, 617, 703, 754, 755),
}
"""CWE numbers that mean the same kind of mistake, by a short name of ours."""

_FAMILY_OF: Final[Mapping[int, str]] = {
    number: name for name, numbers in reversed(tuple(FAMILIES.items())) for number in numbers
}


def family(cwe: int) -> str:
    """The family of a CWE number; a number of no family is one of its own, as "cwe-1".

    Families follow the parent-child relations of MITRE's "Research Concepts" view, cut where a reviewer's finding
    of one would be no news to who knows of the other.
    """
    return _FAMILY_OF.get(cwe, f"cwe-{cwe}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One reviewer says: here is a mistake.

    Attributes:
        reviewer: who says so.
        rule: the reviewer's own name for it.
        cwe: number of the weakness, 0 where the reviewer names none.
        path: of the file.
        line: first line, from 1.
        end_line: last line.
        message: what is wrong, in a sentence; text of the code under review may stand in it.
        severity: how bad it would be.
        snippet: the code in question, verbatim.
        strength: who can choose the value: a web client, the outside of the process, a caller, or nobody knows.
        trace: where the value came in and went, as "line 3: request.args".
    """

    reviewer: str
    rule: str
    cwe: int
    path: str
    line: int
    end_line: int
    message: str
    severity: Severity
    snippet: str = ""
    strength: Strength = ""
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clearance:
    """One reviewer says: I looked at this very place, and it is fine, for this reason."""

    reviewer: str
    cwe: int
    path: str
    line: int
    end_line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unread:
    """What a reviewer did not read, and why. `lines` is "" for the whole file."""

    path: str
    reviewer: str
    why: str
    lines: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Everything that one reviewer says.

    Attributes:
        findings: mistakes.
        cleared: places it looked at and found right.
        unread: files, or parts of them, that it could not read.
        dropped: findings that it made and that were not accepted, and why not: a count for each reason.
    """

    findings: tuple[Finding, ...] = ()
    cleared: tuple[Clearance, ...] = ()
    unread: tuple[Unread, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
