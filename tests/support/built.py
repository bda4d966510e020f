"""Distributions, built from a copy of the repository to keep the checkout clean."""

import shutil
import subprocess
import sys

from tests.support.paths import ROOT


def copy_source(folder):
    """Copies the packages and the top-level files of the repository."""
    for path in ROOT.iterdir():
        if (path / "__init__.py").exists():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / path.name, ignore=ignore)
        elif path.is_file():
            shutil.copy(path, folder)
    return folder


def build(folder, *options):
    """Builds distributions and returns the folder that holds them."""
    source = folder / "source"
    source.mkdir()
    command = [sys.executable, "-m", "build", "--no-isolation", *options]
    done = subprocess.run(
        [*command, "--outdir", folder, copy_source(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "DeprecationWarning" not in done.stderr, done.stderr
    return folder
