"""Small training runs on part of a data set, and tables of their accuracy."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_efficientnet.common.image_classes import choose_balanced
from keras_efficientnet.common.markdown import table
from training import config
from training.config import TrainConfig
from training.data import sources
from training.engine import trainer


def small_config(epochs: float, seed: int, **fields: Any) -> TrainConfig:
    """Returns the recipe "digits" with a smaller network.

    Args:
        epochs: Number of epochs.
        seed: Seed of the run.
        **fields: Other fields to change.
    """
    changes = {"width": 0.25, **fields}
    return dataclasses.replace(
        config.load("digits"),
        epochs=epochs,
        warmup_epochs=epochs / 10,
        seed=seed,
        **changes,
    )


def subset(source: sources.Source, images: Mapping[str, int]) -> sources.Source:
    """Returns a source with some images of each split, the same number per class.

    Args:
        source: Source to take images of.
        images: Split -> maximum number of its images; other splits are kept.
    """
    splits = dict(source.splits)
    for name, most in images.items():
        split = source.split(name)
        splits[name] = split.take(np.sort(choose_balanced(split.labels, most)))
    return dataclasses.replace(source, splits=splits)


def train(
    run: TrainConfig, source: sources.Source, folder: pathlib.Path | None = None
) -> dict[str, Any]:
    """Trains and returns the contents of summary.json.

    Args:
        run: Configuration of the run.
        source: Images of the run.
        folder: Folder of the run, with its model. None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = folder or pathlib.Path(temporary)
        is_temporary = folder is None
        summary = trainer.train(run, path, source, show=False, scores_only=is_temporary)
    if summary is None:
        raise RuntimeError("Training was interrupted")
    return summary


def train_top1(
    run: TrainConfig, source: sources.Source, folder: pathlib.Path | None = None
) -> float:
    """Trains and returns the top-1 accuracy on the test images, a ratio.

    Args:
        run: See `train`.
        source: See `train`.
        folder: See `train`.
    """
    return float(train(run, source, folder)["final_top1"])


def accuracy_table(found: Mapping[str, Sequence[float]]) -> str:
    """Returns a Markdown table of the accuracy by method, with mean and deviation.

    Args:
        found: Method -> top-1 accuracy by seed, ratios.
    """
    rows = [
        {
            "method": method,
            "top-1": f"{np.mean(top1):.2%}",
            "deviation": f"{100 * np.std(top1, ddof=min(1, len(top1) - 1)):.2f}",
            "by seed": ", ".join(f"{value:.2%}" for value in top1),
        }
        for method, top1 in found.items()
    ]
    return table(rows)
