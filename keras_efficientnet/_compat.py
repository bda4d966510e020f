"""Compatibility with Keras 2.15, which TensorFlow Addons needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np


def to_tensor(values: np.ndarray, dtype: Any) -> Any:
    """Converts an array to a tensor of the backend.

    Args:
        values: Array of any shape and dtype.
        dtype: Data type of the tensor.
    """
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_tensor(values, dtype=dtype)
    return keras.backend.constant(values, dtype=dtype)


def to_numpy(tensor: Any) -> np.ndarray:
    """Converts a tensor of the backend, or anything array-like, to a NumPy array."""
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_numpy(tensor)
    return np.asarray(tensor)


class Call(NamedTuple):
    """One layer call in the graph of a model, with Keras 3's attribute names."""

    operation: Any  # the layer
    input_tensors: list[Any]
    output_tensors: list[Any]


def layer_call(node: Any) -> Any:
    """Returns a graph node with Keras 3's attributes; on Keras 2, a `Call`.

    Args:
        node: Node from the `_nodes_by_depth` of a functional model.
    """
    if hasattr(node, "operation"):
        return node
    outputs = node.outputs if isinstance(node.outputs, list) else [node.outputs]
    return Call(node.layer, node.keras_inputs, outputs)


def kernel(layer: Any) -> Any:
    """Returns the kernel of a dense, convolution or depthwise convolution layer."""
    return layer.kernel if hasattr(layer, "kernel") else layer.depthwise_kernel


def require_keras_3(module: str, substitute: str) -> None:
    """Refuses to import a module that is not available under Keras 2.15.

    Args:
        module: Full name of the module.
        substitute: Name of what to use under Keras 2.15.

    Raises:
        ImportError: The installed version is Keras 2.15.
    """
    if not hasattr(keras, "ops"):
        raise ImportError(
            f"`{module}` requires Keras 3. Under Keras 2.15 use `{substitute}` or "
            "the other substitutes in docs/addons.md. "
            f"Received: Keras {keras.__version__}",
            name=module,
        )
