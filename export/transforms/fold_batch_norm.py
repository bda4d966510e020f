"""Folding of batch normalisation into convolutions.

Keras normalises in two passes over the features, and TensorFlow, unlike the converters
of the other formats, fuses neither these nor the addition of a Keras bias with the
convolution. For those converters, the layers stay Keras' own; they then need not
compute with kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.cost import layer_calls

_LINEAR = keras.activations.linear


def _swish(x: tf.Tensor) -> tf.Tensor:
    # One operation: the gradient of softplus is the sigmoid, by which it multiplies.
    # With x * sigmoid(x), oneDNN takes several times as long, because the fused
    # operation prepares its kernel anew in each call.
    return tf.raw_ops.SoftplusGrad(gradients=x, features=x)


class _Swish(keras.layers.Activation):
    """Swish in one operation."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return _swish(inputs)


class _HalvedSwish(keras.layers.Activation):
    """Swish of halved inputs: the hyperbolic tangent takes half the sigmoid's time."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * (1 + tf.tanh(inputs))


class _Rescaling(keras.layers.Rescaling):
    """Rescaling by rows of pixels, because TensorFlow repeats few channels slowly."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if len(inputs.shape) != 4 or None in inputs.shape[1:]:
            return super().call(inputs)
        width, channels = inputs.shape[2:]
        scale, offset = (
            np.tile(np.broadcast_to(np.asarray(x, np.float32), channels), width)
            for x in (self.scale, self.offset)
        )
        inputs = tf.cast(inputs, tf.float32)
        rows = tf.reshape(inputs, (-1, inputs.shape[1], width * channels))
        return tf.reshape(rows * scale + offset, (-1, *inputs.shape[1:]))


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


_FUSED: dict[type, Any] = {
    keras.layers.Conv2D: _Conv2D,
    keras.layers.DepthwiseConv2D: _DepthwiseConv2D,
}


def fold_batch_norm(
    model: keras.Model, *, tensorflow_layers: bool = True
) -> keras.Model:
    """Returns a network without the batch normalisation that follows convolutions.

    Args:
        model: Functional network in float32.
        tensorflow_layers: Whether to replace layers by faster ones that only TensorFlow
            can run.

    Returns:
        A network with the same outputs for inference, up to rounding. It shares the
        layers that need no change with `model`.
    """
    followers = _find_followers(model)
    if not tensorflow_layers:
        followers = {i: (norm, None) for i, (norm, _) in followers.items() if norm}
    norms = {id(norm) for norm, _ in followers.values() if norm is not None}
    halved = {id(swish) for _, swish in followers.values() if swish is not None}
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if not tensorflow_layers and id(layer) not in followers:
            return layer
        if type(layer) is keras.layers.Rescaling:
            return _Rescaling.from_config(layer.get_config())
        if _is_swish(layer):
            kind = _HalvedSwish if id(layer) in halved else _Swish
            return kind.from_config(layer.get_config())
        if not _is_convolution(layer):
            return layer
        if id(layer) not in copies:
            kind = _FUSED[type(layer)] if tensorflow_layers else type(layer)
            norm, swish = followers.get(id(layer), (None, None))
            copies[id(layer)] = _fuse(layer, kind, norm, swish)
        return copies[id(layer)]

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        return args[0] if id(layer) in norms else layer(*args, **options)

    return keras.models.clone_model(model, clone_function=copy, call_function=call)


def _find_followers(model: keras.Model) -> dict[int, tuple[Any, Any]]:
    """Finds what follows each convolution and nothing else, by the layer's id.

    Returns:
        The normalisation, and the swish after it, each None if there is none.
    """
    calls = layer_calls(model)
    times = Counter(id(call.operation) for call in calls)
    users: dict[int, list[Any]] = {id(tensor): [None] for tensor in model.outputs}
    for call in calls:
        for tensor in call.input_tensors:
            users.setdefault(id(tensor), []).append(call)

    def follower(call: Any, accepts: Callable[[Any], bool]) -> Any:
        following = users.get(id(call.output_tensors[0]), [])
        if len(following) != 1 or following[0] is None:
            return None
        layer = following[0].operation
        return following[0] if times[id(layer)] == 1 and accepts(layer) else None

    found = {}
    for call in calls:
        layer = call.operation
        is_linear = _is_convolution(layer) and layer.activation is _LINEAR
        if is_linear and times[id(layer)] == 1:
            norm = follower(call, _is_batch_norm)
            swish = follower(norm or call, _is_swish)
            found[id(layer)] = norm and norm.operation, swish and swish.operation
    return found


def _is_batch_norm(layer: Any) -> bool:
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3)


def _is_convolution(layer: Any) -> bool:
    return type(layer) in _FUSED and layer.data_format == "channels_last"


def _is_swish(layer: Any) -> bool:
    kind = keras.layers.Activation
    return type(layer) is kind and layer.activation is keras.activations.silu


def _fuse(layer: Any, kind: Any, norm: Any, swish: Any) -> Any:
    """Returns a copy of a convolution with a bias.

    Args:
        layer: Convolution.
        kind: Class of the copy.
        norm: Normalisation to fold into it, or None.
        swish: Activation that expects halved values, or None.
    """
    kernel = np.asarray(layer.kernel, np.float64)
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    outputs = kernel.shape[2:] if is_depthwise else kernel.shape[3:]
    bias = np.zeros(outputs) if layer.bias is None else np.reshape(layer.bias, outputs)
    if norm is not None:
        scale, offset = (np.reshape(x, outputs) for x in _affine(norm))
        kernel, bias = kernel * scale, bias * scale + offset
    if swish is not None:
        kernel, bias = kernel / 2, bias / 2
    copy = kind.from_config({**_inference_config(layer), "use_bias": True})
    groups = 1 if is_depthwise else layer.groups
    if kind is not type(layer) and layer.activation is keras.activations.silu:
        copy.activation = _swish
    copy.build((None, None, None, kernel.shape[2] * groups))
    copy.set_weights([kernel.astype(np.float32), bias.ravel().astype(np.float32)])
    return copy


def _inference_config(layer: Any) -> dict[str, Any]:
    # The others may need classes that are not registered, or add weights.
    training_only = ("initializer", "regularizer", "constraint", "rank", "alpha")
    return {
        key: value
        for key, value in layer.get_config().items()
        if not key.endswith(training_only)
    }


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
