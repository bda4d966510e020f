"""Where in an image a network sees a class: its head's sum, place by place."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def with_features(model: keras.Model) -> tuple[keras.Model, np.ndarray] | None:
    """Gives a network its last feature map as a second output.

    A head that averages features over all places and then weighs them gives the same as
    weighing them at each place and then averaging. So the features' product with a
    class' weights tells how much each place speaks for the class.

    Args:
        model: A network of images to probabilities.

    Returns:
        The network to probabilities and features, (batch, height, width, channels), and
        the weights, (channels, classes), float32. None when its head is another than
        average pooling, perhaps dropout, and a dense layer with softmax.

    Source:
        Class activation mapping, arXiv:1512.04150.
    """
    layer = _layer_of(model.outputs[0])
    if _is_softmax(layer):
        layer = _layer_of(layer.input)
        is_head = isinstance(layer, keras.layers.Dense) and _has(layer, "linear")
    else:
        is_head = isinstance(layer, keras.layers.Dense) and _has(layer, "softmax")
    if not is_head:
        return None
    kernel = np.asarray(layer.kernel, np.float32)
    layer = _layer_of(layer.input)
    while isinstance(layer, keras.layers.Dropout):
        layer = _layer_of(layer.input)
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    if layer.data_format != "channels_last":
        return None
    return keras.Model(model.inputs, [model.outputs[0], layer.input]), kernel


def _layer_of(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _is_softmax(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return _has(layer, "softmax")
    return isinstance(layer, keras.layers.Softmax)


def _has(layer: Any, activation: str) -> bool:
    return bool(layer.activation is getattr(keras.activations, activation))
