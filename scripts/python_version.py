"""One line for whoever starts with a Python that is too old. Runs on any Python."""

import sys

if sys.version_info < (3, 11):
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        "Quorate needs Python 3.11 or newer, found "
        + found
        + " at "
        + (sys.executable or "python3")
        + ": install it, then run: make demo PYTHON=python3.11"
    )
