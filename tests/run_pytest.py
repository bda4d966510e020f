"""Runs pytest on the files given, for build systems that start tests as programs."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
