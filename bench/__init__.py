"""Benchmarks: `python -m bench --help`. bench/README.md has the results."""
