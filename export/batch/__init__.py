"""Batch prediction: inputs, engines, and output in parts that a job can resume."""
