"""Recipes, one per file; `config.load` opens them by name or path."""
