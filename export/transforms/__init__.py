"""Rewrites of the Keras network before conversion."""
