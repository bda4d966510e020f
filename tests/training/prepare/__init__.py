"""Tests of training.prepare."""
