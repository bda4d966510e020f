"""Downloads published weight files, verifies them and keeps them in a cache."""
