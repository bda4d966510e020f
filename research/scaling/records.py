"""Results of the scaling study: trainings, and their means."""

from __future__ import annotations

import dataclasses

from keras_efficientnet import Scaling


@dataclasses.dataclass(frozen=True)
class ScalingRow:
    """One training.

    Attributes:
        width: Ratio to the base.
        depth: Ratio to the base.
        resolution: Ratio to the base.
        seed: Of weights, order and augmentation.
        image_size: Pixels.
        multiply_adds: For one image.
        trainable_params: Of the network.
        top1: Of the final split, ratio.
        validation_top1: Of the best epoch, ratio.
        seconds: Of training.
    """

    width: float
    depth: float
    resolution: float
    seed: int
    image_size: int
    multiply_adds: int
    trainable_params: int
    top1: float
    validation_top1: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Point:
    """A network's mean over the seeds.

    Attributes:
        label: What is told of it, such as "w=2".
        scaling: Ratios to the base.
        multiply_adds: For one image.
        trainable_params: Of the network.
        top1: Mean, ratio.
        deviation: Standard deviation over the seeds, ratio; 0 with one seed.
        seeds: How many.
    """

    label: str
    scaling: Scaling
    multiply_adds: int
    trainable_params: int
    top1: float
    deviation: float
    seeds: int
