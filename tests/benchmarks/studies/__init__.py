"""Tests of the training studies."""
