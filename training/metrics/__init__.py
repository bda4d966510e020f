"""Losses, metrics and per-image predictions."""
