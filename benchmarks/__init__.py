"""Benchmarks: rates, and their ratios to a limit that is measured in the same run. Run with `make bench`."""
