"""Temperature scaling, folded into the weights of the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def fold_temperature(
    model: keras.Model, temperature: float | Sequence[float] | np.ndarray
) -> None:
    """Divides the logits of a classifier by a temperature, by changing its weights.

    The graph stays the same, so calibrated probabilities cost nothing.

    Args:
        model: Classifier that ends in a Dense layer, perhaps followed by a Softmax or
            Activation layer; its kernel and bias are changed.
        temperature: Temperature above 0; or one per class, (classes,).

    Raises:
        ValueError: The temperature is not above 0, or the model ends in other layers.

    Source:
        arXiv:1706.04599, section 4.2.
    """
    divisor = np.asarray(temperature, np.float64)
    if not (np.isfinite(divisor).all() and (divisor > 0).all()):
        raise ValueError(
            f"`temperature` must be above 0. Received: temperature={temperature}"
        )
    classifier = _classifier(model)
    if divisor.shape not in ((), (classifier.units,)):
        raise ValueError(
            f"`temperature` must be one number, or one for each of the "
            f"{classifier.units} classes. Received: {divisor.size} numbers"
        )
    weights = [np.asarray(w, np.float64) / divisor for w in classifier.get_weights()]
    classifier.set_weights([w.astype(np.float32) for w in weights])


def _classifier(model: keras.Model) -> keras.layers.Dense:
    layer: Any = model.outputs[0]._keras_history.operation
    if isinstance(layer, keras.layers.Softmax | keras.layers.Activation):
        layer = layer.input._keras_history.operation
    if not isinstance(layer, keras.layers.Dense):
        raise ValueError(
            "A model must end in a Dense layer to be calibrated. "
            f"Received: model {model.name!r}, which ends in layer {layer.name!r}"
        )
    return layer
