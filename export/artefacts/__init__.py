"""Making of artefacts, their results, and their ranking by latency."""
