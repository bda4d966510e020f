"""Calibrated probabilities of a classifier, and rejection of uncertain predictions."""
