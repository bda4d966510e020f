"""Runners that call a model of any kind in one way: pixels in, scores out."""
