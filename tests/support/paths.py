"""Folders of the repository that tests read."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
TESTS = ROOT / "tests"
DATA = TESTS / "data"  # golden files; see its README
PHOTOS = ROOT / "examples" / "photos"
