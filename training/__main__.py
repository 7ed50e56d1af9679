"""`python -m training --data ../shared/data --out src/quorate/weights --cards docs/cards` trains everything."""

import argparse
import time
from pathlib import Path

from training import cards, report_moderation, report_scope, report_threat
from training.saving import save

SEED = 7


def main() -> None:
    """Train, save the weights, measure, write the cards."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled rows")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--cards", type=Path, required=True, help="folder for the model cards")
    parser.add_argument("--only", choices=("threat", "scope", "moderation"), help="train one of them")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.cards.mkdir(parents=True, exist_ok=True)
    jobs = {"threat": report_threat.train, "scope": report_scope.train, "moderation": report_moderation.train}
    for name, train in jobs.items():
        if arguments.only in (None, name):
            start = time.perf_counter()
            arrays, measure = train(arguments.data, SEED)
            save(arguments.out, name, arrays)
            figures = measure(arguments.out)
            (arguments.cards / f"{name}.md").write_text(cards.card(name, figures), "utf-8")
            print(f"{name}: {time.perf_counter() - start:.0f} s\n{figures}")


main()
