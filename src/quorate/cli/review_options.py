"""The options of `review`, apart from it so that `--help` loads nothing else."""

import argparse
from pathlib import Path


def add_review_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("paths", nargs="*", metavar="PATH", help="Python files and folders")
    command.add_argument("--diff", metavar="REV", help="only functions that differ from this git revision")
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml whose model reviews too")
    command.add_argument("--base-url", metavar="URL", help="let a model at this address review too")
    command.add_argument("--model", metavar="NAME", help="the model's name there (key: QUORATE_API_KEY)")
    command.add_argument("--format", choices=("terminal", "json", "markdown", "sarif"), default="terminal")
    command.add_argument("--json", action="store_const", dest="format", const="json", help="the same as --format json")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the report here; a journal stands beside it")
    command.add_argument("--fail-on", choices=("low", "medium", "high", "critical"), default="high")
    command.add_argument("--concurrency", type=int, default=8, metavar="N", help="pieces of work at once (default 8)")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped; needs --out")
    command.set_defaults(log=None, evaluate_all=False)
