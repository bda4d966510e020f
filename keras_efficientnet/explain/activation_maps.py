"""Class activation maps (CAM and Grad-CAM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..common.choices import check_choice
from ..common.recursion_limit import raised_recursion_limit
from ..cost import is_model, layer_calls, single_input
from .gradients import gradient

METHODS = ("cam", "grad_cam")
_ENDS = ("softmax", "sigmoid", "linear")  # allowed activations of the last dense layer


@raised_recursion_limit()
def class_maps(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | None = None,
    method: str = "cam",
) -> np.ndarray:
    """Computes class activation maps, by CAM or Grad-CAM.

    Args:
        model: Classifier of any input size; nested models are supported.
        images: Input of the model, (batch, height, width, channels).
        classes: Index of the class to explain, one for all images or one per image.
            Defaults to each image's most probable class.
        method: "cam" (class activation mapping) is exact, for networks that end in
            average pooling, optional dropout, and a dense layer, as all of ours do. The
            mean of a map plus the bias of the class is its logit. "grad_cam" works for
            any classifier with feature maps; it is never negative, and where "cam"
            applies, it equals the positive part of that map divided by the number of
            positions.

    Returns:
        Maps, (batch, rows, columns), float32, with the resolution of the last feature
        map: 1/32 of the image's for our networks.

    Raises:
        ValueError: `method` is unknown or does not support the network's head, a class
            is out of range, or the model has several inputs or outputs or is a subclass
            with its own `call`.
        ImportError: Keras is older than Keras 3.

    Source:
        Class activation mapping, arXiv:1512.04150; Grad-CAM, arXiv:1610.02391.
    """
    check_choice("method", method, METHODS)
    if not hasattr(keras, "ops"):
        raise ImportError(
            f"Keras 3 must be installed for class maps. Received: {keras.__version__}"
        )
    single_input(model)
    if len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one output, a score per class. "
            f"Received: model {model.name!r} with {len(model.outputs)} outputs"
        )
    make = _cam if method == "cam" else _grad_cam
    return make(model, np.asarray(images, np.float32), classes)


def heatmaps(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes maps to the image size and scales them to 0..1 for display.

    Args:
        maps: Result of `class_maps`, (batch, rows, columns).
        height: Height of the images, pixels.
        width: Width of the images, pixels.

    Returns:
        Heat maps, (batch, height, width), float32: 0 where there is no evidence for the
        class, 1 at the maximum; all 0 for a map without positive values.
    """
    positive = np.maximum(np.asarray(maps, np.float32), 0)[..., np.newaxis]
    large = keras.ops.image.resize(positive, (height, width), interpolation="bilinear")
    large = keras.ops.convert_to_numpy(large)[..., 0]
    most = large.max(axis=(1, 2), keepdims=True)
    return large / np.where(most > 0, most, 1)


@raised_recursion_limit()
def with_features(
    model: keras.Model, activations: Sequence[str] = ("softmax",)
) -> tuple[keras.Model, np.ndarray] | None:
    """Adds the last feature map of a network as a second output.

    Average pooling and a dense layer commute: weighting the pooled features gives the
    same as weighting the features at each position and then averaging. So the product
    of the features and the weights of a class is the evidence for that class at each
    position.

    Args:
        model: Model from images to scores.
        activations: Activations that the last dense layer may have; "softmax" may also
            be a separate layer.

    Returns:
        The model to scores and features, (batch, height, width, channels), and the
        weights, (channels, classes), float32. None if the head is not average pooling,
        optional dropout, and a dense layer with such an activation.

    Source:
        Class activation mapping, arXiv:1512.04150.
    """
    model = flatten(model)
    end = model.outputs[0]
    if _is_softmax(_layer_of(end)):
        end, activations = _input_of(end), ("linear",)
    layer = _layer_of(end)
    if not isinstance(layer, keras.layers.Dense):
        return None
    if not any(_has(layer, name) for name in activations):
        return None
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
    end = _input_of(end)
    while isinstance(_layer_of(end), keras.layers.Dropout):
        end = _input_of(end)
    layer = _layer_of(end)
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    if layer.data_format != "channels_last":
        return None
    return keras.Model(model.inputs, [model.outputs[0], _input_of(end)]), kernel


