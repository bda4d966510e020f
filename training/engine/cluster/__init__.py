"""Multi-worker runs: cluster description, rendezvous, and agreement of the workers."""
