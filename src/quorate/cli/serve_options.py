"""The options of `serve`, apart from it so that `--help` loads nothing else."""

import argparse
from pathlib import Path


def add_serve_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml; without it the example company")
    command.add_argument("--host", metavar="HOST", help="listen here instead of at [service] host")
    command.add_argument("--port", type=int, metavar="N", help="listen here instead of at [service] port; 0: any free")
    command.add_argument("--workers", type=int, metavar="N", help="processes, instead of [service] workers")
    command.add_argument("--store", metavar="URL", help="keep records here instead of in [service] store")
    command.add_argument("--log", type=Path, metavar="FILE", help="append a line of JSON for each event; - for stderr")
    command.add_argument("--json", action="store_true", help="print a line of JSON with host and port once it listens")
    command.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    command.add_argument("--worker", help=argparse.SUPPRESS)
    command.add_argument("--shared", type=Path, help=argparse.SUPPRESS)
