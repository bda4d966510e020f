"""Validation of the training configuration, without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from keras_efficientnet.architecture import checked_family
from keras_efficientnet.calibration.thresholds import check_precision
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.networks.families import FAMILIES
from keras_efficientnet.preprocessing import NORMALIZATIONS, RESIZE_METHODS
from keras_efficientnet.stages import smallest_image

from ..data.class_balance import SAMPLING_POWERS, check_class_weights
from . import progressive

# The modules that implement these import TensorFlow, so the names are repeated here; a
# test checks that they agree.
AUGMENTATIONS = (
    "none",
    "crop_flip",
    "shift",
    "flip_cutout",
    "autoaugment",
    "randaugment",
    "augmix",
)
COMPAT = ("exact", "fixed")
MIXING = ("per_batch", "half_and_half")
OPTIMIZERS = ("rmsprop", "sgd", "adamw", "lamb", "lars")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("exponential", "cosine", "constant", "poly")
SINGLE_LABEL, MULTI_LABEL = "single_label", "multi_label"
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")

# Field -> allowed values.
CHOICES: dict[str, Iterable[str]] = {
    "augment": AUGMENTATIONS,
    "augment_compat": COMPAT,
    "family": tuple(FAMILIES),
    "interpolation": RESIZE_METHODS,
    "loss": ("cross_entropy", "focal"),
    "mixing": MIXING,
    "normalization": NORMALIZATIONS,
    "on_bad_image": ("raise", "skip"),
    "optimizer": OPTIMIZERS,
    "padding": ("same", "symmetric"),
    "precision": PRECISIONS,
    "progressive_schedule": tuple(progressive.SCHEDULES),
    "sampling": tuple(SAMPLING_POWERS),
    "schedule": SCHEDULES,
    "strategy": STRATEGIES,
    "task": (SINGLE_LABEL, MULTI_LABEL),
}
_ANY_SCALING_ONLY = (
    "width",
    "depth",
    "lite",
    "family",
    "stages",
    "stem_filters",
    "head_filters",
)
# Fields that need exactly one label per image.
_SINGLE_LABEL_ONLY = (
    "logit_adjustment",
    "pseudo_labels",
    "reject_precision",
    "sampling",
    "teacher",
    "unknown",
)
_AT_LEAST_ONE = (
    "adversarial_steps",
    "batch_size",
    "bn_group_size",
    "checkpoint_every_steps",
    "grad_accum_steps",
    "keep_checkpoints",
    "progressive_stages",
    "randaugment_layers",
)
_ABOVE_ZERO = (
    "bn_epsilon",
    "clip_norm",
    "decay_epochs",
    "epochs",
    "fixres_lr_per_256",
    "heartbeat_timeout",
    "lr_per_256",
    "patience_epochs",
    "start_timeout",
    "teacher_temperature",
)
_NOT_NEGATIVE = (
    "adversarial_epsilon",
    "cutmix_alpha",
    "export_samples",
    "fixres_epochs",
    "focal_gamma",
    "head_only_epochs",
    "logit_adjustment",
    "min_steps",
    "minival",
    "mixup_alpha",
    "progressive_start_magnitude",
    "randaugment_magnitude",
    "seed",
    "warmup_epochs",
    "weight_decay",
)
_POSITIVE_RATIO = ("crop_ratio", "crop_min_area")
_UNDER_ONE = (
    "label_smoothing",
    "ema_decay",
    "drop_connect",
    "bn_momentum",
    "dropout",
    "progressive_start_dropout",
)


def check(config: Any, *, is_general: bool) -> None:
    """Checks each field of a `TrainConfig`; None passes where a field may be None.

    Args:
        config: Configuration to check.
        is_general: Whether the model is "EfficientNet", not a named variant.

    Raises:
        ValueError: A field is out of its range; the message names the field.
    """
    if is_general:
        checked_family(config.family, config.lite)
    least = smallest_image(config.stage_table)
    _check_model(config, is_general, least)
    _check_train_size(config, least)
    for name, choices in CHOICES.items():
        if getattr(config, name) is not None:
            check_choice(name, getattr(config, name), choices)
    for names, holds, rule in (
        (_AT_LEAST_ONE, lambda v: v >= 1, "be at least 1"),
        (_ABOVE_ZERO, lambda v: 0 < v < math.inf, "be a finite number above 0"),
        (_NOT_NEGATIVE, lambda v: 0 <= v < math.inf, "be at least 0"),
        (_UNDER_ONE, lambda v: 0 <= v < 1, "be at least 0 and under 1"),
        (_POSITIVE_RATIO, lambda v: 0 < v <= 1, "be above 0 and at most 1"),
        (("random_erasing", "teacher_weight"), lambda v: 0 <= v <= 1, "be 0 to 1"),
        (("unfreeze_from_stage",), lambda v: 1 <= v <= 7, "be 1 to 7"),
    ):
        for name in names:
            value = getattr(config, name)
            _check(value is None or holds(value), rule, **{name: value})
    size = config.bn_group_size
    ok = size is None or not config.sync_batch_norm
    _check(ok, "be None with `sync_batch_norm`", bn_group_size=size)
    _check_fixres(config)
    if config.class_weights is not None:
        check_class_weights(config.class_weights)
    _check_lists(config, least)
    _check_rejection(config)
    if config.task == MULTI_LABEL:
        _check_defaults(config, _SINGLE_LABEL_ONLY, f"with task={MULTI_LABEL!r}")


def check_batch_size(batch_size: int, replicas: int) -> None:
    """Checks that a batch divides into equal shares.

    Args:
        batch_size: Number of images per step, over all replicas.
        replicas: Number of replicas of a step.

    Raises:
        ValueError: It does not.
    """
    rule = f"be a multiple of the number of replicas, {replicas}"
    _check(batch_size % replicas == 0, rule, batch_size=batch_size)


def settings(config: Any) -> dict[str, Any]:
    """Returns the fields of a `TrainConfig` that affect the outcome of a run."""
    values = dataclasses.asdict(config)
    del values["recipe"]
    return values


def items(listed: str | None) -> list[str]:
    """Splits a comma-separated list; None gives an empty one."""
    return [item.strip() for item in listed.split(",")] if listed else []


def _check_model(config: Any, is_general: bool, least: int) -> None:
    size = config.image_size
    if is_general:
        for name in ("width", "depth", "stem_filters", "head_filters"):
            value = getattr(config, name)
            _check(value > 0, "be above 0", **{name: value})
        rule = f"be at least {least} pixels with 'EfficientNet'"
        _check(size is not None and size >= least, rule, image_size=size)
        return
    _check_defaults(config, _ANY_SCALING_ONLY, "unless `model` is 'EfficientNet'")
    rule = f"be None (the variant's) or at least {least} pixels"
    _check(size is None or size >= least, rule, image_size=size)


def _check_train_size(config: Any, least: int) -> None:
    size = config.train_size
    rule = f"be None (see --help) or at least {least} pixels"
    _check(size is None or size >= least, rule, train_size=size)
    if not config.progressive_schedule or config.progressive_sizes:
        return
    start, end = config.progressive_start_size, config.final_train_size
    rule = f"be {least} to {end} pixels, the training size at the end"
    _check(least <= start <= end, rule, progressive_start_size=start)


def _check_defaults(config: Any, names: Iterable[str], condition: str) -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    for name in names:
        value, neutral = getattr(config, name), defaults[name]
        rule = f"stay {neutral!r} {condition}"
        _check(value == neutral, rule, **{name: value})


def _check_fixres(config: Any) -> None:
    if not config.fixres_epochs:
        return
    ok = config.head_only_epochs + config.fixres_epochs < config.epochs
    rule = f"leave epochs for the other phases, of {config.epochs:g}"
    _check(ok, rule, fixres_epochs=config.fixres_epochs)
    ok = not config.freeze_batch_norm
    rule = "be False with `fixres_epochs`, which train BatchNorm"
    _check(ok, rule, freeze_batch_norm=config.freeze_batch_norm)
    rule = "be None with `fixres_epochs`, before which the run must not stop"
    _check(config.patience_epochs is None, rule, patience_epochs=config.patience_epochs)


def _check_lists(config: Any, least: int) -> None:
    sizes, stages = items(config.progressive_sizes), items(config.remat)
    rule = f"be image sizes of at least {least} pixels, as in '128,224'"
    ok = all(s.isascii() and s.isdigit() and int(s) >= least for s in sizes)
    _check(ok, rule, progressive_sizes=config.progressive_sizes)
    ok = config.remat == "all" or all(s in {*"1234567"} for s in stages)
    _check(ok, "be 'all' or stages 1 to 7, as in '1,2,3'", remat=config.remat)


def _check_rejection(config: Any) -> None:
    precision, unknown = config.reject_precision, config.unknown
    if precision is not None:
        check_precision(precision)
    ok = unknown is None or precision is not None
    _check(ok, "be None without `reject_precision`", unknown=unknown)


def _check(holds: bool, rule: str, **field: Any) -> None:
    if not holds:
        ((name, value),) = field.items()
        raise ValueError(f"`{name}` must {rule}. Received: {name}={value!r}")
