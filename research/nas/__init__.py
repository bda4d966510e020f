"""Neural architecture search, as used to find B0."""
