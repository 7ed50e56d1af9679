"""The options of `calibrate` and `moderate`, apart from them so that `--help` loads nothing else."""

import argparse
import contextlib
from pathlib import Path

COSTS = ("cost_false_alarm", "cost_miss", "cost_human")
_MEANINGS = ("a flagged honest message", "a passed violation", "a person's look")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("--check", required=True, metavar="NAME", help="a check of the config")
    command.add_argument("--data", required=True, metavar="FILE", help='JSONL with {"text" or "messages", "label"}')
    command.add_argument("--config", type=Path, metavar="FILE", help="the quorate.toml to read, and to write to")
    command.add_argument("--max-false-alarms", type=share, metavar="SHARE", help="the promise, such as 1%%")
    for name, meaning in zip(COSTS, _MEANINGS, strict=True):
        command.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=f"{meaning}, in any unit")
    command.add_argument("--violations", type=share, metavar="SHARE", help="of your traffic (default: as in the data)")
    command.add_argument(
        "--votes", metavar="FILE", help="of a panel, as `moderate --evaluate-all --out FILE` kept them"
    )
    command.add_argument("--tier", choices=("local", "both"), help="bounds of the first tier; score it alone, or both")
    command.add_argument("--max-local-error", type=share, metavar="SHARE", help="the promise of --tier, such as 0.5%%")
    command.add_argument("--confidence", type=share, default=0.95, metavar="SHARE", help="of the promise (0.95)")
    command.add_argument("--dry-run", action="store_true", help="write nothing into the config")
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the trade-off; needs quorate[plot]")
    command.add_argument("--concurrency", type=int, default=8, metavar="N", help="rows at once (default 8)")
    command.add_argument("--journal", type=Path, metavar="FILE", help="keep finished rows here")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped; needs --journal")


def add_moderate_arguments(command: argparse.ArgumentParser) -> None:
    """The options of `moderate`."""
    command.add_argument("file", metavar="FILE", help='JSONL with {"id", "text"}; - for stdin')
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml; without it the local classifier")
    command.add_argument("--check", metavar="NAME", help="of the config (default: its one moderation check)")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the outcomes here instead of to stdout")
    command.add_argument("--concurrency", type=int, default=8, metavar="N", help="messages at once (default 8)")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped; needs --out")
    command.add_argument("--evaluate-all", action="store_true", help="let every evaluator vote; decides the same")
    command.add_argument("--json", action="store_true", help="sum up as one JSON object on stderr")


def share(text: str) -> float:
    """A share between 0 and 1, as "1%" or "0.01".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    with contextlib.suppress(ValueError):
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if 0 < value < 1:
            return value
    raise argparse.ArgumentTypeError(f"found {text!r}, allowed is a share between 0 and 1, such as 1% or 0.01")
