"""FixRes: BatchNorm and head are fine-tuned on evaluation crops at the end of a run.

Random crops show objects larger than evaluation crops do, and BatchNorm's statistics
and the classifier adapt to that. A few last epochs on evaluation crops, at the
resolution of evaluation, adapt them to the images that they will see.

Source: arXiv:1906.06423, section 3.3.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_efficientnet import freeze
from keras_efficientnet.schedules import WarmupCosineDecay
from keras_efficientnet.transfer import leaf_layers

from ..config import TrainConfig
from ..optim.schedules import TwoPartSchedule

LR_RATIO = 0.1  # of the FixRes learning rate to `lr_per_256`, unless it is given
LAST_STAGE = 7  # the head comes after it


def first_step(config: TrainConfig, images: int) -> int:
    """Returns the first step of the FixRes epochs, which end the run.

    Args:
        config: Configuration of the run.
        images: Number of training images.

    Returns:
        A step counted from 0; without FixRes epochs, the number of steps of the run.
    """
    length = int(config.fixres_epochs * config.steps_per_epoch(images))
    return config.total_steps(images) - length


def phase_config(config: TrainConfig) -> TrainConfig:
    """Returns the configuration of the FixRes epochs, without augmentation.

    Args:
        config: Configuration of the run.
    """
    return dataclasses.replace(
        config,
        augment="none",
        random_erasing=0.0,
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        adversarial_epsilon=0.0,
    )


def freeze_for_fixres(model: keras.Model) -> None:
    """Freezes everything but the head and all BatchNormalization layers.

    Args:
        model: Network of the run.
    """
    freeze(model, LAST_STAGE, batch_norm=False)
    for layer in leaf_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = True


def make_schedule(config: TrainConfig, before: Any, images: int) -> Any:
    """Creates the learning-rate schedule of a run with FixRes epochs.

    Args:
        config: Configuration of the run.
        before: Schedule of the steps before these epochs.
        images: Number of training images.

    Returns:
        A Keras schedule that continues `before` with a cosine from the FixRes learning
        rate to 0.
    """
    rate = config.fixres_lr_per_256
    if rate is None:
        rate = LR_RATIO * config.lr_per_256
    begin, end = first_step(config, images), config.total_steps(images)
    peak = rate * config.batch_size / 256
    after = WarmupCosineDecay(peak, total_steps=max(1, end - begin))
    return TwoPartSchedule(before, after, begin)
