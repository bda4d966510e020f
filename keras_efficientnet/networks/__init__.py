"""Families, blocks and builder of the networks."""
