"""Images, batches and loss of a training run."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.image_folders import shorten

from ..augment import mixup, transforms
from ..config import TrainConfig
from ..metrics.losses import Loss, make_binary_loss, make_weighted_loss
from . import class_balance, pipeline, sources
from .sampling import Sampler, make_sampler
from .sources import Source


def open_source(config: TrainConfig, source: Source | None = None) -> Source:
    """Opens a run's images, with its minival held out and its pseudo labels added.

    Args:
        config: Configuration of the run.
        source: Images to use instead of those that `config.data` names.

    Raises:
        ValueError: The data, the file of pseudo labels or the class weights are not
            usable.
        ImportError: The package that holds the images is missing.
    """
    source = source or sources.load(
        config.source_name,
        data_dir=config.data_dir,
        multi_label=config.is_multi_label,
    )
    if config.minival:
        source = sources.hold_out(source, config.minival)
    _check_task(config, source)
    if config.pseudo_labels:
        classes = len(source.class_names)
        source = sources.with_pseudo_labels(source, config.pseudo_labels, classes)
    source.check_trainable()
    if config.is_multi_label:
        multi_label_loss(config, source)  # checks the class weights
        return source
    class_balance.check(
        source.split("train").labels,
        source.class_names,
        weights=config.class_weights,
        sampling=config.sampling,
        adjustment=config.logit_adjustment,
    )
    return source


def train_batches(
    config: TrainConfig,
    source: Source,
    *,
    image_size: int,
    first_step: int,
    last_step: int,
    strategy: tf.distribute.Strategy,
    bad_images: pipeline.BadImages | None = None,
) -> tf.data.Dataset:
    """Creates the training batches of some steps, as `pipeline.train_batches` does.

    Args:
        config: Configuration of the run.
        source: Images of the run.
        image_size: Side of the images in pixels.
        first_step: First step, counted from 0.
        last_step: Step after the last one.
        strategy: Distribution strategy of the run.
        bad_images: Recorder of images that cannot be decoded. None: they are an error.
    """
    augmentation = transforms.make_augmentation(
        config.augment,
        compat=config.augment_compat,
        layers=config.randaugment_layers,
        magnitude=config.randaugment_magnitude,
        erasing=config.random_erasing,
        crop_min_area=config.crop_min_area,
    )
    return pipeline.train_batches(
        source.split("train"),
        dataclasses.replace(config.preprocessing, image_size=image_size),
        augmentation,
        classes=len(source.class_names),
        mix=mixup.make_mix(config.mixup_alpha, config.cutmix_alpha, config.mixing),
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=last_step,
        strategy=strategy,
        bad_images=bad_images,
        sampler=_sampler(config, source),
    )


def step_positions(config: TrainConfig, source: Source, step: int) -> np.ndarray:
    """Returns the positions of a step's images, (batch,), int64.

    Args:
        config: Configuration of the run.
        source: Images of the run.
        step: Number of the step, counted from 0.
    """
    return pipeline.positions(
        len(source.split("train")),
        seed=config.seed,
        batch_size=config.batch_size,
        first_step=step,
        last_step=step + 1,
        sampler=_sampler(config, source),
    )


def training_loss(config: TrainConfig, source: Source) -> Loss | None:
    """Creates the training loss of a run; None is plain cross-entropy.

    Class weights and priors are those of the images as they are sampled: with
    `sampling="balanced"`, all classes are equally frequent.

    Args:
        config: Configuration of the run.
        source: Images of the run.

    Raises:
        ValueError: A class has no image, or the weights are for other classes.
    """
    if config.is_multi_label:
        return multi_label_loss(config, source)
    train, names = source.split("train"), source.class_names
    gamma = config.focal_gamma if config.loss == "focal" else 0.0
    weights = offsets = None
    if config.class_weights or config.logit_adjustment:
        drawn = class_balance.draws_per_epoch(train.labels, names, config.sampling)
        if config.class_weights:
            weights = class_balance.class_weights(config.class_weights, drawn, names)
        if config.logit_adjustment:
            offsets = config.logit_adjustment * np.log(drawn / drawn.sum())
    if train.weights is None and weights is None and offsets is None and not gamma:
        return None
    return make_weighted_loss(
        config.label_smoothing,
        class_weights=weights,
        focal_gamma=gamma,
        logit_offsets=offsets,
    )


def multi_label_loss(config: TrainConfig, source: Source) -> Loss:
    """Creates the training loss of a run with several labels per image.

    Args:
        config: Configuration of the run.
        source: Images of the run.

    Raises:
        ValueError: The class weights are for other classes.
    """
    sets = source.split("train").label_sets
    weights = None
    if config.class_weights and sets is not None:
        positives = sets.sum(axis=0, dtype=np.int64)
        weights = class_balance.positive_weights(
            config.class_weights, positives, len(sets), source.class_names
        )
    return make_binary_loss(
        config.label_smoothing,
        positive_weights=weights,
        focal_gamma=config.focal_gamma if config.loss == "focal" else 0.0,
    )


def _check_task(config: TrainConfig, source: Source) -> None:
    sets = {name: split.label_sets for name, split in source.splits.items()}
    if any(found is not None for found in sets.values()) == config.is_multi_label:
        if config.is_multi_label:
            _check_label_sets(source)
        return
    if config.is_multi_label:
        rule = (
            "have any number of labels per image with task='multi_label': use "
            "'csv:FILE', whose labels are separated by '|', or task='single_label'"
        )
    else:
        rule = "have one label per image unless task='multi_label'"
    raise ValueError(
        f"`data` must {rule}. Received: data={config.data!r}, task={config.task!r}"
    )


def _check_label_sets(source: Source) -> None:
    """Checks that each split has labels, and that each label has training images."""
    for name, split in source.splits.items():
        sets = np.asarray(split.label_sets)
        if not sets.any():
            raise ValueError(
                f"`data` must have images with a label in its split {name!r}. "
                f"Received: {len(sets)} images without labels"
            )
    counts = np.asarray(source.split("train").label_sets).sum(axis=0, dtype=np.int64)
    missing = [source.class_names[int(i)] for i in np.flatnonzero(counts == 0)]
    if missing:
        raise ValueError(
            "Each label must have training images. "
            f"Received: none of {shorten(missing)}"
        )


def _sampler(config: TrainConfig, source: Source) -> Sampler | None:
    labels = source.split("train").labels
    return make_sampler(config.sampling, labels, source.class_names)
