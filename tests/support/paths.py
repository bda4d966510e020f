"""Folders of the repository that tests read."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
TESTS = ROOT / "tests"
DATA = TESTS / "data"  # goldens; see the README there
PHOTOS = ROOT / "examples" / "photos"
