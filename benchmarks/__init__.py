"""Benchmarks: ratios within one run, median of rounds. Each is a command that prints a table and JSON."""
