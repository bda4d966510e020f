"""Runtimes and results of `benchmarks.inference`."""
