"""Side-by-side benchmarks against other implementations, each a command."""