def flatten(model: keras.Model) -> keras.Model:
    """Inlines nested models, sharing layers and weights.

    Args:
        model: Functional or Sequential model.

    Returns:
        A model without nested models; `model` itself if it has none.
    """
    if not any(is_model(node.operation) for node in layer_calls(model)):
        return model
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in model.inputs]
    outputs = _inline(model, inputs)
    # Same structure of inputs and outputs as the model, usually one of each.
    return keras.Model(_alone(inputs), _alone(outputs))


def _cam(model: keras.Model, images: np.ndarray, classes: Any) -> np.ndarray:
    found = with_features(model, _ENDS)
    if found is None:
        raise ValueError(
            "`model` must end in average pooling, optional dropout, and a dense layer; "
            "use method='grad_cam' for other classifiers. "
            f"Received: model {model.name!r}"
        )
    network, kernel = found
    scores, features = map(_to_numpy, network([images], training=False))
    return np.einsum("bhwc,cb->bhw", features, kernel[:, _indices(scores, classes)])


def _grad_cam(model: keras.Model, images: np.ndarray, classes: Any) -> np.ndarray:
    flat = flatten(model)
    features, scores = _last_map(flat), _before_activation(flat)
    front = keras.Model(flat.inputs, [flat.outputs[0], features])
    answers, values = map(_to_numpy, front([images], training=False))
    chosen = np.zeros(answers.shape, np.float32)
    chosen[np.arange(len(chosen)), _indices(answers, classes)] = 1
    slopes = gradient(keras.Model(features, scores), values, chosen)
    weights = slopes.mean(axis=(1, 2))
    return np.maximum(np.einsum("bhwc,bc->bhw", values, weights), 0)


def _indices(scores: np.ndarray, classes: Any) -> np.ndarray:
    if classes is None:
        return scores.argmax(axis=-1)
    found = np.broadcast_to(np.asarray(classes), len(scores))
    if not ((found >= 0) & (found < scores.shape[-1])).all():
        raise ValueError(
            f"`classes` must be from 0 to {scores.shape[-1] - 1}. "
            f"Received: classes={classes}"
        )
    return found


def _last_map(model: keras.Model) -> Any:
    """Finds the last tensor of the network with spatial dimensions."""
    tensors = [t for node in layer_calls(model) for t in node.input_tensors]
    maps = [t for t in tensors if len(t.shape) == 4]
    if not maps:
        raise ValueError(
            "`model` must have feature maps, (batch, height, width, channels). "
            f"Received: model {model.name!r}"
        )
    return maps[-1]


def _before_activation(model: keras.Model) -> Any:
    """Returns the logits, the input of the last activation."""
    end = model.outputs[0]
    layer = _layer_of(end)
    if _is_softmax(layer):
        return _input_of(end)
    if not isinstance(layer, keras.layers.Dense) or _has(layer, "linear"):
        return end
    scores = keras.ops.matmul(_input_of(end), layer.kernel)
    return scores + layer.bias if layer.use_bias else scores


def _inline(model: keras.Model, inputs: Sequence[Any]) -> Any:
    known = {id(t): x for t, x in zip(model.inputs, inputs, strict=True)}
    for node in layer_calls(model):
        arguments, options = node.arguments.fill_in(known)
        if is_model(node.operation):
            given = [known[id(t)] for t in node.input_tensors]
            outputs = _inline(node.operation, given)
        else:
            outputs = node.operation(*arguments, **options)
        outputs = keras.tree.flatten(outputs)
        known.update(zip(map(id, node.output_tensors), outputs, strict=True))
    return [known[id(t)] for t in model.outputs]


def _alone(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _to_numpy(values: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(values).astype(np.float32)


def _layer_of(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _input_of(tensor: Any) -> Any:
    # Not `layer.input`, which is that of the first call; there may be several.
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return node.input_tensors[0]


def _is_softmax(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return _has(layer, "softmax")
    return isinstance(layer, keras.layers.Softmax)


def _has(layer: Any, activation: str) -> bool:
    return bool(layer.activation is getattr(keras.activations, activation))
