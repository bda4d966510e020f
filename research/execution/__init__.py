"""Runs the trainings of a study in several processes and on several machines."""
