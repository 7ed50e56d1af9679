"""The command line. Each subcommand is imported when it is called, so that `--help` answers at once."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from quorate.cli.evaluate_options import add_arguments as add_evaluate_arguments
from quorate.cli.options import add_arguments, add_moderate_arguments, share
from quorate.cli.review_options import add_review_arguments
from quorate.cli.safe import safe
from quorate.cli.section_options import add_section_arguments
from quorate.cli.serve_options import add_serve_arguments
from quorate.cli.store_options import add_forget_arguments, add_keys_arguments, add_mode_arguments
from quorate.errors import QuorateError, UsageError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints repeat no control character of what it was given."""

    def error(self, message: str) -> NoReturn:
        super().error(safe(message, lines=False))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="quorate",
        description="Checks run beside the answer; nothing leaves until they pass.",
        epilog="Exit codes of ask: 0 admitted, 3 refused, 4 handed over, 2 usage or config error, 1 failure.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    ask = commands.add_parser("ask", help="screen and answer one message")
    ask.add_argument("text", metavar="TEXT", help="the message, after -- if it may begin with one -; - reads stdin")
    ask.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    _shared(ask)
    check = commands.add_parser("check", help="screen many messages, without answering them")
    check.add_argument("file", metavar="FILE", help='JSONL with {"id", "text"} or {"id", "messages"}; - for stdin')
    check.add_argument("--out", type=Path, metavar="FILE", help="write the decisions here instead of to stdout")
    check.add_argument("--concurrency", type=int, default=8, metavar="N", help="messages at once (default 8)")
    check.add_argument("--resume", action="store_true", help="go on with a run that was stopped; needs --out")
    _shared(check)
    demo = commands.add_parser("demo", help="three acts: an honest message, an attack, a slow check")
    demo.add_argument("--no-prompt", action="store_true", help="do not ask for messages of your own at the end")
    init = commands.add_parser("init", help="write a starter config and help centre")
    init.add_argument("dir", type=Path, metavar="DIR", help="a folder that is empty or not there yet")
    doctor = commands.add_parser("doctor", help="say whether config, models, help centre and service are usable")
    doctor.add_argument("--config", type=Path, metavar="FILE")
    calibrate = commands.add_parser("calibrate", help="choose a check's bounds from labelled rows, with a promise")
    add_arguments(calibrate)
    moderate = commands.add_parser("moderate", help="is it appropriate? many messages, several evaluators, one vote")
    add_moderate_arguments(moderate)
    learn = commands.add_parser("learn-scope", help="fit the local scope check to your help centre and messages")
    learn.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml; without it the example company")
    learn.add_argument("--labelled", metavar="FILE", help='JSONL with {"text", "label"}: in_scope or out_of_scope')
    learn.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    sections = commands.add_parser("sections", help="work on a long document in sections, at once, streamed in order")
    add_section_arguments(sections)
    panel = commands.add_parser("panel", help="measure a panel of voters: shared mistakes, and is it worth its price?")
    panel.add_argument("file", metavar="FILE", help='JSONL with {"id", "label", "votes": {"voter": true}}; - for stdin')
    panel.add_argument("--least-gain", type=share, default=0.0, metavar="SHARE", help="what pays for it, such as 1%%")
    panel.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_review_arguments(commands.add_parser("review", help="review code for security mistakes, by many reviewers"))
    evaluate = commands.add_parser("evaluate", help="judge answers aspect by aspect, with error bars")
    add_evaluate_arguments(evaluate)
    add_serve_arguments(commands.add_parser("serve", help="serve the front door, OpenAI-compatible, over HTTP"))
    add_keys_arguments(commands.add_parser("keys", help="make, list and revoke API keys of the service"))
    add_mode_arguments(commands.add_parser("mode", help="enforce, or only observe: the break-glass of a service"))
    add_forget_arguments(commands.add_parser("forget", help="delete all that is stored of a conversation"))
    stand_in = commands.add_parser("stand-in", help="run an OpenAI-compatible stand-in server", add_help=False)
    stand_in.add_argument("rest", nargs=argparse.REMAINDER)
    return parser


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml; without it the example company")
    command.add_argument("--evaluate-all", action="store_true", help="let every check finish; decides the same")
    command.add_argument("--base-url", metavar="URL", help="give checks and answer to a model at this address")
    command.add_argument("--model", metavar="NAME", help="the model's name there (key: QUORATE_API_KEY)")
    command.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each event")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["stand-in"]:
        standin = importlib.import_module("quorate.testing.standin")
        code: int = standin.main(words[1:])
        return code
    args = _parser().parse_args(words)
    # Read when numpy is loaded. The classifiers' products are small: sharing them out to threads makes them slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        module = importlib.import_module(f"quorate.cli.{args.command.replace('-', '_')}")
        result: int = asyncio.run(module.run(args))
        sys.stdout.flush()  # Here an output that cannot be written still has an exit code.
        return result
    except UsageError as error:
        print(f"quorate: {safe(str(error))}", file=sys.stderr)
        return USAGE
    except QuorateError as error:
        print(f"quorate: {type(error).__name__}: {safe(str(error), lines=False)}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # Then the reader has gone, and there is nobody to tell.
            print(f"quorate: {safe(str(error), lines=False)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # The interpreter flushes it once more.
        return FAILURE
