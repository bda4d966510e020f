"""Plan of a training run: steps, phases, memory and disk space (`--dry_run`)."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib

import tensorflow as tf

from keras_efficientnet import plan_cost

from . import run_checks
from .config import TrainConfig
from .data import dataset_info, run_source
from .data.sources.base import check_minival
from .data.sources.tfds import is_prepared
from .engine import distribution, model, phases
from .engine.cluster.launchers import find_cluster, require_cluster
from .memory import (
    advice,
    device_memory,
    disk_bytes,
    format_size,
    memory_bytes,
    variant_of,
)
from .reporting.run_folder import RunFolder

TPU_REPLICAS = 8  # assumed by the plan, which does not connect to a TPU
_NEXT_LINE = "\n" + 20 * " "


@dataclasses.dataclass(frozen=True)
class Counts:
    """Images and classes of a run's data.

    Attributes:
        classes: Number of classes.
        splits: Number of images of each split.
        note: Remark on these numbers. Empty: none.
        class_names: Names of the classes. None: not known.
    """

    classes: int
    splits: dict[str, int]
    note: str = ""
    class_names: tuple[str, ...] | None = None


def describe_run(
    config: TrainConfig,
    workdir: pathlib.Path | str | None = None,
    *,
    replicas: int | None = None,
    device_gb: float | None = None,
) -> str:
    """Describes a run without training, and without building the network.

    Args:
        config: Configuration of the run.
        workdir: Folder of the run, if it is known.
        replicas: Number of replicas to plan for. None: those of this machine.
        device_gb: Memory of each device in GB. None: that of this machine's devices,
            or not known where `replicas` is given.

    Returns:
        Text with one line each for model, cost, data, steps, phases, learning rate,
        memory and disk; then warnings.

    Raises:
        ValueError: The run could not start: a config field, the data or the folder is
            not usable.
        OSError: The folder or the file of weights is not usable.
    """
    config.validate()
    config = config.self_contained()
    counts = count_images(config)
    available = int(device_gb * 1e9) if device_gb else None
    if replicas is None:
        available = available or device_memory()
        replicas = _replicas(config.strategy)
    run_checks.check_run(
        config,
        folder=RunFolder(workdir) if workdir else None,
        replicas=replicas,
        class_names=counts.class_names,
    )
    rows = {
        **_describe_training(config, counts),
        **_describe_needs(config, counts, replicas, available),
    }
    return "\n".join(f"{name:20}{value}" for name, value in rows.items())


def _describe_training(config: TrainConfig, counts: Counts) -> dict[str, str]:
    images = counts.splits["train"]
    cost = plan_cost(variant_of(config), counts.classes, resolution=config.resolution)
    splits = ", ".join(f"{count:,} {name}" for name, count in counts.splits.items())
    plan = map(_describe_phase, phases.plan_phases(config, images))
    return {
        "model": f"{config.variant} at {config.resolution} pixels, {config.precision}",
        "parameters": f"{cost.trainable_params:,} trainable, {cost.params:,} in all",
        "multiply-adds": f"{cost.multiply_adds / 1e9:.3f} G per image",
        "classes": f"{counts.classes}",
        "images": splits + (f" ({counts.note})" if counts.note else ""),
        "steps": f"{config.total_steps(images):,} of {config.batch_size} "
        f"images, {config.steps_per_epoch(images):.2f} per epoch",
        "phases": _NEXT_LINE.join(plan),
        "optimizer": f"{config.optimizer}, {config.schedule} schedule",
        **_describe_teacher(config),
        "peak learning rate": f"{config.peak_lr:g}, after {config.warmup_epochs:g} "
        "epochs of warmup",
    }


def _describe_needs(
    config: TrainConfig, counts: Counts, replicas: int | None, available: int | None
) -> dict[str, str]:
    images, assumed = counts.splits["train"], replicas or TPU_REPLICAS
    share = config.batch_size / assumed
    memory = memory_bytes(config, images, counts.classes, math.ceil(share))
    needed = sum(memory.values())
    cost = plan_cost(variant_of(config), counts.classes, resolution=config.resolution)
    checkpoint, disk = disk_bytes(config, cost)
    rows = {
        "replicas": f"{replicas}, {share:g} images per step each"
        + _describe_groups(config, replicas)
        if replicas
        else f"unknown; planned for {TPU_REPLICAS} (use --replicas=N to change it)",
        "memory per replica": f"about {format_size(needed)}: "
        + ", ".join(f"{name} {format_size(size)}" for name, size in memory.items()),
        "checkpoint": format_size(checkpoint),
        "disk": f"up to {format_size(disk)}, with {config.keep_checkpoints} "
        "checkpoints",
    }
    if available is not None and needed > available:
        hints = advice(config, images, counts.classes, assumed, available)
        text = f"the memory estimate exceeds the {format_size(available)} of a device"
        rows["warning"] = _NEXT_LINE.join([text, *hints])
    return rows


def count_images(config: TrainConfig) -> Counts:
    """Counts a run's images; no image is opened.

    Data that is not on this machine is counted by its published sizes, `dataset_info`.

    Args:
        config: Configuration of the run.

    Raises:
        ValueError: The data is not usable.
    """
    known = dataset_info.find(config.source_name)
    if not _is_here(config):
        if known is None:
            raise ValueError(
                "`data` must be on this machine to be counted. "
                f"Received: data={config.data!r}, data_dir={config.data_dir!r}"
            )
        splits = known.splits
        if config.minival:
            check_minival(config.minival, splits["train"])
            splits["train"] -= config.minival
            splits["minival"] = config.minival
        note = "published sizes; not on this machine"
        if config.pseudo_labels:
            note += "; without the pseudo labels"
        return Counts(known.classes, splits, note)
    source = run_source.open_source(config)
    counts = {name: len(split) for name, split in source.splits.items()}
    names = source.class_names
    return Counts(len(names), counts, class_names=names)


def _is_here(config: TrainConfig) -> bool:
    """Returns whether the data can be opened without a download."""
    kind, _, name = config.source_name.partition(":")
    if kind == "folder" and dataset_info.find(config.source_name):
        return pathlib.Path(name).expanduser().is_dir()
    if kind != "tfds":
        return True
    try:
        return is_prepared(name, config.data_dir)
    except ImportError:
        return False
    except ValueError:
        return True  # opening it raises an error that explains more


def _describe_teacher(config: TrainConfig) -> dict[str, str]:
    if config.teacher is None:
        return {}
    return {"teacher": f"{config.teacher} (the estimate of memory is without it)"}


def _describe_phase(phase: phases.Phase) -> str:
    steps = f"steps {phase.first_step + 1:,} to {phase.last_step:,}"
    return f"{steps}: {phase.describe()}"


def _replicas(name: str) -> int | None:
    """Returns the replicas of a strategy without starting any other machine."""
    if name == "tpu":
        return None
    if name in ("auto", "multi_worker"):
        find = require_cluster if name == "multi_worker" else find_cluster
        cluster = find(os.environ)
        if cluster and (cluster.count > 1 or name == "multi_worker"):
            devices = len(tf.config.list_physical_devices("GPU"))
            return cluster.count * max(1, devices)
    return distribution.make_strategy(name).num_replicas_in_sync


def _describe_groups(config: TrainConfig, replicas: int) -> str:
    size = replicas if config.sync_batch_norm else model.bn_group_size(config, replicas)
    return f"; BatchNorm over groups of {size} replicas" if size > 1 else ""
