"""Trainings of a study in several processes and on several machines."""
