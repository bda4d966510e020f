"""Runs pytest on the files given, for build systems that start tests as programs."""

import os
import sys

import pytest

OPTIONS = ["-p", "no:cacheprovider", "-m", "not slow"]

if __name__ == "__main__":
    report = os.environ.get("XML_OUTPUT_FILE")  # set by Bazel
    options = [f"--junitxml={report}"] if report else []
    sys.exit(pytest.main([*OPTIONS, *options, *sys.argv[1:]]))
