"""What Keras 2.15, which TensorFlow Addons needs, calls otherwise than Keras 3."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np


def to_tensor(values: np.ndarray, dtype: Any) -> Any:
    """Turns an array into a tensor of the backend.

    Args:
        values: Of any shape and dtype.
        dtype: Of the tensor.
    """
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_tensor(values, dtype=dtype)
    return keras.backend.constant(values, dtype=dtype)


def to_numpy(tensor: Any) -> np.ndarray:
    """Turns a tensor of the backend, or anything like an array, into an array."""
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_numpy(tensor)
    return np.asarray(tensor)


class Call(NamedTuple):
    """One call of a layer in the graph of a model, with Keras 3's names."""

    operation: Any  # the layer
    input_tensors: list[Any]
    output_tensors: list[Any]


def layer_call(node: Any) -> Any:
    """Returns a node of a model's graph, or a `Call` in its place.

    Args:
        node: Out of the `_nodes_by_depth` of a functional model.
    """
    if hasattr(node, "operation"):
        return node
    outputs = node.outputs if isinstance(node.outputs, list) else [node.outputs]
    return Call(node.layer, node.keras_inputs, outputs)


def kernel(layer: Any) -> Any:
    """Returns the kernel of a convolution, depthwise or not, or of a dense layer."""
    return layer.kernel if hasattr(layer, "kernel") else layer.depthwise_kernel
