"""Inference graph: float32, one fixed input, no augmentation, no nested models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_efficientnet.cost import is_model, layer_calls

# Keras layers that are the identity outside training. RandomCrop is not among them: it
# always crops and resizes.
_TRAINING_ONLY = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
)
_AUGMENTATIONS = ("MixUp", "CutMix", "AugMix", "RandAugment", "Solarization")
_KEPT_AUGMENTATIONS = ("RandomCrop",)


def inference_model(model: keras.Model, image_size: int | None = None) -> keras.Model:
    """Returns the network for deployment.

    Mixed precision, augmentation and dropout are for training: float16 casts are slow
    or impossible on the processors that artefacts run on, and random layers have state
    that most formats cannot store.

    Args:
        model: Functional or Sequential model with one input.
        image_size: Side of the input, pixels; None: as in `model`.

    Returns:
        `model` itself if nothing needs to change, otherwise a copy.
    """
    size = image_size or model.inputs[0].shape[1]
    shape = (size, size, model.inputs[0].shape[-1])
    if not _needs_copy(model, shape):
        return model
    copier = _Copier()
    image = keras.Input(shape, name=model.inputs[0].name, dtype="float32")
    (output,) = copier.run(model, [image])
    copier.copy_weights()
    return keras.Model(image, output, name=model.name)


def _needs_copy(model: keras.Model, shape: Sequence[int | None]) -> bool:
    config = model.get_config()
    return (
        isinstance(model, keras.Sequential)
        or tuple(model.inputs[0].shape[1:]) != tuple(shape)
        or model.inputs[0].dtype != "float32"
        or _in_float32(config) != config
        or any(
            is_model(node.operation)
            or _is_augmentation(node.operation)
            or isinstance(node.operation, keras.layers.Normalization)
            for node in layer_calls(model)
        )
    )


class _Copier:
    """Copies the layers of a graph, each once, with all nested models inlined."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Any, Any]] = {}  # by id: layer, copy
        self._names: set[str] = set()

    def run(self, model: keras.Model, inputs: Sequence[Any]) -> list[Any]:
        """Calls copies of a model's layers on other inputs; returns its outputs."""
        known = {id(t): x for t, x in zip(model.inputs, inputs, strict=True)}
        for node in layer_calls(model):
            arguments, options = node.arguments.fill_in(known)
            given = [known[id(t)] for t in node.input_tensors]
            if is_model(node.operation):
                outputs = self.run(node.operation, given)
            elif _is_augmentation(node.operation) or _is_dropout(node.operation):
                outputs = given
            else:
                # Recorded when the graph was built, possibly as True.
                options = {k: v for k, v in options.items() if k != "training"}
                outputs = self._copy(node.operation)(*arguments, **options)
            outputs = keras.tree.flatten(outputs)
            known.update(zip(map(id, node.output_tensors), outputs, strict=True))
        return [known[id(t)] for t in model.outputs]

    def copy_weights(self) -> None:
        """Copies the weights to the copies, which have been built by now."""
        for layer, copy in self._copies.values():
            if type(copy) is type(layer) and isinstance(layer, keras.Layer):
                copy.set_weights([_widened(w) for w in layer.get_weights()])
                if isinstance(layer, keras.layers.Normalization):
                    copy.finalize_state()  # it computes with values derived from these

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self._copies:
            self._copies[id(layer)] = layer, self._make(layer)
        return self._copies[id(layer)][1]

    def _make(self, layer: Any) -> Any:
        if not isinstance(layer, keras.Layer):
            return layer  # an operation of keras.ops, without state
        config = _in_float32(layer.get_config())
        name, number = layer.name, 0
        while name in self._names:  # in two nested models
            number += 1
            name = f"{layer.name}_{number}"
        self._names.add(name)
        if isinstance(layer, keras.layers.Normalization) and _is_by_channel(layer):
            return _as_rescaling(layer, name)
        return type(layer).from_config({**config, "name": name})


def _is_by_channel(layer: keras.layers.Normalization) -> bool:
    return not layer.invert and all(n == 1 for n in layer.mean.shape[:-1])


def _as_rescaling(layer: keras.layers.Normalization, name: str) -> keras.Layer:
    # Its constants are not weights, which some formats treat as inputs; and a Rescaling
    # can be folded into the convolution after it.
    mean = keras.ops.convert_to_numpy(layer.mean).astype(np.float64).ravel()
    variance = keras.ops.convert_to_numpy(layer.variance).astype(np.float64).ravel()
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    if scale.size == 1:
        scale, mean = scale[0], mean[0]
    return keras.layers.Rescaling(
        scale.tolist(), (-mean * scale).tolist(), dtype="float32", name=name
    )


def _is_augmentation(layer: Any) -> bool:
    if not isinstance(layer, keras.Layer):
        return False
    kind, module = type(layer).__name__, type(layer).__module__
    is_random = kind.startswith("Random") or kind in _AUGMENTATIONS
    return module.startswith("keras.") and is_random and kind not in _KEPT_AUGMENTATIONS


def _is_dropout(layer: Any) -> bool:
    return isinstance(layer, _TRAINING_ONLY)


def _widened(weight: np.ndarray) -> np.ndarray:
    return weight if weight.dtype.kind in "iub" else weight.astype(np.float32)


def _in_float32(config: Any) -> Any:
    # Policies occur at any depth: in layers, in layers of nested models, in wrappers.
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config | {"config": {"name": "float32"}}
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(value) for value in config)
    return config
