"""Memory and disk space of a training run, estimated without building the network."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from keras_efficientnet import plan_cost
from keras_efficientnet.architecture import NORMALIZATION_LAYER, Variant
from keras_efficientnet.cost import Cost, LayerCost
from keras_efficientnet.transfer import stage_of

from .config import TrainConfig
from .engine import phases
from .run_checks import shares_statistics

# Slots per trained weight. Optimizers keep them in float32.
SLOTS = {"sgd": 1, "lars": 1}
DEFAULT_SLOTS = 2
# Types of layers whose inputs TensorFlow keeps for the gradient.
_KEEPING = ("Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "Activation")
_FLOAT32_LAYERS = (
    *("input", NORMALIZATION_LAYER, "avg_pool", "top_dropout", "predictions"),
)
_CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")  # of a container


def variant_of(config: TrainConfig) -> Variant:
    """Returns the variant that a run trains, with its dropout."""
    return config.architecture


def memory_bytes(
    config: TrainConfig, images: int, classes: int, share: int
) -> dict[str, int]:
    """Estimates the peak memory of a training step on one replica.

    Activations are those that the gradient needs, in the phase with the most. Not
    included: the framework itself, workspaces of its kernels, prefetched images.

    Args:
        config: Configuration of the run.
        images: Number of training images.
        classes: Number of classes.
        share: Number of images per step on a replica.

    Returns:
        Bytes of weights, gradients, optimizer slots, moving average and activations.
    """
    cost = plan_cost(variant_of(config), classes, resolution=config.resolution)
    at_once = math.ceil(share / config.grad_accum_steps)
    itemsize = 4 if config.precision == "float32" else 2
    most = 0
    for phase in phases.plan_phases(config, images):
        sized = plan_cost(variant_of(config), classes, resolution=phase.image_size)
        per_image = activation_bytes(
            sized, itemsize, config.remat_stages, last_frozen=_last_frozen(phase)
        )
        most = max(most, at_once * per_image)
    # The attacked images pass through the network in addition to the clean ones.
    passes = 2 if config.adversarial_epsilon else 1
    slots = SLOTS.get(config.optimizer, DEFAULT_SLOTS)
    return {
        "weights": 4 * cost.params,
        "gradients": 4 * cost.trainable_params,
        "slots": 4 * slots * cost.trainable_params,
        "average": 4 * cost.params,
        "activations": passes * most,
    }


def activation_bytes(
    cost: Cost,
    itemsize: int = 4,
    remat: Iterable[int] = (),
    last_frozen: int = -1,
) -> int:
    """Estimates the bytes of activations that the gradient needs per image.

    Args:
        cost: Cost of the network, in float32.
        itemsize: Bytes per number, 2 with mixed precision, else 4.
        remat: Stages that keep their output only and are recomputed, one at a time.
        last_frozen: Last frozen part, -1 for none; see `stage_of`.
    """
    readers: dict[str, list[LayerCost]] = {row.name: [] for row in cost.layers}
    for row in cost.layers:
        for name in row.inputs:
            readers[name].append(row)
    kept, again = 0, {0: 0}
    for row in cost.layers:
        size, part = row.activation_bytes, stage_of(row.name)
        if row.name not in _FLOAT32_LAYERS:
            size = size * itemsize // 4
        after = [r for r in readers[row.name] if stage_of(r.name) > last_frozen]
        if not any(r.kind in (*_KEEPING, "Multiply") for r in after):
            continue
        if part in remat and all(stage_of(r.name) == part for r in after):
            again[part] = again.get(part, 0) + size
        else:
            kept += size
    return kept + max(again.values())


def disk_bytes(config: TrainConfig, cost: Cost) -> tuple[int, int]:
    """Estimates the size of a checkpoint, and the maximum size of a run's files.

    Args:
        config: Configuration of the run.
        cost: Cost of its network.

    Returns:
        Bytes of a checkpoint: weights, their moving average and the optimizer's slots.
        Bytes of the kept checkpoints, one more during writing, the best weights and
        the final model.
    """
    slots = SLOTS.get(config.optimizer, DEFAULT_SLOTS)
    checkpoint = 4 * (2 * cost.params + slots * cost.trainable_params)
    return checkpoint, (config.keep_checkpoints + 1) * checkpoint + 8 * cost.params


def device_memory() -> int | None:
    """Returns the memory of a device of this machine in bytes; None: not known.

    Without GPUs it is the machine's memory, or the share of it that its container may
    use.
    """
    if tf.config.list_physical_devices("GPU"):
        return _gpu_memory()
    if not hasattr(os, "sysconf"):  # Windows
        return None
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else ""
    return min(size, int(limit)) if limit.isdigit() else size


def advice(
    config: TrainConfig, images: int, classes: int, replicas: int, available: int
) -> list[str]:
    """Lists settings that lower the memory estimate, with the estimate of each.

    Args:
        config: Configuration of the run.
        images: Number of training images.
        classes: Number of classes.
        replicas: Number of replicas of a step.
        available: Bytes of memory of a device.
    """
    share = math.ceil(config.batch_size / replicas)

    def estimate(**changes: Any) -> int:
        changed = dataclasses.replace(config, **changes)
        return sum(memory_bytes(changed, images, classes, share).values())

    rows = {}
    if len(config.remat_stages) < len(config.stage_table):
        rows["--config.remat=all"] = estimate(remat="all")
    parts = [n for n in range(config.grad_accum_steps + 1, share + 1) if share % n == 0]
    if parts and not shares_statistics(config, replicas):
        enough = (n for n in parts if estimate(grad_accum_steps=n) <= available)
        steps = next(enough, parts[-1])
        rows[f"--config.grad_accum_steps={steps}"] = estimate(grad_accum_steps=steps)
    return [f"{flag} needs about {format_size(size)}" for flag, size in rows.items()]


def format_size(count: float) -> str:
    """Returns a number of bytes in MB or GB."""
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def _gpu_memory() -> int | None:
    if not shutil.which("nvidia-smi"):
        return None
    query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(
        ["nvidia-smi", *query], capture_output=True, text=True, check=False
    )
    sizes = [int(line) for line in listed.stdout.split() if line.isdigit()]
    return min(sizes) * 2**20 if sizes else None


def _last_frozen(phase: phases.Phase) -> int:
    if phase.frozen == "top":
        return 8
    return -1 if phase.frozen is None else int(phase.frozen)
