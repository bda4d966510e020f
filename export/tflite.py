"""TFLite: for phones and small devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.convert import ConverterError
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from .quiet import quiet_stderr
from .source import Source


def write_float32(source: Source, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file in float32.

    It takes `images`, (1, image_size, image_size, 3), float32, 0 to 255, and
    returns `probabilities`, (1, classes), float32.

    Args:
        source: The network.
        path: File to make.

    Returns:
        No remarks.

    Raises:
        ValueError: The network uses an operation that TFLite does not have.
    """
    converter = _converter(source.model, source.image_size)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    path.write_bytes(_convert(converter))
    return ()


def write_int8(source: Source, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file that computes in integers from end to end.

    It takes `images`, (1, image_size, image_size, 3), uint8: the very pixels. It
    returns `probabilities`, (1, classes), uint8, in steps of 1/256. Weights have one
    scale per channel.

    Args:
        source: The network, and images to calibrate the activations' ranges with.
        path: File to make.

    Returns:
        No remarks.

    Raises:
        ValueError: The network uses an operation that TFLite does not have, or not
            in integers.
    """
    converter = _converter(source.model, source.image_size)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _representative(source.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    content = _convert(converter)
    check_integer(content)
    path.write_bytes(content)
    return ()


def check_builtin(content: bytes) -> None:
    """Checks that every operation is one that all TFLite runtimes have.

    Args:
        content: Of a .tflite file.

    Raises:
        ValueError: Some operation is custom or TensorFlow's own (Flex).
    """
    custom = schema.BuiltinOperator.CUSTOM
    codes = _parse(content).operatorCodes
    foreign = sorted(c.customCode.decode() for c in codes if c.builtinCode == custom)
    if foreign:
        raise ValueError(
            "A TFLite model must have builtin operations only, or apps need more "
            f"than the plain runtime. Received: {', '.join(foreign)}"
        )


def check_integer(content: bytes) -> None:
    """Checks that no tensor is a float.

    Args:
        content: Of a .tflite file.

    Raises:
        ValueError: Some tensor is; accelerators for integers would refuse it.
    """
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    tensors = [t for graph in _parse(content).subgraphs for t in graph.tensors]
    names = [t.name.decode() for t in tensors if t.type in floats]
    if names:
        raise ValueError(
            "An integer model must have no float tensors. "
            f"Received: {len(names)} of {len(tensors)}, the first {names[0]}"
        )


def _parse(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content)


def _converter(model: keras.Model, image_size: int) -> Any:
    shape = (1, image_size, image_size, 3)
    signature = [tf.TensorSpec(shape, tf.float32, name="images")]
    classify = tf.function(model, input_signature=signature, autograph=False)
    frozen = convert_variables_to_constants_v2(classify.get_concrete_function())

    # Freezing forgets the output's name.
    @tf.function(input_signature=signature)
    def named(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": frozen(images)[0]}

    function = named.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())


def _convert(converter: Any) -> bytes:
    try:
        with quiet_stderr():
            content = converter.convert()
    except ConverterError as error:
        raise ValueError(
            "A network must use only operations that TFLite has builtin, for "
            f"integers too when it is quantised. Received: {error}"
        ) from error
    check_builtin(content)
    return content


def _representative(batches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    # One black and one white value make the input's range 0 to 255, so that its
    # scale is 1 and its zero point 0: apps pass the camera's bytes as they are.
    is_first = True
    for batch in batches:
        for image in np.clip(np.rint(batch), 0, 255):
            if is_first:
                image[0, 0], image[0, 1] = 0, 255
                is_first = False
            yield [image[np.newaxis]]
