"""The installed commands: each starts a program, or says what to install for it."""

from __future__ import annotations

import importlib

from .common.cli import console
from .common.cli.exit_codes import ExitCode, end


def _run(program: str, extra: str) -> None:
    """Runs `run()` of a module that the wheel puts into this package."""
    console.prepare_streams()
    try:
        importlib.import_module(f"keras_efficientnet.{program}").run()
    except ModuleNotFoundError as error:
        end(
            ExitCode.WRONG_INPUT,
            f"Error: {error.name} must be installed: "
            f"pip install 'efficientnet-keras[cpu,{extra}]', or gpu or tpu for cpu.",
        )


def train() -> None:
    """Starts efficientnet-train."""
    _run("training.main", "train")


def evaluate() -> None:
    """Starts efficientnet-evaluate."""
    _run("training.evaluate", "train")


def pseudo_label() -> None:
    """Starts efficientnet-pseudo-label."""
    _run("training.pseudo_label", "train")


def export() -> None:
    """Starts efficientnet-export."""
    _run("export.main", "export")


def predict() -> None:
    """Starts efficientnet-predict."""
    _run("export.predict", "export")


def study() -> None:
    """Starts efficientnet-study."""
    _run("research.main", "train,export,research")
