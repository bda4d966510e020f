"""One recipe per file; `config.load` reads them by name or by path."""
