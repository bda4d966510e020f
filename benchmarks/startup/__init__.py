"""Time that commands take before they do their work."""
