"""Runners: one interface to models of every format, from pixels to outputs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.files import read_regular
from keras_efficientnet.common.models import check_classifier, check_shapes
from keras_efficientnet.common.output_activation import output_activation
from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.common.sidecars import Sidecars
from keras_efficientnet.litert.interpreters import InterpreterPool

from ..serving.versions import find_saved_model
from . import embedded


class Runner(Protocol):
    """Interface of a model that classifies images; it is thread-safe.

    Attributes:
        input_shape: (height, width, channels); height and width may be None.
        outputs: Number of outputs.
        embedded: Labels, preprocessing and output activation stored in the model, each
            None or empty if it is not stored.
    """

    input_shape: tuple[int | None, ...]
    outputs: int
    embedded: Sidecars

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Runs the model.

        Args:
            images: (batch, height, width, channels), float32, 0 to 255.

        Returns:
            (batch, outputs), float32; see `common.output_activation` for their
            meaning.
        """


class KerasRunner:
    """Runs a Keras model."""

    def __init__(self, model: keras.Model):
        check_classifier(model.name, model)
        self.model = model
        self.input_shape: tuple[int | None, ...] = tuple(model.inputs[0].shape[1:])
        self.outputs = int(model.outputs[0].shape[-1])
        self.embedded = Sidecars(output_activation=output_activation(model))
        # Keras creates and traces its function on the first call.
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        if np.dtype(self.model.inputs[0].dtype).kind in "iu":
            images = np.clip(np.rint(images), 0, 255)  # Keras would truncate them
        with self._lock:
            return np.asarray(self.model.predict_on_batch(images), np.float32)


class SavedModelRunner:
    """Runs the signature `serving_default` of a SavedModel or its newest version."""

    def __init__(self, folder: str | Path):
        folder = find_saved_model(Path(folder)) or folder
        # Kept, because the signature has only weak references to its variables.
        self._loaded = _load_saved_model(folder)
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                "A SavedModel must have a signature 'serving_default'. "
                f"Received: {folder} with {sorted(self._loaded.signatures)}"
            )
        self._signature = self._loaded.signatures["serving_default"]
        inputs = self._signature.structured_input_signature[1]
        outputs = self._signature.structured_outputs
        check_shapes(str(folder), _shapes(inputs.values()), _shapes(outputs.values()))
        ((self._input, spec),) = inputs.items()
        ((self._output, scores),) = outputs.items()
        self.input_shape: tuple[int | None, ...] = tuple(spec.shape[1:])
        self.outputs = int(scores.shape[-1])
        self.embedded = embedded.of_saved_model(Path(folder), self._signature)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        outputs = self._signature(**{self._input: tf.constant(images)})
        return np.asarray(outputs[self._output], np.float32)


def _load_saved_model(folder: str | Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow and protobuf raise many types
        raise ValueError(
            f"A SavedModel must be complete and undamaged. Received: {folder} "
            f"({tf_reason(error)})"
        ) from error


class TFLiteRunner:
    """Runs a .tflite file with LiteRT, one image at a time on each thread.

    Args:
        path: Path of the file.
        threads: Number of images that are classified in parallel.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        content = read_regular(Path(path))
        self._pool = InterpreterPool(lambda: open_tflite(content, str(path)), threads)
        self.input_shape: tuple[int | None, ...] = tuple(
            int(n) for n in self._pool.input["shape"][1:]
        )
        self.outputs = int(self._pool.output["shape"][-1])
        self.embedded = embedded.of_tflite(content, str(path))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        pixels = [quantize(image[np.newaxis], self._pool.input) for image in images]
        scores = np.concatenate(self._pool(pixels))
        return dequantize(scores, self._pool.output)


def open_tflite(content: bytes, name: str) -> Interpreter:
    """Opens a TFLite model with one image input and one output of scores.

    Args:
        content: Content of the .tflite file.
        name: Name of the file, for the error.

    Raises:
        ValueError: The content is not such a model.
    """
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"A .tflite file must contain a TFLite model. Received: {name} ({error})"
        ) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [[tuple(map(int, x["shape"])) for x in y] for y in (inputs, outputs)]
    check_shapes(name, *shapes)
    return interpreter


def quantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Quantises values for a TFLite tensor.

    Args:
        values: Values, float32.
        tensor: Details of the tensor, from the interpreter.

    Returns:
        `values` for a float tensor, otherwise the nearest integers in range.
    """
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    steps = np.rint(values / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Inverts `quantize`; returns float32."""
    if np.dtype(tensor["dtype"]).kind == "f":
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _shapes(tensors: Iterable[Any]) -> list[tuple[int | None, ...]]:
    return [tuple(x.shape) for x in tensors]
