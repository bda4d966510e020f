"""Comparisons of files for servers with those of other quantisers."""
