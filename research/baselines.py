"""The networks that Table 3 scales, built for training."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from keras_efficientnet import Scaling, profile
from keras_efficientnet.baselines import MobileNetV1, MobileNetV2, ResNet

from . import trainer

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "MobileNetV1": MobileNetV1,
    "MobileNetV2": MobileNetV2,
    "ResNet50": functools.partial(ResNet, 50),
}


# Fields of a training configuration that baselines do not support.
_UNSUPPORTED = (
    *("weights", "normalization", "padding", "bn_epsilon"),
    *("progressive_sizes", "progressive_schedule", "remat"),
)


def find(name: str) -> str:
    """Returns the key of `NETWORKS` that matches a name, ignoring case, or "".

    Args:
        name: Name of a network.
    """
    return next((key for key in NETWORKS if key.lower() == name.lower()), "")


def build(name: str, config: trainer.config.TrainConfig, classes: int) -> keras.Model:
    """Builds a network of a training configuration, which outputs logits.

    It has no stochastic depth, whatever the configuration's.

    Args:
        name: Key of `NETWORKS`.
        config: Configuration with width and depth as ratios to the published network,
            the image size, the dropout and BatchNorm's momentum.
        classes: Number of classes.

    Returns:
        A model from RGB images, (batch, side, side, 3), 0 to 255, to logits,
        (batch, classes), float32.

    Source:
        arXiv:1905.11946, section 5.1 and Table 3.
    """
    net = NETWORKS[name](
        Scaling(depth=config.depth, width=config.width),
        resolution=config.resolution,
        classes=classes,
        classifier_activation=None,
        dropout=config.architecture.dropout,
    )
    for layer in net.layers if config.bn_momentum is not None else ():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.bn_momentum
    return net


def check(config: trainer.config.TrainConfig) -> None:
    """Checks that a training configuration suits a baseline.

    Args:
        config: Configuration of the network; see `build`.

    Raises:
        ValueError: It has a setting that baselines do not support.
    """
    for name in _UNSUPPORTED:
        value = getattr(config, name)
        if value:
            raise ValueError(
                f"`{name}` must be None for a baseline of Table 3. "
                f"Received: {name}={value!r}"
            )


def count(
    name: str, config: trainer.config.TrainConfig, classes: int
) -> tuple[int, int]:
    """Returns the multiply-adds for one image and the number of trainable parameters.

    Args:
        name: Key of `NETWORKS`.
        config: Configuration of the network; see `build`.
        classes: Number of classes.
    """
    cost = profile(build(name, config, classes))
    return cost.multiply_adds, cost.trainable_params
