"""The neural architecture search behind B0."""
