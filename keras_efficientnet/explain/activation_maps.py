"""Where in an image a network sees a class."""

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
_ENDS = ("softmax", "sigmoid", "linear")  # activations of the last dense layer


@raised_recursion_limit()
def class_maps(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | None = None,
    method: str = "cam",
) -> np.ndarray:
    """Tells how much each place in an image speaks for a class.

    Args:
        model: A classifier, perhaps of models within models; of any input size.
        images: As the model takes them, (batch, height, width, channels).
        classes: Index of the class to explain, one for all images or one for each;
            None: each image's first answer.
        method: "cam", class activation mapping: exact, for networks that end in
            average pooling, perhaps dropout, and a dense layer, as all of ours do. The
            mean over a map, plus the class' bias, is the class' score before softmax.
            "grad_cam": for any classifier with feature maps; never below 0, and for
            networks that "cam" is for, its positive part over the number of places.

    Returns:
        Maps, (batch, rows, columns), float32, of the size of the last features:
        a 32nd of the image's for our networks.

    Raises:
        ValueError: `method` is unknown, the network's end does not allow it, a class
            is out of range, or the model has several inputs or outputs, or is a
            subclass with a `call` of its own.
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
    """Makes maps as large as the images, from 0 to 1, to be shown as colours.

    Args:
        maps: Of `class_maps`, (batch, rows, columns).
        height: Of the images, pixels.
        width: Of the images, pixels.

    Returns:
        (batch, height, width), float32: 0 where nothing speaks for the class, 1 where
        the most does; all 0 for a map without anything positive.
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
    """Gives a network its last feature map as a second output.

    A head that averages features over all places and then weighs them gives the same as
    weighing them at each place and then averaging. So the features' product with a
    class' weights tells how much each place speaks for the class.

    Args:
        model: A network of images to scores.
        activations: Those that its last dense layer may have; "softmax" also as a
            layer of its own.

    Returns:
        The network to scores and features, (batch, height, width, channels), and the
        weights, (channels, classes), float32. None when its head is another than
        average pooling, perhaps dropout, and a dense layer with such an activation.

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
    """Returns a network with the layers of the models within it, and their weights.

    Args:
        model: Functional or Sequential.

    Returns:
        `model` itself when there is no model in it. Layers are shared.
    """
    if not any(is_model(node.operation) for node in layer_calls(model)):
        return model
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in model.inputs]
    outputs = _inline(model, inputs)
    # Called like the model itself, which mostly has one of each.
    return keras.Model(_alone(inputs), _alone(outputs))


def _cam(model: keras.Model, images: np.ndarray, classes: Any) -> np.ndarray:
    found = with_features(model, _ENDS)
    if found is None:
        raise ValueError(
            "`model` must end in average pooling, perhaps dropout, and a dense layer; "
            "for other classifiers there is method='grad_cam'. "
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
    """Finds the last tensor of the network that still has places."""
    tensors = [t for node in layer_calls(model) for t in node.input_tensors]
    maps = [t for t in tensors if len(t.shape) == 4]
    if not maps:
        raise ValueError(
            "`model` must have feature maps, (batch, height, width, channels). "
            f"Received: model {model.name!r}"
        )
    return maps[-1]


def _before_activation(model: keras.Model) -> Any:
    """Returns the scores that the last activation is applied to."""
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
    # Not the layer's `input`: that is the first call's, and there may be several.
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return node.input_tensors[0]


def _is_softmax(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return _has(layer, "softmax")
    return isinstance(layer, keras.layers.Softmax)


def _has(layer: Any, activation: str) -> bool:
    return bool(layer.activation is getattr(keras.activations, activation))
