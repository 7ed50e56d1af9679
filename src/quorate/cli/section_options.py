"""The options of `sections`, apart from it so that `--help` loads nothing else."""

import argparse
from pathlib import Path

KINDS = ("markdown", "text", "code")


def add_section_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("file", metavar="FILE", help="the document, UTF-8 text; - for stdin")
    command.add_argument("--prompt", metavar="PROMPT", help="what to do with each section: a text, or a file with it")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the result here instead of to stdout")
    command.add_argument("--config", type=Path, metavar="FILE", help="a quorate.toml; --model names one of its models")
    command.add_argument("--base-url", metavar="URL", help="ask a model at this address (key: QUORATE_API_KEY)")
    command.add_argument("--model", metavar="NAME", help="the model's name there, or in the config")
    command.add_argument("--as", dest="kind", choices=KINDS, help="what the document is (default: by its name)")
    command.add_argument("--budget", type=int, default=1500, metavar="TOKENS", help="of one section (default 1500)")
    command.add_argument("--overlap", type=int, default=0, metavar="TOKENS", help="also shown of the text before it")
    command.add_argument("--context", type=int, default=0, metavar="N", help="sections before it that it also reads")
    command.add_argument("--keep-headings", action="store_true", help="ask for headings and numbers, and check them")
    command.add_argument("--max-tokens", type=int, metavar="N", help="of one answer (default: the server's)")
    command.add_argument("--concurrency", type=int, default=4, metavar="N", help="sections at once (default 4)")
    command.add_argument("--attempts", type=int, default=2, metavar="N", help="for each section (default 2)")
    command.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="of one attempt (300)")
    command.add_argument("--max-sections", type=int, default=1000, metavar="N", help="refuse to make more (1000)")
    command.add_argument("--cache", type=Path, metavar="FILE", help="journal of finished sections (OUT.journal)")
    command.add_argument("--fresh", action="store_true", help="work on every section anew, whatever the journal has")
    command.add_argument("--plan", action="store_true", help="show how it would be divided, and ask no model")
    command.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
