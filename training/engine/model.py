"""Builds the network of a training configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

import keras_efficientnet
from keras_efficientnet.weights import published_options

from ..config import ANY_SCALING, TrainConfig

NetworkFactory = Callable[[TrainConfig, int], keras.Model]


def build(
    config: TrainConfig, classes: int, factory: NetworkFactory | None = None
) -> keras.Model:
    """Builds the network to train, which outputs logits.

    Args:
        config: Architecture, initial weights and precision.
        classes: Number of classes.
        factory: Function that builds another network from the config and the number of
            classes. None: the config's network.

    Returns:
        A model from (batch, resolution, resolution, 3), 0 to 255, to logits,
        (batch, classes), float32. With progressive resizing it takes any size. A new
        classifier on pretrained weights starts at zero.

    Raises:
        ValueError: The weights do not fit the network.
    """
    size = None if {*config.sizes} != {config.resolution} else config.resolution
    with _dtype_policy(config.precision):
        if factory is None:
            net = _build(config, classes, size, weights=config.weights)
        else:
            net = factory(config, classes)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = config.sync_batch_norm
    return net


def bn_group_size(config: TrainConfig, replicas: int) -> int:
    """Returns the number of replicas that share BatchNorm's statistics.

    Args:
        config: Configuration of the run.
        replicas: Number of replicas of a step.

    Returns:
        Number of replicas; 1 if each replica has its own statistics, if all share them
        (`sync_batch_norm`), or if BatchNorm is frozen.

    Raises:
        ValueError: The groups do not divide the replicas evenly.

    Source:
        tensorflow/tpu, models/official/efficientnet, utils.py, and google/automl,
        efficientnetv2/utils.py, for V2: the rules for None.
    """
    if config.sync_batch_norm or config.freeze_batch_norm:
        return 1
    if config.architecture.family == "v2":
        by_rule = min(8, replicas)
    else:
        by_rule = 1 if replicas <= 8 else max(8, replicas // 8)
    size = config.bn_group_size or by_rule
    if replicas % size:
        divisors = [str(n) for n in range(1, replicas + 1) if replicas % n == 0]
        meaning = f", which means {size}" if config.bn_group_size is None else ""
        raise ValueError(
            "`bn_group_size` must divide the number of replicas, as "
            f"{', '.join(divisors)} do for {replicas}. "
            f"Received: bn_group_size={config.bn_group_size}{meaning}"
        )
    return size


def set_dropout(net: keras.Model, rate: float) -> None:
    """Changes the dropout rate before the classifier; no weight changes.

    Functions that were traced before keep the old rate.

    Args:
        net: Result of `build`; without a dropout layer, it has no dropout.
        rate: Dropout rate, at least 0 and under 1.
    """
    for layer in net.layers:
        if layer.name == "top_dropout":
            layer.rate = rate


def with_probabilities(config: TrainConfig, model: keras.Model) -> keras.Model:
    """Builds the float32 copy of a trained network that outputs probabilities.

    It ends in softmax, or in sigmoids where an image may have several labels.

    Args:
        config: Configuration that `model` was built from.
        model: Trained network, whose weights are copied.

    Returns:
        A model from (batch, resolution, resolution, 3), 0 to 255, to
        probabilities, (batch, classes), float32, of built-in layers only.
    """
    with _dtype_policy("float32"):
        classes, size = model.output_shape[-1], config.resolution
        activation = "sigmoid" if config.is_multi_label else "softmax"
        twin = _build(config, classes, size, activation=activation)
    twin.set_weights(model.get_weights())
    return twin


def _build(
    config: TrainConfig,
    classes: int,
    size: int | None,
    activation: str | None = None,
    weights: str | None = None,
) -> keras.Model:
    if config.variant == ANY_SCALING:
        return keras_efficientnet.EfficientNet(
            config.width,
            config.depth,
            config.resolution,
            weights=weights,
            input_shape=(size, size, 3),
            classes=classes,
            classifier_activation=activation,
            lite=config.lite,
            family=config.family,
            dropout=config.architecture.dropout,
            drop_connect=config.drop_connect,
            bn_momentum=config.bn_momentum,
            **_chosen(config),
            stages=config.stage_table,
            stem_filters=config.stem_filters,
            head_filters=config.head_filters,
        )
    factory = getattr(keras_efficientnet, config.variant)
    # `with_probabilities` builds its copy without weights, but with the same options.
    options = published_options(config.weights or "", config.variant) | _chosen(config)
    if weights is None:
        return factory(
            weights=None,
            input_shape=(size, size, 3),
            classes=classes,
            classifier_activation=activation,
            dropout=config.architecture.dropout,
            drop_connect=config.drop_connect,
            bn_momentum=config.bn_momentum,
            **options,
        )
    features = factory(
        include_top=False,
        weights=weights,
        input_shape=(size, size, 3),
        drop_connect=config.drop_connect,
        bn_momentum=config.bn_momentum,
        **options,
    )
    return keras_efficientnet.reset_classifier(
        features,
        classes,
        dropout=config.architecture.dropout,
        classifier_activation=activation,
    )


def _chosen(config: TrainConfig) -> dict[str, Any]:
    """Returns the factory's arguments that the config sets."""
    names = ("normalization", "padding", "bn_epsilon")
    values = {name: getattr(config, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
