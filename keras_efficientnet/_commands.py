"""Entry points of the installed commands."""

from __future__ import annotations

import importlib

from .common.cli import console, missing_packages


def _run(program: str) -> None:
    """Runs `run()` of a module that the wheel puts into this package."""
    console.prepare_streams()
    try:
        importlib.import_module(f"keras_efficientnet.{program}").run()
    except ModuleNotFoundError as error:
        missing_packages.end_program(error, program.split(".")[0])
        raise


def train() -> None:
    """Starts efficientnet-train."""
    _run("training.main")


def evaluate() -> None:
    """Starts efficientnet-evaluate."""
    _run("training.evaluate")


def pseudo_label() -> None:
    """Starts efficientnet-pseudo-label."""
    _run("training.pseudo_label")


def prepare() -> None:
    """Starts efficientnet-prepare."""
    _run("training.prepare")


def inspect_data() -> None:
    """Starts efficientnet-inspect-data."""
    _run("training.inspect_data")


def export() -> None:
    """Starts efficientnet-export."""
    _run("export.main")


def predict() -> None:
    """Starts efficientnet-predict."""
    _run("export.predict")


def batch_predict() -> None:
    """Starts efficientnet-batch-predict."""
    _run("export.batch_predict")


def study() -> None:
    """Starts efficientnet-study."""
    _run("research.main")
