"""Benchmarks of batch prediction."""
