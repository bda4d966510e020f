"""Command-line support: standard streams, messages and exit codes."""
