"""Warm-up requests for TensorFlow Serving.

The server sends itself these requests before it accepts others, so that no client waits
while TensorFlow optimises the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

WARM_UP_FILE = "tf_serving_warmup_requests"  # in the folder assets.extra
_GREY = 128


def write_warm_up(signatures: Mapping[str, tf.TensorSpec], path: Path) -> None:
    """Writes a TFRecord file with a request of one image for each signature.

    Args:
        signatures: Input of each signature by its name: pixels, (batch, height, width,
            channels), or strings, (batch,), for the contents of image files.
        path: Path of the file.

    Source:
        tensorflow/serving, tensorflow_serving/g3doc/saved_model_warmup.md.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, spec in signatures.items():
            writer.write(_prediction_log(name, spec.name, _grey_image(spec)))


def _grey_image(spec: tf.TensorSpec) -> bytes:
    """Returns the `TensorProto` of a batch of one image."""
    if spec.dtype == tf.string:
        pixels = tf.fill((64, 64, 3), tf.constant(_GREY, tf.uint8))
        value = [tf.io.encode_jpeg(pixels).numpy()]
        return bytes(tf.make_tensor_proto(value).SerializeToString())
    # A single value stands for all elements.
    proto = tf.make_tensor_proto(_GREY, spec.dtype)
    proto.tensor_shape.CopyFrom(tf.TensorShape((1, *spec.shape[1:])).as_proto())
    return bytes(proto.SerializeToString())


def _prediction_log(signature: str, key: str, tensor: bytes) -> bytes:
    """Encodes a `PredictionLog`, whose Python class would need another package.

    Source:
        tensorflow/serving: numbers of the fields in prediction_log.proto,
        predict.proto and model.proto of tensorflow_serving/apis.
    """
    model_spec = _field(3, signature.encode())
    inputs = _field(1, key.encode()) + _field(2, tensor)  # an entry of a map
    request = _field(1, model_spec) + _field(2, inputs)
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number: int, content: bytes) -> bytes:
    """Encodes a length-delimited field of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
