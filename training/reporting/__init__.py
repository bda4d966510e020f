"""Reporting: run folder, metrics, progress, plots and report page."""
