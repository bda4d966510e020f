"""Options, results and shared state of a search."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from keras_efficientnet import Stage

from .. import base_network, trainer
from ..execution import trials
from ..options import option

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "nsga2": "NSGAIISampler"}


@dataclasses.dataclass(frozen=True)
class SearchOptions(base_network.TrainingOptions):
    """Options of the architecture search."""

    trials: int = option(
        40,
        "Number of networks to try; may be raised later. Runs in progress when "
        "the number is reached are completed too.",
        is_setting=False,
    )
    skeleton: str = option(
        "",
        "Skeleton: mobilenet_v2, whose space contains B0, or a stage table. By default "
        "the base's stages.",
    )
    cost: str = option(
        "flops", "Cost: flops (counted) or latency (measured on this machine)."
    )
    target: float = option(
        0.0, "Target T in multiply-adds, or ms for latency; 0: the cost of the base."
    )
    weight: float = option(-0.07, "Exponent w of the reward top-1 * (cost / T) ** w.")
    sampler: str = option("tpe", f"Optuna sampler: {', '.join(SAMPLERS)}.")
    seed: int = option(0, "Random seed of the sampler and of each training run.")
    storage: str = option(
        "",
        "Optuna storage: a file in a folder that several machines share, or the URL of "
        "a database, such as mysql://HOST/NAME. By default a file in output_dir.",
        is_setting=False,
    )


@dataclasses.dataclass(frozen=True)
class SearchRow:
    """One network that was tried.

    Attributes:
        number: Number of the trial, from 0.
        cost: Cost in multiply-adds or ms.
        multiply_adds: Multiply-adds for one image.
        trainable_params: Number of trainable parameters.
        top1: Validation top-1, a ratio.
        test_top1: Top-1 on the final split, a ratio.
        reward: Objective of the search.
        seconds: Training time in seconds.
        stages: Stage table as JSON.
    """

    number: int
    cost: float
    multiply_adds: int
    trainable_params: int
    top1: float
    test_top1: float
    reward: float
    seconds: float
    stages: str


@dataclasses.dataclass(frozen=True)
class Search:
    """State that all processes of a search share.

    Attributes:
        options: Options with a resolved data source.
        config: Training configuration of the base.
        classes: Number of classes.
        skeleton: Skeleton of the search space.
        target: Target T of the reward.
        storage: Optuna storage: a file, or the URL of a database.
        folder: Folder of the training runs in progress.
        make: Function that trains; see `trials.run_trials`.
    """

    options: SearchOptions
    config: trainer.config.TrainConfig
    classes: int
    skeleton: tuple[Stage, ...]
    target: float
    storage: str
    folder: pathlib.Path
    make: Callable[[trials.Trial, pathlib.Path], trials.Result] = trials.train
