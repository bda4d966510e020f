"""Folding of batch normalisation into convolutions, for TensorFlow.

Keras normalises in two passes over the features, and TensorFlow, unlike the converters
of the other formats, fuses neither these nor the addition of a Keras bias with the
convolution.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.cost import layer_calls

_BatchNorm = keras.layers.BatchNormalization


def _swish(x: tf.Tensor) -> tf.Tensor:
    # TensorFlow's own has a factor of 1 and a gradient, which prevent fusion.
    return x * tf.sigmoid(x)


class _Swish(keras.layers.Activation):
    """Swish from few operations."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _swish(inputs)


class _Conv2D(keras.layers.Conv2D):
    """Convolution whose bias and activation TensorFlow fuses with it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(
            inputs,
            self.kernel,
            self.strides,
            self.padding.upper(),
            dilations=self.dilation_rate,
        )
        return self.activation(tf.nn.bias_add(y, self.bias))


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """The same for depthwise convolution."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        y = tf.nn.depthwise_conv2d(
            inputs,
            self.kernel,
            (1, *self.strides, 1),
            self.padding.upper(),
            dilations=self.dilation_rate,
        )
        return self.activation(tf.nn.bias_add(y, self.bias))


_FUSED = {
    keras.layers.Conv2D: _Conv2D,
    keras.layers.DepthwiseConv2D: _DepthwiseConv2D,
}


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Returns a network without the batch normalisation that follows convolutions.

    Args:
        model: Functional network in float32.

    Returns:
        A network with the same outputs for inference, up to rounding. It shares the
        layers that need no change with `model`.
    """
    norms = _find_norms(model)
    folded = {id(norm) for norm in norms.values()}
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if _is_swish(layer):
            return _Swish.from_config(layer.get_config())
        if not _is_convolution(layer):
            return layer
        if id(layer) not in copies:
            copies[id(layer)] = _fuse(layer, norms.get(id(layer)))
        return copies[id(layer)]

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        return args[0] if id(layer) in folded else layer(*args, **options)

    return keras.models.clone_model(model, clone_function=copy, call_function=call)


def _find_norms(model: keras.Model) -> dict[int, Any]:
    """Finds the normalisation to fold into each convolution, by the layer's id."""
    calls = layer_calls(model)
    times = Counter(id(call.operation) for call in calls)
    users: dict[int, list[Any]] = {id(tensor): [None] for tensor in model.outputs}
    for call in calls:
        for tensor in call.input_tensors:
            users.setdefault(id(tensor), []).append(call.operation)
    found = {}
    for call in calls:
        layer = call.operation
        if not _is_convolution(layer):
            continue
        following = users.get(id(call.output_tensors[0]), [])
        if (
            layer.activation is keras.activations.linear
            and len(following) == times[id(layer)] == 1
            and type(following[0]) is _BatchNorm
            and following[0].axis in (-1, 3)
            and times[id(following[0])] == 1
        ):
            found[id(layer)] = following[0]
    return found


def _is_convolution(layer: Any) -> bool:
    return type(layer) in _FUSED and layer.data_format == "channels_last"


def _is_swish(layer: Any) -> bool:
    kind = keras.layers.Activation
    return type(layer) is kind and layer.activation is keras.activations.silu


def _fuse(layer: Any, norm: Any | None) -> Any:
    """Returns a copy of a convolution with a bias and, if given, a normalisation."""
    kernel = np.asarray(layer.kernel, np.float64)
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    outputs = kernel.shape[2:] if is_depthwise else kernel.shape[3:]
    bias = np.zeros(outputs) if layer.bias is None else np.reshape(layer.bias, outputs)
    if norm is not None:
        scale, offset = (np.reshape(x, outputs) for x in _affine(norm))
        kernel, bias = kernel * scale, bias * scale + offset
    copy = _FUSED[type(layer)].from_config({**layer.get_config(), "use_bias": True})
    groups = 1 if is_depthwise else layer.groups
    if layer.activation is keras.activations.silu:
        copy.activation = _swish
    copy.build((None, None, None, kernel.shape[2] * groups))
    copy.set_weights([kernel.astype(np.float32), bias.ravel().astype(np.float32)])
    return copy


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns a normalisation as a scale and an offset, (channels,), float64."""
    mean, variance = (
        np.asarray(x, np.float64) for x in (norm.moving_mean, norm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.gamma is not None:
        scale *= np.asarray(norm.gamma)
    offset = -mean * scale
    return scale, offset if norm.beta is None else offset + np.asarray(norm.beta)
