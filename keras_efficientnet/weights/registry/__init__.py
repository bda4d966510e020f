"""The published weight files as tables, and how to look one up."""
