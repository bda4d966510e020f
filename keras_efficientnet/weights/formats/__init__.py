"""Readers of weight files, one module per format; none runs code from a file."""
