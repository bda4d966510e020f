"""What a run writes for people: run folder, metrics, plots and report."""
