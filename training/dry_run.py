"""What a run is going to be and to need, before the first step."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable

import tensorflow as tf

from keras_efficientnet import VARIANTS, plan_cost
from keras_efficientnet.architecture import NORMALIZATION_LAYER, Variant
from keras_efficientnet.cost import Cost, LayerCost
from keras_efficientnet.transfer import stage_of

from .config import ANY_SCALING, TrainConfig
from .data import dataset_info, run_source
from .engine import distribution, model, phases
from .engine.cluster import tf_config

# Slots per trained weight. Optimizers keep them in float32.
SLOTS = {"sgd": 1, "lars": 1}
DEFAULT_SLOTS = 2
# Kinds of layers whose gradient needs their input, as far as TensorFlow keeps it.
_KEEPING = ("Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "Activation")
_FLOAT32_LAYERS = (
    *("input", NORMALIZATION_LAYER, "avg_pool", "top_dropout", "predictions"),
)
TPU_REPLICAS = 8  # what memory is told for, since no TPU is asked here


@dataclasses.dataclass(frozen=True)
class Counts:
    """Images and classes of a run's data.

    Attributes:
        classes: Number of classes.
        splits: Images of each split.
        note: What to know about these numbers; empty: nothing.
    """

    classes: int
    splits: dict[str, int]
    note: str = ""


def describe_run(config: TrainConfig) -> str:
    """Describes a run without training, and without building the network.

    Args:
        config: The run.

    Returns:
        Text, a line each: model, cost, data, steps, phases, learning rate, memory
        and disk.

    Raises:
        ValueError: A config field or the data is not usable.
    """
    config.validate()
    counts = count_images(config)
    images = counts.splits["train"]
    cost = plan_cost(variant_of(config), counts.classes, resolution=config.resolution)
    replicas = _replicas(config.strategy)
    share = config.batch_size / (replicas or TPU_REPLICAS)
    memory = memory_bytes(config, images, counts.classes, math.ceil(share))
    checkpoint, disk = disk_bytes(config, cost)
    splits = ", ".join(f"{count:,} {name}" for name, count in counts.splits.items())
    rows = {
        "model": f"{config.variant} at {config.resolution} pixels, {config.precision}",
        "parameters": f"{cost.trainable_params:,} trainable, {cost.params:,} in all",
        "multiply-adds": f"{cost.multiply_adds / 1e9:.3f} G per image",
        "classes": f"{counts.classes}",
        "images": splits + (f" ({counts.note})" if counts.note else ""),
        "steps": f"{config.total_steps(images):,} of {config.batch_size} "
        f"images, {config.steps_per_epoch(images):.2f} per epoch",
        "phases": f"\n{'':20}".join(
            _tell(p) for p in phases.plan_phases(config, images)
        ),
        "optimizer": f"{config.optimizer}, {config.schedule} schedule",
        "peak learning rate": f"{config.peak_lr:g}, after {config.warmup_epochs:g} "
        "epochs of warmup",
        "replicas": f"{replicas}, {share:g} images of a step each"
        + _describe_groups(config, replicas)
        if replicas
        else f"not known here; what follows is for {TPU_REPLICAS}",
        "memory per replica": f"about {_size(sum(memory.values()))}: "
        + ", ".join(f"{name} {_size(count)}" for name, count in memory.items()),
        "checkpoint": _size(checkpoint),
        "disk": f"up to {_size(disk)}, with {config.keep_checkpoints} checkpoints",
    }
    return "\n".join(f"{name:20}{value}" for name, value in rows.items())


def count_images(config: TrainConfig) -> Counts:
    """Counts a run's images; no image is opened.

    Where the data is not on this machine but is one of `datasets`, its published
    sizes are taken.

    Args:
        config: The run.

    Raises:
        ValueError: The data is not usable.
    """
    known = dataset_info.find(config.source_name)
    if not _is_here(config):
        if known is None:
            raise ValueError(
                "`data` must be on this machine to be counted; a run fetches it. "
                f"Received: data={config.data!r}, data_dir={config.data_dir!r}"
            )
        splits = known.splits
        if config.minival:
            splits["train"] -= config.minival
            splits["minival"] = config.minival
        note = "as published; not found here"
        if config.pseudo_labels:
            note += "; without the pseudo labels"
        return Counts(known.classes, splits, note)
    source = run_source.open_source(config)
    counts = {name: len(split) for name, split in source.splits.items()}
    return Counts(len(source.class_names), counts)


def _is_here(config: TrainConfig) -> bool:
    """Tells whether the data can be opened without fetching anything."""
    kind, _, name = config.source_name.partition(":")
    if kind == "folder" and dataset_info.find(config.source_name):
        return pathlib.Path(name).expanduser().is_dir()
    if kind != "tfds":
        return True
    try:
        import tensorflow_datasets

        builder = tensorflow_datasets.builder(name, data_dir=config.data_dir)
        return bool(builder.is_prepared())
    except (ImportError, OSError):
        return False
    except ValueError:
        return True  # TFDS does not have it, which opening it tells best


def variant_of(config: TrainConfig) -> Variant:
    """Returns the row of `VARIANTS` that a run trains, or the scaling it asks for."""
    if config.variant == ANY_SCALING:
        scaled = (config.width, config.depth, config.resolution, 0.2, config.lite)
        base = (config.stage_table, config.stem_filters, config.head_filters)
        row = Variant(*scaled, *base)
    else:
        row = VARIANTS[config.variant]
    dropout = row.dropout if config.dropout is None else config.dropout
    return dataclasses.replace(row, dropout=dropout)


def memory_bytes(
    config: TrainConfig, images: int, classes: int, share: int
) -> dict[str, int]:
    """Estimates what a replica's training step holds at its height.

    Activations are those that the gradient needs, for the phase that needs most. Not
    counted: the framework itself, scratch memory of its kernels, images that wait.

    Args:
        config: The run.
        images: Of the training split.
        classes: Number of classes.
        share: Images of a step that a replica gets.

    Returns:
        Bytes of weights, gradients, slots, average and activations.
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
    # The attacked images pass through the network beside the clean ones.
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
    """Estimates the bytes that a gradient keeps of one image.

    Args:
        cost: Of the network, in float32.
        itemsize: Bytes of a number of the mixed precision, 2, or 4.
        remat: Stages that keep their output only and compute the rest again, one
            stage at a time.
        last_frozen: Last part that is not trained, -1 for none; see `stage_of`.
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
    """Estimates the size of a checkpoint, and of all files a run has at most.

    Args:
        config: The run.
        cost: Of its network.

    Returns:
        Bytes of one checkpoint: weights, their average and the optimizer's slots.
        Bytes of the checkpoints kept, one more while it is written, the best weights
        and the final model.
    """
    slots = SLOTS.get(config.optimizer, DEFAULT_SLOTS)
    checkpoint = 4 * (2 * cost.params + slots * cost.trainable_params)
    return checkpoint, (config.keep_checkpoints + 1) * checkpoint + 8 * cost.params


def _last_frozen(phase: phases.Phase) -> int:
    if phase.frozen == "top":
        return 8
    return -1 if phase.frozen is None else int(phase.frozen)


def _tell(phase: phases.Phase) -> str:
    steps = f"steps {phase.first_step + 1:,} to {phase.last_step:,}"
    return f"{steps}: {phase.describe()}"


def _replicas(name: str) -> int | None:
    """Returns the replicas of a strategy without starting any other machine."""
    if name == "tpu":
        return None
    workers = _workers() if name in ("auto", "multi_worker") else 1
    if workers > 1 or name == "multi_worker":
        return workers * max(1, len(tf.config.list_physical_devices("GPU")))
    return distribution.make_strategy(name).num_replicas_in_sync


def _describe_groups(config: TrainConfig, replicas: int) -> str:
    size = replicas if config.sync_batch_norm else model.bn_group_size(config, replicas)
    return f"; BatchNorm over groups of {size} replicas" if size > 1 else ""


def _workers() -> int:
    listed = len(tf_config.read_addresses())
    return listed or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def _size(count: float) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"
