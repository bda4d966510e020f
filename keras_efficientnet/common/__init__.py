"""Helpers that every package shares: files, image folders, models by name, text."""
