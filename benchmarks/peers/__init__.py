"""Other people's front doors, configured for the same three calls: `python -m benchmarks.service --peers`.

What is in here runs in an environment of its own, which `make peers` brings and which has no Quorate in it.
"""
