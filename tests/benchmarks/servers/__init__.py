"""Tests of the benchmarks of files for servers."""
