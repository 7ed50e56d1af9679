"""Measures the threat classifier: on sources left out of training, and through the weights that ship."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quorate.checks import LocalThreatJudge, Part, Subject
from quorate.checks.judges import pieces
from quorate.checks.readings import readings
from quorate.engine import StopFlag
from quorate.models.local import Languages, LocalThreat, Scored
from training import data, threat
from training.data import Row
from training.honest import FOREIGN_HONEST
from training.templates import FOREIGN_ATTACKS
from training.threat import Texts

Numbers = NDArray[np.float64]
LONG = 100_000
_LONG_COUNT = 40
_NEAR = 4_000
"""Characters on either side of an attack that are judged with it: enough for a text to count as long."""


@dataclass(frozen=True, slots=True)
class Held:
    """One source left out: what a classifier trained on the others says of it.

    Attributes:
        source: where each text is from.
        share: what each text counts, the same for all sources of honest texts.
    """

    name: str
    margins: Numbers
    attack: NDArray[np.bool_]
    source: NDArray[np.str_]
    share: Numbers

    @classmethod
    def of(cls, name: str, judged: Texts, margins: Numbers) -> "Held":
        """From texts and their margins."""
        sizes = Counter(zip(judged.source, judged.attack, strict=True))
        share = np.array([1 / sizes[one] for one in zip(judged.source, judged.attack, strict=True)])
        return cls(name, margins, judged.attack, judged.source, share)

    @property
    def figures(self) -> tuple[float, float]:
        """AUC, and recall at 1 % false alarms."""
        limit = cut(self.margins[~self.attack], self.share[~self.attack], 0.01)
        return threat.auc(self.margins, self.attack, self.share), float(np.mean(self.margins[self.attack] > limit))


def cut(margins: Numbers, share: Numbers, alarms: float) -> float:
    """The margin that a share `alarms` of honest texts exceeds."""
    order = np.argsort(-margins, kind="stable")
    over = np.cumsum(share[order]) / share.sum()
    return float(margins[order][min(int(np.searchsorted(over, alarms)), len(order) - 1)])


@dataclass(frozen=True, slots=True)
class Longer:
    """The classifier as it judges a part of a text that has at least so many windows in all."""

    model: LocalThreat
    windows: int = 0
    version: str = ""
    threshold: float = 1.0

    def score(self, text: str) -> Scored:
        """As the classifier's."""
        return self.model.score(text)

    def promising(self, windows: Sequence[str], *, most: int, pause: Callable[[], object]) -> list[int]:
        """As the classifier's."""
        return self.model.promising(windows, most=most, pause=pause)

    def over(self, score: float, windows: int) -> float:
        """As the classifier's, for the whole text's windows."""
        return self.model.over(score, max(windows, self.windows))


def judged(model: LocalThreat, text: str, *, windows: int = 0) -> float:
    """A text's score at run time; as part of one that has so many windows."""
    judge = LocalThreatJudge(Longer(model, windows))
    score = judge._judge(Subject((Part("customer", text),)), StopFlag()).score
    assert score is not None
    return score


def scored(model: LocalThreat, rows: list[Row]) -> Numbers:
    """Each row's score at run time."""
    return np.array([judged(model, row.text) for row in rows])


def measure(root: Path, out: Path, held: list[Held]) -> dict[str, str]:
    """All figures of the model card."""
    model = LocalThreat.load(out)
    figures = {"version": model.version, "threshold": f"{model.threshold:.3f}"}
    pairs = [one.figures for one in held]
    for one, (area, found) in zip(held, pairs, strict=True):
        figures[f"left out, {one.name}: AUC, recall at 1 % false alarms"] = f"{area:.3f}, {found:.2f}"
    mean = np.mean(pairs, axis=0)
    figures["left out, mean: AUC, recall at 1 % false alarms"] = f"{mean[0]:.3f}, {mean[1]:.2f}"
    public = np.mean([pair for one, pair in zip(held, pairs, strict=True) if not one.name.startswith("own")], axis=0)
    figures["left out, mean of public sources: AUC, recall at 1 % false alarms"] = f"{public[0]:.3f}, {public[1]:.3f}"
    for name in ("dev", "dev_insource"):
        figures |= _rows(model, name, data.rows(root / "threat" / f"{name}.jsonl"))
    support = [row for row in data.rows(root / "scope" / "dev.jsonl") if row.label == "in_scope"]
    support = data.sampled(support, 2000, random.Random(1))
    found = scored(model, support)
    figures["support questions (scope dev): false alarms"] = f"{int(np.sum(found >= model.threshold))} of {len(found)}"
    harmful = scored(model, data.rows(root / "threat" / "harmful_not_attack.jsonl"))
    figures["harmful requests without attack, flagged"] = f"{np.mean(harmful >= model.threshold):.3f}"
    figures |= _long(model, root) | _languages(model, support)
    figures["time per window of 320 characters"] = f"{milliseconds(model):.2f} ms"
    return figures


