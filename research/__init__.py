"""The studies of the EfficientNet paper as commands: `python -m research.main`."""
