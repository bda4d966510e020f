"""Tests of the start-up benchmark."""
