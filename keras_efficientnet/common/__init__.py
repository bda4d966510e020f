"""Helpers shared by all packages: files, image folders, opening models, text."""
