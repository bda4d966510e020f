"""Download, verification and caching of published weight files."""
