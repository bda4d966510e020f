"""Parallel training runs, in several processes and on several machines."""
