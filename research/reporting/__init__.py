"""Folders, reports and figures of the studies."""
