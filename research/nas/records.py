"""Options of a search, its results, and what its processes share."""

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
    """What is searched, and what for."""

    trials: int = option(
        40,
        "Networks that are tried; may be raised later. Those being trained when the "
        "number is reached are finished too.",
        is_setting=False,
    )
    skeleton: str = option(
        "", "mobilenet_v2, which B0 belongs to, or a stage table; empty: the base's."
    )
    cost: str = option("flops", "flops, counted, or latency, measured on this machine.")
    target: float = option(
        0.0, "T: multiply-adds, or ms with latency; 0: the cost of the base."
    )
    weight: float = option(-0.07, "w of the reward, top-1 * (cost / T) ** w.")
    sampler: str = option("tpe", f"Of Optuna: {', '.join(SAMPLERS)}.")
    seed: int = option(0, "Of the sampler and of each training.")
    storage: str = option(
        "",
        "Optuna's: a file in a folder that several machines share, or the URL of a "
        "database, such as mysql://HOST/NAME; empty: in output_dir.",
        is_setting=False,
    )


@dataclasses.dataclass(frozen=True)
class SearchRow:
    """One network that was tried.

    Attributes:
        number: Of the trial, from 0.
        cost: Multiply-adds or ms.
        multiply_adds: For one image.
        trainable_params: Of the network.
        top1: Of the validation images, ratio.
        test_top1: Of the final split, ratio.
        reward: What the search maximises.
        seconds: Of training.
        stages: Stage table, as JSON.
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
    """What every process of a search must know.

    Attributes:
        options: Resolved.
        config: Of the base.
        classes: Number of classes.
        skeleton: Of the space.
        target: T of the reward.
        storage: Of Optuna: a file, or the URL of a database.
        folder: Where trainings are kept while they run.
        make: Trains; see `trials.run_trials`.
    """

    options: SearchOptions
    config: trainer.config.TrainConfig
    classes: int
    skeleton: tuple[Stage, ...]
    target: float
    storage: str
    folder: pathlib.Path
    make: Callable[[trials.Trial, pathlib.Path], trials.Result] = trials.train
