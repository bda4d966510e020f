"""Runs the command as `python -m training.prepare`."""

from . import run

if __name__ == "__main__":
    run()
