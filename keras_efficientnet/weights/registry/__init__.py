"""Registry of published weight files: tables and lookup."""
