"""Readers of weight files, one module per format; none executes code from a file."""
