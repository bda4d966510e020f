"""Command lines: standard streams, messages and exit codes."""
