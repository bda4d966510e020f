"""Data set of rendered characters, with detail at every scale."""
