"""Multi-worker runs: cluster description, rendezvous and consistency checks."""
