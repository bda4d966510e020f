"""Scores of predictions, shared by training and export."""
