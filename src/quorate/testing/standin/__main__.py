"""`python -m quorate.testing.standin`: the stand-in server in a process of its own."""

import sys

from quorate.testing.standin import main

if __name__ == "__main__":
    sys.exit(main())