def _rows(model: LocalThreat, name: str, rows: list[Row]) -> dict[str, str]:
    scores = scored(model, rows)
    attack = np.array([row.label == "attack" for row in rows])
    figures = {
        f"{name}: AUC": f"{threat.auc(scores, attack):.3f}",
        f"{name}: recall at 1 % false alarms": f"{data.recall_at(scores, attack, alarms=0.01):.3f}",
        f"{name}: recall at the threshold": f"{np.mean(scores[attack] >= model.threshold):.3f}",
        f"{name}: expected calibration error": f"{calibration_error(scores, attack):.3f}",
    }
    for source in sorted({row.source for row in rows if row.label == "benign"}):
        mine = np.array([row.source == source and row.label == "benign" for row in rows])
        alarms = int(np.sum(scores[mine] >= model.threshold))
        figures[f"{name}: false alarms on {source}"] = f"{alarms} of {int(mine.sum())}"
    return figures


def calibration_error(scores: Numbers, attack: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between score and share of attacks, over bins of equal width (Naeini et al. 2015)."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [
        abs(float(scores[which == one].mean()) - float(attack[which == one].mean())) * float(np.mean(which == one))
        for one in np.unique(which)
    ]
    return float(sum(gaps))


def _long(model: LocalThreat, root: Path) -> dict[str, str]:
    """Attacks at the start, in the middle and at the end of long honest texts, and the honest texts alone."""
    rng = random.Random(5)
    honest = {
        name: [
            row.text
            for row in data.rows(root / f"{folder}.jsonl")
            if row.label in ("ok", "in_scope") and row.text.isascii()
        ]
        for name, folder in (("support messages", "scope/dev"), ("forum and web prose", "moderation/dev"))
    }
    attacks = [row for row in data.rows(root / "threat" / "dev_insource.jsonl") if row.label == "attack"]
    attacks = data.sampled([row for row in attacks if row.text.isascii()], 60, rng)
    alone = scored(model, attacks) >= model.threshold
    figures = {}
    for name, texts in honest.items():
        carriers = [carrier(texts, rng) for _ in range(_LONG_COUNT)]
        alarms = sum(judged(model, text) >= model.threshold for text in carriers)
        figures[f"{LONG:,} characters of {name}: false alarms"] = f"{alarms} of {len(carriers)}"
        for place, share in (("start", 0.0), ("middle", 0.5), ("end", 1.0)):
            found = [_spliced(model, row.text, carriers[at % len(carriers)], share) for at, row in enumerate(attacks)]
            figures[f"attack at the {place} of such {name}: recall (alone {np.mean(alone):.2f})"] = (
                f"{np.mean(found):.2f}"
            )
    return figures


def carrier(texts: list[str], rng: random.Random) -> str:
    """Some `LONG` characters of honest texts, one paragraph each."""
    parts: list[str] = []
    size = 0
    while size < LONG:
        parts.append(rng.choice(texts))
        size += len(parts[-1]) + 2
    return "\n\n".join(parts)


def _spliced(model: LocalThreat, attack: str, honest: str, share: float) -> bool:
    """Whether an attack in a long text is found; far from it nothing changes, so its surroundings stand in."""
    at = int(share * len(honest))
    near = honest[max(0, at - _NEAR) : at] + f"\n\n{attack}\n\n" + honest[at : at + _NEAR]
    count = sum(1 for one in readings(honest) for _ in pieces(one.text))
    return judged(model, near, windows=count) >= model.threshold


def _languages(model: LocalThreat, english: list[Row]) -> dict[str, str]:
    languages = Languages.load()

    def caught(text: str) -> bool:
        return judged(model, text) >= model.threshold or languages.foreign(text) is not None

    flagged = sum(judged(model, text) >= model.threshold for text in FOREIGN_HONEST)
    abstained = sum(languages.foreign(row.text) is not None for row in english)
    caught_count = sum(map(caught, FOREIGN_ATTACKS))
    return {
        "own attacks in 17 languages: flagged, or language not covered": f"{caught_count} of {len(FOREIGN_ATTACKS)}",
        "own honest messages in these: flagged": f"{flagged} of {len(FOREIGN_HONEST)}",
        "English support questions taken for another language": f"{abstained} of {len(english)}",
    }


def milliseconds(model: LocalThreat) -> float:
    """Median time of one window, on this machine."""
    text = ("Hello, I would like to know whether my order has left the warehouse yet, thank you. " * 4)[:320]
    times = []
    for _ in itertools.repeat(None, 200):
        start = time.perf_counter()
        model.score(text)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000
