"""Output activation of a classifier, and conversion of its outputs to probabilities."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..cost import is_model
from .recursion_limit import raised_recursion_limit

SOFTMAX = "softmax"  # mutually exclusive classes
SIGMOID = "sigmoid"  # one output: second of two classes; several: independent
LINEAR = "linear"  # logits
OUTPUT_ACTIVATIONS = (SOFTMAX, SIGMOID, LINEAR)

# Activation functions by name. Log-probabilities count as logits: softmax inverts log.
_BY_NAME = {
    "softmax": SOFTMAX,
    "sigmoid": SIGMOID,
    "hard_sigmoid": SIGMOID,
    "linear": LINEAR,
    "log_softmax": LINEAR,
}
# Layers and operations that apply a fixed activation.
_BY_TYPE = {
    "Softmax": SOFTMAX,
    "Sigmoid": SIGMOID,
    "HardSigmoid": SIGMOID,
    "LogSoftmax": LINEAR,
    # Linear whatever their inputs are.
    "Matmul": LINEAR,
    "Einsum": LINEAR,
}
# Layers that leave values unchanged in inference, except for shape or dtype.
_TRANSPARENT = {
    *("Activation", "Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Dropout"),
    *("ActivityRegularization", "GaussianDropout", "GaussianNoise", "AlphaDropout"),
}
# Averages over outputs or positions have the activation of their inputs.
_MEANS = {"Average", "GlobalAveragePooling2D", "Mean"}


def output_activation(model: keras.Model) -> str:
    """Determines the activation of a classifier's outputs.

    Args:
        model: Functional or Sequential model with one output, (batch, classes).

    Returns:
        One of `OUTPUT_ACTIVATIONS`.

    Raises:
        ValueError: The model ends in another activation, in a layer whose activation is
            unknown, or in a softmax over a single output.
    """
    try:
        found = _activation_of(model.outputs[0])
    except _UnknownLayerError as error:
        raise ValueError(
            "A classifier must end in a layer whose activation is softmax, sigmoid or "
            "linear (logits), or in a Softmax or Activation layer. "
            f"Received: model {model.name!r}, which ends in {error}"
        ) from error
    if found == SOFTMAX and model.outputs[0].shape[-1] == 1:
        raise ValueError(
            "A classifier with one output must end in a sigmoid or in logits; softmax "
            f"over one output is always 1. Received: model {model.name!r}"
        )
    return found


def class_count(outputs: int, activation: str) -> int:
    """Returns the number of classes of a classifier.

    Args:
        outputs: Number of outputs.
        activation: One of `OUTPUT_ACTIVATIONS`.

    Returns:
        `outputs`, or 2 for a single sigmoid or logit, which separates two classes.
    """
    return 2 if outputs == 1 and activation != SOFTMAX else outputs


def to_probabilities(outputs: Any, activation: str) -> np.ndarray:
    """Converts a classifier's outputs to probabilities.

    Args:
        outputs: Outputs of the classifier, (batch, outputs), float.
        activation: One of `OUTPUT_ACTIVATIONS`.

    Returns:
        (batch, classes), float32, 0 to 1. Each row sums to 1, except for several
        sigmoids, whose probabilities are independent. A single sigmoid p becomes (1 -
        p, p).

    Example:
        >>> to_probabilities([[0.25]], "sigmoid")
        array([[0.75, 0.25]], dtype=float32)
    """
    values = np.asarray(outputs, np.float32)
    if values.shape[-1] == 1 and activation != SOFTMAX:
        second = values if activation == SIGMOID else 0.5 * (1 + np.tanh(values / 2))
        return np.concatenate([1 - second, second], axis=-1)
    if activation != LINEAR:
        return values
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def check_finite(outputs: np.ndarray) -> None:
    """Checks that a classifier's outputs are finite.

    Args:
        outputs: Outputs of the classifier, (batch, outputs), float.

    Raises:
        ValueError: Some outputs are infinite or NaN.
    """
    bad = int((~np.isfinite(outputs)).any(axis=-1).sum())
    if bad:
        raise ValueError(
            "The outputs of a model must be finite numbers; its weights may have "
            "diverged in training. "
            f"Received: NaN or infinity for {bad} of {len(outputs)} images"
        )


@raised_recursion_limit()
def probability_model(model: keras.Model) -> keras.Model:
    """Wraps a classifier so that it returns probabilities, as `to_probabilities` does.

    Args:
        model: Functional or Sequential model with one output, (batch, classes).

    Returns:
        `model` itself if it returns probabilities already, otherwise a model that
        shares its layers.

    Raises:
        ValueError: See `output_activation`.
    """
    activation, end = output_activation(model), model.outputs[0]
    is_binary = end.shape[-1] == 1
    if activation != LINEAR and not is_binary:
        return model
    layers = keras.layers
    if activation == LINEAR:
        kind = "sigmoid" if is_binary else "softmax"
        end = layers.Activation(kind, dtype="float32", name=_free(model, kind))(end)
    if is_binary:
        rest = layers.Rescaling(-1, 1, dtype="float32", name=_free(model, "rest"))(end)
        join = layers.Concatenate(dtype="float32", name=_free(model, "classes"))
        end = join([rest, end])
    return keras.Model(model.inputs[0], end, name=model.name)


class _UnknownLayerError(Exception):
    """The activation of a layer is unknown; the message names the layer."""


def _activation_of(tensor: Any) -> str:
    history = tensor._keras_history
    layer = history.operation
    if is_model(layer):
        return _activation_of(layer.outputs[history.tensor_index])
    kind = type(layer).__name__
    activation = getattr(layer, "activation", None)
    if callable(activation):
        name = getattr(activation, "__name__", type(activation).__name__)
        if name not in _BY_NAME:
            raise _UnknownLayerError(f"layer {layer.name!r} with activation {name}")
        if name != "linear" or kind not in _TRANSPARENT:
            return _BY_NAME[name]
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    node = layer._inbound_nodes[history.node_index]
    if kind in _TRANSPARENT:
        return _activation_of(node.input_tensors[0])
    if kind in _MEANS:
        found = {_activation_of(tensor) for tensor in node.input_tensors}
        if len(found) == 1:
            return found.pop()
    raise _UnknownLayerError(f"layer {layer.name!r} of type {kind}")


def _free(model: keras.Model, name: str) -> str:
    taken = {layer.name for layer in model.layers}
    while name in taken:
        name += "_"
    return name
