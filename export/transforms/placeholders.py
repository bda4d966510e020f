"""Placeholders for large kernels, so that converters do not copy them.

TensorFlow's converter to TFLite keeps a copy of each constant for each step of its
work: 35 times the weights in all. A placeholder is a constant with the same number
everywhere, of which the converter stores a single one until it writes the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from ..quantization.tflite_graph import Graph, Kind

MIN_SIZE = 2**15  # elements of a kernel that is worth a placeholder
# Each placeholder has a number of its own, so large that almost everything that the
# converter could compute from it is large too.
_NUMBER = 2.0**120
_TOO_LARGE = 2.0**40
# Operations whose kernels have the output channels first.
_LAYERS = (Kind.CONV_2D, Kind.FULLY_CONNECTED)


def large_kernels(model: keras.Model) -> list[keras.Variable]:
    """Returns the large kernels of a network's convolutions and dense layers.

    Args:
        model: Network; kernels in nested models are left out.
    """
    owners = Counter(
        id(variable) for layer in model.layers for variable in layer.variables
    )
    kernels = [
        layer.kernel
        for layer in model.layers
        if type(layer) is keras.layers.Dense
        or (type(layer) is keras.layers.Conv2D and layer.groups == 1)
    ]
    return [
        kernel
        for kernel in kernels
        # With LoRA, the kernel is a sum. Other layers may compute with a shared one.
        if isinstance(kernel, keras.Variable)
        and owners[id(kernel)] == 1
        and math.prod(kernel.shape) >= MIN_SIZE
        # The first convolution, of few channels, absorbs the normalisation before it.
        and kernel.shape[-2] > 4
    ]


def with_placeholders(
    call: Callable[[tf.Tensor], tf.Tensor], kernels: Sequence[keras.Variable]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that computes with placeholders instead of kernels.

    Args:
        call: Function that calls a Keras network.
        kernels: Kernels of the network.
    """

    def call_with_placeholders(images: tf.Tensor) -> tf.Tensor:
        pairs = [
            (kernel, tf.constant(_number(i), tf.float32, kernel.shape))
            for i, kernel in enumerate(kernels)
        ]
        with keras.StatelessScope(pairs):
            return call(images)

    return call_with_placeholders


def fill_in(graph: Graph, kernels: Sequence[keras.Variable]) -> bool:
    """Replaces the placeholders in a .tflite file with the kernels.

    Args:
        graph: Graph that was converted with placeholders; changed in place.
        kernels: The same kernels as for `with_placeholders`.

    Returns:
        Whether each kernel was found, and no number is left that the converter could
        have computed from a placeholder, as it does with a factor that follows a
        convolution.
    """
    found = set()
    indices = {np.float32(_number(i)): i for i in range(len(kernels))}
    users = graph.users()
    for position, tensor in enumerate(graph.tensors):
        buffer = graph.model.buffers[tensor.buffer]
        if tensor.type != schema.TensorType.FLOAT32 or buffer.data is None:
            continue
        values = np.asarray(buffer.data, np.uint8).view(np.float32)
        if (np.abs(values) < _TOO_LARGE).all():
            continue
        index = indices.get(values[0])
        if index is None or (values != values[0]).any():
            return False
        kernel = np.moveaxis(np.asarray(kernels[index], np.float32), -1, 0)
        readers = users[position]
        is_kernel = all(
            graph.kind(reader) in _LAYERS and list(reader.inputs).index(position) == 1
            for reader in readers
        )
        if kernel.shape != tuple(tensor.shape) or not is_kernel:
            return False
        buffer.data = np.ascontiguousarray(kernel).view(np.uint8).ravel()
        found.add(index)
    return len(found) == len(kernels)


def _number(index: int) -> float:
    return _NUMBER * (1 + index / 2**20)
