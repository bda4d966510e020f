"""Artefact formats: one writer per module, and the table that lists them."""
