"""Sections: a long document or task divided, worked on in parallel, put together in order as it comes.

Like a compiler: with a journal, a part is worked on again only when it has changed, or what it declared to read.
"""

from quorate.apps.sections.parts import Part
from quorate.apps.sections.prompted import CutOff, Prompted
from quorate.apps.sections.report import PartReport, Report
from quorate.apps.sections.sectioning import Sectioning, section
from quorate.apps.sections.speed import Speed, greedy_s
from quorate.apps.sections.split import Piece, Split, estimate, split

__all__ = [
    "CutOff",
    "Part",
    "PartReport",
    "Piece",
    "Prompted",
    "Report",
    "Sectioning",
    "Speed",
    "Split",
    "estimate",
    "greedy_s",
    "section",
    "split",
]
