"""Folding of the normalisation into the first convolution.

Normalisation takes two passes over the pixels, a tenth of the time of the first block.
A convolution can absorb it at no cost. Only the padding needs care: a zero after
normalisation is the mean colour before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.common.padding import same_padding
from keras_efficientnet.cost import layer_calls


@dataclasses.dataclass(frozen=True)
class Stem:
    """First convolution and activation of a network, for pixels of 0 to 255.

    Attributes:
        conv: Convolution in the network.
        kernel: Kernel for pixels, (height, width, channels, filters), float32.
        bias: Bias for pixels, (filters,), float32.
        border: Padding colour, (channels,), float32.
        padding: Pixels of padding: (before, after) in height, and in width.
        output: Output of the convolution in the network.
    """

    conv: keras.layers.Conv2D
    kernel: np.ndarray
    bias: np.ndarray
    border: np.ndarray
    padding: tuple[tuple[int, int], tuple[int, int]]
    output: keras.KerasTensor

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Convolves images.

        Args:
            images: (1, height, width, channels), float32, 0 to 255.
        """
        for axis, counts in enumerate(self.padding, start=1):
            images = _pad(images, axis, counts, self.border)
        strides = self.conv.strides
        found = tf.nn.conv2d(images, self.kernel, strides, "VALID") + self.bias
        return self.conv.activation(found)


def classify_pixels(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a faster function that folds the normalisation into the stem.

    Args:
        model: Network with a static input shape.

    Returns:
        Function from pixels, (1, height, width, channels), to probabilities; `model`
        itself if it does not begin with a normalisation and a convolution.
    """
    stem = find_stem(model)
    # Keras cannot build a model whose input is one of its outputs.
    if stem is None or any(stem.output is t for t in model.outputs):
        return model
    rest = keras.Model(stem.output, model.output)
    return lambda images: rest(stem(images), training=False)


def find_stem(model: keras.Model) -> Stem | None:
    """Folds the normalisation of a network into its first convolution.

    Args:
        model: Network with a static input shape.

    Returns:
        The stem; None if the network does not begin with Rescaling, optionally
        ZeroPadding2D, and Conv2D, in sequence.
    """
    calls = _chain(model)
    match [call.operation for call in calls]:
        case [keras.layers.Rescaling() as normalize, keras.layers.Conv2D() as conv, *_]:
            explicit = None
        case [
            keras.layers.Rescaling() as normalize,
            keras.layers.ZeroPadding2D() as pad,
            keras.layers.Conv2D() as conv,
            *_,
        ]:
            explicit = pad.padding
        case _:
            return None
    (output,) = calls[1 if explicit is None else 2].output_tensors
    is_plain = conv.groups == 1 and conv.dilation_rate == (1, 1)
    if not is_plain:
        return None
    kernel = np.asarray(conv.kernel, np.float32)
    channels = kernel.shape[2]
    scale = np.broadcast_to(np.asarray(normalize.scale, np.float64), channels)
    offset = np.broadcast_to(np.asarray(normalize.offset, np.float64), channels)
    bias = np.einsum("hwio,i->o", kernel.astype(np.float64), offset)
    if conv.use_bias:
        bias += np.asarray(conv.bias)
    return Stem(
        conv,
        (kernel * scale[:, np.newaxis]).astype(np.float32),
        bias.astype(np.float32),
        (-offset / scale).astype(np.float32),
        _padding(conv, model.inputs[0].shape[1:3], explicit),
        output,
    )


def _chain(model: keras.Model) -> list[Any]:
    """Returns the first three layer calls, if each has one input and one user."""
    calls = layer_calls(model)
    chain: list[Any] = []
    tensor = model.inputs[0]
    while len(chain) < 3 and not any(tensor is t for t in model.outputs):
        users = [c for c in calls if any(tensor is t for t in c.input_tensors)]
        if len(users) != 1 or len(users[0].input_tensors) != 1:
            break
        chain.append(users[0])
        tensor = users[0].output_tensors[0]
    return chain


def _padding(
    conv: keras.layers.Conv2D, shape: Any, explicit: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    counts = []
    for axis in (0, 1):
        size, stride = shape[axis], conv.strides[axis]
        before, after = explicit[axis] if explicit else (0, 0)
        if conv.padding == "same":
            size += before + after
            more = same_padding(size, conv.kernel_size[axis], stride)
            before, after = before + more[0], after + more[1]
        counts.append((before, after))
    return counts[0], counts[1]


def _pad(
    images: tf.Tensor, axis: int, counts: tuple[int, int], border: np.ndarray
) -> tf.Tensor:
    # Concatenation, because tf.pad takes one value for all channels, and TFLite's
    # version of it is slower.
    parts = []
    for count in counts:
        shape = [*images.shape]
        shape[axis] = count
        parts.append(np.broadcast_to(border, shape))
    pieces = [parts[0], images, parts[1]]
    return tf.concat([x for x in pieces if x.shape[axis]], axis)
