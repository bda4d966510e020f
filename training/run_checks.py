"""Checks of a run before its first step, shared by the trainer and `--dry_run`."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common import sidecars
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.models import (
    describe_choices,
    is_variant,
    split_weights,
)
from keras_efficientnet.weights import published_options
from keras_efficientnet.weights.load import existing_file
from keras_efficientnet.weights.registry.table import is_published

from .config import ANY_SCALING, TrainConfig
from .config.checks import check_batch_size
from .engine import model
from .reporting.run_folder import RunFolder


def check_run(
    config: TrainConfig,
    *,
    folder: RunFolder | None,
    replicas: int | None,
    class_names: Sequence[str] | None,
) -> None:
    """Checks that a run can start; nothing is written and no network is built.

    Args:
        config: Configuration of the run.
        folder: Folder of the run, if it is known.
        replicas: Number of replicas of a step, if it is known.
        class_names: Names of the classes, if they are known.

    Raises:
        ValueError: A config field, the classes or the folder is not usable.
        FileNotFoundError: `config.weights` is not the path of a file.
        NotADirectoryError: The path of the folder is that of a file.
    """
    config.validate()
    _check_weights(config)
    _check_remat(config)
    if config.teacher is not None:
        _check_teacher(config.teacher)
    if config.unknown is not None:
        list_images(config.unknown)
    if folder is not None:
        if folder.root.exists() and not folder.root.is_dir():
            raise NotADirectoryError(
                f"`workdir` must be a folder. Received: workdir={str(folder.root)!r}"
            )
        folder.check_config(config)
    if class_names is not None:
        sidecars.check_labels(class_names, len(class_names), "`data`")
    if replicas is not None:
        check_replicas(config, replicas)


def check_replicas(config: TrainConfig, replicas: int) -> None:
    """Checks that a batch divides into the shares and parts of the replicas.

    Args:
        config: Configuration of the run.
        replicas: Number of replicas of a step.

    Raises:
        ValueError: `batch_size`, `grad_accum_steps` or `bn_group_size` does not fit.
    """
    check_batch_size(config.batch_size, replicas)
    share = config.batch_size // replicas
    if share % config.grad_accum_steps:
        raise ValueError(
            "`grad_accum_steps` must divide the images of a replica's batch, "
            f"{share}. Received: grad_accum_steps={config.grad_accum_steps}"
        )
    group_size = model.bn_group_size(config, replicas)
    if config.grad_accum_steps > 1 and shares_statistics(config, replicas):
        field, advice = "sync_batch_norm", ""
        if not config.sync_batch_norm:
            field, advice = "bn_group_size", f", {group_size}; 1 turns it off"
        raise ValueError(
            f"`grad_accum_steps` must be 1 with `{field}`{advice}: replicas that share "
            "statistics cannot wait for each other inside a loop. "
            f"Received: grad_accum_steps={config.grad_accum_steps}"
        )


def shares_statistics(config: TrainConfig, replicas: int) -> bool:
    """Returns whether several replicas share BatchNorm's statistics.

    Args:
        config: Configuration of the run.
        replicas: Number of replicas of a step.
    """
    if config.sync_batch_norm:
        return replicas > 1
    return model.bn_group_size(config, replicas) > 1


def _check_weights(config: TrainConfig) -> None:
    if config.weights is None:
        return
    if not is_published(config.weights):
        existing_file(config.weights)
    elif config.variant == ANY_SCALING:
        raise ValueError(
            "`weights` must be a path or None with model='EfficientNet': networks "
            "with custom scaling have no published weights. "
            f"Received: weights={config.weights!r}"
        )
    else:
        published_options(config.weights, config.variant)


def _check_teacher(name: str) -> None:
    """Checks that the teacher exists; opening it takes seconds."""
    model, weights = split_weights(name)
    is_known = is_variant(model)
    if not is_known and not pathlib.Path(model).expanduser().exists():
        raise ValueError(
            f"`teacher` must be a model. {describe_choices(model)}, as `teacher`"
        )
    if weights and is_known and is_published(weights):
        published_options(weights, find_variant(model))
    elif weights:
        existing_file(weights)


def _check_remat(config: TrainConfig) -> None:
    stages = len(config.stage_table)
    if max(config.remat_stages, default=0) > stages:
        raise ValueError(
            f"`remat` must name stages that the network has, 1 to {stages}. "
            f"Received: remat={config.remat!r}"
        )
