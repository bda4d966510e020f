"""Tests of the scores of predictions."""
