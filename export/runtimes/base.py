"""Models of every kind, called in one way: pixels in, probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_efficientnet.common.files import read_regular
from keras_efficientnet.common.plain_text import tf_reason

from ..quiet import quiet_stderr


class Runner(Protocol):
    """A model that can be asked.

    Attributes:
        input_shape: (height, width, channels); height and width may be None.
        classes: Number of classes.
    """

    input_shape: tuple[int | None, ...]
    classes: int

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Classifies images.

        Args:
            images: (batch, height, width, 3), float32, 0 to 255.

        Returns:
            Probabilities, (batch, classes), float32.
        """


class KerasRunner:
    """Runs a Keras model."""

    def __init__(self, model: keras.Model):
        check_shapes(model.name, model.inputs, model.outputs)
        self.model = model
        self.input_shape = tuple(model.inputs[0].shape[1:])
        self.classes = int(model.outputs[0].shape[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        return np.asarray(self.model.predict_on_batch(images), np.float32)


class SavedModelRunner:
    """Runs the signature `serving_default` of a SavedModel."""

    def __init__(self, folder: str | Path):
        # Kept, because the signature holds its variables weakly.
        self._loaded = _load_saved_model(folder)
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                "A SavedModel must have a signature 'serving_default'. "
                f"Received: {folder} with {sorted(self._loaded.signatures)}"
            )
        self._signature = self._loaded.signatures["serving_default"]
        inputs = self._signature.structured_input_signature[1]
        outputs = self._signature.structured_outputs
        check_shapes(str(folder), list(inputs.values()), list(outputs.values()))
        ((self._input, spec),) = inputs.items()
        ((self._output, scores),) = outputs.items()
        self.input_shape = tuple(spec.shape[1:])
        self.classes = int(scores.shape[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        outputs = self._signature(**{self._input: tf.constant(images)})
        return np.asarray(outputs[self._output], np.float32)


def _load_saved_model(folder: str | Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow and protobuf raise half a dozen kinds
        raise ValueError(
            f"A SavedModel must be complete and undamaged. Received: {folder} "
            f"({tf_reason(error)})"
        ) from error


class TFLiteRunner:
    """Runs a .tflite file with LiteRT, one image at a time, on one thread."""

    def __init__(self, path: str | Path):
        self._interpreter = open_tflite(read_regular(Path(path)), str(path))
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self.input_shape: tuple[int | None, ...] = tuple(
            int(n) for n in self._input["shape"][1:]
        )
        self.classes = int(self._output["shape"][-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        return np.stack([self._classify(image) for image in images])

    def _classify(self, image: np.ndarray) -> np.ndarray:
        pixels = quantize(image[np.newaxis], self._input)
        self._interpreter.set_tensor(self._input["index"], pixels)
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._output["index"])[0]
        return dequantize(scores, self._output)


def open_tflite(content: bytes, name: str) -> Interpreter:
    """Opens a TFLite model with one image input and one output of scores.

    Args:
        content: Of the .tflite file.
        name: Of the file, for the error.

    Raises:
        ValueError: `content` is no such model.
    """
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"A .tflite file must hold a TFLite model. Received: {name} ({error})"
        ) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    check_shapes(
        name, [_Spec(x["shape"]) for x in inputs], [_Spec(x["shape"]) for x in outputs]
    )
    return interpreter


def quantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Turns numbers into what a TFLite tensor stores.

    Args:
        values: float32.
        tensor: Its details, as the interpreter gives them.

    Returns:
        `values` themselves for a float tensor, else the nearest integers in range.
    """
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    steps = np.rint(values / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Undoes `quantize`; returns float32."""
    if np.dtype(tensor["dtype"]).kind == "f":
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


class _Spec:
    def __init__(self, shape: Any):
        self.shape = tuple(int(n) for n in shape)


def check_shapes(name: str, inputs: list[Any], outputs: list[Any]) -> None:
    """Checks that a model classifies images.

    Args:
        name: Of the model, for the error.
        inputs: Things with a `shape`, as many as it has inputs.
        outputs: The same of its outputs.

    Raises:
        ValueError: It has other inputs or outputs.
    """
    shapes = [[tuple(x.shape) for x in tensors] for tensors in (inputs, outputs)]
    match shapes:
        case [[(_, _, _, 3)], [(_, int())]]:
            return
    raise ValueError(
        "A model must take one batch of RGB images, (batch, height, width, 3), and "
        "give one batch of class probabilities, (batch, classes). "
        f"Received: {name}, inputs {shapes[0]}, outputs {shapes[1]}"
    )
