"""The options of `evaluate`, apart from it so that `--help` loads nothing else."""

import argparse
import math
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("suite", nargs="?", type=Path, metavar="SUITE.toml", help="the aspects, and who judges them")
    command.add_argument("--data", metavar="FILE", help='JSONL with {"id", "input", "answer", ...}; - for stdin')
    command.add_argument("--out", type=Path, metavar="DIR", help="the reports and the journal go here")
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml, for its models and checks")
    command.add_argument("--base-url", metavar="URL", help="let one model at this address judge")
    command.add_argument("--model", metavar="NAME", help="the model's name there (key: QUORATE_API_KEY)")
    command.add_argument("--concurrency", type=int, default=8, metavar="N", help="calls to models at once (default 8)")
    command.add_argument("--resume", action="store_true", help="go on with a run; no finished judgement is repeated")
    command.add_argument(
        "--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="paired differences of two --out folders"
    )
    command.add_argument(
        "--fail-below",
        nargs="+",
        type=bound,
        action="extend",
        default=[],
        metavar="ASPECT=X",
        help="exit 1 unless the interval of an aspect (or of overall) lies at or above X",
    )
    command.add_argument(
        "--fail-by", choices=("low", "mean"), default="low", help="compare its lower end (default), or its mean, with X"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def bound(text: str) -> tuple[str, float]:
    """An aspect and a bound, as "correct=0.9".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    name, _, value = text.partition("=")
    try:
        number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not name or not -1 <= number <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed is ASPECT=X with X from -1 to 1, such as tone=0.9")
    return name, number
