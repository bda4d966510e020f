"""Configuration to network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

import keras_efficientnet

from .config import ANY_SCALING, TrainConfig


def build(config: TrainConfig, classes: int) -> keras.Model:
    """Builds the network that training changes; it gives logits.

    Args:
        config: Architecture, initial weights and precision.
        classes: Number of classes.

    Returns:
        A model from (batch, resolution, resolution, 3), 0 to 255, to logits,
        (batch, classes), float32.

    Raises:
        ValueError: The weights do not fit.
    """
    with _dtype_policy(config.precision):
        return _build(config, classes, None, config.weights or None)


def with_softmax(config: TrainConfig, model: keras.Model) -> keras.Model:
    """Builds the float32 twin of a trained network that gives probabilities.

    Args:
        config: What `model` was built from.
        model: Result of `build`; its weights are copied.

    Returns:
        A model from (batch, resolution, resolution, 3), 0 to 255, to
        probabilities, (batch, classes), float32. It has built-in layers only.
    """
    with _dtype_policy("float32"):
        twin = _build(config, model.output_shape[-1], "softmax", None)
    twin.set_weights(model.get_weights())
    return twin


def _build(
    config: TrainConfig, classes: int, activation: str | None, weights: str | None
) -> keras.Model:
    shape = (config.resolution, config.resolution, 3)
    if config.variant == ANY_SCALING:
        return keras_efficientnet.EfficientNet(
            config.width,
            config.depth,
            config.resolution,
            weights=weights,
            classes=classes,
            classifier_activation=activation,
            lite=config.lite,
            dropout=_dropout(config),
            drop_connect=config.drop_connect,
            bn_momentum=config.bn_momentum,
        )
    factory = getattr(keras_efficientnet, config.variant)
    if weights is None:
        return factory(
            weights=None,
            input_shape=shape,
            classes=classes,
            classifier_activation=activation,
            dropout=_dropout(config),
            drop_connect=config.drop_connect,
            bn_momentum=config.bn_momentum,
        )
    features = factory(
        include_top=False,
        weights=weights,
        input_shape=shape,
        drop_connect=config.drop_connect,
        bn_momentum=config.bn_momentum,
    )
    return keras_efficientnet.reset_classifier(
        features, classes, dropout=_dropout(config), classifier_activation=activation
    )


def _dropout(config: TrainConfig) -> float:
    if config.dropout is not None:
        return config.dropout
    variant = keras_efficientnet.VARIANTS.get(config.variant)
    return variant.dropout if variant else 0.2


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
